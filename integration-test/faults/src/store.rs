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

    /// Puts ended requests into the SQLite file of a Hierophant that does not run, ten for each job, as if they had
    /// been made within the last day.
    pub(crate) async fn fill(&mut self, requests: u32, now_ms: u64) -> Result<()> {
        let Self::Sqlite(connection) = self else { anyhow::bail!("expected a SQLite database") };
        let id = |tag: &str, number: &str, length: usize| {
            let rest = length - 8 - tag.len();
            format!(
                "CAST(printf('%08x{tag}%0{rest}d', ({number} * 2654435761) & 4294967295, {number}) AS BLOB)"
            )
        };
        let numbers = |below: u32| {
            format!(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {below} - 1)"
            )
        };
        let at =
            |number: &str, all: u32| format!("{now_ms} - 86400000 + ({number} * 86400000) / {all}");
        let (jobs, job) = (requests / 10, id("j", "(i / 10)", 16));
        let created = at("i", requests);
        let of_jobs = format!(
            "INSERT INTO jobs (id, key, vk_hash, circuit_version, mode, cycle_limit, gas_limit, program, \
             program_size, program_sha256, stdin, stdin_size, stdin_sha256, state, attempts, created_at, \
             updated_at, finished_at) {} SELECT {}, {}, {digest}, 'v6.1.0', 1, 1, 1, {}, 1, {digest}, {}, 1, \
             {digest}, 'failed', 1, {at}, {at}, {at} FROM n",
            numbers(jobs),
            id("j", "i", 16),
            id("k", "i", 32),
            id("p", "i", 16),
            id("s", "i", 16),
            digest = id("d", "i", 32),
            at = at("i", jobs),
        );
        let of_requests = format!(
            "INSERT INTO requests (id, idempotency_key, job, requester, network_mode, strategy, version, \
             stdin_uri, stdin_private, deadline, min_auction_period, whitelist, state, created_at, \
             updated_at) {} SELECT {}, {}, {job}, {}, 'reserved', 1, 'sp1-v6.1.0', \
             'http://127.0.0.1:9010/artifacts/00000000000000000000000000000000', 0, {now_ms} / 1000, 0, x'', \
             'failed', {created}, {created} FROM n",
            numbers(requests),
            id("r", "i", 32),
            id("i", "i", 32),
            id("a", "(i % 1000)", 20),
        );
        connection.execute_batch(&format!("BEGIN; {of_jobs}; {of_requests}; COMMIT"))?;
        Ok(())
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

    /// Id of a request's job, as the API writes it.
    pub(crate) async fn job_id(&mut self, request: &[u8]) -> Result<String> {
        let Self::Sqlite(_) = self else { anyhow::bail!("expected a SQLite database") };
        let sql = "SELECT lower(hex(job)) FROM requests WHERE id = $1";
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
