//! Group commit: whoever writes at the same time shares one transaction, and so one wait for the disk.
//!
//! A transaction takes its time mostly for the disk, however much is in it. While one is under way, the next
//! ones gather; then they go together. Each writer is answered when its own statements are durable, and each
//! one's statements are in the transaction whole and in their order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use network_lib::task;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::queries::{Batch, Driver};
use super::rows::Columns;
use super::statement::Statement;

/// Writes that may share a transaction: a bound for how long the first of them waits for the last.
const MOST: usize = 256;

/// Writes that came during one transaction from which on it is worth while to wait for more.
const BUSY: usize = 4;

/// For how long.
const GATHER: Duration = Duration::from_millis(2);

/// Writes that may wait for their transaction; beyond that, writers wait to be taken in.
const WAITING: usize = 1024;

/// What one writer writes, and where it is answered.
type Write = (Vec<Batch>, oneshot::Sender<Result<(), StoreError>>);

/// A driver whose writes are grouped.
#[derive(Debug)]
pub(super) struct Grouped<D> {
    driver: Arc<D>,
    writes: mpsc::Sender<Write>,
}

impl<D: Driver> Grouped<D> {
    /// Groups a driver's writes from now on. A task does it, so that no writer that gives up takes others'
    /// writes along.
    pub(super) fn new(driver: D) -> Self {
        let driver = Arc::new(driver);
        let (writes, waiting) = mpsc::channel(WAITING);
        task::spawn("group commit", write_all(Arc::clone(&driver), waiting));
        Self { driver, writes }
    }
}

/// Writes what comes until nobody can write any more.
async fn write_all<D: Driver>(driver: Arc<D>, mut waiting: mpsc::Receiver<Write>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, MOST).await > 0 {
        if group.len() >= BUSY {
            tokio::time::sleep(GATHER).await;
            while group.len() < MOST
                && let Ok(write) = waiting.try_recv()
            {
                group.push(write);
            }
        }
        write_group(driver.as_ref(), std::mem::take(&mut group)).await;
    }
}

/// Writes a group in one transaction. If that fails, one by one, so that nobody's failure is another's; and if
/// that fails too, the rest are not tried.
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
        failed |= outcome.is_err();
        answer(writer, outcome);
    }
}

fn answer(writer: oneshot::Sender<Result<(), StoreError>>, outcome: Result<(), StoreError>) {
    // Who has given up meanwhile need not hear.
    let _ = writer.send(outcome);
}

fn not_tried() -> StoreError {
    StoreError::unavailable("writing")("the write before this one failed")
}

#[async_trait]
impl<D: Driver> Driver for Grouped<D> {
    async fn read<T, F>(
        &self,
        action: &'static str,
        statement: Statement,
        read: F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn Columns) -> Result<T, StoreError> + Send + 'static,
    {
        self.driver.read(action, statement, read).await
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let (writer, answer) = oneshot::channel();
        let gone = || StoreError::unavailable("writing")("nobody writes any more");
        self.writes.send((batches, writer)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.driver.ping().await
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::super::sqlite::{self, SqliteDriver};
    use super::*;

    /// Lets transactions through one by one, and counts them.
    #[derive(Debug)]
    struct Gate {
        driver: SqliteDriver,
        open: Arc<Semaphore>,
        passed: Arc<std::sync::Mutex<Vec<usize>>>,
    }

    #[async_trait]
    impl Driver for Gate {
        async fn read<T, F>(
            &self,
            action: &'static str,
            statement: Statement,
            read: F,
        ) -> Result<Vec<T>, StoreError>
        where
            T: Send + 'static,
            F: Fn(&dyn Columns) -> Result<T, StoreError> + Send + 'static,
        {
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
        let sql = "INSERT INTO accounts (address, nonce) VALUES ($1, 1)";
        vec![vec![Statement::new(sql).bind([address; 20].as_slice())].into()]
    }

    #[tokio::test]
    async fn writes_that_wait_share_a_transaction_and_a_bad_one_spoils_only_itself() {
        let folder = tempfile::tempdir().expect("temp dir");
        let driver = sqlite::connect(&folder.path().join("db")).await.expect("opens");
        let (open, passed) = (Arc::new(Semaphore::new(0)), Arc::default());
        let gate = Gate { driver, open: Arc::clone(&open), passed: Arc::clone(&passed) };
        let grouped = Grouped::new(gate);
        // The first goes alone; what comes meanwhile goes together.
        let writes = (0..5).map(|address| grouped.write(insert(address)));
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            open.add_permits(100);
        };
        let (outcomes, ()) = tokio::join!(join_all(writes), release);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(passed.lock().expect("not poisoned").iter().sum::<usize>(), 5);
        assert!(passed.lock().expect("not poisoned").len() <= 2);

        // Address 0 is there already: its writer fails, the one before it does not.
        let both = [insert(7), insert(0), insert(8)];
        let outcomes = join_all(both.map(|statements| grouped.write(statements))).await;
        assert!(outcomes[0].is_ok() && outcomes[1].is_err(), "{outcomes:?}");
        let again = grouped.write(insert(9)).await;
        assert!(again.is_ok(), "{again:?}");
    }
}
