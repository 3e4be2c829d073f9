//! Read-only connections, one group for each kind of read.
//!
//! A list whose time is up, or whose caller has hung up, is interrupted: SQLite asks a handler every
//! [`STEPS_BETWEEN_LOOKS`] steps of a statement whether to go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::OwnedSemaphorePermit;

use super::{LOCK_TIMEOUT, collect, prepared};
use crate::StoreError;
use crate::driver::ReadRow;
use crate::error::LIST_LIMIT;
use crate::statement::{Access, Statement};
use crate::turns::{Turn, Turns};

/// Number of connections for point reads; in write-ahead mode they do not block the writer.
const POINT_READERS: u32 = 4;

/// Number of connections for what Hierophant reads for itself.
const BULK_READERS: u32 = 2;

/// Steps of SQLite's virtual machine after which a list is looked at; they take some ten microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

/// All read-only connections.
#[derive(Debug)]
pub(super) struct AllReaders {
    points: Readers,
    lists: Readers,
    bulk: Readers,
}

impl AllReaders {
    /// Readers of a file, which is opened when it is read.
    pub(super) fn new(file: &Path) -> Self {
        Self {
            points: Readers::new(file, Turns::new(POINT_READERS)),
            lists: Readers::new(file, Turns::of_lists()),
            bulk: Readers::new(file, Turns::new(BULK_READERS)),
        }
    }

    /// Runs a statement that only reads, and converts each row.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        match statement.access {
            Access::Point => self.points.look_up(action, statement, read).await,
            Access::List => self.lists.list(action, statement, read).await,
            Access::Indexed | Access::Bulk => self.bulk.read(action, statement, read).await,
        }
    }

    /// Waits for running statements and closes all connections. None is opened while the turns are held.
    pub(super) async fn drain(&self) -> Vec<OwnedSemaphorePermit> {
        let mut held = Vec::new();
        for readers in self.all() {
            held.extend(readers.turns.all().await);
            readers.connections.idle.lock().clear();
        }
        held
    }

    /// Refuses all further reads.
    pub(super) fn close(&self) {
        self.all().into_iter().for_each(|readers| readers.turns.close());
    }

    const fn all(&self) -> [&Readers; 3] {
        [&self.points, &self.lists, &self.bulk]
    }

    /// Connections for point reads that no one uses.
    #[cfg(test)]
    pub(super) fn idle_points(&self) -> usize {
        self.points.connections.idle.lock().len()
    }

    /// A point read on the calling thread that waits for no other program.
    #[cfg(test)]
    pub(super) fn look_now<T>(
        &self,
        statement: &Statement,
        read: &impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.points.connections.collect("looking", statement, read, Duration::ZERO)
    }
}

/// Connections for one kind of read.
#[derive(Debug)]
struct Readers {
    connections: Arc<Connections>,
    turns: Turns,
}

/// Open connections to a file.
#[derive(Debug)]
struct Connections {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn new(file: &Path, turns: Turns) -> Self {
        let connections = Connections { file: file.to_owned(), idle: Mutex::default() };
        Self { connections: Arc::new(connections), turns }
    }

    /// Reads on the calling thread, unless another program has locked the file.
    async fn look_up<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let turn = self.turns.take(action).await?;
        match self.connections.collect(action, &statement, &read, Duration::ZERO) {
            Err(error) if is_locked(&error) => {}
            done => return done,
        }
        self.read_in_turn(turn, action, statement, read).await
    }

    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let turn = self.turns.take(action).await?;
        self.read_in_turn(turn, action, statement, read).await
    }

    async fn read_in_turn<T: Send + 'static>(
        &self,
        turn: Turn,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let connections = Arc::clone(&self.connections);
        let reading = move || {
            let _turn = turn;
            connections.collect(action, &statement, &read, LOCK_TIMEOUT)
        };
        tokio::task::spawn_blocking(reading).await.map_err(StoreError::unavailable(action))?
    }

    /// Reads within [`LIST_LIMIT`], and only while the caller waits.
    async fn list<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let turn = self.turns.take(action).await?;
        let waiting = Waiting::default();
        let hung_up = Arc::clone(&waiting.hung_up);
        let connections = Arc::clone(&self.connections);
        let reading = move || {
            let _turn = turn;
            connections.collect_in_time(action, &statement, &read, hung_up)
        };
        tokio::task::spawn_blocking(reading).await.map_err(StoreError::unavailable(action))?
    }
}

/// The caller of a list, while it waits for the rows.
#[derive(Debug, Default)]
struct Waiting {
    hung_up: Arc<AtomicBool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hung_up.store(true, Ordering::Relaxed);
    }
}

