//! Plans that Postgres keeps: made for tables of any size, they find rows by their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use hierophant_model::records::{
    ArtifactKind, AuditRecord, Change, DueRule, HistoryRow, Millis, NoticeRecord, ProgramState,
    Role, Setting, SettingKind, TokenRecord, TokenUse,
};
use hierophant_store::{JobStore, postgres};
use network_lib::ids::{ArtifactId, AuditId, JobId, LeaseId, RequestId, Sha256Digest, TokenId};
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row};

use super::history::audited;
use super::notices::notice;
use super::postgres_only::administer;
use super::records::{artifact, attempt, bytes, full_job, program, request, spec};
use super::shardings::{sharding, task};
use super::tokens::token;
use crate::support::postgres::Server;

/// Conditions that find more than the rows of one key: a prefix of an id, of which two rows are read, and what is older than
/// a time.
const RANGES: [(&str, &str); 2] =
    [("requests_pkey", "((id >= $1) AND (id < $2))"), ("audit_by_time", "(at < $1)")];

/// Rows that a table gets while plans are kept.
const ROWS: u32 = 5000;

/// How the server plans a statement: indexes with the columns that they are searched by.
type Plans = BTreeMap<String, Vec<(String, String)>>;

/// New rows of all tables.
fn insertions(number: u32) -> Vec<Change> {
    let job = full_job(number);
    let proof = artifact(job.proof.expect("proved"), ArtifactKind::Proof);
    let id = Sha256Digest(bytes(13, number));
    let name = number.to_string();
    vec![
        Change::Request(request(number, &job), spec()),
        Change::Attempt(attempt(number, &job)),
        Change::Sharding(sharding(job.id)),
        Change::Task(task(number, job.id)),
        Change::Job(job),
        Change::Artifact(proof),
        Change::Program(program(number)),
        Change::CountNonce(Address::left_padding_from(&number.to_be_bytes())),
        Change::Set(Setting {
            kind: SettingKind::Blocked,
            subject: name.clone(),
            reason: String::new(),
            since: Millis(1),
        }),
        Change::Token(TokenRecord {
            id: TokenId(bytes(14, number)),
            digest: id,
            ..token(1, &name, Role::Worker)
        }),
        Change::Notice(NoticeRecord { id: bytes(15, number), receiver: id, ..notice(1, number) }),
        Change::Audited(AuditRecord {
            id: AuditId(bytes(16, number)),
            ..audited(0, number.into())
        }),
    ]
}

/// Changes and deletions of rows, each found by its key.
fn changes(number: u32) -> Vec<Change> {
    let id = ArtifactId(bytes(6, number));
    let receiver = Sha256Digest(bytes(13, number));
    let program = program(number);
    let used = TokenUse { at: Millis(2), from: "10.0.0.9".parse().expect("an address") };
    let rule = DueRule::Look;
    vec![
        Change::ShardingEnded(JobId(bytes(2, number)), Millis(1)),
        Change::ShardingRemoved(JobId(bytes(2, number))),
        Change::TasksRemoved(JobId(bytes(2, number))),
        Change::Delivered(id, Millis(1)),
        Change::Rescheduled { id, delivered_at: None, rule, since: Millis(1) },
        Change::Expired(id, None),
        Change::Removed(id, Millis(1)),
        Change::Forgotten(id),
        Change::ProgramState(program.vk_hash, program.artifact, ProgramState::Refuted),
        Change::ProgramOwner(program.vk_hash, (Address::ZERO, None)),
        Change::ProgramRemoved(program.vk_hash),
        Change::Unset(SettingKind::Blocked, number.to_string()),
        Change::AuditForgotten(Millis(-1)),
        Change::TokenUsed(TokenId(bytes(14, number)), used),
        Change::NoticeSettled(bytes(15, number)),
        Change::NoticesMoved(receiver, 1, Millis(2)),
        Change::ReceiverForgotten(receiver),
        Change::HistoryDeleted(HistoryRow::Job(JobId(bytes(2, number)))),
        Change::HistoryDeleted(HistoryRow::Request(RequestId(bytes(8, number)))),
        Change::HistoryDeleted(HistoryRow::Attempt(LeaseId(bytes(10, number)))),
        Change::HistoryDeleted(HistoryRow::Artifact(id)),
        Change::HistoryDeleted(HistoryRow::Audit(AuditId(bytes(16, number)))),
    ]
}

/// One look-up of each kind, and one write.
async fn use_all(store: &Arc<dyn JobStore>, number: u32) {
    let (call, key) = (Sha256Digest(bytes(7, number)), Sha256Digest(bytes(3, number)));
    let id = RequestId(bytes(8, number));
    store.artifact(ArtifactId(bytes(6, number))).await.expect("reads");
    store.program(program(number).vk_hash).await.expect("reads");
    store.job(JobId(bytes(2, number))).await.expect("reads");
    store.divided_job(JobId(bytes(2, number)), 10).await.expect("reads");
    store.request(id).await.expect("reads");
    store.requests_with_prefix(&id.0[..4]).await.expect("reads");
    store.request_by_idempotency_key(call).await.expect("reads");
    store.submission(call, key, Millis(0)).await.expect("reads");
    store.proved_job(key).await.expect("reads");
    store.set_aside(key, Millis(0)).await.expect("reads");
    store.nonce(Address::left_padding_from(&number.to_be_bytes())).await.expect("reads");
    store.audited_at(AuditId(bytes(16, number))).await.expect("reads");
    for change in changes(number).into_iter().chain(insertions(number)) {
        store.commit(&[change]).await.expect("commits");
    }
    store.commit(&insertions(number)).await.expect("commits all at once");
    // What remains is what was inserted.
    assert!(store.request(id).await.expect("reads").is_some());
}

