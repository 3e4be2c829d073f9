//! How long a start takes with many requests in the store.

use std::time::{Duration, Instant};

use hierophant_model::records::{Change, JobState, Millis, RequestState};
use hierophant_scheduler::proofs::duration::MAX_SAMPLES;
use hierophant_store::JobStore;

use super::Place;
use super::records::{attempt, full_job, request, spec};

/// Without optimisation the numbers are smaller, the limit is the same.
const MANY: u32 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
const LIMIT: Duration = Duration::from_secs(2);

/// Where all that work is read. A quiet machine needs less than `LIMIT`; one that is busy with other things
/// several times as long.
const LIMIT_UNFINISHED: Duration = Duration::from_secs(10);

async fn fill(store: &dyn JobStore, unfinished: impl Fn(u32) -> bool) {
    let mut changes = Vec::new();
    for number in 0..MANY {
        let mut job = full_job(number);
        let mut request = request(number, &job);
        request.state = RequestState::Fulfilled;
        if unfinished(number) {
            job = super::records::job(number, JobState::Queued);
            request.state = RequestState::Open;
        }
        changes.push(Change::Attempt(attempt(number, &job)));
        changes.push(Change::Request(request, spec()));
        changes.push(Change::Job(job));
        if changes.len() > 3000 {
            store.commit(&changes).await.expect("commits");
            changes.clear();
        }
    }
    store.commit(&changes).await.expect("commits");
}

async fn start_is_fast(place: Place, what: &str, unfinished: impl Fn(u32) -> bool) {
    let expected = (0..MANY).filter(|number| unfinished(*number)).count();
    let store = place.open().await;
    fill(&*store, unfinished).await;
    store.close().await;
    let began = Instant::now();
    let store = place.open().await;
    let opened = began.elapsed();
    let jobs = store.unfinished_jobs().await.expect("reads");
    let strikes =
        store.strikes(Millis(i64::from(MANY) - 100), Millis(i64::from(MANY))).await.expect("reads");
    let ended = store.finished_jobs(MAX_SAMPLES, None).await.expect("reads");
    let took = began.elapsed();
    println!("{MANY} requests, {what}: opened in {opened:?}, with unfinished jobs in {took:?}");
    assert_eq!(jobs.len(), expected);
    assert_eq!(strikes.len(), 101);
    assert_eq!(ended.len(), (MANY as usize - expected).min(MAX_SAMPLES as usize));
    assert!(jobs.iter().all(|job| job.requests.len() == 1 && job.attempts.len() == 1));
    let limit = if expected == MANY as usize { LIMIT_UNFINISHED } else { LIMIT };
    assert!(took < limit, "took {took:?}");
}

#[tokio::test]
async fn start_is_fast_when_most_requests_have_ended() {
    start_is_fast(Place::sqlite(), "SQLite, most ended", |number| number % 1000 == 0).await;
}

#[tokio::test]
async fn start_is_fast_when_no_request_has_ended() {
    start_is_fast(Place::sqlite(), "SQLite, none ended", |_| true).await;
}

#[tokio::test]
async fn start_is_fast_on_postgres() {
    start_is_fast(Place::postgres().await, "Postgres, none ended", |_| true).await;
}
