//! Changes as writes of rows.

use hierophant_model::records::{
    ArtifactRecord, AttemptRecord, AuditRecord, Change, DueRule, HistoryRow, JobRecord, Millis,
    NoticeRecord, Priority, ProgramRecord, RequestRecord, Setting, TokenRecord,
};
use network_lib::ids::Sha256Digest;
use network_lib::job::FailureClass;

use crate::rows::JOB_IMMUTABLE;
use crate::statement::{Statement, Value};
use crate::table_write::{Row, TableWrite, Write};
use crate::tasks;
use crate::values::{bits, capped, cause_number, mode_number};

// Only mutable columns are replaced: each replaced column also updates the indexes that contain it. Conditions are
// written so that no partial index has the same one: Postgres would read all of that index instead of using the key.
static JOBS: TableWrite =
    TableWrite::upsert("jobs", &["id"], |name| !JOB_IMMUTABLE.contains(&name));
static REQUESTS: TableWrite = TableWrite::upsert("requests", &["id"], is_mutable_in_request);
static ATTEMPTS: TableWrite = TableWrite::upsert("attempts", &["lease"], is_mutable_in_attempt);
static ARTIFACTS: TableWrite = TableWrite::upsert("artifacts", &["id"], is_mutable_in_artifact);
static DELIVERED: TableWrite = TableWrite::update("artifacts", &["id"], "expired_at IS NULL");
static RESCHEDULED: TableWrite = TableWrite::update(
    "artifacts",
    &["id", "delivered_at"],
    "COALESCE(removed_at, 0) = 0 AND expired_at IS NULL",
);
static EXPIRED: TableWrite =
    TableWrite::update("artifacts", &["id"], "COALESCE(removed_at, 0) = 0");
static REMOVED: TableWrite = TableWrite::update("artifacts", &["id"], "");
static FORGOTTEN: TableWrite = TableWrite::delete("artifacts", &["id"], "size IS NULL");
static PROGRAMS: TableWrite = TableWrite::upsert("programs", &["vk_hash"], |_| true);
static PROGRAM_REMOVED: TableWrite = TableWrite::delete("programs", &["vk_hash"], "");
static NONCES: TableWrite = TableWrite::add("accounts", &["address"]);
static SETTINGS: TableWrite = TableWrite::upsert("settings", &["kind", "subject"], |name| {
    ["reason", "since"].contains(&name)
});
static UNSET: TableWrite = TableWrite::delete("settings", &["kind", "subject"], "");
// The name of a token that is revoked is free for the next one.
static TOKENS: TableWrite =
    TableWrite::upsert("tokens", &["id"], |name| name == "revoked_at").in_order();
static TOKEN_USED: TableWrite = TableWrite::update("tokens", &["id"], "");
// A repeated notice has the same content; only its schedule changes.
static NOTICES: TableWrite =
    TableWrite::upsert("notices", &["id"], |name| ["attempts", "next_at"].contains(&name));
static SETTLED: TableWrite = TableWrite::delete("notices", &["id"], "");
static NOTICES_OF: TableWrite = TableWrite::delete("notices", &["receiver"], "");
// An audit record never changes; a repeated write after a lost answer has the same content.
static AUDIT: TableWrite = TableWrite::upsert("audit", &["id"], |_| true);

static OLD_JOBS: TableWrite = TableWrite::delete("jobs", &["id"], "COALESCE(finished_at, -1) >= 0");
static OLD_REQUESTS: TableWrite = TableWrite::delete("requests", &["id"], "");
static OLD_ATTEMPTS: TableWrite = TableWrite::delete("attempts", &["lease"], "");
static OLD_ARTIFACTS: TableWrite =
    TableWrite::delete("artifacts", &["id"], "COALESCE(removed_at, -1) >= 0");
static OLD_AUDIT: TableWrite = TableWrite::delete("audit", &["id"], "");

/// The writes of all changes, in order.
pub(crate) fn writes(changes: &[Change]) -> Vec<Write> {
    changes.iter().map(write).collect()
}

