//! The SQLite store, the default: one file in write-ahead mode, every commit synced to disk.
//!
//! SQLite works on the calling thread. A point read takes some microseconds, a tenth of a hand-over to another
//! thread, and runs on the caller's thread. Longer reads, transactions and calls that wait for another program's
//! lock run on a blocking thread, including the conversion of rows.

mod integrity;
mod migrations;
mod opening;
mod readers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, Row, ToSql};

use crate::driver::{Batch, Driver, ReadRow, SqlStore};
use crate::group::Grouped;
use crate::measured::Measured;
use crate::rows::{ColumnError, Columns};
use crate::stages::{Part, Rows, stages};
use crate::statement::{Statement, Value};
use crate::table_write::Row as TableRow;
use crate::{CallObserver, JobStore, StoreError};
use integrity::Integrity;
use readers::AllReaders;

/// How long a connection waits for another program's lock of the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Page cache of the writing connection in KiB. (Each write invalidates the cache of a reading connection.)
const WRITER_CACHE_KIB: i64 = 16 << 10;

/// Prepared statements cached per connection.
const PREPARED: usize = 64;

/// Opens the store: creates the file, or migrates it to this version's schema.
///
/// # Errors
///
/// If the file cannot be opened, is not a database, is damaged, or belongs to another program or to a newer
/// version. The file is left unchanged.
pub async fn open(
    file: &Path,
    observer: impl CallObserver,
) -> Result<Arc<dyn JobStore>, StoreError> {
    let driver = connect(file).await?;
    Ok(Arc::new(SqlStore::new(Grouped::new(Measured { driver, observer }))))
}

/// Opens the file: inspects it, opens the writing connection and migrates.
pub(crate) async fn connect(file: &Path) -> Result<SqliteDriver, StoreError> {
    let path = file.to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        let location = path.display().to_string();
        opening::inspect(&path, &location)?;
        let is_known = !path.exists() || integrity::take_mark(&path);
        opening::create_private(&path);
        let mut writer = open_writer(&path).map_err(opening::refusal(&location))?;
        migrations::apply(&mut writer, &location)?;
        let integrity = if is_known { Integrity::known(&path) } else { Integrity::check(&path) };
        Ok((writer, integrity))
    });
    let (writer, integrity) = opening.await.map_err(StoreError::unavailable("opening it"))??;
    Ok(SqliteDriver {
        writer: Arc::new(Mutex::new(Some(writer))),
        integrity: Arc::new(integrity),
        readers: AllReaders::new(file),
    })
}

fn open_writer(file: &Path) -> rusqlite::Result<Connection> {
    let connection = prepared(Connection::open(file)?)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    Ok(connection)
}

fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(LOCK_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    Ok(connection)
}

/// A SQLite file: one writing connection, and some for reads.
#[derive(Debug)]
pub(crate) struct SqliteDriver {
    /// None after closing.
    writer: Arc<Mutex<Option<Connection>>>,
    integrity: Arc<Integrity>,
    readers: AllReaders,
}

#[async_trait]
impl Driver for SqliteDriver {
    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.readers.read(action, statement, read).await
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let writer = Arc::clone(&self.writer);
        let writing = move || match writer.lock().as_mut() {
            Some(connection) => transact(connection, &batches),
            None => Err(StoreError::unavailable("writing")("it is closed")),
        };
        tokio::task::spawn_blocking(writing).await.map_err(StoreError::unavailable("writing"))?
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read("answering", Statement::new("SELECT 1").point_read(), |_| Ok(())).await.map(drop)
    }

    async fn damaged(&self) -> StoreError {
        self.integrity.damaged().await
    }

    async fn close(&self) {
        let writer = Arc::clone(&self.writer);
        let integrity = Arc::clone(&self.integrity);
        // Running calls end first. The last connection to close checkpoints the write-ahead log.
        let reads = self.readers.drain().await;
        let closing = tokio::task::spawn_blocking(move || {
            integrity.stop();
            if let Some(writer) = writer.lock().take() {
                match writer.close() {
                    Ok(()) => integrity.leave_mark(),
                    Err((_, error)) => tracing::warn!(%error, "cannot close the database cleanly"),
                }
            }
        });
        if let Err(error) = closing.await {
            tracing::warn!(%error, "cannot close the database cleanly");
        }
        self.readers.close();
        drop(reads);
    }
}

