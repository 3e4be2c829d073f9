//! Delivery of one receiver's notices, several at a time. Each notice has a schedule of its own, so that one that is
//! not accepted delays no other. While the receiver accepts none, tries are limited to some in a second.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use backon::Retryable;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hierophant_admin_model::Notice;
use hierophant_model::clients::{ClientKey, Clients};
use hierophant_model::records::{Change, Millis, NoticeId, NoticeRecord, RequestView, Trouble};
use hierophant_model::text::error_chain;
use hierophant_store::{JobStore, StoreError};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use tokio::time::{Instant, timeout};

use super::{Receiver, client_of};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Timeout of a delivery.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Age at which a notice is dropped.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);

/// Number of deliveries to a receiver at a time.
const AT_ONCE: usize = 8;

/// Pause before each delivery to a failing receiver: 20 in a second, of [`AT_ONCE`] at a time.
const FAILING_PAUSE: Duration = Duration::from_millis(400);

/// Interval of checking for due notices.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Interval of dropping old notices and counting the others.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Number of notices read at once.
const BATCH: u32 = 64;

/// Delays after failures, in seconds; the last one repeats.
const DELAYS: [u64; 7] = [1, 5, 30, 120, 600, 1800, 3600];

/// Delay after a number of failures.
fn retry_delay(failures: u32) -> Duration {
    let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    Duration::from_secs(DELAYS[place.min(DELAYS.len() - 1)])
}

/// Delivers notices without end.
pub(super) async fn deliver(
    receiver: &Receiver,
    store: &dyn JobStore,
    clients: &Clients,
    metrics: &Metrics,
) {
    let client = Client::builder()
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("hierophant/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "cannot deliver webhooks");
            return;
        }
    };
    let delivery = Delivery { receiver, store, clients, metrics, client };
    let mut clock = Clock::start();
    let (mut set_by, mut tidied) = (0_i64, None);
    let (mut waiting, mut under_way) = (VecDeque::new(), FuturesUnordered::new());
    let mut ids = BTreeSet::new();
    loop {
        let (now, by) = clock.read();
        set_by = set_by.saturating_add(by);
        if set_by != 0 || tidied.is_none_or(|at: Instant| at.elapsed() >= TIDY_INTERVAL) {
            if let Err(error) = delivery.tidy(now, set_by, tidied.is_none()).await {
                tracing::warn!(error = %error_chain(&error), "cannot tidy webhook notices");
                tokio::time::sleep(STORE_PAUSE).await;
                continue;
            }
            (set_by, tidied) = (0, Some(Instant::now()));
        }
        if waiting.is_empty() {
            match store.notices(receiver.id, now, BATCH).await {
                Ok(due) => waiting.extend(due.into_iter().filter(|due| !ids.contains(&due.id))),
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "cannot read webhook notices");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
        while under_way.len() < AT_ONCE
            && let Some(notice) = waiting.pop_front()
        {
            ids.insert(notice.id);
            under_way.push(delivery.deliver(notice));
        }
        // Without notices it is enough to look as often as they are counted.
        let rest = if receiver.undelivered() == 0 { TIDY_INTERVAL } else { POLL_INTERVAL };
        tokio::select! {
            Some(id) = under_way.next() => {
                ids.remove(&id);
            }
            _ = timeout(rest, receiver.more.notified()), if waiting.is_empty() => {}
        }
    }
}

/// Delivery to one receiver.
struct Delivery<'a> {
    receiver: &'a Receiver,
    store: &'a dyn JobStore,
    clients: &'a Clients,
    metrics: &'a Metrics,
    client: Client,
}

