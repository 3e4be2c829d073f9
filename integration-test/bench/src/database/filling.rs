//! Requests of which Hierophant finds that it has had them: put into the store of one that does not run.

use anyhow::{Result, ensure};
use test_peers::unix_now;

use super::Database;

/// Milliseconds of a day.
const DAY: i64 = 24 * 3600 * 1000;

/// What has become of the bytes of inputs and proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// Retention has removed them.
    Removed,
    /// They are kept, as far as the store knows.
    Kept,
    /// Their records have expired at this time, in milliseconds; the bytes are still there.
    Expired(i64),
}

/// Finished requests.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Number of the first one.
    pub first: usize,
    /// How many.
    pub requests: usize,
    /// When the first one was made, in milliseconds.
    pub since: i64,
    /// How long it took to make all, in milliseconds.
    pub within: i64,
    /// Their deadline, in seconds.
    pub deadline: i64,
    /// What has become of their inputs and proofs.
    pub bytes: Bytes,
}

/// First digits of what belongs to a number; those of neighbours lie far apart, as random ids do.
fn scattered(number: usize) -> String {
    format!("{:08x}", (number as u64).wrapping_mul(2_654_435_761) & 0xffff_ffff)
}

/// Id of the filled request with a number.
#[must_use]
pub fn request_id(number: usize) -> Vec<u8> {
    format!("{}r{number:023}", scattered(number)).into_bytes()
}

/// Ids of the filled input and proof with a number, in hexadecimal.
#[must_use]
pub fn artifact_id(number: usize) -> [String; 2] {
    ["s", "p"].map(|tag| hex::encode(format!("{}{tag}{number:07}", scattered(number))))
}

/// Puts finished requests into the store of a Hierophant that does not run, as if they had ended over the last day. Their
/// bytes count as removed by retention, because there are none.
///
/// # Errors
///
/// When the database cannot be written to, or its tables have changed.
pub async fn fill(url: &str, requests: usize) -> Result<()> {
    let now = i64::try_from(unix_now())?;
    let (since, deadline) = (now * 1000 - DAY, now + DAY / 1000);
    let ended = Ended { first: 0, requests, since, within: DAY, deadline, bytes: Bytes::Removed };
    fill_with_ended(url, &[ended]).await
}

/// Puts finished requests into the store of a Hierophant that does not run, each with its job, its attempt and the records
/// of its input and proof.
///
/// # Errors
///
/// When the database cannot be written to, or its tables have changed.
pub async fn fill_with_ended(url: &str, groups: &[Ended]) -> Result<()> {
    let mut database = Database::open(url).await?;
    let statements: Vec<String> =
        groups.iter().flat_map(|group| statements_of(&database, *group)).collect();
    database.run_all(statements).await?;
    database.close().await
}

fn statements_of(database: &Database, ended: Ended) -> [String; 5] {
    let Ended { first, requests, since, within, deadline, bytes } = ended;
    let numbers = database.numbers(first, requests);
    let id = |tag, length| database.id(tag, length);
    let (request, job, lease) = (id('r', 32), id('j', 16), id('l', 16));
    let (stdin, proof, worker) = (id('s', 16), id('p', 16), id('w', 16));
    let requester = id('a', 20);
    let (idempotency, key, digest) = (id('i', 32), id('k', 32), id('d', 32));
    // No addresses.
    let empty = database.no_bytes();
    let at = format!("{since} + ((i - {first}) * {within}) / {requests}");
    // As Hierophant records an upload, a delivery, an expiry and a removal.
    let none = "CAST(NULL AS BIGINT)";
    let [stdin_ends, proof_ends] = match bytes {
        Bytes::Removed => ["9000", "9500"]
            .map(|end| format!("'expired', {at} + {end}, {at} + {end}, {at} + 9500")),
        Bytes::Kept => [
            format!("'look', {at}, {none}, {none}"),
            format!("'delivered', {at} + 9500, {none}, {none}"),
        ],
        Bytes::Expired(when) => ["", ""].map(|_| format!("'expired', {when}, {when}, {none}")),
    };
    [
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
            "INSERT INTO artifacts (id, kind, owner, size, sha256, created_at, due_rule, due_since, \
             expired_at, removed_at) {numbers} SELECT {stdin}, 'stdin', {requester}, 1000, {digest}, {at}, \
             {stdin_ends} FROM n"
        ),
        format!(
            "INSERT INTO artifacts (id, kind, owner, size, sha256, created_at, delivered_at, due_rule, \
             due_since, expired_at, removed_at) {numbers} SELECT {proof}, 'proof', {requester}, 1000, \
             {digest}, {at} + 8000, {at} + 9500, {proof_ends} FROM n"
        ),
    ]
}

/// Puts open requests with the same deadline into the store of a Hierophant that does not run, each with a waiting job of
/// its own. All are for the registered program and the uploaded input, of which there must be one each.
///
/// # Errors
///
/// When the database cannot be written to, or its tables have changed.
pub async fn fill_with_open(url: &str, requests: usize, deadline: u64) -> Result<()> {
    let mut database = Database::open(url).await?;
    let programs = database.count("SELECT count(*) FROM programs").await?;
    let inputs = database.count("SELECT count(*) FROM artifacts WHERE kind = 'stdin'").await?;
    ensure!(
        (programs, inputs) == (1, 1),
        "{programs} programs, {inputs} inputs: expected one each"
    );
    // Made an hour ago.
    let at = (unix_now() - 3600) * 1000;
    let numbers = database.numbers(0, requests);
    let (request, job) = (database.id('r', 32), database.id('j', 16));
    let (idempotency, key) = (database.id('i', 32), database.id('k', 32));
    let empty = database.no_bytes();
    let statements = [
        format!(
            "INSERT INTO jobs (id, key, vk_hash, circuit_version, mode, cycle_limit, gas_limit, program, \
             program_size, program_sha256, stdin, stdin_size, stdin_sha256, state, attempts, created_at, \
             updated_at) {numbers} SELECT {job}, {key}, p.vk_hash, 'v6.1.0', 1, 2000000 + i, 1000000000, \
             p.artifact, p.size, p.sha256, a.id, a.size, a.sha256, 'queued', 0, {at}, {at} \
             FROM n, programs p, artifacts a WHERE a.kind = 'stdin'"
        ),
        format!(
            "INSERT INTO requests (id, idempotency_key, job, requester, network_mode, strategy, version, \
             stdin_uri, stdin_private, deadline, min_auction_period, whitelist, state, created_at, \
             updated_at) {numbers} SELECT {request}, {idempotency}, {job}, a.owner, 'reserved', 1, \
             'sp1-v6.1.0', 'http://127.0.0.1:9010/artifacts/00000000000000000000000000000000', 0, \
             {deadline}, 0, {empty}, 'open', {at}, {at} FROM n, artifacts a WHERE a.kind = 'stdin'"
        ),
    ];
    database.run_all(statements).await?;
    database.close().await
}
