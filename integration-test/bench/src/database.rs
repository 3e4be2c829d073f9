//! Hierophant's database from outside: filled quickly while Hierophant does not run, and counted.

mod filling;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::time::{Instant, sleep};

pub use filling::{Bytes, Ended, artifact_id, fill, fill_with_ended, fill_with_open, request_id};

/// Longest wait for a state that must come.
const REACH_LIMIT: Duration = Duration::from_secs(180);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An open database.
enum Database {
    Sqlite(rusqlite::Connection),
    Postgres(PgConnection),
}

impl Database {
    async fn open(url: &str) -> Result<Self> {
        Ok(match url.strip_prefix("sqlite://") {
            Some(file) => {
                let connection = rusqlite::Connection::open(file)?;
                connection.busy_timeout(Duration::from_secs(5))?;
                Self::Sqlite(connection)
            }
            None => Self::Postgres(PgConnection::connect(url).await?),
        })
    }

    async fn run(&mut self, statement: String) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                connection.execute_batch(&statement).with_context(|| statement)
            }
            Self::Postgres(connection) => {
                let query = sqlx::query(AssertSqlSafe(statement.clone()));
                query.execute(connection).await.map(drop).with_context(|| statement)
            }
        }
    }

    async fn count(&mut self, query: &str) -> Result<i64> {
        Ok(match self {
            Self::Sqlite(connection) => connection.query_row(query, (), |row| row.get(0))?,
            Self::Postgres(connection) => {
                let query = AssertSqlSafe(query.to_owned());
                sqlx::query_scalar(query).fetch_one(connection).await?
            }
        })
    }

    async fn close(self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                connection.close().map_err(|(_, error)| error).context("cannot close the database")
            }
            Self::Postgres(connection) => {
                connection.close().await.context("cannot close the database")
            }
        }
    }

    /// SQL of an id of `length` bytes that belongs to number `i`; neighbours lie far apart, as random ids do.
    fn id(&self, tag: char, length: usize) -> String {
        let rest = length - 9;
        match self {
            Self::Sqlite(_) => format!(
                "CAST(printf('%08x{tag}%0{rest}d', (i * 2654435761) & 4294967295, i) AS BLOB)"
            ),
            Self::Postgres(_) => format!(
                "convert_to(lpad(to_hex((i * 2654435761) & 4294967295), 8, '0') || '{tag}' \
                 || lpad(i::text, {rest}, '0'), 'UTF8')"
            ),
        }
    }

    /// SQL of a table `n` of this many numbers `i` from the first one on.
    fn numbers(&self, first: usize, count: usize) -> String {
        let end = first + count;
        match self {
            Self::Sqlite(_) => format!(
                "WITH RECURSIVE n(i) AS \
                 (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {end} - 1)"
            ),
            Self::Postgres(_) => {
                format!("WITH n(i) AS (SELECT generate_series({first}::bigint, {end} - 1))")
            }
        }
    }

    /// SQL of an empty text of bytes.
    const fn no_bytes(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "x''",
            Self::Postgres(_) => "''::bytea",
        }
    }

    /// Runs statements in one transaction.
    async fn run_all(&mut self, statements: impl IntoIterator<Item = String>) -> Result<()> {
        self.run("BEGIN".to_owned()).await?;
        for statement in statements {
            self.run(statement).await?;
        }
        self.run("COMMIT".to_owned()).await
    }
}

/// Waits until this number of requests is in a state, while Hierophant runs: the last proofs are still being checked
/// when their workers have gone on.
///
/// # Errors
///
/// When that does not happen in time.
pub async fn reach(url: &str, state: &str, wanted: usize) -> Result<()> {
    let mut database = Database::open(url).await?;
    let query = format!("SELECT count(*) FROM requests WHERE state = '{state}'");
    let end = Instant::now() + REACH_LIMIT;
    loop {
        let asked = Instant::now();
        let found = database.count(&query).await?;
        if usize::try_from(found)? >= wanted {
            return database.close().await;
        }
        ensure!(Instant::now() < end, "{found} requests are {state}, not {wanted}");
        // To count many is work, which must not be what is measured.
        sleep(LOOK_AGAIN.max(asked.elapsed() * 10)).await;
    }
}

/// Has the database look at its tables to plan better: ANALYZE, at any time.
///
/// # Errors
///
/// When it refuses.
pub async fn analyze(url: &str) -> Result<()> {
    let mut database = Database::open(url).await?;
    database.run("ANALYZE".to_owned()).await?;
    database.close().await
}

/// Number of rows of a table that fulfil a condition.
///
/// # Errors
///
/// When the database cannot be read.
pub async fn count(url: &str, table: &str, condition: &str) -> Result<usize> {
    let mut database = Database::open(url).await?;
    let query = format!("SELECT count(*) FROM {table} WHERE {condition}");
    let found = database.count(&query).await?;
    database.close().await?;
    Ok(usize::try_from(found)?)
}

/// Checks how many jobs are in a state.
///
/// # Errors
///
/// When there are more or fewer.
pub async fn check_jobs(url: &str, state: &str, wanted: usize) -> Result<()> {
    let found = count(url, "jobs", &format!("state = '{state}'")).await?;
    ensure!(found == wanted, "{found} jobs are {state}, not {wanted}");
    Ok(())
}

/// Checks how many requests are in a state, in the store of a Hierophant that does not run, and that no
/// attempt is open at a job that has ended.
///
/// # Errors
///
/// When there are more or fewer.
pub async fn check(url: &str, state: &str, wanted: usize) -> Result<()> {
    let mut database = Database::open(url).await?;
    let query = format!("SELECT count(*) FROM requests WHERE state = '{state}'");
    let found = database.count(&query).await?;
    ensure!(usize::try_from(found)? == wanted, "{found} requests are {state}, not {wanted}");
    let open = "SELECT count(*) FROM attempts JOIN jobs ON jobs.id = attempts.job \
                WHERE attempts.outcome = 'running' AND jobs.state IN \
                ('proved', 'unexecutable', 'failed', 'cancelled', 'expired')";
    let open = database.count(open).await?;
    ensure!(open == 0, "{open} attempts at finished jobs are stored as running");
    database.close().await
}