impl Delivery<'_> {
    /// Tries a notice once; returns its id.
    async fn deliver(&self, notice: NoticeRecord) -> NoticeId {
        let id = notice.id;
        if self.receiver.trouble.lock().is_some() {
            tokio::time::sleep(FAILING_PAUSE).await;
        }
        let view = match self.store.request(notice.request).await {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "cannot read the request of a webhook notice");
                tokio::time::sleep(STORE_PAUSE).await;
                return id;
            }
        };
        let client = view.as_ref().map(|view| client_of(&view.request, self.clients));
        let client = client.unwrap_or(ClientKey::LOWEST);
        match send(self.receiver, &self.client, self.clients, &notice, view).await {
            Ok(()) => {
                recovered(self.receiver);
                self.settle(&notice, client).await;
                self.metrics.notice(&self.receiver.name, "delivered");
            }
            Err(reason) => {
                self.metrics.notice(&self.receiver.name, "failed");
                self.postpone(notice, client, reason).await;
            }
        }
        id
    }

    /// Moves the notices with the clock, which was set by `set_by` milliseconds, drops those that are too old, and
    /// counts the others. At the first time, a clock that was set back since they were stored is made up for.
    async fn tidy(&self, now: Millis, set_by: i64, is_first: bool) -> Result<(), StoreError> {
        let Self { receiver, store, .. } = self;
        if set_by != 0 || is_first {
            let mut latest = now;
            latest.shift(Millis::from(retry_delay(u32::MAX)).0);
            store.commit(&[Change::NoticesMoved(receiver.id, set_by, latest)]).await?;
        }
        let mut ended_before = now;
        ended_before.shift(-Millis::from(GIVE_UP_AFTER).0);
        loop {
            let old = store.old_notices(receiver.id, ended_before, BATCH).await?;
            if old.is_empty() {
                break;
            }
            let settled: Vec<_> =
                old.iter().map(|notice| Change::NoticeSettled(notice.id)).collect();
            store.commit(&settled).await?;
            tracing::error!(
                receiver = receiver.name,
                notices = old.len(),
                "a webhook receiver has not accepted notices for three days; they are dropped"
            );
            old.iter().for_each(|_| self.metrics.notice(&receiver.name, "given_up"));
        }
        if is_first || receiver.undelivered() > 0 {
            receiver.recount(&store.notice_counts().await?, self.clients);
        }
        Ok(())
    }

    /// Postpones a notice, or drops it if it is too old.
    async fn postpone(&self, mut notice: NoticeRecord, client: ClientKey, reason: String) {
        let (receiver, now) = (self.receiver, Millis::now());
        {
            let mut trouble = receiver.trouble.lock();
            let since = trouble.as_ref().map(|trouble| trouble.since);
            if since.is_none() {
                tracing::warn!(
                    receiver = receiver.name,
                    reason,
                    "a webhook receiver does not accept notices; retrying"
                );
            }
            *trouble = Some(Trouble { since: since.unwrap_or(now), reason: reason.clone() });
        }
        if now.since(notice.ended_at) > Millis::from(GIVE_UP_AFTER).0.cast_unsigned() {
            tracing::error!(
                receiver = receiver.name,
                reason,
                notice = hex::encode(notice.id),
                "a webhook receiver has not accepted a notice for three days; the notice is dropped"
            );
            self.metrics.notice(&receiver.name, "given_up");
            return self.settle(&notice, client).await;
        }
        notice.attempts = notice.attempts.saturating_add(1);
        notice.next_at = now;
        notice.next_at.shift(Millis::from(retry_delay(notice.attempts)).0);
        if !keep(self.store, Change::Notice(notice)).await {
            // It is still due.
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    /// Deletes a settled notice.
    async fn settle(&self, notice: &NoticeRecord, client: ClientKey) {
        if keep(self.store, Change::NoticeSettled(notice.id)).await {
            self.receiver.undelivered.lock().remove(client);
        } else {
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }
}

/// Sends a notice.
///
/// # Errors
///
/// Why it was not accepted.
async fn send(
    receiver: &Receiver,
    client: &Client,
    clients: &Clients,
    notice: &NoticeRecord,
    view: Option<RequestView>,
) -> Result<(), String> {
    let Some(view) = view else { return Err("the request is not in the store".into()) };
    let body = serde_json::to_string(&Notice::of(notice, &view.request, &view.job, clients))
        .map_err(|error| error_chain(&error))?;
    let id = format!("msg_{}", hex::encode(notice.id));
    let timestamp = Millis::now().0 / 1000;
    let signature = Webhook::new(receiver.secret.reveal())
        .and_then(|key| key.sign(&id, timestamp, body.as_bytes()))
        .map_err(|error| error_chain(&error))?;
    let call = client
        .post(&receiver.url)
        .header(CONTENT_TYPE, "application/json")
        .header(HEADER_WEBHOOK_ID, id)
        .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
        .header(HEADER_WEBHOOK_SIGNATURE, signature)
        .body(body);
    let answer = call.send().await.map_err(|error| error_chain(&error.without_url()))?;
    accepted(&answer)
}

fn accepted(answer: &Response) -> Result<(), String> {
    let code = answer.status();
    if code.is_success() { Ok(()) } else { Err(format!("it answered {code}")) }
}

fn recovered(receiver: &Receiver) {
    let trouble = receiver.trouble.lock().take();
    if trouble.is_some() {
        tracing::info!(receiver = receiver.name, "a webhook receiver accepts notices again");
    }
}

/// Commits a change of a notice; returns whether it is stored. If the store stays unavailable, the notice is
/// delivered again later: the receiver recognises the id.
async fn keep(store: &dyn JobStore, change: Change) -> bool {
    let changes = [change];
    let kept = (|| store.commit(&changes))
        .retry(hierophant_store::retry_policy())
        .when(StoreError::is_transient);
    let kept = kept.await;
    if let Err(error) = &kept {
        tracing::warn!(error = %error_chain(error), "cannot store the outcome of a webhook notice");
    }
    kept.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_an_hour() {
        assert_eq!(retry_delay(1), Duration::from_secs(1));
        assert_eq!(retry_delay(3), Duration::from_secs(30));
        assert_eq!(retry_delay(7), retry_delay(u32::MAX));
    }
}
