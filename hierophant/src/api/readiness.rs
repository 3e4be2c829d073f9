//! Whether requests are accepted, as `GET /ready` answers.
//!
//! The page is public and its check passes the scheduler and the database's writer. Therefore one check serves all
//! callers, several times a second at most, and runs to its end in a task of its own: a caller that hangs up
//! interrupts nothing.

use std::sync::Arc;
use std::time::Duration;

use hierophant_model::text::error_chain;
use hierophant_store::JobStore;
use network_lib::task;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::proofs::ProofsHandle;

/// Age up to which a verdict counts.
const MAX_AGE: Duration = Duration::from_millis(250);

/// Time limit of a check.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// Verdict on the readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Requests are accepted.
    Ready,
    /// The store does not answer or accepts no writes.
    StoreUnavailable,
    /// The scheduler does not answer.
    ActorTimeout,
}

/// Readiness, checked for all callers together. Clones share the verdict.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn JobStore>,
    proofs: ProofsHandle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<(Verdict, Instant)>,
    /// The check in progress.
    check: Option<watch::Receiver<Option<Verdict>>>,
}

impl Readiness {
    /// The readiness of this store and this scheduler.
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>, proofs: ProofsHandle) -> Self {
        Self(Arc::new(Inner { store, proofs, state: Mutex::default() }))
    }

    /// The verdict, at most a quarter of a second old.
    pub async fn verdict(&self) -> Verdict {
        let mut check = {
            let mut state = self.0.state.lock();
            if let Some((verdict, at)) = state.latest
                && at.elapsed() < MAX_AGE
            {
                return verdict;
            }
            // A check that panicked has closed its channel.
            let running = state.check.clone().filter(|check| check.has_changed().is_ok());
            running.unwrap_or_else(|| self.begin(&mut state))
        };
        let verdict = check.wait_for(Option::is_some).await;
        verdict.ok().and_then(|verdict| *verdict).unwrap_or(Verdict::ActorTimeout)
    }

    fn begin(&self, state: &mut State) -> watch::Receiver<Option<Verdict>> {
        let (done, check) = watch::channel(None);
        state.check = Some(check.clone());
        let inner = Arc::clone(&self.0);
        task::spawn("readiness", async move {
            let verdict = inner.check().await;
            let mut state = inner.state.lock();
            state.latest = Some((verdict, Instant::now()));
            state.check = None;
            done.send_replace(Some(verdict));
        });
        check
    }
}

impl Inner {
    async fn check(&self) -> Verdict {
        match timeout(CHECK_LIMIT, self.store.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = %error_chain(&error), "not ready: the store is unavailable");
                return Verdict::StoreUnavailable;
            }
            Err(_) => {
                tracing::error!("not ready: the store does not answer");
                return Verdict::StoreUnavailable;
            }
        }
        match timeout(CHECK_LIMIT, self.proofs.alive()).await {
            Ok(Ok(())) => Verdict::Ready,
            _ => Verdict::ActorTimeout,
        }
    }
}