/// Executes all writes in one transaction; if one fails, all are rolled back.
fn transact(connection: &mut Connection, batches: &[Batch]) -> Result<(), StoreError> {
    let failed = StoreError::unavailable("writing");
    let transaction = connection.transaction().map_err(failed)?;
    for part in stages(batches).iter().flatten() {
        execute(&transaction, part).map_err(|error| refusal(part.table(), error))?;
    }
    transaction.commit().map_err(failed)
}

/// Executes a part of a transaction.
fn execute(transaction: &Connection, part: &Part<'_>) -> rusqlite::Result<()> {
    let Part::Rows(Rows { kind, rows }) = part else {
        let Part::Run(_, statement) = part else { return Ok(()) };
        return prepare(transaction, statement)?.raw_execute().map(drop);
    };
    let rows: Vec<&TableRow> = rows.iter().map(AsRef::as_ref).collect();
    let mut left = &rows[..];
    while !left.is_empty() {
        let (now, later) = left.split_at(kind.rows_at_once(left.len()));
        let values: Vec<&Value> = now.iter().flat_map(|row| row.iter()).map(|(_, it)| it).collect();
        let value = |place: usize| values.get(place).copied();
        bound(transaction, kind.with_values(now), value)?.raw_execute()?;
        left = later;
    }
    Ok(())
}

/// Why a statement was not executed: locked, interrupted, a full or failing disk pass, everything else does not.
fn refusal(table: &str, error: rusqlite::Error) -> StoreError {
    let passes = error.sqlite_error_code().is_some_and(|code| {
        matches!(
            code,
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
                | ErrorCode::OperationAborted
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SchemaChanged
        )
    });
    if passes {
        StoreError::unavailable("writing")(error)
    } else {
        StoreError::Refused { table: table.to_owned(), source: error.into() }
    }
}

/// Reads all rows of a statement.
fn collect<T>(
    action: &'static str,
    connection: &Connection,
    statement: &Statement,
    read: &impl ReadRow<T>,
) -> Result<Vec<T>, StoreError> {
    let failed = StoreError::unavailable(action);
    let mut prepared = prepare(connection, statement).map_err(failed)?;
    let names: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = prepared.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(read(&SqliteRow { names: &names, row })?);
    }
    Ok(found)
}

/// Prepares a statement and binds its values.
fn prepare<'a>(
    connection: &'a Connection,
    statement: &Statement,
) -> rusqlite::Result<CachedStatement<'a>> {
    bound(connection, &statement.sql, |place| statement.values.get(place))
}

/// Prepares a statement and binds the values at their places, which count from zero.
fn bound<'a, 'v>(
    connection: &'a Connection,
    sql: &str,
    value: impl Fn(usize) -> Option<&'v Value>,
) -> rusqlite::Result<CachedStatement<'a>> {
    let mut prepared = connection.prepare_cached(sql)?;
    // To SQLite `$1` is a name; it numbers names in the order of appearance.
    for index in 1..=prepared.parameter_count() {
        let number = prepared.parameter_name(index).and_then(|name| name.get(1..)?.parse().ok());
        let found = number.and_then(|number: usize| value(number.checked_sub(1)?));
        let missing = || rusqlite::Error::InvalidParameterCount(index, 0);
        prepared.raw_bind_parameter(index, found.ok_or_else(missing)?)?;
    }
    Ok(prepared)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Int(number) => number.map(ValueRef::Integer),
            Self::Text(text) => text.as_ref().map(|text| ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => bytes.as_ref().map(|bytes| ValueRef::Blob(bytes)),
        };
        Ok(ToSqlOutput::Borrowed(value.unwrap_or(ValueRef::Null)))
    }
}

/// A row with the names of its columns.
struct SqliteRow<'a> {
    names: &'a [String],
    row: &'a Row<'a>,
}

