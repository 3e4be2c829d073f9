//! Hierophant's database read from outside: the suite counts attempts and checks that nothing was lost
//! without asking the program under test.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{OpenFlags, OptionalExtension};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

/// An open database.
pub(crate) enum Store {
    /// A file.
    Sqlite(rusqlite::Connection),
    /// On a server.
    Postgres(PgConnection),
}

impl Store {
    /// Opens a file, whether Hierophant runs or not.
    pub(crate) async fn open(database: &Path) -> Result<Self> {
        let flags = OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE;
        let connection = rusqlite::Connection::open_with_flags(database, flags);
        let connection =
            connection.with_context(|| format!("cannot open {}", database.display()))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(Self::Sqlite(connection))
    }

    /// Connects to a database on a server.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let connection = PgConnection::connect(url).await;
        Ok(Self::Postgres(connection.with_context(|| format!("cannot connect to {url}"))?))
    }

    /// Runs a statement and returns the number of changed rows.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<u64> {
        match self {
            Self::Sqlite(connection) => {
                Ok(connection.execute(statement, ()).with_context(|| statement.to_owned())? as u64)
            }
            Self::Postgres(connection) => {
                let query = sqlx::query(AssertSqlSafe(statement.to_owned()));
                let done = query.execute(connection).await;
                Ok(done.with_context(|| statement.to_owned())?.rows_affected())
            }
        }
    }

    /// State of a request, if the request exists.
    pub(crate) async fn request_state(&mut self, request: &[u8]) -> Result<Option<String>> {
        self.text("SELECT state FROM requests WHERE id = $1", request).await
    }

    /// State of a request's job.
    pub(crate) async fn job_state(&mut self, request: &[u8]) -> Result<String> {
        let sql = "SELECT jobs.state FROM jobs JOIN requests ON requests.job = jobs.id
                   WHERE requests.id = $1";
        self.text(sql, request).await?.context("the request has no job")
    }

    async fn text(&mut self, sql: &'static str, id: &[u8]) -> Result<Option<String>> {
        Ok(match self {
            Self::Sqlite(connection) => {
                connection.query_row(sql, [id], |row| row.get(0)).optional()?
            }
            Self::Postgres(connection) => {
                sqlx::query_scalar(sql).bind(id).fetch_optional(connection).await?
            }
        })
    }

    /// Worker and outcome of each attempt at a request's job, oldest first.
    pub(crate) async fn attempts(&mut self, request: &[u8]) -> Result<Vec<(String, String)>> {
        let sql = "SELECT attempts.worker_name, attempts.outcome FROM attempts
                   JOIN requests ON requests.job = attempts.job WHERE requests.id = $1
                   ORDER BY attempts.started_at, COALESCE(attempts.ended_at, 9223372036854775807)";
        match self {
            Self::Sqlite(connection) => {
                let mut query = connection.prepare(sql)?;
                let rows = query.query_map([request], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(sql).bind(request).fetch_all(connection).await?;
                Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
            }
        }
    }

    /// Class and message of the last failed attempt at a request's job, if one failed.
    pub(crate) async fn failure(&mut self, request: &[u8]) -> Result<Option<(String, String)>> {
        let Self::Sqlite(connection) = self else { anyhow::bail!("expected a SQLite database") };
        let sql = "SELECT failure_class, message FROM attempts
                   JOIN requests ON requests.job = attempts.job
                   WHERE requests.id = $1 AND outcome = 'failed' ORDER BY ended_at DESC";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(connection.query_row(sql, [request], read).optional()?)
    }

    /// Names of a SQLite table's columns.
    pub(crate) async fn columns(&mut self, table: &str) -> Result<Vec<String>> {
        let Self::Sqlite(connection) = self else { anyhow::bail!("expected a SQLite database") };
        let mut query = connection.prepare("SELECT name FROM pragma_table_info($1)")?;
        let names = query.query_map([table], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    /// The number that a query returns.
    pub(crate) async fn count(&mut self, query: &str) -> Result<i64> {
        Ok(match self {
            Self::Sqlite(connection) => connection.query_row(query, (), |row| row.get(0))?,
            Self::Postgres(connection) => {
                let query = AssertSqlSafe(query.to_owned());
                sqlx::query_scalar(query).fetch_one(connection).await?
            }
        })
    }

    /// Closes the connection, which releases its locks.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                connection.close().map_err(|(_, error)| error).context("cannot close the database")
            }
            Self::Postgres(connection) => {
                connection.close().await.context("cannot close the database")
            }
        }
    }
}