/// Copies a row of each table many times, with other keys.
async fn fill(url: &str) {
    let id = |length: usize| format!("'\\xff' || lpad(to_hex(i), {}, '0')", 2 * length - 2);
    let (short, long, address) = (id(16), id(32), id(20));
    for (table, columns) in [
        ("accounts", format!("'address', {address}")),
        ("artifacts", format!("'id', {short}, 'created_at', i")),
        ("attempts", format!("'lease', {short}, 'job', {short}")),
        ("audit", format!("'id', {short}, 'at', i")),
        ("jobs", format!("'id', {short}, 'key', {long}, 'proof', {short}, 'finished_at', i")),
        ("notices", format!("'id', {long}, 'receiver', {long}")),
        ("programs", format!("'vk_hash', {long}, 'artifact', {short}")),
        ("requests", format!("'id', {long}, 'idempotency_key', {long}, 'job', {short}")),
        ("settings", "'subject', 'copy ' || i".to_owned()),
        ("shardings", format!("'job', {short}")),
        ("tasks", format!("'id', {short}, 'job', {short}")),
        ("tokens", format!("'id', {short}, 'digest', {long}, 'name', 'copy ' || i")),
    ] {
        let copying = format!(
            "INSERT INTO {table} SELECT r.* FROM {table} s, generate_series(1, {ROWS}) i, \
             LATERAL jsonb_populate_record(s, jsonb_build_object({columns})) r \
             WHERE s.ctid = (SELECT ctid FROM {table} LIMIT 1)"
        );
        administer(url, &copying).await;
    }
}

/// The first column of each index.
async fn first_columns(url: &str) -> BTreeMap<String, String> {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let query = "SELECT i.indexrelid::regclass::text AS name, a.attname::text AS first \
                 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]";
    let rows = sqlx::query(query).fetch_all(&mut connection).await.expect("reads");
    let text = |row: &sqlx::postgres::PgRow, name| row.try_get::<String, _>(name).expect("a text");
    rows.iter().map(|row| (text(row, "name"), text(row, "first"))).collect()
}

/// The plans of Hierophant's statements in the server's log. Other statements are an administrator's.
fn logged(log: &str) -> Vec<(String, Value)> {
    // Later lines of an entry begin with a tab.
    let entries = log.replace("\n\t", "");
    let plans = entries.lines().filter(|line| line.starts_with("hierophant ")).filter_map(|line| {
        let (_, plan) = line.split_once("plan:")?;
        let plan: Value = serde_json::from_str(plan).expect("is JSON");
        let text = plan["Query Text"].as_str().expect("a text").to_owned();
        (!text.contains("_sqlx_migrations")).then(|| (text, plan["Plan"].clone()))
    });
    plans.collect()
}

/// The indexes that a plan searches, with the columns. Fails if it reads a table in another way.
fn searches(plan: &Value, firsts: &BTreeMap<String, String>, found: &mut Vec<(String, String)>) {
    let text = |name: &str| plan[name].as_str();
    let node = text("Node Type").expect("a node");
    match (node, text("Index Name")) {
        ("Index Scan" | "Index Only Scan" | "Bitmap Index Scan", Some(index)) => {
            let condition = text("Index Cond").unwrap_or_default();
            let by_first = condition.contains(&format!("({} = ", firsts[index]));
            assert!(by_first || RANGES.contains(&(index, condition)), "reads all of it: {plan:#}");
            found.push((index.to_owned(), condition.to_owned()));
        }
        ("BitmapAnd", _) => panic!("two indexes fulfil one condition: {plan:#}"),
        ("ModifyTable" | "Bitmap Heap Scan", _) => {}
        _ => assert_eq!(text("Relation Name"), None, "reads all of it: {plan:#}"),
    }
    for part in plan["Plans"].as_array().into_iter().flatten() {
        searches(part, firsts, found);
    }
}

#[tokio::test]
async fn plans_that_are_kept_find_rows_by_their_keys_whatever_the_statistics_are() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("starts");
    let server = Arc::new(server);
    administer(&server.url("postgres"), "ALTER SYSTEM SET log_line_prefix = '%a '").await;
    administer(&server.url("postgres"), "SELECT pg_reload_conf()").await;
    let mut all = Plans::new();
    for analyzed in [None, Some(0), Some(1), Some(2), Some(40)] {
        let making = Arc::clone(&server);
        let made = tokio::task::spawn_blocking(move || making.create_database());
        let name = made.await.expect("makes a database");
        let url = server.url(&name);
        let store = postgres::open(&url, ()).await.expect("opens");
        for number in 0..analyzed.unwrap_or_default() {
            store.commit(&insertions(number)).await.expect("commits");
        }
        store.close().await;
        if analyzed.is_some() {
            administer(&url, "ANALYZE").await;
        }
        for setting in [
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_format = 'json'",
        ] {
            administer(&url, &format!("ALTER DATABASE {name} SET {setting}")).await;
        }
        let before = server.log().len();
        // Plans are made for the tables as they are, used when these have grown, and made once more after an analysis.
        let store = postgres::open(&url, ()).await.expect("opens");
        use_all(&store, 1000).await;
        fill(&url).await;
        use_all(&store, 2000).await;
        administer(&url, "ANALYZE").await;
        use_all(&store, 3000).await;
        store.close().await;

        let firsts = first_columns(&url).await;
        let plans = logged(&server.log()[before..]);
        assert!(plans.len() > 3 * 40, "only {} plans were logged", plans.len());
        for (statement, plan) in plans {
            let mut found = Vec::new();
            searches(&plan, &firsts, &mut found);
            let earlier = all.entry(statement).or_insert_with(|| found.clone());
            assert_eq!(*earlier, found, "with {analyzed:?} rows analyzed: {plan:#}");
        }
    }
}