/// The write of a change.
fn write(change: &Change) -> Write {
    match change {
        Change::Job(job) => JOBS.row(job_row(job)),
        Change::Request(request, spec) => {
            REQUESTS.row(request_row(request, request.idempotency_key(spec)))
        }
        Change::Attempt(attempt) => write_attempt(attempt),
        Change::Sharding(sharding) => tasks::sharding(sharding),
        Change::ShardingEnded(job, at) => tasks::sharding_ended(*job, *at),
        Change::ShardingRemoved(job) => tasks::sharding_removed(*job),
        Change::Task(task) => tasks::task(task),
        Change::TasksRemoved(job) => tasks::tasks_removed(*job),
        Change::Artifact(artifact) => write_artifact(artifact),
        Change::Delivered(id, at) => {
            let [rule, since] = due(DueRule::Delivered, *at);
            let id = id.0.as_slice().into();
            DELIVERED.row(vec![("delivered_at", at.0.into()), rule, since, ("id", id)])
        }
        Change::Rescheduled { id, delivered_at, rule, since } => {
            let [rule, since] = due(*rule, *since);
            let seen = delivered_at.map(|at| at.0).into();
            let id = id.0.as_slice().into();
            RESCHEDULED.row(vec![rule, since, ("id", id), ("delivered_at", seen)])
        }
        Change::Expired(id, at) => {
            // What is needed again is looked at in the next sweep.
            let next = at.map_or((DueRule::Look, Millis(0)), |at| (DueRule::Expired, at));
            let [rule, since] = due(next.0, next.1);
            let (at, id) = (at.map(|at| at.0).into(), id.0.as_slice().into());
            EXPIRED.row(vec![("expired_at", at), rule, since, ("id", id)])
        }
        Change::Removed(id, at) => {
            REMOVED.row(vec![("removed_at", at.0.into()), ("id", id.0.as_slice().into())])
        }
        Change::Forgotten(id) => FORGOTTEN.row(vec![("id", id.0.as_slice().into())]),
        Change::Program(program) => write_program(program),
        Change::ProgramState(vk_hash, upload, state) => {
            // Artifacts have an index too: only the key's is to be used.
            let sql = "UPDATE programs SET state = $1 WHERE vk_hash = $2 \
                       AND COALESCE(artifact, $3) = $3 AND state <> 'confirmed'";
            let statement = Statement::new(sql).bind(state.as_str());
            let statement = statement.bind(vk_hash.0.as_slice()).bind(upload.0.as_slice());
            Write::Run("programs", statement)
        }
        Change::ProgramOwner(vk_hash, (owner, client)) => {
            let sql = "UPDATE programs SET owner = $1, client = $2 WHERE vk_hash = $3";
            let statement = Statement::new(sql).bind(owner.as_slice()).bind(client.as_deref());
            Write::Run("programs", statement.bind(vk_hash.0.as_slice()))
        }
        Change::ProgramRemoved(vk_hash) => {
            PROGRAM_REMOVED.row(vec![("vk_hash", vk_hash.0.as_slice().into())])
        }
        Change::CountNonce(address) => {
            NONCES.row(vec![("address", address.as_slice().into()), ("nonce", 1.into())])
        }
        Change::Set(setting) => write_setting(setting),
        Change::Unset(kind, subject) => {
            UNSET.row(vec![("kind", kind.as_str().into()), ("subject", subject.as_str().into())])
        }
        Change::Audited(record) => write_audit(record),
        Change::AuditForgotten(before) => {
            let deleting = Statement::new("DELETE FROM audit WHERE at < $1").bind(before.0);
            Write::Run("audit", deleting)
        }
        Change::Token(token) => write_token(token),
        Change::TokenUsed(id, used) => {
            let (at, from) = (used.at.0.into(), used.from.to_string().as_str().into());
            TOKEN_USED.row(vec![
                ("used_at", at),
                ("used_from", from),
                ("id", id.0.as_slice().into()),
            ])
        }
        Change::Notice(notice) => write_notice(notice),
        Change::NoticeSettled(id) => SETTLED.row(vec![("id", id.as_slice().into())]),
        Change::NoticesMoved(receiver, by, latest) => {
            let moving = Statement::new(
                "UPDATE notices SET next_at = CASE WHEN next_at + $1 > $2 THEN $2 ELSE next_at + $1 END \
                 WHERE receiver = $3",
            );
            let moving = moving.bind(*by).bind(latest.0).bind(receiver.0.as_slice());
            Write::Run("notices", moving)
        }
        Change::ReceiverForgotten(receiver) => {
            NOTICES_OF.row(vec![("receiver", receiver.0.as_slice().into())])
        }
        Change::HistoryDeleted(row) => delete_old(row),
    }
}

fn delete_old(row: &HistoryRow) -> Write {
    match row {
        HistoryRow::Job(id) => OLD_JOBS.row(vec![("id", id.0.as_slice().into())]),
        HistoryRow::Request(id) => OLD_REQUESTS.row(vec![("id", id.0.as_slice().into())]),
        HistoryRow::Attempt(lease) => OLD_ATTEMPTS.row(vec![("lease", lease.0.as_slice().into())]),
        HistoryRow::Artifact(id) => OLD_ARTIFACTS.row(vec![("id", id.0.as_slice().into())]),
        HistoryRow::Audit(id) => OLD_AUDIT.row(vec![("id", id.0.as_slice().into())]),
    }
}

