//! Which artifacts may go, in each store.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use hierophant::artifacts::retention::{Rules, Verdict, expire_due, judge};
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, Change, DueRule, JobRecord, JobState, Millis, ProgramRecord,
    RequestState,
};
use hierophant_store::JobStore;
use network_lib::ids::ArtifactId;

use super::Place;
use super::records::{artifact, attempt, bytes, full_job, job, program, request, spec};

const DAY: i64 = 24 * 3600 * 1000;

const RULES: Rules = Rules {
    proofs_after_delivery: Duration::from_secs(24 * 3600),
    proofs_undelivered: Duration::from_secs(30 * 24 * 3600),
    inputs_after_end: Duration::from_secs(24 * 3600),
    unused_uploads: Duration::from_secs(24 * 3600),
};

/// What a sweep does with an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forget,
    Expire,
    Keep,
    Remove,
}

/// What a sweep at a time would do a step with if it looked at all artifacts, as the numbers in the ids.
async fn candidates(store: &dyn JobStore, step: Step, now: i64) -> Vec<u32> {
    let (now, cutoffs) = (Millis(now), RULES.cutoffs(Millis(now)));
    let mut numbers = Vec::new();
    for rule in DueRule::ALL {
        let found = store.due_artifacts(rule, Millis(i64::MAX), None, 1000).await.expect("reads");
        for due in found {
            let artifact = &due.artifact;
            assert_eq!(artifact.expired_at.is_some(), rule == DueRule::Expired, "{due:?}");
            let its = match (judge(artifact, &due.used, &cutoffs, now), artifact.expired_at) {
                (Verdict::Forget, None) => Step::Forget,
                (Verdict::Unneeded, None) => Step::Expire,
                (Verdict::Needed(..), Some(_)) => Step::Keep,
                (Verdict::Unneeded, Some(at)) if at < cutoffs.expired_before => Step::Remove,
                _ => continue,
            };
            if its == step {
                numbers.push(number(artifact));
            }
        }
    }
    numbers.sort_unstable();
    numbers
}

fn number(artifact: &ArtifactRecord) -> u32 {
    u32::from_be_bytes(*artifact.id.0.first_chunk().expect("has 16 bytes"))
}

/// Sweeps by due times, and returns how many artifacts were looked at.
async fn sweep(store: &dyn JobStore, now: i64) -> usize {
    let record = |changes: Vec<Change>| async move { store.commit(&changes).await.is_ok() }.boxed();
    let cutoffs = RULES.cutoffs(Millis(now));
    expire_due(store, &cutoffs, Millis(now), record).await.expect("sweeps")
}

async fn expiring(store: &dyn JobStore, now: i64) -> Vec<u32> {
    candidates(store, Step::Expire, now).await
}

fn upload(kind: u8, number: u32, of: ArtifactKind) -> ArtifactRecord {
    artifact(ArtifactId(bytes(kind, number)), of)
}

pub(crate) async fn inputs_go_a_while_after_the_last_job_that_uses_them(place: Place) {
    let store = place.open().await;
    let ended =
        |number| JobRecord { finished_at: Some(Millis(5 * DAY)), ..job(number, JobState::Failed) };
    let shared = JobRecord { stdin: ended(3).stdin, ..job(30, JobState::Queued) };
    let mut ticket = upload(5, 6, ArtifactKind::Stdin);
    ticket.blob = None;
    let changes = [
        Change::Job(job(1, JobState::Proving)),
        Change::Artifact(upload(5, 1, ArtifactKind::Stdin)),
        Change::Job(ended(2)),
        Change::Artifact(upload(5, 2, ArtifactKind::PrivateStdin)),
        // Used by an ended and by a waiting job.
        Change::Job(ended(3)),
        Change::Job(shared.clone()),
        Change::Artifact(upload(5, 3, ArtifactKind::Stdin)),
        Change::Artifact(upload(5, 4, ArtifactKind::Stdin)),
        Change::Artifact(ticket),
    ];
    store.commit(&changes).await.expect("commits");
    assert_eq!(expiring(&*store, DAY - 10).await, [0; 0]);
    assert_eq!(expiring(&*store, DAY + 10).await, [4], "used by nothing");
    assert_eq!(expiring(&*store, 6 * DAY).await, [4], "the end is not long ago");
    assert_eq!(expiring(&*store, 6 * DAY + 1).await, [2, 4]);
    assert_eq!(expiring(&*store, 1000 * DAY).await, [2, 4], "unfinished jobs keep theirs");
    let forget = Step::Forget;
    assert_eq!(candidates(&*store, forget, DAY).await, [0; 0]);
    assert_eq!(candidates(&*store, forget, DAY + 10).await, [6]);
    let over = JobRecord { state: JobState::Expired, finished_at: Some(Millis(6 * DAY)), ..shared };
    store.commit(&[Change::Job(over)]).await.expect("commits");
    assert_eq!(expiring(&*store, 7 * DAY).await, [2, 4]);
    assert_eq!(expiring(&*store, 7 * DAY + 1).await, [2, 3, 4]);
}

