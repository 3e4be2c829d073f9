//! Shards that an execution has announced: the window that holds it back, and the news about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use network_lib::ids::Sha256Digest;
use network_lib::job::BlobInfo;
use network_lib::shard::{Blob, KnownShard, Named, ShardState};
use tokio::sync::{mpsc, watch};

/// News about a shard, before its events are fetched.
#[derive(Debug)]
pub(super) enum News {
    /// Its precompile events are known.
    Traced { no: u32, deferred: Named<Blob>, named: Vec<(String, BlobInfo)> },
    /// Its proof is stored.
    Done { no: u32 },
}

/// The announced shards of one execution.
#[derive(Debug)]
pub(super) struct Announced {
    state: watch::Sender<State>,
    news: mpsc::UnboundedSender<News>,
    /// The receiver of the news, until it is taken.
    receiver: Mutex<Option<mpsc::UnboundedReceiver<News>>>,
}

#[derive(Debug)]
struct State {
    window: usize,
    window_bytes: u64,
    records: Vec<BlobInfo>,
    /// Shards that are not done, with the sizes of their records.
    open: BTreeMap<u32, u64>,
    traced: BTreeSet<u32>,
    /// Event blobs that are known, by id.
    events: BTreeMap<String, BlobInfo>,
}

impl State {
    /// Whether a shard of this size may be announced. One that is larger than the whole window may be, alone.
    fn has_room(&self, size: u64) -> bool {
        let bytes: u64 = self.open.values().sum();
        let fits = bytes == 0 || bytes.saturating_add(size) <= self.window_bytes;
        self.open.len() < self.window.max(1) && fits
    }
}

impl Announced {
    /// An execution without shards so far, of which at most `window` may be open, with records of at most `window_bytes`.
    pub(super) fn new(window: u32, window_bytes: u64) -> Self {
        let (news, receiver) = mpsc::unbounded_channel();
        let state = State {
            window: usize::try_from(window).unwrap_or(usize::MAX),
            window_bytes,
            records: Vec::new(),
            open: BTreeMap::new(),
            traced: BTreeSet::new(),
            events: BTreeMap::new(),
        };
        Self { state: watch::Sender::new(state), news, receiver: Mutex::new(Some(receiver)) }
    }

    /// The news about all shards, once.
    pub(super) fn take_news(&self) -> Option<mpsc::UnboundedReceiver<News>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until a shard with a record of this size may be announced.
    pub(super) async fn room(&self, size: u64) {
        let mut state = self.state.subscribe();
        // The channel cannot close: this holds the other end.
        let _ = state.wait_for(|state| state.has_room(size)).await;
    }

    /// Adds a shard with this record. Returns its number.
    pub(super) fn add(&self, record: BlobInfo) -> u32 {
        let mut no = 0;
        self.state.send_modify(|state| {
            no = u32::try_from(state.records.len()).unwrap_or(u32::MAX);
            state.records.push(record);
            state.open.insert(no, record.size);
        });
        no
    }

