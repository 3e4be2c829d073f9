//! The default store: one SQLite file in write-ahead mode, every commit synced to disk.

mod opening;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{TryFutureExt, TryStreamExt};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Sqlite};

use super::group::Grouped;
use super::queries::{Driver, SqlStore};
use super::statement::{Statement, Value};
use super::{JobStore, StoreError};
use whole::{Layout, WholeRow};

/// Connections that only read; SQLite's write-ahead mode lets them go on beside the writer.
const READERS: u32 = 4;

/// Rows that a connection's thread may be ahead of whoever takes them. Waking each other for every few
/// would take the two longer than the reading.
const ROW_BUFFER: usize = 1000;

/// Opens the file, creating it or bringing it to this version's schema.
///
/// # Errors
///
/// When the file cannot be opened, is no database, is damaged, belongs to another program or comes
/// from a newer version. It is left as it is then.
pub async fn open(file: &Path) -> Result<Arc<dyn JobStore>, StoreError> {
    Ok(Arc::new(SqlStore(Grouped::new(connect(file).await?))))
}

/// The driver of such a store.
pub(super) async fn connect(file: &Path) -> Result<SqliteDriver, StoreError> {
    let location = file.display().to_string();
    opening::inspect(file, &location).await?;
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .row_buffer_size(ROW_BUFFER);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        // A connection to a file is not lost by itself, and asking costs as much as a small statement.
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await
        .map_err(|error| opening::refusal(&location, error))?;
    sqlx::migrate!("migrations/sqlite")
        .run(&writer)
        .await
        .map_err(|source| StoreError::migration(&location, source))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_with(options.read_only(true))
        .await
        .map_err(|error| opening::refusal(&location, error))?;
    Ok(SqliteDriver { writer, readers })
}

/// One writing connection, some that read.
#[derive(Debug)]
pub(super) struct SqliteDriver {
    writer: SqlitePool,
    readers: SqlitePool,
}

#[async_trait]
impl Driver for SqliteDriver {
    type Row = SqliteRow;
    type WholeRow = WholeRow;

    fn rows(&self, statement: Statement) -> BoxStream<'_, Result<SqliteRow, sqlx::Error>> {
        query(statement).fetch(&self.readers)
    }

    fn whole_rows(
        &self,
        table: &'static str,
        from: String,
    ) -> BoxStream<'_, Result<WholeRow, sqlx::Error>> {
        let rows = async move {
            let layout = Layout::of(&self.readers, table).await?;
            let sql = AssertSqlSafe(format!("SELECT {} {from}", layout.selection));
            let rows = sqlx::query_scalar::<_, String>(sql).fetch(&self.readers);
            Ok(rows.map_ok(move |line| layout.read(line)))
        };
        Box::pin(rows.try_flatten_stream())
    }

    async fn write(&self, statements: Vec<Statement>) -> Result<(), StoreError> {
        let failed = StoreError::unavailable("writing");
        let mut connection = self.writer.acquire().await.map_err(failed)?;
        let written = transact(&mut connection, statements).await;
        if written.is_err() {
            // SQLite ends a transaction by itself when the disk is full, and sqlx does not notice: what
            // is committed over this connection afterwards would never reach the file.
            let _ = connection.close().await;
        }
        written.map_err(failed)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answering = StoreError::unavailable("answering");
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop).map_err(answering)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn transact(
    connection: &mut SqliteConnection,
    statements: Vec<Statement>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for statement in statements {
        query(statement).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

fn query(statement: Statement) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    let query = sqlx::query(AssertSqlSafe(statement.sql));
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk, as far as SQLite can tell: the file may not grow.
    #[tokio::test]
    async fn what_is_committed_after_a_full_disk_is_there() {
        let folder = tempfile::tempdir().expect("temp dir");
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await;
        let readers = SqlitePoolOptions::new().connect_with(options).await;
        let driver =
            SqliteDriver { writer: writer.expect("opens"), readers: readers.expect("opens") };
        let read = || driver.rows(Statement::new("SELECT x FROM t")).try_collect::<Vec<_>>();
        let run = async |sql: &str| driver.write(vec![Statement::new(sql)]).await;
        run("CREATE TABLE t (x BLOB)").await.expect("creates");
        // Holds for the connection that is open now.
        sqlx::query("PRAGMA max_page_count = 10").execute(&driver.writer).await.expect("limits");
        let large = "INSERT INTO t VALUES (zeroblob(1000000))";
        run(large).await.expect_err("does not fit");
        run("INSERT INTO t VALUES (x'01')").await.expect("fits");
        let rows = read().await.expect("reads");
        assert_eq!(rows.len(), 1);
        run(large).await.expect("there is room again");
        let rows = read().await.expect("reads");
        assert_eq!(rows.len(), 2);
    }
}