pub(crate) async fn programs_stay_while_registered_or_run(place: Place) {
    let store = place.open().await;
    let running = JobRecord { program: ArtifactId(bytes(4, 2)), ..job(1, JobState::Leased) };
    let done = JobRecord { program: ArtifactId(bytes(4, 3)), ..job(2, JobState::Failed) };
    let changes = [1, 2, 3].map(|n| Change::Artifact(upload(4, n, ArtifactKind::Program)));
    store.commit(&changes).await.expect("commits");
    let changes = [Change::Program(program(1)), Change::Job(running), Change::Job(done)];
    store.commit(&changes).await.expect("commits");
    assert_eq!(expiring(&*store, DAY).await, [0; 0]);
    assert_eq!(expiring(&*store, 1000 * DAY).await, [3]);
    // Its owner replaces the first one's bytes.
    let replaced = ProgramRecord { artifact: ArtifactId(bytes(4, 9)), ..program(1) };
    store.commit(&[Change::Program(replaced)]).await.expect("commits");
    assert_eq!(expiring(&*store, 1000 * DAY).await, [1, 3]);
}

pub(crate) async fn proofs_stay_until_fetched_and_past_every_deadline(place: Place) {
    let store = place.open().await;
    let proved = full_job(1);
    let answered = |number: u32, at: i64, deadline_day: u64| {
        let mut request = request(number, &proved);
        request.state = RequestState::Fulfilled;
        request.fulfilled_at = Some(Millis(at));
        request.deadline = deadline_day * 24 * 3600;
        Change::Request(request, spec())
    };
    let proof = upload(6, 1, ArtifactKind::Proof);
    let changes =
        [Change::Job(proved.clone()), Change::Artifact(proof.clone()), answered(1, 5 * DAY, 10)];
    store.commit(&changes).await.expect("commits");
    let none = [0_u32; 0];
    assert_eq!(expiring(&*store, 39 * DAY).await, none, "not fetched");
    assert_eq!(expiring(&*store, 40 * DAY + 1000).await, [1], "30 days past its deadline");

    store.commit(&[Change::Delivered(proof.id, Millis(6 * DAY))]).await.expect("commits");
    assert_eq!(expiring(&*store, 11 * DAY).await, none, "its deadline is not long ago");
    assert_eq!(expiring(&*store, 11 * DAY + 1000).await, [1]);
    store.commit(&[Change::Delivered(proof.id, Millis(20 * DAY))]).await.expect("commits");
    assert_eq!(expiring(&*store, 21 * DAY).await, none, "fetched again a day ago");
    assert_eq!(expiring(&*store, 21 * DAY + 1).await, [1]);

    // Another request joins after the delivery: the proof is not delivered to that one.
    store.commit(&[answered(2, 21 * DAY, 22)]).await.expect("commits");
    assert_eq!(expiring(&*store, 51 * DAY).await, none);
    assert_eq!(expiring(&*store, 52 * DAY + 1000).await, [1]);
    // A deadline that never comes keeps the proof.
    store.commit(&[answered(3, 21 * DAY, u64::MAX / 86_400)]).await.expect("commits");
    assert_eq!(expiring(&*store, 100_000 * DAY).await, none);
}

