//! Records as JSON. Ids are hexadecimal, times milliseconds of the Unix clock; the names are those of the database's
//! columns.

use hex::encode;
use hierophant_model::records::{
    ArtifactRecord, AttemptRecord, AuditRecord, JobRecord, Millis, RequestRecord,
};
use network_lib::job::{BlobInfo, Execution, FailureClass};
use serde_json::{Value, json};

const fn millis(at: Option<Millis>) -> Option<i64> {
    match at {
        Some(at) => Some(at.0),
        None => None,
    }
}

fn blob(info: &BlobInfo) -> Value {
    json!({ "size": info.size, "sha256": encode(info.sha256.0) })
}

fn execution(execution: &Execution) -> Value {
    json!({
        "cycles": execution.cycles,
        "gas": execution.gas,
        "public_values_hash": encode(execution.public_values_hash.0),
    })
}

/// A job.
pub(super) fn job(job: &JobRecord) -> Value {
    json!({
        "record": "job",
        "id": encode(job.id.0),
        "key": encode(job.key.0),
        "vk_hash": encode(job.spec.vk_hash.0),
        "circuit_version": job.spec.circuit_version,
        "mode": job.spec.mode.as_str(),
        "cycle_limit": job.spec.cycle_limit,
        "gas_limit": job.spec.gas_limit,
        "program": encode(job.program.0),
        "program_blob": blob(&job.program_blob),
        "stdin": encode(job.stdin.0),
        "stdin_blob": blob(&job.stdin_blob),
        "state": job.state.as_str(),
        "execution": job.execution.as_ref().map(execution),
        "failure": job.failure.as_ref().map(|failure| json!({
            "class": failure.class.as_str(),
            "message": failure.message,
        })),
        "proof": job.proof.map(|id| encode(id.0)),
        "worker": job.prover.as_ref().map(|prover| json!({
            "id": encode(prover.worker.0),
            "name": prover.name,
            "backend": prover.backend.as_str(),
        })),
        "attempts": job.attempts,
        "created_at": job.created_at.0,
        "updated_at": job.updated_at.0,
        "started_at": millis(job.started_at),
        "finished_at": millis(job.finished_at),
    })
}

/// A request.
pub(super) fn request(request: &RequestRecord) -> Value {
    json!({
        "record": "request",
        "id": encode(request.id.0),
        "job": encode(request.job.0),
        "requester": encode(request.requester),
        "client": request.client.as_deref(),
        "network_mode": request.network_mode.as_str(),
        "strategy": request.strategy,
        "version": request.version,
        "stdin_uri": request.stdin_uri,
        "stdin_private": request.stdin_private,
        "deadline": request.deadline,
        "min_auction_period": request.min_auction_period,
        "whitelist": request.whitelist.iter().map(encode).collect::<Vec<_>>(),
        "state": request.state.as_str(),
        "created_at": request.created_at.0,
        "updated_at": request.updated_at.0,
        "fulfilled_at": millis(request.fulfilled_at),
    })
}

/// An attempt. Its lease is left out: the digest in traces identifies it.
pub(super) fn attempt(attempt: &AttemptRecord) -> Value {
    json!({
        "record": "attempt",
        "job": encode(attempt.job.0),
        "task": attempt.task.map(|task| encode(task.id.0)),
        "task_kind": attempt.task.map(|task| task.kind.as_str()),
        "worker": encode(attempt.prover.worker.0),
        "worker_name": attempt.prover.name,
        "worker_backend": attempt.prover.backend.as_str(),
        "started_at": attempt.started_at.0,
        "begun_at": millis(attempt.first_progress_at),
        "ended_at": millis(attempt.ended_at),
        "outcome": attempt.outcome.as_str(),
        "failure_class": attempt.failure_class.map(FailureClass::as_str),
        "message": attempt.message,
        "execution": attempt.execution.as_ref().map(execution),
        "proof": attempt.proof.as_ref().map(|(id, info)| json!({
            "id": encode(id.0),
            "blob": blob(info),
        })),
    })
}

/// A removed artifact.
pub(super) fn artifact(artifact: &ArtifactRecord) -> Value {
    json!({
        "record": "artifact",
        "id": encode(artifact.id.0),
        "kind": artifact.kind.as_str(),
        "owner": encode(artifact.owner),
        "client": artifact.client.as_deref(),
        "blob": artifact.blob.as_ref().map(blob),
        "created_at": artifact.created_at.0,
        "delivered_at": millis(artifact.delivered_at),
        "expired_at": millis(artifact.expired_at),
        "removed_at": millis(artifact.removed_at),
    })
}

/// An entry of the audit log.
pub(super) fn audit(record: &AuditRecord) -> Value {
    json!({
        "record": "audit",
        "id": encode(record.id.0),
        "at": record.at.0,
        "token": record.by.as_ref().map(|(token, name)| json!({
            "id": token.to_string(),
            "name": name,
        })),
        "peer": record.peer,
        "forwarded": record.forwarded,
        "program": record.program,
        "action": record.action,
        "body": record.body,
        "code": record.code,
    })
}
