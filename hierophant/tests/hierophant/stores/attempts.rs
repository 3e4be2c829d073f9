//! What attempts tell later: strikes, and what went on before an upgrade.

use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, Change, JobRecord, JobState, Millis,
};
use network_lib::job::FailureClass;

use super::Place;
use super::records::{attempt, execution, job, prover};

pub(crate) async fn strikes_are_failures_by_a_workers_fault(place: Place) {
    let store = place.open().await;
    let (queued, proved) = (job(1, JobState::Queued), job(2, JobState::Proved));
    let infrastructure =
        AttemptRecord { failure_class: Some(FailureClass::Infrastructure), ..attempt(14, &queued) };
    let died = AttemptRecord { outcome: AttemptOutcome::Lost, ..attempt(15, &queued) };
    let running = AttemptRecord {
        outcome: AttemptOutcome::Running,
        failure_class: None,
        ended_at: None,
        ..attempt(16, &queued)
    };
    let changes = [
        Change::Job(queued.clone()),
        Change::Job(proved.clone()),
        Change::Attempt(attempt(13, &queued)),
        Change::Attempt(attempt(9, &queued)),
        Change::Attempt(attempt(8, &queued)),
        // Its job has ended since: the strike stays.
        Change::Attempt(attempt(11, &proved)),
        Change::Attempt(infrastructure),
        Change::Attempt(died),
        Change::Attempt(running),
    ];
    store.commit(&changes).await.expect("commits");
    let whose = prover().worker;
    let found = store.strikes(Millis(10), Millis(100)).await.expect("reads");
    assert_eq!(found, [(whose, Millis(10)), (whose, Millis(12)), (whose, Millis(14))]);
    // The rest was recorded while the clock was ahead.
    let found = store.strikes(Millis(10), Millis(12)).await.expect("reads");
    assert_eq!(found, [(whose, Millis(10)), (whose, Millis(12))]);
}

pub(crate) async fn what_went_on_goes_on_after_an_upgrade(place: Place) {
    let store = place.open().await;
    let proving = JobRecord { execution: Some(execution()), ..job(1, JobState::Proving) };
    let leased = job(2, JobState::Leased);
    let running = |number, job| AttemptRecord {
        first_progress_at: None,
        ended_at: None,
        outcome: AttemptOutcome::Running,
        failure_class: None,
        message: None,
        execution: None,
        ..attempt(number, job)
    };
    let (begun, waits) = (running(1, &proving), running(2, &leased));
    let changes = [
        Change::Job(proving),
        Change::Job(leased),
        Change::Attempt(begun.clone()),
        Change::Attempt(waits.clone()),
    ];
    store.commit(&changes).await.expect("commits");
    store.close().await;
    // As it was before an attempt had a word of its own.
    place.administer("DROP INDEX attempts_by_blame").await;
    for column in ["begun_at", "cycles", "gas", "public_values_hash"] {
        place.administer(&format!("ALTER TABLE attempts DROP COLUMN {column}")).await;
    }
    place.administer("DELETE FROM _sqlx_migrations WHERE description = 'attempts'").await;
    let store = place.open().await;
    let jobs = store.unfinished_jobs().await.expect("reads");
    let began = Some(begun.started_at);
    let begun = AttemptRecord { first_progress_at: began, execution: Some(execution()), ..begun };
    assert_eq!(jobs[0].attempts, [begun]);
    assert_eq!(jobs[1].attempts, [waits]);
}
