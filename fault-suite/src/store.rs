//! A look into Hierophant's database from outside: how the suite counts attempts and sees that nothing
//! was lost, without asking the program under test.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// An open database.
pub(crate) struct Store(SqliteConnection);

impl Store {
    /// Opens it, whether Hierophant runs or not.
    pub(crate) async fn open(database: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(database)
            .busy_timeout(Duration::from_secs(5))
            .create_if_missing(false);
        let connection = options.connect().await;
        Ok(Self(connection.with_context(|| format!("cannot open {}", database.display()))?))
    }

    /// Runs a statement as it stands.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<u64> {
        let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut self.0).await;
        Ok(done.with_context(|| statement.to_owned())?.rows_affected())
    }

    /// State of a request, or nothing if it is not there.
    pub(crate) async fn request_state(&mut self, request: &[u8]) -> Result<Option<String>> {
        let query = sqlx::query_scalar("SELECT state FROM requests WHERE id = ?");
        Ok(query.bind(request).fetch_optional(&mut self.0).await?)
    }

    /// State of a request's job.
    pub(crate) async fn job_state(&mut self, request: &[u8]) -> Result<String> {
        let query = sqlx::query_scalar(
            "SELECT jobs.state FROM jobs JOIN requests ON requests.job = jobs.id
             WHERE requests.id = ?",
        );
        Ok(query.bind(request).fetch_one(&mut self.0).await?)
    }

    /// How many attempts a request's job has had, and the outcome of each, oldest first.
    pub(crate) async fn attempts(&mut self, request: &[u8]) -> Result<Vec<(String, String)>> {
        let query = sqlx::query(
            "SELECT attempts.worker_name, attempts.outcome FROM attempts
             JOIN requests ON requests.job = attempts.job
             WHERE requests.id = ? ORDER BY attempts.started_at, attempts.rowid",
        );
        let rows = query.bind(request).fetch_all(&mut self.0).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Names of a table's columns.
    pub(crate) async fn columns(&mut self, table: &str) -> Result<Vec<String>> {
        let query = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)");
        Ok(query.bind(table).fetch_all(&mut self.0).await?)
    }

    /// The one number that a query gives.
    pub(crate) async fn count(&mut self, query: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut self.0).await?)
    }

    /// Closes it, so that no lock of ours stays.
    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}
