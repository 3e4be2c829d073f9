//! Statements that write changes.

use std::collections::BTreeMap;

use hierophant_model::records::{
    ArtifactRecord, AttemptRecord, AuditRecord, Change, JobRecord, NoticeRecord, Priority,
    ProgramRecord, RequestRecord, Setting, TokenRecord,
};
use network_lib::ids::Sha256Digest;
use network_lib::job::FailureClass;

use crate::rows::JOB_IMMUTABLE;
use crate::statement::{ROWS_PER_STATEMENT, Row, Statement, Upsert};
use crate::values::{bits, capped, cause_number, mode_number};

// Only mutable columns are replaced: each replaced column also updates the indexes that contain it.
static JOBS: Upsert = Upsert::new("jobs", "id", |name| !JOB_IMMUTABLE.contains(&name));
static REQUESTS: Upsert = Upsert::new("requests", "id", is_mutable_in_request);
static ATTEMPTS: Upsert = Upsert::new("attempts", "lease", is_mutable_in_attempt);
static ARTIFACTS: Upsert = Upsert::new("artifacts", "id", is_mutable_in_artifact);
static PROGRAMS: Upsert = Upsert::new("programs", "vk_hash", |_| true);
static SETTINGS: Upsert =
    Upsert::new("settings", "kind, subject", |name| ["reason", "since"].contains(&name));
static TOKENS: Upsert = Upsert::new("tokens", "id", |name| name == "revoked_at");
// A repeated notice has the same content; only its schedule changes.
static NOTICES: Upsert =
    Upsert::new("notices", "id", |name| ["attempts", "next_at"].contains(&name));
// An audit record never changes; a repeated write after a lost answer has the same content.
static AUDIT: Upsert = Upsert::new("audit", "id", |_| true);

/// The statements that write all changes in one transaction.
pub(crate) fn statements(changes: &[Change]) -> Vec<Statement> {
    // Of several changes to one row the last one counts, and no table refers to another.
    if changes.len() < ROWS_PER_STATEMENT {
        let lasting = changes.iter().enumerate();
        let lasting = lasting.filter(|(place, it)| !is_replaced(it, &changes[place + 1..]));
        return lasting.map(|(_, change)| statement(change)).collect();
    }
    let (mut jobs, mut requests, mut rest) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for change in changes {
        match change {
            Change::Job(job) => drop(jobs.insert(job.id, job)),
            Change::Request(request, spec) => drop(requests.insert(request.id, (request, spec))),
            other => rest.push(statement(other)),
        }
    }
    let jobs: Vec<Row> = jobs.into_values().map(job_row).collect();
    let requests = requests.into_values();
    let requests: Vec<Row> =
        requests.map(|(it, spec)| request_row(it, it.idempotency_key(spec))).collect();
    for rows in in_parts(jobs) {
        rest.push(JOBS.rows(rows));
    }
    for rows in in_parts(requests) {
        rest.push(REQUESTS.rows(rows));
    }
    rest
}

/// Whether a later change overwrites the same row.
fn is_replaced(change: &Change, later: &[Change]) -> bool {
    later.iter().any(|later| match (change, later) {
        (Change::Job(one), Change::Job(other)) => one.id == other.id,
        (Change::Attempt(one), Change::Attempt(other)) => one.lease == other.lease,
        _ => false,
    })
}

/// Splits rows into full parts and single rows, so that only two statements have to be prepared.
fn in_parts(mut rows: Vec<Row>) -> Vec<Vec<Row>> {
    let left = rows.split_off(rows.len() - rows.len() % ROWS_PER_STATEMENT);
    let mut parts: Vec<Vec<Row>> = left.into_iter().map(|row| vec![row]).collect();
    while !rows.is_empty() {
        parts.push(rows.split_off(rows.len() - ROWS_PER_STATEMENT));
    }
    parts
}

