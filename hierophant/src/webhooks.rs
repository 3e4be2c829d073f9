//! Webhooks: a signed POST to each configured receiver when a request ends.
//!
//! A notice is a [`NoticeRecord`], committed in the same transaction as the end of the request, so that a crash or
//! restart does not lose it. A receiver may get a notice twice, with the same id. Each receiver has its own task.
//! Undelivered notices are bounded by their age, and by a share of each client: none can take the place of another's.

mod deliver;
mod undelivered;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hierophant_model::clients::{ClientKey, Clients, Owner};
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

use undelivered::Undelivered;
pub use undelivered::{MAX_OF_STRANGERS, MAX_UNDELIVERED};

#[derive(Debug)]
struct Receiver {
    id: Sha256Digest,
    name: String,
    url: String,
    secret: Secret,
    on: Vec<RequestState>,
    /// Names of the only clients of whose requests it is notified; empty = all.
    clients: Vec<String>,
    undelivered: Mutex<Undelivered>,
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
            undelivered: Mutex::default(),
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
        self.undelivered.lock().total()
    }

    /// Replaces the numbers by those of the store.
    fn recount(&self, counts: &BTreeMap<(Sha256Digest, Owner), u64>, clients: &Clients) {
        let mut undelivered = Undelivered::default();
        let theirs = counts.iter().filter(|((receiver, _), _)| *receiver == self.id);
        for ((_, (address, client)), count) in theirs {
            undelivered.add(clients.of(*address, client.as_ref()).key(), *count);
        }
        *self.undelivered.lock() = undelivered;
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
        clients: &Clients,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let receivers: Arc<[_]> =
            config.iter().map(|config| Arc::new(Receiver::new(config))).collect();
        let counts = store.notice_counts().await?;
        for receiver in receivers.iter() {
            receiver.recount(&counts, clients);
        }
        let mut forgotten = BTreeMap::<_, u64>::new();
        for ((id, _), count) in &counts {
            if receivers.iter().all(|receiver| receiver.id != *id) {
                *forgotten.entry(*id).or_default() += count;
            }
        }
        for notices in forgotten.values() {
            tracing::warn!(notices, "deleting notices of a receiver that is no longer configured");
        }
        let forgotten: Vec<_> = forgotten.into_keys().map(Change::ReceiverForgotten).collect();
        store.commit(&forgotten).await?;
        Ok(Self { receivers, metrics })
    }

    /// Notices for the ended requests among changes, to be committed with them.
    #[must_use]
    pub fn notices(&self, changes: &[Change], clients: &Clients) -> Vec<Change> {
        let mut notices = Vec::new();
        for receiver in self.receivers.iter() {
            let mut new = Undelivered::default();
            for change in changes {
                let Change::Request(request, _) = change else { continue };
                if !receiver.hears_of(request, clients) {
                    continue;
                }
                let client = clients.of(request.requester, request.client.as_ref());
                let key = client.key();
                if receiver.undelivered.lock().has_room(key, &new) {
                    new.add(key, 1);
                    notices.push(Change::Notice(NoticeRecord::of(receiver.id, request)));
                    continue;
                }
                self.metrics.notice(&receiver.name, "dropped");
                if receiver.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        receiver = receiver.name,
                        %client,
                        "{MAX_UNDELIVERED} webhook notices about one client, or {MAX_OF_STRANGERS} about all addresses \
                         without a name, are undelivered to a receiver; further ones are dropped"
                    );
                }
            }
        }
        notices
    }

    /// Starts the delivery of the notices among committed changes.
    pub fn kept(&self, changes: &[Change], clients: &Clients) {
        if self.receivers.is_empty() {
            return;
        }
        let mut owners = BTreeMap::new();
        for change in changes {
            if let Change::Request(request, _) = change {
                owners.insert(request.id, client_of(request, clients));
            }
        }
        for change in changes {
            let Change::Notice(notice) = change else { continue };
            let theirs = self.receivers.iter().find(|receiver| receiver.id == notice.receiver);
            if let Some(receiver) = theirs {
                // A notice is committed with the request that it is about.
                let client = owners.get(&notice.request).copied().unwrap_or(ClientKey::LOWEST);
                receiver.undelivered.lock().add(client, 1);
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

/// Key of the client of a request.
fn client_of(request: &RequestRecord, clients: &Clients) -> ClientKey {
    clients.of(request.requester, request.client.as_ref()).key()
}

#[cfg(test)]
mod tests;
