//! An operator that reads the status pages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use parking_lot::Mutex;

use super::network;

/// The secret of the operator's token.
pub const TOKEN: &str = "hpt_read_of_the_operator";

/// The secret of a token that may act.
pub const ACT_TOKEN: &str = "hpt_act_of_the_operator";

/// How often the operator looks.
const PAUSE: Duration = Duration::from_secs(2);

/// An operator, with what was seen last.
#[derive(Debug, Clone, Default)]
pub struct Operator(Arc<Mutex<Option<Seen>>>);

#[derive(Debug, Clone)]
struct Seen {
    at: Duration,
    at_rest: BTreeSet<String>,
}

impl Operator {
    /// Looks again and again; every page that is answered must be whole.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            for path in ["/", "/health", "/proof-history", "/dead-contemplants"] {
                drop(page(path).await);
            }
            let Some(text) = page("/contemplants").await else { continue };
            let contemplants: Vec<serde_json::Value> = serde_json::from_slice(&text).expect("JSON");
            let at = turmoil::sim_elapsed().expect("a host");
            let at_rest = contemplants.iter().filter_map(at_rest).collect();
            *self.0.lock() = Some(Seen { at, at_rest });
        }
    }

    /// Whether a look after `time` has found this Contemplant connected and without work.
    pub fn has_seen_at_rest(&self, name: &str, time: Duration) -> bool {
        let seen = self.0.lock();
        seen.as_ref().is_some_and(|seen| seen.at > time && seen.at_rest.contains(name))
    }
}

/// Its name, if it has nothing to do.
fn at_rest(contemplant: &serde_json::Value) -> Option<String> {
    let busy = contemplant["current_proofs"].as_array().expect("a list");
    busy.is_empty().then(|| contemplant["name"].as_str().expect("a name").to_owned())
}

/// A page, if there is an answer; only a failing store is an excuse for another code.
async fn page(path: &str) -> Option<axum::body::Bytes> {
    let url = format!("http://hierophant:9010{path}");
    let answer = network::call_as(Some(TOKEN), Method::GET, &url, vec![], Duration::ZERO).await;
    let (status, text) = answer.ok()?;
    let excused = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&status);
    assert!(status == StatusCode::OK || excused, "{path}: {status}");
    (status == StatusCode::OK).then_some(text)
}
