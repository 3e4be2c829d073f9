//! Executions with SP1 that announce their shards. They need no prover.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shard_plan::{ShardBoundary, ShardKind, chain};
use sp1_core_machine::io::SP1Stdin;
use sp1_node::{Announce, BoxFuture, Execution, FoundShard, ShardTraced, execute};
use sp1_verifier::SP1ProofMode;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::sharded::PATIENCE;

/// An index of precompile events that names none.
const NO_EVENTS: [u8; 8] = [0; 8];

/// Trace area at which even a short execution is cut several times.
const MAX_ELEMENTS: u64 = 1 << 22;

/// Receives shards, as many as its window has room for.
struct Receiver {
    common: Mutex<Vec<u8>>,
    found: mpsc::UnboundedSender<FoundShard>,
    window: Arc<Semaphore>,
}

impl Announce for Receiver {
    fn common(&self, bytes: Vec<u8>) -> BoxFuture<()> {
        *self.common.lock().unwrap() = bytes;
        Box::pin(std::future::ready(()))
    }

    fn shard(&self, shard: FoundShard) -> BoxFuture<()> {
        self.found.send(shard).unwrap();
        let window = Arc::clone(&self.window);
        Box::pin(async move { window.acquire().await.unwrap().forget() })
    }
}

fn receiver(window: usize) -> (Arc<Receiver>, mpsc::UnboundedReceiver<FoundShard>) {
    let (found, shards) = mpsc::unbounded_channel();
    let window = Arc::new(Semaphore::new(window));
    (Arc::new(Receiver { common: Mutex::default(), found, window }), shards)
}

fn fibonacci(n: u32) -> Execution {
    let mut stdin = SP1Stdin::new();
    stdin.write(&n);
    Execution {
        mode: SP1ProofMode::Core,
        elf: Arc::new(fibonacci::ELF.to_vec()),
        key: bincode::deserialize(fibonacci::VERIFYING_KEY).unwrap(),
        stdin,
        max_elements: MAX_ELEMENTS,
    }
}

/// Executes and says of each core shard that it has no events. Returns the shards and the public values.
async fn announced(n: u32) -> (Vec<FoundShard>, Vec<u8>) {
    let (receiver, mut found) = receiver(Semaphore::MAX_PERMITS);
    let (news, traced) = mpsc::channel(1);
    let executing = execute(fibonacci(n), Arc::clone(&receiver) as _, traced);
    let mut shards = Vec::new();
    let answering = async {
        while let Some(shard) = found.recv().await {
            let index = NO_EVENTS.to_vec();
            let is_core = shard.kind == ShardKind::Core;
            shards.push(shard);
            if is_core {
                let no = shards.len() - 1;
                news.send(ShardTraced { no, index, digests: Vec::new() }).await.unwrap();
            }
        }
        std::future::pending().await
    };
    let values = tokio::select! {
        values = executing => values.unwrap(),
        never = answering => never,
        () = tokio::time::sleep(PATIENCE) => panic!("it does not end"),
    };
    while let Ok(shard) = found.try_recv() {
        shards.push(shard);
    }
    assert!(!receiver.common.lock().unwrap().is_empty());
    (shards, values)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executions_announce_the_same_shards_which_cover_the_whole() {
    let (first, values) = announced(10_000).await;
    assert_eq!(values, fibonacci::public_values(10_000));
    let count = |kind| first.iter().filter(|shard| shard.kind == kind).count();
    assert!(count(ShardKind::Core) >= 2, "{}", count(ShardKind::Core));
    assert!(count(ShardKind::Memory) >= 1);
    assert!(first.iter().all(|shard| shard.range.check(shard.kind).is_ok()));
    let whole = chain(first.iter().map(|shard| shard.range)).unwrap();
    assert_eq!(whole.start(), ShardBoundary::INITIAL);
    let described = |shards: &[FoundShard]| {
        let mut all: Vec<_> =
            shards.iter().map(|shard| (shard.range, shard.key, shard.record.clone())).collect();
        all.sort_by_key(|(range, ..)| *range);
        all
    };
    let (second, _) = announced(10_000).await;
    assert!(described(&first) == described(&second), "the second execution differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_waits_for_its_window_and_stops_when_it_is_dropped() {
    let (receiver, mut found) = receiver(1);
    let (_news, traced) = mpsc::channel(1);
    let mut executing = execute(fibonacci(10_000), Arc::clone(&receiver) as _, traced);
    // The first one takes the room, and the second one waits for more.
    let is_full = async {
        while found.len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    tokio::select! {
        _ = &mut executing => panic!("it has ended without room for its shards"),
        full = timeout(PATIENCE, is_full) => full.unwrap(),
    }
    assert_eq!(found.len(), 2);
    drop(executing);
    found.recv().await.unwrap();
    found.recv().await.unwrap();
    let window = Arc::downgrade(&receiver.window);
    drop(receiver);
    // Nothing of the execution is left that could announce.
    assert!(timeout(PATIENCE, found.recv()).await.unwrap().is_none());
    assert!(window.upgrade().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_fails_with_its_news_or_with_news_of_nothing() {
    let (receiver, _found) = receiver(Semaphore::MAX_PERMITS);
    let (news, traced) = mpsc::channel(1);
    drop(news);
    let failed = execute(fibonacci(10), Arc::clone(&receiver) as _, traced).await;
    assert!(format!("{:#}", failed.unwrap_err()).contains("no longer reported"));
    let (news, traced) = mpsc::channel(1);
    news.send(ShardTraced { no: 99, index: NO_EVENTS.to_vec(), digests: Vec::new() })
        .await
        .unwrap();
    let failed = execute(fibonacci(10), receiver, traced).await;
    assert!(format!("{:#}", failed.unwrap_err()).contains("expected an announced shard"));
}