impl SqliteRow<'_> {
    fn value(&self, name: &str) -> Result<ValueRef<'_>, ColumnError> {
        let index = self.names.iter().position(|it| it == name).ok_or("no such column")?;
        Ok(self.row.get_ref(index)?)
    }
}

impl Columns for SqliteRow<'_> {
    fn int(&self, name: &str) -> Result<Option<i64>, ColumnError> {
        Ok(self.value(name)?.as_i64_or_null()?)
    }

    fn text(&self, name: &str) -> Result<Option<String>, ColumnError> {
        Ok(self.value(name)?.as_str_or_null()?.map(str::to_owned))
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ColumnError> {
        Ok(self.value(name)?.as_blob_or_null()?.map(<[u8]>::to_vec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table_write::Write;

    /// Simulates a full disk: the file may not grow.
    #[tokio::test]
    async fn what_is_committed_after_a_full_disk_is_there() {
        let folder = tempfile::tempdir().expect("temp dir");
        let driver = connect(&folder.path().join("db")).await.expect("opens");
        let read = || driver.read("reading", Statement::new("SELECT x FROM t"), |_| Ok(()));
        let run = async |sql: &'static str| {
            driver.write(vec![[Write::Run("t", Statement::new(sql))].into()]).await
        };
        run("CREATE TABLE t (x BLOB)").await.expect("creates");
        {
            let writer = driver.writer.lock();
            let writer = writer.as_ref().expect("open");
            let pages = writer.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0));
            let most = pages.expect("counts") + 5;
            writer
                .query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))
                .expect("limits");
        }
        let large = "INSERT INTO t VALUES (zeroblob(1000000))";
        run(large).await.expect_err("does not fit");
        run("INSERT INTO t VALUES (x'01')").await.expect("fits");
        assert_eq!(read().await.expect("reads").len(), 1);
        // The committed row is still there after reopening the file.
        driver.close().await;
        let driver = connect(&folder.path().join("db")).await.expect("opens");
        let found = driver.read("reading", Statement::new("SELECT x FROM t"), |row| {
            row.bytes("x").map_err(|error| StoreError::unavailable("reading")(error))
        });
        assert_eq!(found.await.expect("reads"), [Some(vec![1])]);
    }

    /// The test's only runtime thread continues while a point read waits for another program.
    #[tokio::test]
    async fn a_point_read_waits_for_another_programs_lock_and_nobody_else_does() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("db");
        drop(connect(&file).await.expect("opens"));
        let driver = SqliteDriver {
            writer: Arc::default(),
            integrity: Arc::new(Integrity::known(&file)),
            readers: AllReaders::new(&file),
        };
        let point_read = Statement::new("SELECT count(*) FROM jobs").point_read();
        let other = Connection::open(&file).expect("opens");
        other.pragma_update(None, "locking_mode", "EXCLUSIVE").expect("is set");
        other.execute_batch("BEGIN EXCLUSIVE; COMMIT").expect("locks");
        let at_once = driver.readers.look_now(&point_read, &|_: &dyn Columns| Ok(()));
        assert!(readers::is_locked(&at_once.expect_err("it is locked")));
        let looking = driver.read("looking", point_read, |_| Ok(()));
        let unlocking = async {
            // Another thread takes the connection that the first try gave back.
            while driver.readers.idle_points() > 0 {
                tokio::task::yield_now().await;
            }
            other.close().expect("closes");
        };
        let (found, ()) = tokio::join!(looking, unlocking);
        assert_eq!(found.expect("reads in the end").len(), 1);
    }

    #[tokio::test]
    async fn what_is_closed_says_so() {
        let folder = tempfile::tempdir().expect("temp dir");
        let driver = connect(&folder.path().join("db")).await.expect("opens");
        driver.ping().await.expect("open");
        driver.close().await;
        assert!(driver.ping().await.expect_err("closed").is_transient());
        let write = Write::Run("jobs", Statement::new("DELETE FROM jobs"));
        assert!(driver.write(vec![[write].into()]).await.expect_err("closed").is_transient());
    }
}
