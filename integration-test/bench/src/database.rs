//! Hierophant's database from outside, while Hierophant does not run: filled quickly, and counted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use test_peers::unix_now;
use tokio::time::{Instant, sleep};

/// Longest wait for a state that must come.
const REACH_LIMIT: Duration = Duration::from_secs(60);

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

    /// SQL of a table `n` of the numbers `i` below a count.
    fn numbers(&self, below: usize) -> String {
        match self {
            Self::Sqlite(_) => format!(
                "WITH RECURSIVE n(i) AS \
                 (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {below} - 1)"
            ),
            Self::Postgres(_) => {
                format!("WITH n(i) AS (SELECT generate_series(0::bigint, {below} - 1))")
            }
        }
    }
}

/// Puts finished requests into the store of a Hierophant that does not run, each with its job, its attempt
/// and the records of its input and proof, as if they had ended over the last day. Their bytes count
/// as removed by retention, because there are none.
///
/// # Errors
///
/// When the database cannot be written to, or its tables have changed.
pub async fn fill(url: &str, requests: usize) -> Result<()> {
    let mut database = Database::open(url).await?;
    let now = unix_now() * 1000;
    let deadline = unix_now() + 24 * 3600;
    let numbers = database.numbers(requests);
    let id = |tag, length| database.id(tag, length);
    let (request, job, lease) = (id('r', 32), id('j', 16), id('l', 16));
    let (stdin, proof, worker) = (id('s', 16), id('p', 16), id('w', 16));
    let requester = id('a', 20);
    let (idempotency, key, digest) = (id('i', 32), id('k', 32), id('d', 32));
    // No addresses.
    let empty = match &database {
        Database::Sqlite(_) => "x''",
        Database::Postgres(_) => "''::bytea",
    };
    // 86,400,000 milliseconds of the last day, spread evenly.
    let at = format!("{now} - 86400000 + (i * 86400000) / {requests}");
    let statements = [
        format!(
            "INSERT INTO jobs (id, key, vk_hash, circuit_version, mode, cycle_limit, gas_limit, program, \
             program_size, program_sha256, stdin, stdin_size, stdin_sha256, state, cycles, gas, \
             public_values_hash, proof, worker, worker_name, worker_backend, attempts, created_at, \
             updated_at, started_at, finished_at) {numbers} SELECT {job}, {key}, {digest}, 'v6.1.0', 1, \
             1000000, 1000000000, {proof}, 1000, {digest}, {stdin}, 1000, {digest}, 'proved', 12345, 67890, \
             {digest}, {proof}, {worker}, 'filled', 'mock', 1, {at}, {at} + 9000, {at} + 1000, {at} + 9000 \
             FROM n"
        ),
        format!(
            "INSERT INTO requests (id, idempotency_key, job, requester, network_mode, strategy, version, \
             stdin_uri, stdin_private, deadline, min_auction_period, whitelist, state, created_at, \
             updated_at, fulfilled_at) {numbers} SELECT {request}, {idempotency}, {job}, {requester}, \
             'reserved', 1, 'sp1-v6.1.0', 'http://127.0.0.1:9010/artifacts/00000000000000000000000000000000', \
             0, {deadline}, 0, {empty}, 'fulfilled', {at}, {at} + 9000, {at} + 9000 FROM n"
        ),
        format!(
            "INSERT INTO attempts (lease, job, worker, worker_name, worker_backend, started_at, ended_at, \
             outcome, proof, proof_size, proof_sha256, begun_at, cycles, gas, public_values_hash) {numbers} \
             SELECT {lease}, {job}, {worker}, 'filled', 'mock', {at} + 1000, {at} + 9000, 'completed', \
             {proof}, 1000, {digest}, {at} + 1500, 12345, 67890, {digest} FROM n"
        ),
        format!(
            "INSERT INTO artifacts (id, kind, owner, size, sha256, created_at, expired_at, removed_at) \
             {numbers} SELECT {stdin}, 'stdin', {requester}, 1000, {digest}, {at}, {at} + 9000, {at} + 9500 \
             FROM n"
        ),
        format!(
            "INSERT INTO artifacts (id, kind, owner, size, sha256, created_at, delivered_at, expired_at, \
             removed_at) {numbers} SELECT {proof}, 'proof', {requester}, 1000, {digest}, {at} + 8000, \
             {at} + 9500, {at} + 9500, {at} + 9500 FROM n"
        ),
    ];
    database.run("BEGIN".to_owned()).await?;
    for statement in statements {
        database.run(statement).await?;
    }
    database.run("COMMIT".to_owned()).await?;
    database.close().await
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
        let found = database.count(&query).await?;
        if usize::try_from(found)? >= wanted {
            return database.close().await;
        }
        ensure!(Instant::now() < end, "{found} requests are {state}, not {wanted}");
        sleep(LOOK_AGAIN).await;
    }
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
