//! Which plans Postgres makes: those that find rows by keys use indexes, whatever the statistics say.

use alloy_primitives::Address;
use hierophant_model::records::{
    ArtifactKind, Change, DueRule, HistoryRow, JobRecord, Millis, RequestState,
};
use hierophant_store::postgres;
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest};
use sqlx::{Connection, PgConnection, Row};

use super::postgres_only::administer;
use super::records::{artifact, attempt, bytes, full_job, program, request, spec};
use super::shardings::{sharding, task};
use crate::support::postgres::database;

/// Rows and entries of indexes that statements have read since the statistics were reset.
async fn rows_read(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let query = "SELECT ((SELECT COALESCE(SUM(seq_tup_read), 0) FROM pg_stat_user_tables) \
                 + (SELECT COALESCE(SUM(idx_tup_read), 0) FROM pg_stat_user_indexes))::bigint AS rows";
    let row = sqlx::query(query).fetch_one(&mut connection).await.expect("reads");
    row.try_get("rows").expect("a number")
}

#[tokio::test]
async fn look_ups_use_indexes_even_after_an_analysis_of_tables_that_were_almost_empty() {
    const ROWS: u32 = 5000;
    let database = database().await;
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let proved = full_job(1);
    let proof = artifact(proved.proof.expect("proved"), ArtifactKind::Proof);
    let first = [
        Change::Job(proved.clone()),
        Change::Request(request(1, &proved), spec()),
        Change::Artifact(proof.clone()),
        Change::Program(program(1)),
        Change::CountNonce(Address::ZERO),
    ];
    store.commit(&first).await.expect("commits");
    administer(&database.url, "ANALYZE").await;
    // Sessions that plan their statements now, and a store that remembers nothing.
    store.close().await;
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let look = async |number: u32| {
        let (call, key) = (Sha256Digest(bytes(7, number)), Sha256Digest(bytes(3, number)));
        store.artifact(ArtifactId(bytes(6, number))).await.expect("reads");
        store.job(JobId(bytes(2, number))).await.expect("reads");
        store.request(RequestId(bytes(8, number))).await.expect("reads");
        store.submission(call, key, Millis(0)).await.expect("reads");
        store.proved_job(key).await.expect("reads");
        store.nonce(Address::left_padding_from(&number.to_be_bytes())).await.expect("reads");
        let id = ArtifactId(bytes(6, number));
        let rescheduled =
            Change::Rescheduled { id, delivered_at: None, rule: DueRule::Look, since: Millis(1) };
        for change in [
            Change::Delivered(id, Millis(1)),
            rescheduled,
            Change::Expired(id, None),
            Change::CountNonce(Address::left_padding_from(&number.to_be_bytes())),
            Change::HistoryDeleted(HistoryRow::Job(JobId(bytes(3, number)))),
            Change::HistoryDeleted(HistoryRow::Artifact(ArtifactId(bytes(7, number)))),
        ] {
            store.commit(&[change]).await.expect("commits");
        }
    };
    for number in 0..10 {
        look(number).await;
    }
    let id = "decode(lpad(to_hex(i), 32, '0'), 'hex')";
    for copy in [
        format!(
            "INSERT INTO artifacts (id, kind, owner, size, sha256, created_at) \
             SELECT {id}, kind, owner, size, sha256, created_at FROM artifacts, generate_series(1, {ROWS}) i"
        ),
        format!(
            "INSERT INTO requests SELECT r.* FROM requests s, generate_series(1, {ROWS}) i, \
             LATERAL jsonb_populate_record(s, jsonb_build_object('id', '\\x' || encode({id}, 'hex'), \
             'idempotency_key', '\\x' || encode({id}, 'hex'))) r"
        ),
        format!(
            "INSERT INTO jobs SELECT r.* FROM jobs s, generate_series(1, {ROWS}) i, \
             LATERAL jsonb_populate_record(s, jsonb_build_object('id', '\\x' || encode({id}, 'hex'), \
             'key', '\\x' || encode({id}, 'hex'))) r"
        ),
        "SELECT pg_stat_reset()".to_owned(),
    ] {
        administer(&database.url, &copy).await;
    }
    for number in 0..100 {
        look(number).await;
    }
    // Sessions report their statistics at their end.
    store.close().await;
    let read = rows_read(&database.url).await;
    assert!(read < 5000, "{read} rows and entries were read by 100 look-ups of each kind");
}

