//! How spans travel: OTLP's exporter runs on a thread of its own, the HTTP client on the program's runtime.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts to a collector, and tells the log once when that starts or stops to fail.
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Handle,
    failing: Arc<AtomicBool>,
}

impl Client {
    /// A client on the current runtime.
    pub(super) fn new() -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        Ok(Self { http, runtime, failing: Arc::default() })
    }

    fn note(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let reason = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(reason.is_some(), Ordering::Relaxed);
        match reason {
            Some(reason) if !failed_before => {
                tracing::warn!(reason, "traces do not reach the collector; spans are dropped");
            }
            None if failed_before => tracing::info!("traces reach the collector again"),
            _ => {}
        }
    }
}

impl Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        // What the collector says beyond the code changes nothing.
        let call = async move {
            let request = reqwest::Request::try_from(request)?;
            let answer = http.execute(request).await.map_err(reqwest::Error::without_url)?;
            Ok::<_, reqwest::Error>(answer.status())
        };
        let outcome = match self.runtime.spawn(call).await {
            Ok(Ok(status)) => {
                let mut answer = Response::new(Bytes::new());
                *answer.status_mut() = status;
                Ok(answer)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
        self.note(&outcome);
        outcome
    }
}