pub(crate) async fn proofs_that_were_not_accepted_go_like_inputs(place: Place) {
    let store = place.open().await;
    let unfinished = job(1, JobState::Uploaded);
    let ended = JobRecord { finished_at: Some(Millis(5 * DAY)), ..full_job(2) };
    let proof = |number| Change::Artifact(upload(11, number, ArtifactKind::Proof));
    let changes = [
        Change::Attempt(attempt(1, &unfinished)),
        Change::Attempt(attempt(2, &ended)),
        Change::Job(unfinished),
        Change::Job(ended),
        proof(1),
        proof(2),
        proof(3),
    ];
    store.commit(&changes).await.expect("commits");
    assert_eq!(expiring(&*store, 2 * DAY).await, [3], "of an attempt that is unknown");
    assert_eq!(expiring(&*store, 6 * DAY).await, [3]);
    assert_eq!(expiring(&*store, 6 * DAY + 1).await, [2, 3]);
    assert_eq!(expiring(&*store, 1000 * DAY).await, [2, 3], "an unfinished job may need its own");
}

pub(crate) async fn what_is_needed_again_is_kept_and_the_rest_removed_later(place: Place) {
    let store = place.open().await;
    let (input, other) = (upload(5, 1, ArtifactKind::Stdin), upload(5, 2, ArtifactKind::Stdin));
    let both = [Change::Artifact(input.clone()), Change::Artifact(other.clone())];
    store.commit(&both).await.expect("commits");
    let now = 2 * DAY;
    assert_eq!(expiring(&*store, now).await, [1, 2]);
    let expired = [input.id, other.id].map(|id| Change::Expired(id, Some(Millis(now))));
    store.commit(&expired).await.expect("commits");
    assert_eq!(expiring(&*store, now).await, [0; 0]);
    let remove = Step::Remove;
    assert_eq!(candidates(&*store, remove, now + 1000).await, [0; 0], "not at once");
    // A request that was under way when the input expired.
    store.commit(&[Change::Job(job(1, JobState::Queued))]).await.expect("commits");
    assert_eq!(candidates(&*store, Step::Keep, now).await, [1]);
    assert_eq!(candidates(&*store, remove, now + DAY).await, [2]);
    let size = store.stored_bytes().await.expect("reads");
    let changes = [Change::Expired(input.id, None), Change::Removed(other.id, Millis(now + DAY))];
    store.commit(&changes).await.expect("commits");
    assert_eq!(candidates(&*store, Step::Keep, now).await, [0; 0]);
    assert_eq!(candidates(&*store, remove, 1000 * DAY).await, [0; 0]);
    let record = async |id| store.artifact(id).await.expect("reads").expect("is there");
    assert_eq!(record(input.id).await, input);
    assert_eq!(record(other.id).await.removed_at, Some(Millis(now + DAY)), "a tombstone stays");
    assert_eq!(store.stored_bytes().await.expect("reads"), size / 2);
    store.commit(&[Change::Forgotten(input.id)]).await.expect("commits");
    assert_eq!(record(input.id).await, input, "only open tickets are forgotten");
}

/// Number of the program of [`sweeps_by_due_times_miss_nothing`]. When its last job ends is not known in advance.
const PROGRAM: u32 = 0;

/// A sweep by due times must find at each moment what a look at all artifacts finds, except [`PROGRAM`].
async fn assert_sweeps_find_everything(store: &dyn JobStore, now: i64) {
    sweep(store, now).await;
    for step in [Step::Expire, Step::Forget] {
        let mut missed = candidates(store, step, now).await;
        missed.retain(|number| *number != PROGRAM);
        assert_eq!(missed, [0; 0], "{step:?}, {} hours", now / 3_600_000);
    }
}

