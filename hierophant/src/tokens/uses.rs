//! Uses of tokens, and the announcement of those that expire.
//!
//! A use is noted in memory with every call, and stored once a minute: a token costs at most one write a minute,
//! however often it is used. A crash loses the uses of the last minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hierophant_model::records::{Change, Millis, TokenUse};
use hierophant_model::text::error_chain;
use network_lib::ids::TokenId;
use network_lib::task;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Tokens;

/// Interval at which expired tokens are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum interval between two writes of a token's use.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of uses in a transaction.
const MAX_SAVED_AT_ONCE: usize = 200;

/// Latest uses since the start.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    latest: BTreeMap<TokenId, TokenUse>,
    unsaved: BTreeSet<TokenId>,
}

impl Uses {
    /// Notes a use.
    pub(super) fn note(&self, id: TokenId, used: TokenUse) {
        let mut noted = self.0.lock();
        noted.latest.insert(id, used);
        noted.unsaved.insert(id);
    }

    /// The latest use of a token since the start.
    pub(super) fn latest(&self, id: TokenId) -> Option<TokenUse> {
        self.0.lock().latest.get(&id).copied()
    }

    /// Uses that are not stored yet. From now on they count as stored.
    fn take_unsaved(&self) -> Vec<(TokenId, TokenUse)> {
        let mut noted = self.0.lock();
        let unsaved = std::mem::take(&mut noted.unsaved);
        unsaved.into_iter().filter_map(|id| Some((id, *noted.latest.get(&id)?))).collect()
    }

    fn restore(&self, unsaved: &[(TokenId, TokenUse)]) {
        self.0.lock().unsaved.extend(unsaved.iter().map(|(id, _)| *id));
    }
}

impl Tokens {
    /// Announces expired tokens and stores uses until `stop` is cancelled; then stores the last ones.
    #[must_use]
    pub fn keep(&self, stop: &CancellationToken) -> JoinHandle<()> {
        let (tokens, stop) = (self.clone(), stop.clone());
        task::spawn("tokens", async move {
            let mut ticks = interval(EXPIRY_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut looked_at, mut saved_at) = (Millis::now(), Instant::now());
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let now = Millis::now();
                tokens.announce_expired(looked_at, now);
                looked_at = now;
                if saved_at.elapsed() >= SAVE_INTERVAL {
                    saved_at = Instant::now();
                    tokens.save_uses().await;
                }
            }
            tokens.save_uses().await;
        })
    }

    /// Announces the tokens that have expired after `since` and until `now`, as if they were revoked.
    fn announce_expired(&self, since: Millis, now: Millis) {
        let has_just = |end: Millis| since < end && end <= now;
        let index = self.index();
        let expired = index.records.iter().filter(|record| {
            record.revoked_at.is_none() && record.expires_at.is_some_and(has_just)
        });
        for record in expired {
            tracing::info!(token = record.name, role = %record.role, "token expired");
            // There may be no listener.
            let _ = self.0.revocations.send(record.id);
        }
    }

    /// Stores the uses that are not stored yet. What fails is tried again with the next ones.
    pub(super) async fn save_uses(&self) {
        for part in self.0.uses.take_unsaved().chunks(MAX_SAVED_AT_ONCE) {
            let changes: Vec<_> =
                part.iter().map(|(id, used)| Change::TokenUsed(*id, *used)).collect();
            if let Err(error) = self.0.store.commit(&changes).await {
                tracing::debug!(error = %error_chain(&error), "uses of tokens not stored");
                self.0.uses.restore(part);
            }
        }
    }
}