/// The statement that writes a change.
fn statement(change: &Change) -> Statement {
    match change {
        Change::Job(job) => JOBS.row(job_row(job)),
        Change::Request(request, spec) => {
            REQUESTS.row(request_row(request, request.idempotency_key(spec)))
        }
        Change::Attempt(attempt) => write_attempt(attempt),
        Change::Artifact(artifact) => write_artifact(artifact),
        Change::Delivered(id, at) => {
            let sql = "UPDATE artifacts SET delivered_at = $1 WHERE id = $2";
            Statement::new(sql).bind(at.0).bind(id.0.as_slice())
        }
        Change::Expired(id, at) => {
            let sql = "UPDATE artifacts SET expired_at = $1 WHERE id = $2 AND removed_at IS NULL";
            Statement::new(sql).bind(at.map(|at| at.0)).bind(id.0.as_slice())
        }
        Change::Removed(id, at) => {
            let sql = "UPDATE artifacts SET removed_at = $1 WHERE id = $2";
            Statement::new(sql).bind(at.0).bind(id.0.as_slice())
        }
        Change::Forgotten(id) => {
            let sql = "DELETE FROM artifacts WHERE id = $1 AND size IS NULL";
            Statement::new(sql).bind(id.0.as_slice())
        }
        Change::Program(program) => write_program(program),
        Change::ProgramState(vk_hash, upload, state) => {
            let sql = "UPDATE programs SET state = $1 WHERE vk_hash = $2 AND artifact = $3 \
                       AND state <> 'confirmed'";
            let statement = Statement::new(sql).bind(state.as_str());
            statement.bind(vk_hash.0.as_slice()).bind(upload.0.as_slice())
        }
        Change::ProgramOwner(vk_hash, (owner, client)) => {
            let sql = "UPDATE programs SET owner = $1, client = $2 WHERE vk_hash = $3";
            let statement = Statement::new(sql).bind(owner.as_slice()).bind(client.as_deref());
            statement.bind(vk_hash.0.as_slice())
        }
        Change::ProgramRemoved(vk_hash) => {
            Statement::new("DELETE FROM programs WHERE vk_hash = $1").bind(vk_hash.0.as_slice())
        }
        Change::CountNonce(address) => Statement::new(
            "INSERT INTO accounts (address, nonce) VALUES ($1, 1) \
             ON CONFLICT (address) DO UPDATE SET nonce = accounts.nonce + 1",
        )
        .bind(address.as_slice()),
        Change::Set(setting) => write_setting(setting),
        Change::Unset(kind, subject) => {
            let sql = "DELETE FROM settings WHERE kind = $1 AND subject = $2";
            Statement::new(sql).bind(kind.as_str()).bind(subject.as_str())
        }
        Change::Audited(record) => write_audit(record),
        Change::AuditForgotten(before) => {
            Statement::new("DELETE FROM audit WHERE at < $1").bind(before.0)
        }
        Change::Token(token) => write_token(token),
        Change::TokenUsed(id, used) => {
            let sql = "UPDATE tokens SET used_at = $1, used_from = $2 WHERE id = $3";
            let from = used.from.to_string();
            Statement::new(sql).bind(used.at.0).bind(from.as_str()).bind(id.0.as_slice())
        }
        Change::Notice(notice) => write_notice(notice),
        Change::NoticeSettled(id) => {
            Statement::new("DELETE FROM notices WHERE id = $1").bind(id.as_slice())
        }
        Change::NoticesMoved(receiver, by, latest) => Statement::new(
            "UPDATE notices SET next_at = CASE WHEN next_at + $1 > $2 THEN $2 ELSE next_at + $1 END \
             WHERE receiver = $3",
        )
        .bind(*by)
        .bind(latest.0)
        .bind(receiver.0.as_slice()),
        Change::ReceiverForgotten(receiver) => {
            let sql = "DELETE FROM notices WHERE receiver = $1";
            Statement::new(sql).bind(receiver.0.as_slice())
        }
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

fn write_attempt(attempt: &AttemptRecord) -> Statement {
    let execution = attempt.execution.as_ref();
    let columns = vec![
        ("lease", attempt.lease.0.as_slice().into()),
        ("job", attempt.job.0.as_slice().into()),
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

/// Mutable columns of an attempt; job, worker and start never change.
fn is_mutable_in_attempt(column: &str) -> bool {
    !["job", "worker", "worker_name", "worker_backend", "started_at"].contains(&column)
}

fn write_artifact(artifact: &ArtifactRecord) -> Statement {
    let columns = vec![
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

fn write_program(program: &ProgramRecord) -> Statement {
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

fn write_setting(setting: &Setting) -> Statement {
    let columns = vec![
        ("kind", setting.kind.as_str().into()),
        ("subject", setting.subject.as_str().into()),
        ("reason", setting.reason.as_str().into()),
        ("since", setting.since.0.into()),
    ];
    SETTINGS.row(columns)
}

fn write_token(token: &TokenRecord) -> Statement {
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

fn write_notice(notice: &NoticeRecord) -> Statement {
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

fn write_audit(record: &AuditRecord) -> Statement {
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