pub(crate) async fn sweeps_by_due_times_miss_nothing(place: Place) {
    let store = place.open().await;
    let expired = async |id| {
        let found = store.artifact(id).await.expect("reads").expect("is there");
        found.expired_at
    };
    // A proof that two requests wait for, its input, an unused upload, a program and a ticket.
    let running = JobRecord { proof: None, ..job(1, JobState::Proving) };
    let ticket = ArtifactRecord { blob: None, ..upload(5, 9, ArtifactKind::Stdin) };
    let (input, unused) = (upload(5, 1, ArtifactKind::Stdin), upload(5, 8, ArtifactKind::Stdin));
    let proof = upload(6, 1, ArtifactKind::Proof);
    let program = upload(4, PROGRAM, ArtifactKind::Program);
    let changes = [
        Change::Job(running),
        Change::Artifact(input.clone()),
        Change::Artifact(unused.clone()),
        Change::Artifact(program.clone()),
        Change::Artifact(ticket.clone()),
    ];
    store.commit(&changes).await.expect("commits");
    const HOUR: i64 = 3_600_000;
    let answered = |number: u32, at: i64, deadline: i64| {
        let mut request = request(number, &full_job(1));
        request.state = RequestState::Fulfilled;
        request.fulfilled_at = Some(Millis(at));
        request.deadline = (deadline / 1000).unsigned_abs();
        Change::Request(request, spec())
    };
    for hour in 1..560 {
        let now = hour * HOUR;
        let happens = match hour {
            // The job ends, between two looks at its input.
            60 => {
                let proved = JobRecord { finished_at: Some(Millis(now)), ..full_job(1) };
                let first = [Change::Job(proved), Change::Artifact(proof.clone())];
                [first.to_vec(), vec![answered(1, now, now + 5 * HOUR)]].concat()
            }
            // Delivered long before its undelivered time ends, then answered again, and delivered again.
            70 => vec![Change::Delivered(proof.id, Millis(now))],
            80 => vec![answered(2, now, now + 2 * HOUR)],
            500 => vec![Change::Delivered(proof.id, Millis(now))],
            _ => Vec::new(),
        };
        store.commit(&happens).await.expect("commits");
        assert_sweeps_find_everything(&*store, now).await;
        match hour {
            80 => assert_eq!(expired(input.id).await, None),
            59 => assert_eq!(expired(program.id).await, None, "its job runs"),
            85 => assert!(expired(program.id).await.is_some(), "found a day after its last look"),
            90 => assert_eq!(expired(input.id).await, Some(Millis(85 * HOUR))),
            499 => assert_eq!(expired(proof.id).await, None),
            _ => {}
        }
    }
    assert_eq!(expired(proof.id).await, Some(Millis(525 * HOUR)), "a day after its delivery");
    assert!(expired(unused.id).await.is_some());
    assert_eq!(store.artifact(ticket.id).await.expect("reads"), None);
}

/// The benchmark's scenario `retention` has 2,000,000 artifacts.
pub(crate) async fn a_sweep_looks_only_at_what_is_due(place: Place) {
    const DUE: i64 = 1000;
    let many = 100_000;
    place.open().await.close().await;
    let (numbers, id) = match &place {
        Place::Sqlite(_) => (
            format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})"
            ),
            "CAST(printf('%016d', i) AS BLOB)",
        ),
        Place::Postgres(_) => (
            format!("WITH n(i) AS (SELECT generate_series(1, {many}))"),
            "convert_to(lpad(i::text, 16, '0'), 'UTF8')",
        ),
    };
    let zeros = |length: usize| match &place {
        Place::Sqlite(_) => format!("zeroblob({length})"),
        Place::Postgres(_) => format!("decode(repeat('00', {length}), 'hex')"),
    };
    let (owner, digest) = (zeros(20), zeros(32));
    let now = 100 * DAY;
    place
        .administer(&format!(
            "INSERT INTO artifacts (id, kind, owner, size, sha256, created_at, due_rule, due_since) \
             {numbers} SELECT {id}, 'stdin', {owner}, 1, {digest}, {now}, 'look', \
             CASE WHEN i <= {DUE} THEN 0 ELSE {now} END FROM n"
        ))
        .await;
    let store = place.open().await;
    let began = Instant::now();
    let looked = sweep(&*store, now).await;
    let took = began.elapsed();
    println!("{many} artifacts, {DUE} due: swept in {took:?}");
    assert_eq!(looked as i64, DUE);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(sweep(&*store, now).await, 0, "what is needed is not looked at again");
}
