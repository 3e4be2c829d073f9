//! Calls of the API.

use std::process::ExitCode;
use std::time::Duration;

use hierophant_model::commands::Subject;
use hierophant_model::text::error_chain;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::UNREACHABLE;
use super::reach::Reach;
use hierophant_admin_model::{Done, PATH, Reason, Refusal, Worker};

/// How long an answer may take, and the next piece of a long one.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do where a token is needed.
const NO_TOKEN: &str = "make one on its machine by `hierophant token create --name NAME --role act`, and give it \
                        in the variable HIEROPHANT_TOKEN or by --token-file";

/// What to do where the token is not enough.
const OTHER_TOKEN: &str = "`hierophant token list` shows which token has which role";

/// How this program names itself, for the log of who did what.
const PROGRAM: &str = concat!("hierophant/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody is there.
    #[error(
        "cannot reach Hierophant at {url}: {reason}; start it there, or name another address by --url"
    )]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// Whoever asks is not let in, or may not do that.
    #[error("{words}; {remedy}")]
    NotAllowed {
        /// What Hierophant says.
        words: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The call is refused.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// Some of it was done; `text` is to be printed all the same.
    #[error("{words}")]
    Partly {
        /// What was done, and what not.
        text: String,
        /// In short.
        words: String,
    },
    /// A file on this side is the trouble, or what is to be in it.
    #[error("{0}")]
    File(String),
    /// The stream of changes has ended.
    #[error("{0}")]
    Broken(String),
    /// The answer makes no sense: another program, or another version.
    #[error("the answer of {url} cannot be read ({reason}); is it a Hierophant of this version?")]
    Unreadable {
        /// Who answered.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl CallError {
    /// How the program ends then.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreachable { .. } => ExitCode::from(UNREACHABLE),
            _ => ExitCode::FAILURE,
        }
    }
}

/// A running Hierophant.
#[derive(Clone)]
pub(super) struct Caller {
    url: String,
    reach: Reach,
    client: Client,
    token: Option<HeaderValue>,
}

impl Caller {
    /// The one that is reached so, to which `token` says who asks.
    pub(super) fn new(reach: Reach, token: Option<&str>) -> Self {
        let token = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let token = token.map(|mut header| {
            header.set_sensitive(true);
            header
        });
        let client = reach.client().read_timeout(PATIENCE).user_agent(PROGRAM).build();
        // What is asked for here can always be built.
        let client = client.unwrap_or_default();
        Self { url: reach.url.clone(), reach, client, token }
    }

    /// Reads from the API.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<T, CallError> {
        let call = self.client.get(format!("{}{PATH}{path}", self.url)).query(query);
        let answer = self.sent(call.timeout(PATIENCE)).await?;
        answer.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Has something done that needs no more words.
    pub(super) async fn done(&self, path: &str) -> Result<Done, CallError> {
        self.post(path, &Reason::default()).await
    }

    /// Has something done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let call = self.client.post(format!("{}{PATH}{path}", self.url)).json(body);
        let answer = self.sent(call.timeout(PATIENCE)).await?;
        answer.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Takes something away.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let call = self.client.delete(format!("{}{PATH}{path}", self.url));
        let answer = self.sent(call.timeout(PATIENCE)).await?;
        answer.json().await.map_err(|error| self.unreadable(&error))
    }

    /// Reads what may be long: it may take its time as long as something comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Response, CallError> {
        self.sent(self.client.get(format!("{}{PATH}{path}", self.url))).await
    }

    /// Opens the stream of changes. It breaks when nothing at all has come for `silence`.
    pub(super) async fn listen(&self, silence: Duration) -> Result<Response, CallError> {
        let client = self.reach.client().read_timeout(silence).build();
        let client = client.map_err(|error| self.unreachable(error))?;
        let call = client.get(format!("{}{PATH}/events", self.url));
        self.sent(call).await
    }

    /// The id of a Contemplant that is named by its id or by its name.
    pub(super) async fn worker(&self, named: &str) -> Result<String, CallError> {
        let workers: Vec<Worker> = self.get("/workers", &[]).await?;
        let mut so_named = workers.iter().filter(|worker| worker.name == named);
        match (so_named.next(), so_named.next()) {
            (Some(worker), None) => Ok(worker.id.clone()),
            (Some(_), Some(_)) => Err(CallError::Refused(format!(
                "several workers are named {named}: expected an id, see `hierophant workers`"
            ))),
            (None, _) if named.parse::<Subject>().is_ok() => Ok(named.to_owned()),
            (None, _) => Err(CallError::Missing(format!(
                "{named:?} is not the id of a worker nor the name of a connected one; see \
                 `hierophant workers`"
            ))),
        }
    }

    async fn sent(&self, mut call: RequestBuilder) -> Result<Response, CallError> {
        if let Some(token) = &self.token {
            call = call.header(AUTHORIZATION, token);
        }
        let sent = call.send().await;
        Self::accepted(sent.map_err(|error| self.unreachable(error))?).await
    }

    /// The answer, unless it is a refusal.
    async fn accepted(answer: Response) -> Result<Response, CallError> {
        let code = answer.status();
        if code.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let refusal = serde_json::from_str::<Refusal>(&text).map(|refusal| refusal.error);
        let words = refusal.unwrap_or_else(|_| text.trim().to_owned());
        let words = if words.is_empty() { code.to_string() } else { words };
        Err(match code {
            StatusCode::NOT_FOUND => CallError::Missing(words),
            StatusCode::UNAUTHORIZED => CallError::NotAllowed { words, remedy: NO_TOKEN },
            StatusCode::FORBIDDEN => CallError::NotAllowed { words, remedy: OTHER_TOKEN },
            _ => CallError::Refused(words),
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