    /// Number of shards.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.state.borrow().records.len()).unwrap_or(u32::MAX)
    }

    /// Steps of the execution: it moves when a shard is announced, and when one is done.
    pub(super) fn steps(&self) -> u64 {
        let state = self.state.borrow();
        (2 * state.records.len() - state.open.len()) as u64
    }

    /// Whether shards are open, so that their ends will make room.
    pub(super) fn has_open(&self) -> bool {
        !self.state.borrow().open.is_empty()
    }

    /// Sizes and digests of event blobs; the id of the first unknown one, if there is one.
    pub(super) fn events(&self, ids: Vec<String>) -> Result<Vec<Named<BlobInfo>>, String> {
        let state = self.state.borrow();
        let find = |id: String| match state.events.get(&id) {
            Some(blob) => Ok(Named { blob: *blob, id }),
            None => Err(id),
        };
        ids.into_iter().map(find).collect()
    }

    /// Hierophant has reported the states of these shards. Repetitions are ignored, and so are shards that are not
    /// announced. Returns records that are no longer needed.
    pub(super) fn known(&self, shards: Vec<KnownShard>) -> Vec<Sha256Digest> {
        let mut done = Vec::new();
        self.state.send_modify(|state| {
            for KnownShard { no, state: now, .. } in shards {
                let record = usize::try_from(no).ok().and_then(|no| state.records.get(no).copied());
                let Some(record) = record else { continue };
                let news = match now {
                    ShardState::Waiting => None,
                    ShardState::Traced { deferred, named } => {
                        let named: Vec<_> =
                            named.into_iter().map(|named| (named.id, named.blob.info)).collect();
                        state.traced.insert(no).then(|| {
                            state.events.extend(named.iter().cloned());
                            News::Traced { no, deferred, named }
                        })
                    }
                    ShardState::Done => state.open.remove(&no).map(|_| {
                        done.push(record.sha256);
                        News::Done { no }
                    }),
                };
                if let Some(news) = news {
                    // Without a receiver the execution has ended.
                    let _ = self.news.send(news);
                }
            }
        });
        done
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use network_lib::ids::TaskId;
    use network_lib::shard::Source;
    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_secs(1);

    fn record(no: u8, size: u64) -> BlobInfo {
        BlobInfo { size, sha256: Sha256Digest([no; 32]) }
    }

    fn known(no: u32, state: ShardState) -> KnownShard {
        KnownShard { no, task: TaskId([1; 16]), state }
    }

    fn traced(id: &str) -> ShardState {
        let named = |id: &str, no| Named {
            id: id.to_owned(),
            blob: Blob { info: record(no, 7), from: vec![Source::Hierophant] },
        };
        ShardState::Traced { deferred: named("index", 9), named: vec![named(id, 8)] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_window_waits_until_a_shard_is_done() {
        let announced = Announced::new(2, 100);
        timeout(MOMENT, announced.room(1_000)).await.expect("alone it may exceed the window");
        assert_eq!(announced.add(record(0, 60)), 0);
        timeout(MOMENT, announced.room(41)).await.expect_err("too many bytes");
        timeout(MOMENT, announced.room(40)).await.unwrap();
        assert_eq!(announced.add(record(1, 40)), 1);
        timeout(MOMENT, announced.room(0)).await.expect_err("too many shards");
        let done = vec![known(0, ShardState::Done)];
        assert_eq!(announced.known(done.clone()), [record(0, 0).sha256]);
        timeout(MOMENT, announced.room(60)).await.unwrap();
        assert_eq!(announced.known(done), [], "repeated");
        assert_eq!(announced.known(vec![known(7, ShardState::Done)]), [], "never announced");
        assert!(announced.has_open());
        assert_eq!(announced.count(), 2);
    }

    #[tokio::test]
    async fn news_are_given_once_and_in_their_order() {
        let announced = Announced::new(8, 100);
        for no in 0..3 {
            announced.add(record(no, 1));
        }
        let mut news = announced.take_news().unwrap();
        assert!(announced.take_news().is_none());
        let first = vec![known(1, traced("b")), known(0, traced("a"))];
        announced.known(first.clone());
        announced.known(vec![known(2, ShardState::Waiting), known(1, ShardState::Done)]);
        announced.known(first);
        assert!(matches!(news.recv().await.unwrap(), News::Traced { no: 1, .. }));
        assert!(matches!(news.recv().await.unwrap(), News::Traced { no: 0, .. }));
        assert!(matches!(news.recv().await.unwrap(), News::Done { no: 1 }));
        assert!(news.try_recv().is_err());
        let events = announced.events(vec!["b".to_owned()]).unwrap();
        assert_eq!(events, [Named { id: "b".to_owned(), blob: record(8, 7) }]);
        assert_eq!(announced.events(vec!["c".to_owned()]).unwrap_err(), "c");
    }
}
