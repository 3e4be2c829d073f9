//! What must hold after every commit, and at the end.

use std::collections::BTreeMap;

use hierophant::records::{AttemptOutcome, Change, JobState, RequestState};
use network_lib::job::FailureClass;

use super::clients::Client;
use super::memory::Memory;

/// How often a job may fail by a worker's fault in the simulation.
pub const MAX_ATTEMPTS: u32 = 3;

/// Checks a transaction against what is stored before it is.
pub fn before_commit(memory: &Memory, changes: &[&Change]) {
    for change in changes {
        match change {
            Change::Request(new, _) => {
                if let Some(old) = memory.requests.get(&new.id) {
                    let changed = old.state != new.state;
                    assert!(
                        !(old.state.is_terminal() && changed),
                        "an end was taken back: {new:?}"
                    );
                    assert_eq!(old.job, new.job, "a request changed its job");
                }
            }
            Change::Job(new) => {
                if let Some(old) = memory.jobs.get(&new.id) {
                    let changed = old.state != new.state;
                    assert!(
                        !(old.state.is_terminal() && changed),
                        "an end was taken back: {new:?}"
                    );
                    assert!(old.attempts <= new.attempts, "attempts are counted down");
                }
            }
            Change::Attempt(new) => {
                if let Some(old) = memory.attempts.get(&new.lease) {
                    let ended =
                        !matches!(old.outcome, AttemptOutcome::Running | AttemptOutcome::Lost);
                    assert!(!ended || old.outcome == new.outcome, "an attempt ended twice");
                }
            }
            _ => {}
        }
    }
}

/// Checks everything that is stored.
pub fn after_commit(memory: &Memory) {
    let mut running = BTreeMap::<_, u32>::new();
    for attempt in memory.attempts.values() {
        if attempt.outcome == AttemptOutcome::Running {
            *running.entry(attempt.job).or_default() += 1;
        }
    }
    for (id, job) in &memory.jobs {
        let running = running.get(id).copied().unwrap_or(0);
        let expected = match job.state {
            JobState::Leased | JobState::Proving | JobState::Uploaded | JobState::Verifying => 1,
            _ => 0,
        };
        assert_eq!(running, expected, "attempts that go on for {job:?}");
        if job.state == JobState::Proved {
            let proof = job.proof.expect("a proved job has a proof");
            assert!(memory.genuine[&proof], "a wrong proof is served: {job:?}");
        }
        let gave_up = job.state == JobState::Failed;
        let blamed = memory
            .attempts_of(*id)
            .filter(|attempt| attempt.failure_class == Some(FailureClass::Worker));
        assert!(!gave_up || blamed.count() >= MAX_ATTEMPTS as usize, "given up early: {job:?}");
    }
    for request in memory.requests.values() {
        let job = &memory.jobs[&request.job];
        if request.state == RequestState::Fulfilled {
            assert_eq!(job.state, JobState::Proved, "fulfilled without a proof: {request:?}");
        }
        assert!(
            request.state != RequestState::Open || !job.state.is_terminal(),
            "an open request of an ended job: {request:?} {job:?}"
        );
    }
}

/// Whether a client's request has come to the right end, or why it has not.
pub fn right_end(memory: &Memory, client: &Client) -> Result<RequestState, String> {
    let Some(id) = client.accepted else { return Err("never accepted".into()) };
    let Some(request) = memory.requests.get(&id) else { return Err("lost".into()) };
    let expected = match request.state {
        RequestState::Open => false,
        RequestState::Fulfilled => !client.guest_fails,
        RequestState::Unexecutable => client.guest_fails,
        // `after_commit` has checked that the budget was spent.
        RequestState::Failed => true,
        RequestState::Cancelled => client.cancels,
        RequestState::Expired => client.impatient,
    };
    if expected { Ok(request.state) } else { Err(format!("ended as {}", request.state)) }
}
