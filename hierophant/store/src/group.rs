//! Group commit: concurrent writers share one transaction and therefore one fsync.
//!
//! The duration of a transaction is mostly that of the fsync, independent of its size, and its cost mostly that of the
//! pages that it touches, which are the same ones for most writes. Writes that arrive during a transaction are collected
//! for the next one; while many arrive, the next one waits for more of them. Each writer is answered when its own
//! statements are durable; its statements stay together and in order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use network_lib::task;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::StoreError;
use crate::driver::{Batch, Driver, ReadRow};
use crate::statement::Statement;

/// Maximum number of writes in a transaction; bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 256;

/// Number of rows in a transaction above which no further write joins it. A transaction holds up all others.
const MAX_ROWS: usize = 4096;

/// Number of writes in a group, or in the one before, from which waiting for more pays off.
const BUSY: usize = 4;

/// Number of times in a row that all tasks which are ready to run go first, without any of them writing, before a busy
/// transaction begins. This makes groups where transactions are short.
const VAIN_YIELDS: usize = 2;

/// How long to wait for more writes where transactions take longer than this: they end at a disk or another machine.
const GATHER: Duration = Duration::from_millis(2);

/// Maximum number of queued writes; beyond it, writers wait for a place in the queue.
const MAX_QUEUED: usize = 1024;

/// Batches of one writer, and the channel for the answer.
type Write = (Vec<Batch>, oneshot::Sender<Result<(), StoreError>>);

/// A driver that groups writes.
#[derive(Debug)]
pub(crate) struct Grouped<D> {
    driver: Arc<D>,
    writes: mpsc::Sender<Write>,
}

impl<D: Driver> Grouped<D> {
    /// Groups a driver's writes. A separate task writes, so that a writer that is cancelled does not cancel the
    /// writes of others.
    pub(crate) fn new(driver: D) -> Self {
        let driver = Arc::new(driver);
        let (writes, waiting) = mpsc::channel(MAX_QUEUED);
        task::spawn("group commit", write_all(Arc::clone(&driver), waiting));
        Self { driver, writes }
    }
}

/// Writes until all writers are gone.
async fn write_all<D: Driver>(driver: Arc<D>, mut waiting: mpsc::Receiver<Write>) {
    let mut group = Vec::new();
    let (mut last_writes, mut last_time) = (0, Duration::ZERO);
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        if group.len().max(last_writes) >= BUSY {
            let mut in_vain = 0;
            while in_vain < VAIN_YIELDS && group.len() < MAX_GROUP {
                tokio::task::yield_now().await;
                in_vain = if collect(&mut group, &mut waiting) { 0 } else { in_vain + 1 };
            }
        }
        if group.len() >= BUSY && last_time >= GATHER {
            tokio::time::sleep(GATHER).await;
            collect(&mut group, &mut waiting);
        }
        last_writes = group.len();
        for part in parts(std::mem::take(&mut group)) {
            let began = Instant::now();
            write_group(driver.as_ref(), part).await;
            last_time = began.elapsed();
        }
    }
}

/// Adds the writes that wait to a group, as far as it has room. Returns whether there were any.
fn collect(group: &mut Vec<Write>, waiting: &mut mpsc::Receiver<Write>) -> bool {
    let before = group.len();
    while group.len() < MAX_GROUP
        && let Ok(write) = waiting.try_recv()
    {
        group.push(write);
    }
    group.len() > before
}

/// The group in parts of a bounded number of rows. A write stays whole, whatever its size.
fn parts(group: Vec<Write>) -> Vec<Vec<Write>> {
    let mut parts: Vec<Vec<Write>> = Vec::new();
    let mut rows = 0;
    for write in group {
        let own: usize = write.0.iter().map(|batch| batch.len()).sum();
        match parts.last_mut() {
            Some(part) if rows + own <= MAX_ROWS => part.push(write),
            _ => {
                rows = 0;
                parts.push(vec![write]);
            }
        }
        rows += own;
    }
    parts
}

/// Writes a group in one transaction. If that fails, writes one by one, so that each writer gets its own error;
/// after the first failure that is the database's and not the write's the rest are not tried.
async fn write_group<D: Driver>(driver: &D, group: Vec<Write>) {
    if group.len() > 1 {
        let all = group.iter().flat_map(|(batches, _)| batches).cloned().collect();
        if driver.write(all).await.is_ok() {
            return group.into_iter().for_each(|(_, writer)| answer(writer, Ok(())));
        }
    }
    let mut failed = false;
    for (batches, writer) in group {
        let outcome = if failed { Err(not_tried()) } else { driver.write(batches).await };
        failed |= outcome.as_ref().is_err_and(|error| !matches!(error, StoreError::Refused { .. }));
        answer(writer, outcome);
    }
}

