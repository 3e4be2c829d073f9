//! Receivers of webhooks: `[[webhooks]]`.

use hierophant_model::records::RequestState;
use network_lib::config::Faults;
use network_lib::secret::Secret;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use standardwebhooks::Webhook;

use super::ClientConfig;

/// Prefix of a secret.
const PREFIX: &str = "whsec_";

/// Minimum length of a key: 24 bytes in base64.
const MIN_KEY: usize = 32;

/// A final state of a request that is sent to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The proof can be downloaded.
    Fulfilled,
    /// The job failed.
    Failed,
    /// The program fails on its input, or exceeds the request's limits.
    Unexecutable,
    /// The request was cancelled.
    Cancelled,
    /// The deadline passed.
    Expired,
}

impl Ending {
    /// All values.
    pub const ALL: [Self; 5] =
        [Self::Fulfilled, Self::Failed, Self::Unexecutable, Self::Cancelled, Self::Expired];

    /// The request state.
    #[must_use]
    pub const fn state(self) -> RequestState {
        match self {
            Self::Fulfilled => RequestState::Fulfilled,
            Self::Failed => RequestState::Failed,
            Self::Unexecutable => RequestState::Unexecutable,
            Self::Cancelled => RequestState::Cancelled,
            Self::Expired => RequestState::Expired,
        }
    }
}

/// One entry of `[[webhooks]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebhookConfig {
    /// URL of the receiver, called by POST.
    pub url: String,
    /// Key of the signatures: `whsec_` and base64 of 24 bytes or more.
    pub secret: Secret,
    /// Final states of requests that are sent. Default all.
    #[serde(default = "all")]
    pub on: Vec<Ending>,
    /// Names of clients of whose requests alone it is notified. Default all requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
}

fn all() -> Vec<Ending> {
    Ending::ALL.to_vec()
}

/// Checks the entries.
pub(super) fn validate(webhooks: &[WebhookConfig], clients: &[ClientConfig], faults: &mut Faults) {
    for (number, webhook) in webhooks.iter().enumerate() {
        let key = |name: &str| format!("webhooks[{number}].{name}");
        let url = Url::parse(&webhook.url).ok();
        if !url.is_some_and(|url| ["http", "https"].contains(&url.scheme())) {
            faults.add(
                key("url"),
                "invalid URL: expected an http:// or https:// URL like \"https://example.org/proofs\"",
            );
        }
        if webhooks[..number].iter().any(|earlier| earlier.url == webhook.url) {
            faults.add(key("url"), "is listed twice: expected one entry with both lists in `on`");
        }
        let secret = webhook.secret.reveal().strip_prefix(PREFIX);
        let usable = |key: &str| key.len() >= MIN_KEY && Webhook::new(key).is_ok();
        if !secret.is_some_and(usable) {
            faults.add(
                key("secret"),
                "invalid key: expected `whsec_` and base64 of at least 24 bytes; make one with: \
                 echo whsec_$(openssl rand -base64 32)",
            );
        }
        for name in &webhook.clients {
            if !clients.iter().any(|client| client.name == *name) {
                faults.add(
                    key("clients"),
                    format!("unknown client {name:?}: expected names of `[[clients]]`"),
                );
            }
        }
        if webhook.on.is_empty() {
            faults.add(key("on"), "is empty, so nothing would be sent: expected states, or no such key for all of them");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn every_fault_of_a_receiver_is_found() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("hierophant.toml");
        let good = format!("secret = \"whsec_{}\"", "c2VjcmV0".repeat(4));
        let text = format!(
            "data_dir = {:?}\n[[webhooks]]\nurl = \"ftp://a\"\nsecret = \"whsec_c2hvcnQ=\"\non = []\nclients = [\"rollup\"]\n\
             [[webhooks]]\nurl = \"http://b\"\n{good}\n[[webhooks]]\nurl = \"http://b\"\n{good}\n",
            folder.path()
        );
        std::fs::write(&file, text).expect("writes");
        let error = network_lib::config::load::<Config>(Some(&file), []).expect_err("must fail");
        let keys: Vec<&str> = error.faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "webhooks[0].url",
                "webhooks[0].secret",
                "webhooks[0].clients",
                "webhooks[0].on",
                "webhooks[2].url"
            ]
        );
        assert!(!error.to_string().contains("c2hvcnQ"), "{error}");
    }
}
