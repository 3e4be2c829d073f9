//! Log lines of jobs, requests and attempts: one for each change, with its ids. Ids that are credentials are
//! truncated.

use std::time::Duration;

use hierophant_model::clients::Clients;
use hierophant_model::records::{AttemptOutcome, AttemptRecord, AttemptTask, Change};
use hierophant_model::text::short_request_id;
use hierophant_scheduler::proofs::{Assembly, AssemblyError, PartCheck, PartVerdict};
use network_lib::ids::{ArtifactId, JobId, LeaseId};
use network_lib::job::{BlobInfo, Failure, FailureClass};

/// Logs a stored change.
pub(super) fn changed(change: &Change, clients: &Clients) {
    match change {
        Change::Job(job) => {
            let contemplant = job.prover.as_ref().map_or("-", |prover| prover.name.as_str());
            let failure = job.failure.as_ref().map(tracing::field::display);
            tracing::info!(job_id = %job.id, state = %job.state, mode = %job.spec.mode,
                attempts = job.attempts, contemplant, failure, "job");
        }
        Change::Request(request, _) => {
            tracing::info!(job_id = %request.job, request = %short_request_id(request.id),
                requester = %request.requester, client = clients.stored_name(request.requester, request.client.as_ref()),
                token = request.token.map(tracing::field::display), state = %request.state, "request");
        }
        Change::Attempt(attempt) => attempt_changed(attempt),
        _ => {}
    }
}

/// Logs the verdict on a proof.
pub(super) fn checked(
    job: Option<JobId>,
    lease: LeaseId,
    verdict: &Result<(), Failure>,
    took: Duration,
) {
    let (job_id, lease) = (job.map(tracing::field::display), lease.hint());
    let took_seconds = took.as_secs_f64();
    match verdict {
        Ok(()) => tracing::info!(job_id, lease, took_seconds, "proof accepted"),
        Err(failure) => tracing::warn!(job_id, lease, took_seconds, %failure, "proof rejected"),
    }
}

/// Logs the verdicts on results of tasks.
pub(super) fn parts_checked(check: &PartCheck, verdicts: &[PartVerdict], took: Duration) {
    let (parts, took_seconds) = (verdicts.len(), took.as_secs_f64());
    let count = |verdict| verdicts.iter().filter(|found| **found == verdict).count();
    let (wrong, unknown) = (count(PartVerdict::False), count(PartVerdict::Unknown));
    tracing::warn!(parts, wrong, unknown, took_seconds, "results of tasks were verified");
    let judged = check.parts.iter().zip(verdicts);
    for (part, _) in judged.filter(|(_, verdict)| **verdict == PartVerdict::False) {
        tracing::warn!(task = %part.task, blob = %part.blob.sha256, "the result of a task is false");
    }
}

/// Logs the assembly of a proof.
pub(super) fn assembled(
    assembly: &Assembly,
    assembled: &Result<(ArtifactId, BlobInfo), AssemblyError>,
    took: Duration,
) {
    let (parts, took_seconds) = (assembly.parts.len(), took.as_secs_f64());
    match assembled {
        Ok((_, info)) => {
            tracing::info!(parts, bytes = info.size, took_seconds, "proof assembled");
        }
        Err(error) => tracing::warn!(parts, took_seconds, %error, "proof not assembled"),
    }
}

fn attempt_changed(attempt: &AttemptRecord) {
    let AttemptRecord { job, prover, outcome, message, .. } = attempt;
    let (lease, contemplant) = (attempt.lease.hint(), prover.name.as_str());
    if let Some(task) = attempt.task {
        return task_changed(attempt, task);
    }
    if prover.is_fleet() {
        return division_changed(attempt);
    }
    if let Some(ended) = attempt.ended_at {
        let elapsed_seconds = ended.since(attempt.started_at) / 1000;
        tracing::info!(job_id = %job, lease, worker_id = %prover.worker, contemplant, %outcome,
            elapsed_seconds, reason = message.as_deref(), "attempt ended");
    } else if *outcome == AttemptOutcome::Ahead {
        tracing::debug!(job_id = %job, lease, worker_id = %prover.worker, contemplant,
            "attempt leased ahead");
    } else if attempt.first_progress_at.is_none() {
        tracing::info!(job_id = %job, lease, worker_id = %prover.worker, contemplant,
            "attempt started");
    }
}

/// Logs begin and end of a proof that several workers make.
fn division_changed(attempt: &AttemptRecord) {
    let AttemptRecord { job, outcome, message, failure_class, .. } = attempt;
    let (lease, reason) = (attempt.lease.hint(), message.as_deref());
    let Some(ended) = attempt.ended_at else {
        if attempt.first_progress_at.is_none() {
            tracing::info!(job_id = %job, lease, reason, "job divided into tasks");
        }
        return;
    };
    let elapsed_seconds = ended.since(attempt.started_at) / 1000;
    let is_ours = |class| matches!(class, FailureClass::Infrastructure | FailureClass::Worker);
    if failure_class.is_some_and(is_ours) {
        tracing::warn!(job_id = %job, lease, %outcome, elapsed_seconds, reason,
            "tasks abandoned: the job is proved as a whole");
    } else {
        tracing::info!(job_id = %job, lease, %outcome, elapsed_seconds, "tasks ended");
    }
}

