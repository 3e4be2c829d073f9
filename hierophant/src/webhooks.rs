//! Webhooks: a signed POST to each configured receiver when a request ends.
//!
//! A notice is a [`NoticeRecord`], committed in the same transaction as the end of the request, so that a crash or
//! restart does not lose it. A receiver may get a notice twice, with the same id. Each receiver has its own task and
//! its own limit of undelivered notices.

mod deliver;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hierophant_model::clients::Clients;
use hierophant_model::records::{
    Change, NoticeRecord, ReceiverState, RequestRecord, RequestState, Trouble,
};
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::Sha256Digest;
use network_lib::secret::Secret;
use network_lib::task;
use parking_lot::Mutex;
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::WebhookConfig;
use crate::metrics::Metrics;

/// Maximum number of undelivered notices of a receiver; further ones are dropped.
pub const MAX_UNDELIVERED: u64 = 10_000;

#[derive(Debug)]
struct Receiver {
    id: Sha256Digest,
    name: String,
    url: String,
    secret: Secret,
    on: Vec<RequestState>,
    /// Names of the only clients of whose requests it is notified; empty = all.
    clients: Vec<String>,
    undelivered: AtomicU64,
    dropped: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
    more: Notify,
}

impl Receiver {
    fn new(config: &WebhookConfig) -> Self {
        let url = Url::parse(&config.url).ok();
        let port =
            url.as_ref().and_then(Url::port).map_or(String::new(), |port| format!(":{port}"));
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        Self {
            id: Sha256Digest(Sha256::digest(&config.url).into()),
            name: format!("{host}{port}"),
            url: config.url.clone(),
            secret: config.secret.clone(),
            on: config.on.iter().map(|ending| ending.state()).collect(),
            clients: config.clients.clone(),
            undelivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            trouble: Mutex::default(),
            more: Notify::new(),
        }
    }

    /// Whether it is notified of this end of a request.
    fn hears_of(&self, request: &RequestRecord, clients: &Clients) -> bool {
        let is_theirs = || {
            let name = clients.stored_name(request.requester, request.client.as_ref());
            name.is_some_and(|name| self.clients.contains(&name))
        };
        self.on.contains(&request.state) && (self.clients.is_empty() || is_theirs())
    }

    fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::Relaxed)
    }

    fn settled(&self, count: u64) {
        let less = |kept: u64| Some(kept.saturating_sub(count));
        let _ = self.undelivered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// The configured receivers. Clones share them.
#[derive(Debug, Clone)]
pub struct Webhooks {
    receivers: Arc<[Arc<Receiver>]>,
    metrics: Metrics,
}

impl Webhooks {
    /// Opens the configured receivers with their undelivered notices. Notices of other receivers are deleted.
    ///
    /// # Errors
    ///
    /// If the store does not answer.
    pub async fn open(
        config: &[WebhookConfig],
        store: &dyn JobStore,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let receivers: Arc<[_]> =
            config.iter().map(|config| Arc::new(Receiver::new(config))).collect();
        let mut forgotten = Vec::new();
        for (id, count) in store.notice_counts().await? {
            match receivers.iter().find(|receiver| receiver.id == id) {
                Some(receiver) => receiver.undelivered.store(count, Ordering::Relaxed),
                None => {
                    tracing::warn!(
                        notices = count,
                        "deleting notices of a receiver that is no longer configured"
                    );
                    forgotten.push(Change::ReceiverForgotten(id));
                }
            }
        }
        store.commit(&forgotten).await?;
        Ok(Self { receivers, metrics })
    }

    /// Notices for the ended requests among changes, to be committed with them.
    #[must_use]
    pub fn notices(&self, changes: &[Change], clients: &Clients) -> Vec<Change> {
        let mut notices = Vec::new();
        for receiver in self.receivers.iter() {
            let mut room = MAX_UNDELIVERED.saturating_sub(receiver.undelivered());
            for change in changes {
                let Change::Request(request, _) = change else { continue };
                if !receiver.hears_of(request, clients) {
                    continue;
                }
                if room > 0 {
                    room -= 1;
                    notices.push(Change::Notice(NoticeRecord::of(receiver.id, request)));
                    continue;
                }
                self.metrics.notice(&receiver.name, "dropped");
                if receiver.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        receiver = receiver.name,
                        "{MAX_UNDELIVERED} webhook notices are undelivered to a receiver; further ones are dropped"
                    );
                }
            }
        }
        notices
    }

    /// Starts the delivery of the notices among committed changes.
    pub fn kept(&self, changes: &[Change]) {
        for receiver in self.receivers.iter() {
            let theirs = |change: &&Change| matches!(change, Change::Notice(notice) if notice.receiver == receiver.id);
            let count = changes.iter().filter(theirs).count();
            if count > 0 {
                receiver.undelivered.fetch_add(count as u64, Ordering::Relaxed);
                receiver.more.notify_one();
            }
        }
    }

    /// State of each receiver.
    #[must_use]
    pub fn states(&self) -> Vec<ReceiverState> {
        let state = |receiver: &Arc<Receiver>| ReceiverState {
            receiver: receiver.name.clone(),
            undelivered: receiver.undelivered(),
            dropped: receiver.dropped.load(Ordering::Relaxed),
            trouble: receiver.trouble.lock().clone(),
        };
        self.receivers.iter().map(state).collect()
    }

    /// Starts the delivery tasks, which run until `stop` is cancelled.
    pub fn deliver(&self, store: &Arc<dyn JobStore>, clients: &Clients, stop: &CancellationToken) {
        for receiver in self.receivers.iter() {
            let (receiver, store) = (Arc::clone(receiver), Arc::clone(store));
            let (metrics, clients, stop) = (self.metrics.clone(), clients.clone(), stop.clone());
            task::spawn("deliver webhooks", async move {
                stop.run_until_cancelled(deliver::deliver(&receiver, &*store, &clients, &metrics))
                    .await
            });
        }
    }
}

#[cfg(test)]
mod tests;