fn answer(writer: oneshot::Sender<Result<(), StoreError>>, outcome: Result<(), StoreError>) {
    // A cancelled writer needs no answer.
    let _ = writer.send(outcome);
}

fn not_tried() -> StoreError {
    StoreError::unavailable("writing")("the write before this one failed")
}

#[async_trait]
impl<D: Driver> Driver for Grouped<D> {
    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.driver.read(action, statement, read).await
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let (writer, answer) = oneshot::channel();
        let stopped = || StoreError::unavailable("writing")("the group commit task has stopped");
        self.writes.send((batches, writer)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Also checks that the database accepts writes, by an empty transaction. It passes the queue of the writes: a
    /// caller that hangs up cancels nothing on the writing connection.
    async fn ping(&self) -> Result<(), StoreError> {
        self.driver.ping().await?;
        self.write(Vec::new()).await
    }

    async fn damaged(&self) -> StoreError {
        self.driver.damaged().await
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::sqlite::{self, SqliteDriver};

    /// Admits transactions one by one and records their sizes.
    #[derive(Debug)]
    struct Gate {
        driver: SqliteDriver,
        open: Arc<Semaphore>,
        passed: Arc<std::sync::Mutex<Vec<usize>>>,
    }

    #[async_trait]
    impl Driver for Gate {
        async fn read<T: Send + 'static>(
            &self,
            action: &'static str,
            statement: Statement,
            read: impl ReadRow<T>,
        ) -> Result<Vec<T>, StoreError> {
            self.driver.read(action, statement, read).await
        }

        async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
            self.open.acquire().await.expect("open").forget();
            self.passed.lock().expect("not poisoned").push(batches.len());
            self.driver.write(batches).await
        }

        async fn ping(&self) -> Result<(), StoreError> {
            self.driver.ping().await
        }

        async fn close(&self) {
            self.driver.close().await;
        }
    }

    fn insert(address: u8) -> Vec<Batch> {
        vec![insert_one(address).into()]
    }

    fn insert_one(address: u8) -> Vec<crate::table_write::Write> {
        let sql = "INSERT INTO accounts (address, nonce) VALUES ($1, 1)";
        let statement = Statement::new(sql).bind([address; 20].as_slice());
        vec![crate::table_write::Write::Run("accounts", statement)]
    }

    #[tokio::test]
    async fn a_transaction_takes_a_bounded_number_of_rows() {
        let write = |rows: usize| {
            let (writer, _) = oneshot::channel();
            (vec![(0..rows).flat_map(|_| insert_one(1)).collect::<Vec<_>>().into()], writer)
        };
        let sizes =
            |group: Vec<Write>| -> Vec<usize> { parts(group).iter().map(Vec::len).collect() };
        assert_eq!(sizes((0..10).map(|_| write(10)).collect()), [10]);
        assert_eq!(
            sizes(vec![write(4000), write(90), write(10), write(9000), write(1)]),
            [2, 1, 1, 1]
        );
    }

    #[tokio::test]
    async fn writes_that_wait_share_a_transaction_and_a_bad_one_spoils_only_itself() {
        let folder = tempfile::tempdir().expect("temp dir");
        let driver = sqlite::connect(&folder.path().join("db")).await.expect("opens");
        let (open, passed) = (Arc::new(Semaphore::new(0)), Arc::default());
        let gate = Gate { driver, open: Arc::clone(&open), passed: Arc::clone(&passed) };
        let grouped = Grouped::new(gate);
        // The first write has its own transaction; the others share the next.
        let writes = (0..5).map(|address| grouped.write(insert(address)));
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            open.add_permits(100);
        };
        let (outcomes, ()) = tokio::join!(join_all(writes), release);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(passed.lock().expect("not poisoned").iter().sum::<usize>(), 5);
        assert!(passed.lock().expect("not poisoned").len() <= 2);

        // Address 0 exists already: its write fails, the one before does not.
        let both = [insert(7), insert(0), insert(8)];
        let outcomes = join_all(both.map(|statements| grouped.write(statements))).await;
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
        let refused =
            matches!(&outcomes[1], Err(StoreError::Refused { table, .. }) if table == "accounts");
        assert!(refused, "{outcomes:?}");
        let again = grouped.write(insert(9)).await;
        assert!(again.is_ok(), "{again:?}");
    }
}