/// Logs begin and end of an attempt at a task. There are many.
fn task_changed(attempt: &AttemptRecord, task: AttemptTask) {
    let AttemptRecord { job, prover, outcome, message, .. } = attempt;
    let (lease, contemplant) = (attempt.lease.hint(), prover.name.as_str());
    let AttemptTask { id, kind } = task;
    if let Some(ended) = attempt.ended_at {
        let elapsed_ms = ended.since(attempt.started_at);
        tracing::debug!(job_id = %job, task = %id, %kind, lease, worker_id = %prover.worker,
            contemplant, %outcome, elapsed_ms, reason = message.as_deref(), "task ended");
    } else {
        tracing::debug!(job_id = %job, task = %id, %kind, lease, worker_id = %prover.worker,
            contemplant, "task started");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use network_lib::handshake::Backend;
    use network_lib::ids::{TaskId, WorkerId};
    use network_lib::shard::TaskKind;

    use super::*;
    use hierophant_model::records::{Millis, Prover};

    /// Level, message and reason of each line that the changes of attempts cause.
    fn lines_of(attempts: &[AttemptRecord]) -> Vec<[String; 3]> {
        let log = tempfile::NamedTempFile::new().expect("writes");
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(Arc::new(log.reopen().expect("writes")))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let log = |attempt: &AttemptRecord| {
                changed(&Change::Attempt(attempt.clone()), &Clients::default());
            };
            attempts.iter().for_each(log);
        });
        let text = std::fs::read_to_string(log.path()).expect("reads");
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let fields = &line["fields"];
            let texts = [&line["level"], &fields["message"], &fields["reason"]];
            texts.map(|text| text.as_str().unwrap_or_default().to_owned())
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn a_divided_job_has_a_line_at_its_begin_and_its_end_and_tasks_are_for_debugging() {
        let (job, lease) = (JobId([0x3a; 16]), LeaseId([0x5b; 16]));
        let begun = AttemptRecord {
            message: Some("tasks: 4 idle slots share 12 expected shards".into()),
            ..AttemptRecord::starting(lease, job, Prover::fleet(Backend::Cpu), Millis(1_000))
        };
        let reported = AttemptRecord { first_progress_at: Some(Millis(2_000)), ..begun.clone() };
        let abandoned = AttemptRecord {
            ended_at: Some(Millis(9_000)),
            outcome: AttemptOutcome::Failed,
            failure_class: Some(FailureClass::Infrastructure),
            message: Some("too many retries".into()),
            ..reported.clone()
        };
        let proved = AttemptRecord {
            outcome: AttemptOutcome::Completed,
            failure_class: None,
            ..abandoned.clone()
        };
        let prover =
            Prover { worker: WorkerId([1; 16]), name: "amos".into(), backend: Backend::Cpu };
        let task = AttemptRecord {
            task: Some(AttemptTask { id: TaskId([7; 16]), kind: TaskKind::ProveShard }),
            ..AttemptRecord::starting(LeaseId([9; 16]), job, prover, Millis(3_000))
        };
        let lost = AttemptRecord {
            ended_at: Some(Millis(4_000)),
            outcome: AttemptOutcome::Lost,
            message: Some("it is gone".into()),
            ..task.clone()
        };
        let lines = lines_of(&[begun, task, lost, reported, abandoned, proved]);
        let expected = [
            ["INFO", "job divided into tasks", "tasks: 4 idle slots share 12 expected shards"],
            ["DEBUG", "task started", ""],
            ["DEBUG", "task ended", "it is gone"],
            ["WARN", "tasks abandoned: the job is proved as a whole", "too many retries"],
            ["INFO", "tasks ended", ""],
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn every_line_of_an_attempt_has_its_ids_and_gives_no_lease_away() {
        let (job, lease) = (JobId([0x3a; 16]), LeaseId([0x5b; 16]));
        let prover =
            Prover { worker: WorkerId([1; 16]), name: "amos".into(), backend: Backend::Cpu };
        let mut attempt = AttemptRecord::starting(lease, job, prover, Millis(1_000));
        let log = tempfile::NamedTempFile::new().expect("writes");
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(Arc::new(log.reopen().expect("writes")))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            changed(&Change::Attempt(attempt.clone()), &Clients::default());
            checked(Some(job), lease, &Ok(()), Duration::from_millis(200));
            attempt.first_progress_at = Some(Millis(2_000));
            changed(&Change::Attempt(attempt.clone()), &Clients::default());
            attempt.ended_at = Some(Millis(9_000));
            attempt.outcome = AttemptOutcome::Completed;
            changed(&Change::Attempt(attempt), &Clients::default());
        });
        let text = std::fs::read_to_string(log.path()).expect("reads");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let messages: Vec<&str> =
            lines.iter().filter_map(|line| line["fields"]["message"].as_str()).collect();
        assert_eq!(messages, ["attempt started", "proof accepted", "attempt ended"]);
        for line in &lines {
            assert_eq!(line["fields"]["job_id"], job.to_string(), "{line}");
            assert_eq!(line["fields"]["lease"], "5b5b5b5b", "{line}");
        }
        assert_eq!(lines[2]["fields"]["elapsed_seconds"], 8);
        assert!(!text.contains(&lease.to_string()), "{text}");
    }
}
