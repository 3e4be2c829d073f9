//! Client of the API.

use std::process::ExitCode;
use std::time::Duration;

use hierophant_admin_model::{Done, PATH, Reason, Refusal, Worker};
use hierophant_model::commands::Subject;
use hierophant_model::text::error_chain;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::UNREACHABLE;
use super::endpoint::Endpoint;

/// Maximum time for a response, and for the next chunk of a streamed one.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Remedy where a token is required.
const NO_TOKEN: &str = "create one on its machine with `hierophant token create --name NAME --role act`, and pass \
                        it in the variable HIEROPHANT_TOKEN or with --token-file";

/// Remedy where the token lacks the permission.
const OTHER_TOKEN: &str = "see `hierophant token list` for the roles of all tokens";

/// User agent of this program, for the audit log.
const PROGRAM: &str = concat!("hierophant/", env!("CARGO_PKG_VERSION"));

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Hierophant cannot be reached.
    #[error("cannot reach Hierophant at {url}: {reason}; start it, or set its address with --url")]
    Unreachable {
        /// Address that was called.
        url: String,
        /// Error of the connection.
        reason: String,
    },
    /// The caller is not authenticated, or lacks the permission.
    #[error("{error}; {remedy}")]
    NotAllowed {
        /// Error text of the response.
        error: String,
        /// Remedy for the user.
        remedy: &'static str,
    },
    /// Hierophant rejected the call, or the user did not confirm it.
    #[error("{0}")]
    Refused(String),
    /// The resource does not exist.
    #[error("{0}")]
    Missing(String),
    /// Part of the command succeeded; `text` is printed too.
    #[error("{error}")]
    Partly {
        /// Outcome of every part.
        text: String,
        /// Summary of the failures.
        error: String,
    },
    /// A local file cannot be written, or its content is invalid.
    #[error("{0}")]
    File(String),
    /// The event stream failed.
    #[error("{0}")]
    Broken(String),
    /// The response cannot be parsed: it comes from another program, or another version.
    #[error("invalid response from {url} ({reason}): expected a Hierophant of this version")]
    Unreadable {
        /// Address that responded.
        url: String,
        /// Error of the parser.
        reason: String,
    },
}

impl CallError {
    /// Exit code of the program.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreachable { .. } => ExitCode::from(UNREACHABLE),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Client of a running Hierophant.
#[derive(Clone)]
pub(super) struct ApiClient {
    url: String,
    endpoint: Endpoint,
    client: Client,
    token: Option<HeaderValue>,
}

impl ApiClient {
    /// A client of this endpoint that presents `token` with every call.
    pub(super) fn new(endpoint: Endpoint, token: Option<&str>) -> Self {
        let token = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let token = token.map(|mut header| {
            header.set_sensitive(true);
            header
        });
        let client = endpoint.client().read_timeout(TIMEOUT).user_agent(PROGRAM).build();
        // Building fails only for invalid options, and there are none here.
        let client = client.unwrap_or_default();
        Self { url: endpoint.url.clone(), endpoint, client, token }
    }

    /// Sends a GET.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<T, CallError> {
        let call = self.client.get(format!("{}{PATH}{path}", self.url)).query(query);
        let response = self.send(call.timeout(TIMEOUT)).await?;
        response.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Sends a command that has no parameters.
    pub(super) async fn command(&self, path: &str) -> Result<Done, CallError> {
        self.post(path, &Reason::default()).await
    }

    /// Sends a POST.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let call = self.client.post(format!("{}{PATH}{path}", self.url)).json(body);
        let response = self.send(call.timeout(TIMEOUT)).await?;
        response.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Sends a DELETE.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let call = self.client.delete(format!("{}{PATH}{path}", self.url));
        let response = self.send(call.timeout(TIMEOUT)).await?;
        response.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Sends a GET whose response may be long: only the time between its chunks is limited.
    pub(super) async fn stream(&self, path: &str) -> Result<Response, CallError> {
        self.send(self.client.get(format!("{}{PATH}{path}", self.url))).await
    }

    /// Opens the event stream. It fails when no byte has arrived for `silence`.
    pub(super) async fn events(&self, silence: Duration) -> Result<Response, CallError> {
        let client = self.endpoint.client().read_timeout(silence).build();
        let client = client.map_err(|error| self.unreachable(error))?;
        let call = client.get(format!("{}{PATH}/events", self.url));
        self.send(call).await
    }

    /// The id of the worker with this id or name.
    pub(super) async fn worker(&self, id_or_name: &str) -> Result<String, CallError> {
        let workers: Vec<Worker> = self.get("/workers", &[]).await?;
        let mut matches_name = workers.iter().filter(|worker| worker.name == id_or_name);
        match (matches_name.next(), matches_name.next()) {
            (Some(worker), None) => Ok(worker.id.clone()),
            (Some(_), Some(_)) => Err(CallError::Refused(format!(
                "several workers are named {id_or_name}: expected an id, see `hierophant workers`"
            ))),
            (None, _) if id_or_name.parse::<Subject>().is_ok() => Ok(id_or_name.to_owned()),
            (None, _) => Err(CallError::Missing(format!(
                "unknown worker {id_or_name:?}: expected a worker id or the name of a connected \
                 worker, see `hierophant workers`"
            ))),
        }
    }

    async fn send(&self, mut call: RequestBuilder) -> Result<Response, CallError> {
        if let Some(token) = &self.token {
            call = call.header(AUTHORIZATION, token);
        }
        let response = call.send().await;
        Self::successful(response.map_err(|error| self.unreachable(error))?).await
    }

    /// The response, unless it is an error.
    async fn successful(response: Response) -> Result<Response, CallError> {
        let code = response.status();
        if code.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let error = serde_json::from_str::<Refusal>(&text).map(|refusal| refusal.error);
        let error = error.unwrap_or_else(|_| text.trim().to_owned());
        let error = if error.is_empty() { code.to_string() } else { error };
        Err(match code {
            StatusCode::NOT_FOUND => CallError::Missing(error),
            StatusCode::UNAUTHORIZED => CallError::NotAllowed { error, remedy: NO_TOKEN },
            StatusCode::FORBIDDEN => CallError::NotAllowed { error, remedy: OTHER_TOKEN },
            _ => CallError::Refused(error),
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> CallError {
        let reason = error_chain(&error.without_url());
        CallError::Unreachable { url: self.url.clone(), reason }
    }

    pub(super) fn unreadable(&self, error: &reqwest::Error) -> CallError {
        let reason = error_chain(error);
        CallError::Unreadable { url: self.url.clone(), reason }
    }
}
