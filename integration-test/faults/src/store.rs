//! A look into Hierophant's database from outside: how the suite counts attempts and sees that nothing
//! was lost, without asking the program under test.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// An open database.
pub(crate) enum Store {
    /// A file.
    Sqlite(SqliteConnection),
    /// On a server.
    Postgres(PgConnection),
}

/// Does the same with either connection; the databases have types of their own for everything.
macro_rules! with {
    ($store:expr, $connection:ident => $body:expr) => {
        match $store {
            Store::Sqlite($connection) => $body,
            Store::Postgres($connection) => $body,
        }
    };
}

impl Store {
    /// Opens a file, whether Hierophant runs or not.
    pub(crate) async fn open(database: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(database)
            .busy_timeout(Duration::from_secs(5))
            .create_if_missing(false);
        let connection = options.connect().await;
        let connection =
            connection.with_context(|| format!("cannot open {}", database.display()))?;
        Ok(Self::Sqlite(connection))
    }

    /// Connects to a database on a server.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let connection = PgConnection::connect(url).await;
        Ok(Self::Postgres(connection.with_context(|| format!("cannot connect to {url}"))?))
    }

    /// Runs a statement as it stands.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<u64> {
        let query = AssertSqlSafe(statement.to_owned());
        let done = with!(self, connection => {
            sqlx::query(query).execute(connection).await.map(|done| done.rows_affected())
        });
        done.with_context(|| statement.to_owned())
    }

    /// State of a request, or nothing if it is not there.
    pub(crate) async fn request_state(&mut self, request: &[u8]) -> Result<Option<String>> {
        let sql = "SELECT state FROM requests WHERE id = $1";
        Ok(with!(self, connection => {
            sqlx::query_scalar(sql).bind(request).fetch_optional(connection).await?
        }))
    }

    /// State of a request's job.
    pub(crate) async fn job_state(&mut self, request: &[u8]) -> Result<String> {
        let sql = "SELECT jobs.state FROM jobs JOIN requests ON requests.job = jobs.id
                   WHERE requests.id = $1";
        Ok(with!(self, connection => {
            sqlx::query_scalar(sql).bind(request).fetch_one(connection).await?
        }))
    }

    /// How many attempts a request's job has had, and the outcome of each, oldest first.
    pub(crate) async fn attempts(&mut self, request: &[u8]) -> Result<Vec<(String, String)>> {
        let sql = "SELECT attempts.worker_name, attempts.outcome FROM attempts
                   JOIN requests ON requests.job = attempts.job WHERE requests.id = $1
                   ORDER BY attempts.started_at, COALESCE(attempts.ended_at, 9223372036854775807)";
        Ok(with!(self, connection => {
            let rows = sqlx::query(sql).bind(request).fetch_all(connection).await?;
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        }))
    }

    /// Names of a SQLite table's columns.
    pub(crate) async fn columns(&mut self, table: &str) -> Result<Vec<String>> {
        let sql = "SELECT name FROM pragma_table_info($1)";
        Ok(with!(self, connection => {
            sqlx::query_scalar(sql).bind(table).fetch_all(connection).await?
        }))
    }

    /// The one number that a query gives.
    pub(crate) async fn count(&mut self, query: &str) -> Result<i64> {
        let query = AssertSqlSafe(query.to_owned());
        Ok(with!(self, connection => sqlx::query_scalar(query).fetch_one(connection).await?))
    }

    /// Closes it, so that no lock of ours stays.
    pub(crate) async fn close(self) -> Result<()> {
        with!(self, connection => connection.close().await.context("cannot close the database"))
    }
}