#[tokio::test]
async fn sweeps_and_archiving_use_indexes_in_tables_that_were_never_analysed() {
    const ROWS: u32 = 25_000;
    const BATCH: u32 = 200;
    const BATCHES: usize = 2;
    let database = database().await;
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let proved = JobRecord { finished_at: Some(Millis(1_000_000)), ..full_job(1) };
    let mut answered = request(1, &proved);
    answered.state = RequestState::Fulfilled;
    let proof = artifact(proved.proof.expect("proved"), ArtifactKind::Proof);
    let first = [
        Change::Job(proved.clone()),
        Change::Request(answered, spec()),
        Change::Attempt(attempt(1, &proved)),
        Change::Artifact(proof),
        Change::Artifact(artifact(proved.stdin, ArtifactKind::Stdin)),
        Change::Sharding(sharding(proved.id)),
        Change::ShardingEnded(proved.id, Millis(1_000_000)),
        Change::Task(task(1, proved.id)),
    ];
    store.commit(&first).await.expect("commits");
    // Each copy has ids of its own, which end in its number.
    let id = |kind: u8, length: usize| {
        let digits = 2 * length - 2;
        format!("'\\x{kind:02x}' || lpad(to_hex(i), {digits}, '0')")
    };
    let (job, key, proof, input) = (id(2, 16), id(3, 32), id(6, 16), id(5, 16));
    let own_task = id(17, 16);
    let (own, idempotency, lease) = (id(8, 32), id(9, 32), id(10, 16));
    for (table, columns) in [
        (
            "artifacts",
            format!(
                "'id', CASE s.kind WHEN 'proof' THEN {proof} ELSE {input} END, 'due_since', i, \
                 'due_rule', CASE s.kind WHEN 'proof' THEN 'delivered' ELSE 'ended' END"
            ),
        ),
        ("shardings", format!("'job', {job}, 'ended_at', i")),
        ("tasks", format!("'id', {own_task}, 'job', {job}, 'key', {key}")),
        ("attempts", format!("'lease', {lease}, 'job', {job}, 'proof', {proof}")),
        ("requests", format!("'id', {own}, 'idempotency_key', {idempotency}, 'job', {job}")),
        (
            "jobs",
            format!(
                "'id', {job}, 'key', {key}, 'proof', {proof}, 'stdin', {input}, 'finished_at', i"
            ),
        ),
    ] {
        let copy = format!(
            "INSERT INTO {table} SELECT r.* FROM {table} s, generate_series(1, {ROWS}) i, \
             LATERAL jsonb_populate_record(s, jsonb_build_object({columns})) r"
        );
        administer(&database.url, &copy).await;
    }
    administer(&database.url, "SELECT pg_stat_reset()").await;

    let (mut due, mut ended) = ([None; 2], None);
    for _ in 0..BATCHES {
        for (rule, due) in [DueRule::Delivered, DueRule::Ended].into_iter().zip(&mut due) {
            let found = store.due_artifacts(rule, Millis(1000), *due, BATCH).await;
            let found = found.expect("reads");
            assert_eq!(found.len(), BATCH as usize);
            assert!(found.iter().all(|due| due.used.ended_at.is_some()), "{found:?}");
            *due = found.last().map(|due| (due.since, due.artifact.id));
        }
        let jobs = store.ended_jobs(Millis(1000), ended, BATCH, Millis(0)).await.expect("reads");
        assert_eq!(jobs.len(), BATCH as usize);
        ended = jobs.last().map(|ended| (at(&ended.job), ended.job.id));
        let ids: Vec<JobId> = jobs.iter().map(|ended| ended.job.id).collect();
        let divided = store.ended_shardings(Millis(1000), BATCH).await.expect("reads");
        assert_eq!(divided.len(), BATCH as usize);
        for id in &ids[..20] {
            assert_eq!(store.attempts(*id).await.expect("reads").len(), 1);
            let divided = store.divided_job(*id, 100).await.expect("reads").expect("divided");
            assert_eq!(divided.tasks.len(), 1);
            assert_eq!(store.task_counts(*id).await.expect("reads").all, 1);
        }
        let requests = store.requests_of_jobs(&ids, 1000).await.expect("reads");
        let attempts = store.attempts_of_jobs(&ids, 1000).await.expect("reads");
        assert_eq!((requests.len(), attempts.len()), (BATCH as usize, BATCH as usize));
    }
    store.close().await;
    let read = rows_read(&database.url).await;
    let most = i64::from(BATCH) * BATCHES as i64 * 30;
    assert!(read < most, "{read} rows and entries were read in {BATCHES} batches of {BATCH}");
}

/// When a job has ended.
fn at(job: &JobRecord) -> Millis {
    job.finished_at.expect("has ended")
}