fn job_row(job: &JobRecord) -> Row {
    let failure = job.failure.as_ref();
    let prover = job.prover.as_ref();
    let execution = job.execution.as_ref();
    vec![
        ("id", job.id.0.as_slice().into()),
        ("key", job.key.0.as_slice().into()),
        ("vk_hash", job.spec.vk_hash.0.as_slice().into()),
        ("circuit_version", job.spec.circuit_version.as_str().into()),
        ("mode", mode_number(job.spec.mode).into()),
        ("cycle_limit", bits(job.spec.cycle_limit).into()),
        ("gas_limit", bits(job.spec.gas_limit).into()),
        ("program", job.program.0.as_slice().into()),
        ("program_size", bits(job.program_blob.size).into()),
        ("program_sha256", job.program_blob.sha256.0.as_slice().into()),
        ("stdin", job.stdin.0.as_slice().into()),
        ("stdin_size", bits(job.stdin_blob.size).into()),
        ("stdin_sha256", job.stdin_blob.sha256.0.as_slice().into()),
        ("state", job.state.as_str().into()),
        ("priority", job.priority.map(Priority::as_str).into()),
        ("cycles", execution.map(|e| bits(e.cycles)).into()),
        ("gas", execution.and_then(|e| e.gas).map(bits).into()),
        ("public_values_hash", execution.map(|e| e.public_values_hash.0).into()),
        ("failure", failure.map(|f| f.message.as_str()).into()),
        ("failure_cause", cause_number(failure.and_then(|f| f.cause)).into()),
        ("failure_class", failure.map(|f| f.class.as_str()).into()),
        ("proof", job.proof.map(|id| id.0).into()),
        ("worker", prover.map(|p| p.worker.0).into()),
        ("worker_name", prover.map(|p| p.name.as_str()).into()),
        ("worker_backend", prover.map(|p| p.backend.as_str()).into()),
        ("attempts", i64::from(job.attempts).into()),
        ("created_at", job.created_at.0.into()),
        ("updated_at", job.updated_at.0.into()),
        ("started_at", job.started_at.map(|t| t.0).into()),
        ("finished_at", job.finished_at.map(|t| t.0).into()),
    ]
}

fn request_row(request: &RequestRecord, key: Sha256Digest) -> Row {
    let whitelist: Vec<u8> = request.whitelist.iter().flat_map(|a| a.to_vec()).collect();
    vec![
        ("id", request.id.0.as_slice().into()),
        ("idempotency_key", key.0.as_slice().into()),
        ("job", request.job.0.as_slice().into()),
        ("requester", request.requester.as_slice().into()),
        ("client", request.client.as_deref().into()),
        ("token", request.token.map(|token| token.0).into()),
        ("stated_digest", request.stated_digest.map(|digest| digest.0).into()),
        ("network_mode", request.network_mode.as_str().into()),
        ("strategy", i64::from(request.strategy).into()),
        ("version", request.version.as_str().into()),
        ("stdin_uri", request.stdin_uri.as_str().into()),
        ("stdin_private", i64::from(request.stdin_private).into()),
        ("deadline", capped(request.deadline).into()),
        ("min_auction_period", bits(request.min_auction_period).into()),
        ("whitelist", whitelist.as_slice().into()),
        ("state", request.state.as_str().into()),
        ("created_at", request.created_at.0.into()),
        ("updated_at", request.updated_at.0.into()),
        ("fulfilled_at", request.fulfilled_at.map(|t| t.0).into()),
    ]
}

/// Mutable columns of a request; the client's parameters never change.
fn is_mutable_in_request(column: &str) -> bool {
    ["job", "state", "updated_at", "fulfilled_at"].contains(&column)
}

fn write_attempt(attempt: &AttemptRecord) -> Write {
    let execution = attempt.execution.as_ref();
    let columns = vec![
        ("lease", attempt.lease.0.as_slice().into()),
        ("job", attempt.job.0.as_slice().into()),
        ("task", attempt.task.map(|task| task.id.0).into()),
        ("task_kind", attempt.task.map(|task| task.kind.as_str()).into()),
        ("worker", attempt.prover.worker.0.as_slice().into()),
        ("worker_name", attempt.prover.name.as_str().into()),
        ("worker_backend", attempt.prover.backend.as_str().into()),
        ("started_at", attempt.started_at.0.into()),
        ("begun_at", attempt.first_progress_at.map(|t| t.0).into()),
        ("ended_at", attempt.ended_at.map(|t| t.0).into()),
        ("outcome", attempt.outcome.as_str().into()),
        ("failure_class", attempt.failure_class.map(FailureClass::as_str).into()),
        ("short_of", attempt.out_of_memory.map(|it| it.memory.as_str()).into()),
        ("short_bytes", attempt.out_of_memory.and_then(|it| it.bytes).map(bits).into()),
        ("message", attempt.message.as_deref().into()),
        ("cycles", execution.map(|e| bits(e.cycles)).into()),
        ("gas", execution.and_then(|e| e.gas).map(bits).into()),
        ("public_values_hash", execution.map(|e| e.public_values_hash.0).into()),
        ("proof", attempt.proof.map(|(id, _)| id.0).into()),
        ("proof_size", attempt.proof.map(|(_, blob)| bits(blob.size)).into()),
        ("proof_sha256", attempt.proof.map(|(_, blob)| blob.sha256.0).into()),
    ];
    ATTEMPTS.row(columns)
}

