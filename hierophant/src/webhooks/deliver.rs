//! Delivery of one receiver's notices, one after the other.

use std::time::Duration;

use backon::Retryable;
use hierophant_admin_model::Notice;
use hierophant_model::clients::Clients;
use hierophant_model::records::{Change, Millis, NoticeRecord, RequestView, Trouble};
use hierophant_model::text::error_chain;
use hierophant_store::{JobStore, StoreError};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};

use super::Receiver;
use crate::metrics::Metrics;

/// Timeout of a delivery.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Age at which a notice is dropped.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);

/// Maximum pause between deliveries to a failing receiver; each notice also has its own delay.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Interval of checking for due notices.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Number of notices read at once.
const BATCH: u32 = 20;

/// Delay after a number of failures.
fn retry_delay(failures: u32) -> Duration {
    let seconds = [1, 5, 30, 120, 600, 1800, 3600];
    let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    Duration::from_secs(seconds[place.min(seconds.len() - 1)])
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
    let mut failures = 0;
    loop {
        if receiver.undelivered() == 0 {
            receiver.more.notified().await;
        }
        let due = match store.notices(receiver.id, Millis::now(), BATCH).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "cannot read webhook notices");
                tokio::time::sleep(retry_delay(2)).await;
                continue;
            }
        };
        if due.is_empty() {
            let _ = tokio::time::timeout(POLL_INTERVAL, receiver.more.notified()).await;
        }
        for notice in due {
            let view = match store.request(notice.request).await {
                Ok(view) => view,
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "cannot read the request of a webhook notice");
                    tokio::time::sleep(retry_delay(2)).await;
                    break;
                }
            };
            match send(receiver, &client, clients, &notice, view).await {
                Ok(()) => {
                    failures = 0;
                    recovered(receiver);
                    settle(receiver, store, &notice).await;
                    metrics.notice(&receiver.name, "delivered");
                }
                Err(reason) => {
                    failures += 1;
                    metrics.notice(&receiver.name, "failed");
                    postpone(receiver, store, metrics, notice, reason).await;
                    // The other due notices would most likely fail too.
                    tokio::time::sleep(retry_delay(failures).min(MAX_DELAY)).await;
                    break;
                }
            }
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

/// Postpones a notice, or drops it if it is too old.
async fn postpone(
    receiver: &Receiver,
    store: &dyn JobStore,
    metrics: &Metrics,
    mut notice: NoticeRecord,
    reason: String,
) {
    let now = Millis::now();
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
        metrics.notice(&receiver.name, "given_up");
        return settle(receiver, store, &notice).await;
    }
    notice.attempts = notice.attempts.saturating_add(1);
    notice.next_at = now;
    notice.next_at.shift(Millis::from(retry_delay(notice.attempts)).0);
    // If this is not stored, the notice is due again after the receiver's own pause.
    let _ = keep(store, Change::Notice(notice)).await;
}

/// Deletes a settled notice.
async fn settle(receiver: &Receiver, store: &dyn JobStore, notice: &NoticeRecord) {
    if keep(store, Change::NoticeSettled(notice.id)).await {
        receiver.settled(1);
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