impl Connections {
    /// Reads rows over an idle or a new connection. `timeout` is the wait for another program's lock.
    fn collect<T>(
        &self,
        action: &'static str,
        statement: &Statement,
        read: &impl ReadRow<T>,
        timeout: Duration,
    ) -> Result<Vec<T>, StoreError> {
        let connection = self.connection(action, timeout)?;
        let done = collect(action, &connection, statement, read);
        self.idle.lock().push(connection);
        done
    }

    /// Reads rows until the time is up or the caller has hung up.
    fn collect_in_time<T>(
        &self,
        action: &'static str,
        statement: &Statement,
        read: &impl ReadRow<T>,
        hung_up: Arc<AtomicBool>,
    ) -> Result<Vec<T>, StoreError> {
        let end = Instant::now() + LIST_LIMIT;
        let connection = self.connection(action, LIST_LIMIT)?;
        let failed = StoreError::unavailable(action);
        let is_over = move || hung_up.load(Ordering::Relaxed) || Instant::now() >= end;
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over)).map_err(failed)?;
        let done = collect(action, &connection, statement, read);
        connection.progress_handler(0, None::<fn() -> bool>).map_err(failed)?;
        self.idle.lock().push(connection);
        done.map_err(|error| if is_interrupted(&error) { StoreError::TooSlow } else { error })
    }

    fn connection(
        &self,
        action: &'static str,
        timeout: Duration,
    ) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| open(&self.file), Ok)
            .and_then(|connection| connection.busy_timeout(timeout).map(|()| connection))
            .map_err(StoreError::unavailable(action))
    }
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepared(Connection::open_with_flags(file, flags)?)
}

/// Whether another program has locked the file.
pub(super) fn is_locked(error: &StoreError) -> bool {
    matches!(code(error), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn is_interrupted(error: &StoreError) -> bool {
    code(error) == Some(ErrorCode::OperationInterrupted)
}

fn code(error: &StoreError) -> Option<ErrorCode> {
    let StoreError::Unavailable { source, .. } = error else { return None };
    source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts so far that no machine gets to the end within the limit.
    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) \
                           SELECT count(*) FROM n";

    fn readers() -> (tempfile::TempDir, Arc<AllReaders>) {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("db");
        drop(Connection::open(&file).expect("opens"));
        let readers = AllReaders::new(&file);
        (folder, Arc::new(readers))
    }

    async fn one(readers: &AllReaders, statement: Statement) -> Result<usize, StoreError> {
        readers.read("reading", statement, |_| Ok(())).await.map(|rows| rows.len())
    }

    #[tokio::test]
    async fn a_list_that_takes_too_long_is_interrupted_and_its_connection_reads_on() {
        let (_folder, readers) = readers();
        let endless = one(&readers, Statement::new(ENDLESS).list()).await;
        assert!(matches!(endless, Err(StoreError::TooSlow)), "{endless:?}");
        assert_eq!(readers.lists.connections.idle.lock().len(), 1);
        assert_eq!(one(&readers, Statement::new("SELECT 1").list()).await.expect("reads"), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_whose_caller_hangs_up_ends_long_before_its_time() {
        let (_folder, readers) = readers();
        let started = Instant::now();
        let reading = {
            let readers = Arc::clone(&readers);
            network_lib::task::spawn("a list", async move {
                one(&readers, Statement::new(ENDLESS).list()).await
            })
        };
        while readers.lists.turns.all_free() {
            tokio::task::yield_now().await;
        }
        reading.abort();
        assert!(reading.await.expect_err("it was aborted").is_cancelled());
        // All turns are free again once the statement has ended.
        drop(readers.lists.turns.all().await.expect("open"));
        assert!(started.elapsed() < LIST_LIMIT, "{:?}", started.elapsed());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn point_reads_do_not_wait_for_lists_or_for_what_hierophant_reads_for_itself() {
        let (_folder, readers) = readers();
        let mut others = Vec::new();
        for _ in 0..20 {
            let readers = Arc::clone(&readers);
            let long = Statement::new(ENDLESS).list();
            others.push(network_lib::task::spawn("a list", async move {
                let _ = one(&readers, long).await;
            }));
        }
        while readers.lists.turns.any_free() {
            tokio::task::yield_now().await;
        }
        let _bulk = readers.bulk.turns.all().await.expect("all of them");
        let started = Instant::now();
        for _ in 0..100 {
            let point = Statement::new("SELECT 1").point_read();
            assert_eq!(one(&readers, point).await.expect("reads"), 1);
        }
        assert!(started.elapsed() < LIST_LIMIT / 2, "{:?}", started.elapsed());
        others.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