/// Mutable columns of an attempt; job, task, worker and start never change.
fn is_mutable_in_attempt(column: &str) -> bool {
    let fixed =
        ["job", "task", "task_kind", "worker", "worker_name", "worker_backend", "started_at"];
    !fixed.contains(&column)
}

/// When an artifact is looked at next.
fn due(rule: DueRule, since: Millis) -> [(&'static str, Value); 2] {
    [("due_rule", rule.as_str().into()), ("due_since", since.0.into())]
}

fn write_artifact(artifact: &ArtifactRecord) -> Write {
    let [rule, since] = match artifact.expired_at {
        Some(at) => due(DueRule::Expired, at),
        None => due(DueRule::Look, artifact.created_at),
    };
    let columns = vec![
        rule,
        since,
        ("id", artifact.id.0.as_slice().into()),
        ("kind", artifact.kind.as_str().into()),
        ("owner", artifact.owner.as_slice().into()),
        ("client", artifact.client.as_deref().into()),
        ("size", artifact.blob.map(|blob| bits(blob.size)).into()),
        ("sha256", artifact.blob.map(|blob| blob.sha256.0).into()),
        ("created_at", artifact.created_at.0.into()),
        ("delivered_at", artifact.delivered_at.map(|t| t.0).into()),
        ("expired_at", artifact.expired_at.map(|t| t.0).into()),
        ("removed_at", artifact.removed_at.map(|t| t.0).into()),
    ];
    ARTIFACTS.row(columns)
}

/// Mutable columns of an artifact; kind, owner, client and creation time never change.
fn is_mutable_in_artifact(column: &str) -> bool {
    !["kind", "owner", "client", "created_at"].contains(&column)
}

fn write_program(program: &ProgramRecord) -> Write {
    let columns = vec![
        ("vk_hash", program.vk_hash.0.as_slice().into()),
        ("vk", program.vk.as_slice().into()),
        ("artifact", program.artifact.0.as_slice().into()),
        ("size", bits(program.blob.size).into()),
        ("sha256", program.blob.sha256.0.as_slice().into()),
        ("owner", program.owner.as_slice().into()),
        ("client", program.client.as_deref().into()),
        ("state", program.state.as_str().into()),
        ("created_at", program.created_at.0.into()),
    ];
    PROGRAMS.row(columns)
}

fn write_setting(setting: &Setting) -> Write {
    let columns = vec![
        ("kind", setting.kind.as_str().into()),
        ("subject", setting.subject.as_str().into()),
        ("reason", setting.reason.as_str().into()),
        ("since", setting.since.0.into()),
    ];
    SETTINGS.row(columns)
}

fn write_token(token: &TokenRecord) -> Write {
    let columns = vec![
        ("id", token.id.0.as_slice().into()),
        ("name", token.name.as_str().into()),
        ("role", token.role.as_str().into()),
        ("client", token.client.as_deref().into()),
        ("digest", token.digest.0.as_slice().into()),
        ("created_at", token.created_at.0.into()),
        ("revoked_at", token.revoked_at.map(|t| t.0).into()),
        ("expires_at", token.expires_at.map(|t| t.0).into()),
    ];
    TOKENS.row(columns)
}

fn write_notice(notice: &NoticeRecord) -> Write {
    let columns = vec![
        ("id", notice.id.as_slice().into()),
        ("receiver", notice.receiver.0.as_slice().into()),
        ("request", notice.request.0.as_slice().into()),
        ("state", notice.state.as_str().into()),
        ("ended_at", notice.ended_at.0.into()),
        ("attempts", i64::from(notice.attempts).into()),
        ("next_at", notice.next_at.0.into()),
    ];
    NOTICES.row(columns)
}

fn write_audit(record: &AuditRecord) -> Write {
    let token = record.by.as_ref().map(|(token, _)| token.to_string());
    let columns = vec![
        ("id", record.id.as_bytes().as_slice().into()),
        ("at", record.at.0.into()),
        ("token", token.as_deref().into()),
        ("name", record.by.as_ref().map(|(_, name)| name.as_str()).into()),
        ("peer", record.peer.as_str().into()),
        ("forwarded", record.forwarded.as_deref().into()),
        ("program", record.program.as_str().into()),
        ("action", record.action.as_str().into()),
        ("body", record.body.as_str().into()),
        ("code", i64::from(record.code).into()),
    ];
    AUDIT.row(columns)
}
