//! What holds for every store.

use alloy_primitives::Address;
use hierophant_model::records::{
    Accepted, ArtifactKind, ArtifactRecord, Change, ExecutionFilter, JobRecord, JobState, Millis,
    RequestFilter, RequestRecord, RequestState, RequestView, Setting, SettingKind,
};
use hierophant_store::{JobStore, Submission};
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, VkHash};
use network_lib::job::{Execution, ExecutionFailureCause, Failure, FailureClass, ProofMode};

use super::Place;
use super::records::{artifact, attempt, blob, bytes, full_job, job, program, request, spec};

async fn commit(store: &dyn JobStore, changes: &[Change]) {
    store.commit(changes).await.expect("commits");
}

fn asked(request: &RequestRecord) -> Change {
    Change::Request(request.clone(), spec())
}

async fn view(store: &dyn JobStore, id: RequestId) -> RequestView {
    store.request(id).await.expect("reads").expect("is there")
}

pub(crate) async fn every_record_reads_back_as_it_was_written(place: Place) {
    let store = place.open().await;
    assert!(store.is_new().await.expect("reads"));
    let (bare, full) = (job(1, JobState::Queued), full_job(2));
    let mut fulfilled = request(2, &full);
    fulfilled.state = RequestState::Fulfilled;
    fulfilled.fulfilled_at = Some(Millis(77));
    let mut plain = request(1, &bare);
    plain.whitelist.clear();
    plain.stdin_private = false;
    let ticket = ArtifactRecord::ticket(
        ArtifactId(bytes(5, 1)),
        ArtifactKind::PrivateStdin,
        Address::ZERO,
        Millis(3),
    );
    let mut stored = artifact(ArtifactId(bytes(5, 2)), ArtifactKind::Proof);
    stored.delivered_at = Some(Millis(4));
    stored.expired_at = Some(Millis(5));
    stored.removed_at = Some(Millis(6));
    let running = attempt(1, &bare);
    let changes = [
        Change::Job(bare.clone()),
        Change::Job(full.clone()),
        asked(&fulfilled),
        asked(&plain),
        Change::Artifact(ticket.clone()),
        Change::Artifact(stored.clone()),
        Change::Attempt(running.clone()),
        Change::Program(program(1)),
    ];
    commit(&*store, &changes).await;

    assert_eq!(
        view(&*store, plain.id).await,
        RequestView { request: plain.clone(), job: bare.clone() }
    );
    assert_eq!(
        view(&*store, fulfilled.id).await,
        RequestView { request: fulfilled, job: full.clone() }
    );
    assert_eq!(store.job(full.id).await.expect("reads"), Some(full));
    assert_eq!(store.artifact(ticket.id).await.expect("reads"), Some(ticket.clone()));
    assert_eq!(store.artifact(stored.id).await.expect("reads"), Some(stored.clone()));
    assert_eq!(store.program(program(1).vk_hash).await.expect("reads"), Some(program(1)));
    let unfinished = store.unfinished_jobs().await.expect("reads");
    assert_eq!(unfinished[0].attempts, [running]);
    assert!(!store.is_new().await.expect("reads"));
    let unknown = ArtifactId([0; 16]);
    let kept = store.kept_artifacts(&[ticket.id, stored.id, unknown]).await.expect("reads");
    assert_eq!(Vec::from_iter(kept), [ticket.id], "bytes that were removed are not kept");

    assert_eq!(store.request(RequestId([0; 32])).await.expect("reads"), None);
    assert_eq!(store.job(JobId([0; 16])).await.expect("reads"), None);
    assert_eq!(store.artifact(unknown).await.expect("reads"), None);
    assert_eq!(store.program(VkHash([0; 32])).await.expect("reads"), None);
    assert_eq!(store.some_artifacts(10).await.expect("reads"), [], "a ticket and a tombstone");
    let there = artifact(ArtifactId(bytes(5, 3)), ArtifactKind::Proof);
    commit(&*store, &[Change::Artifact(there.clone())]).await;
    assert_eq!(store.some_artifacts(10).await.expect("reads"), [there]);
    store.ping().await.expect("answers");
}

pub(crate) async fn records_are_there_after_closing_and_opening(place: Place) {
    let store = place.open().await;
    let full = full_job(1);
    commit(&*store, &[Change::Job(full.clone()), Change::CountNonce(Address::ZERO)]).await;
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.job(full.id).await.expect("reads"), Some(full));
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 1);
}

pub(crate) async fn the_largest_numbers_survive(place: Place) {
    let store = place.open().await;
    let mut largest = full_job(1);
    largest.spec.cycle_limit = u64::MAX;
    largest.spec.gas_limit = u64::MAX - 1;
    largest.stdin_blob.size = u64::MAX;
    largest.attempts = u32::MAX;
    largest.created_at = Millis(i64::MAX);
    largest.execution = Some(Execution {
        cycles: u64::MAX,
        gas: Some(u64::MAX),
        public_values_hash: Sha256Digest([0xff; 32]),
    });
    let mut patient = request(1, &largest);
    patient.deadline = u64::MAX;
    patient.min_auction_period = u64::MAX;
    patient.strategy = i32::MIN;
    commit(&*store, &[Change::Job(largest.clone()), asked(&patient)]).await;
    let read = view(&*store, patient.id).await;
    assert_eq!(read.job, largest);
    // Deadlines are compared in SQL, whose numbers have a sign; this one is as good as never.
    patient.deadline = i64::MAX.cast_unsigned();
    assert_eq!(read.request, patient);
    let filter =
        RequestFilter { minimum_deadline: Some(u64::MAX), limit: 10, ..RequestFilter::default() };
    assert_eq!(store.requests(&filter).await.expect("lists").len(), 1);
    let filter = RequestFilter { limit: u32::MAX, offset: u64::MAX, ..RequestFilter::default() };
    assert_eq!(store.requests(&filter).await.expect("lists").len(), 0);
}

pub(crate) async fn text_with_a_nul_does_not_stop_a_commit(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let mut odd = request(1, &queued);
    odd.stdin_uri = "a\0b".into();
    let mut failed = attempt(1, &queued);
    failed.message = Some("\0".into());
    commit(&*store, &[Change::Job(queued.clone()), asked(&odd), Change::Attempt(failed)]).await;
    let read = view(&*store, odd.id).await.request;
    assert!(read.stdin_uri.starts_with('a') && read.stdin_uri.ends_with('b'), "{read:?}");
    let key = odd.idempotency_key(&spec());
    assert_eq!(
        store.request_by_idempotency_key(key).await.expect("reads"),
        Some(Accepted { request: odd.id, job: odd.job })
    );
}

pub(crate) async fn a_request_keeps_what_its_client_said(place: Place) {
    let store = place.open().await;
    let (first, second) = (job(1, JobState::Queued), job(2, JobState::Queued));
    let before = request(1, &first);
    let mut after = before.clone();
    after.job = second.id;
    after.state = RequestState::Failed;
    after.updated_at = Millis(99);
    after.fulfilled_at = Some(Millis(98));
    let mut meddled = after.clone();
    meddled.requester = Address::ZERO;
    meddled.deadline = 5;
    meddled.stdin_uri = "other".into();
    commit(&*store, &[Change::Job(first), Change::Job(second), asked(&before)]).await;
    commit(&*store, &[asked(&meddled)]).await;
    assert_eq!(view(&*store, before.id).await.request, after);
    let key = before.idempotency_key(&spec());
    assert_eq!(
        store.request_by_idempotency_key(key).await.expect("reads"),
        Some(Accepted { request: before.id, job: after.job })
    );
}

pub(crate) async fn an_idempotency_key_belongs_to_one_request(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let first = request(1, &queued);
    let mut second = first.clone();
    second.id = RequestId([2; 32]);
    commit(&*store, &[Change::Job(queued), asked(&first)]).await;
    store.commit(&[asked(&second)]).await.expect_err("is refused");
    let key = first.idempotency_key(&spec());
    assert_eq!(
        store.request_by_idempotency_key(key).await.expect("reads"),
        Some(Accepted { request: first.id, job: first.job })
    );
    assert_eq!(store.request(second.id).await.expect("reads"), None);
    let unknown = Sha256Digest([0; 32]);
    assert_eq!(store.request_by_idempotency_key(unknown).await.expect("reads"), None);
}

pub(crate) async fn a_failing_transaction_changes_nothing(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let first = request(1, &queued);
    commit(&*store, &[Change::Job(queued.clone()), asked(&first)]).await;
    let mut moved = queued.clone();
    moved.state = JobState::Leased;
    let mut duplicate = first.clone();
    duplicate.id = RequestId([2; 32]);
    let changes = [
        Change::CountNonce(Address::ZERO),
        Change::Job(moved),
        Change::Job(job(2, JobState::Queued)),
        asked(&duplicate),
        Change::Attempt(attempt(1, &queued)),
    ];
    store.commit(&changes).await.expect_err("the key is taken");
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 0);
    let unfinished = store.unfinished_jobs().await.expect("reads");
    assert_eq!(unfinished.len(), 1);
    assert_eq!((&unfinished[0].job, unfinished[0].attempts.len()), (&queued, 0));
    // And the store goes on.
    commit(&*store, &changes[..3]).await;
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 1);
}

pub(crate) async fn unfinished_jobs_come_with_open_requests_and_all_attempts(place: Place) {
    let store = place.open().await;
    use JobState::{
        Cancelled, Expired, Failed, Leased, Proved, Proving, Queued, Unexecutable, Uploaded,
        Verifying,
    };
    let states = [Verifying, Uploaded, Proving, Leased, Queued];
    let ended = [Proved, Unexecutable, Failed, Cancelled, Expired];
    let mut changes = Vec::new();
    for (number, state) in (1..).zip(states.into_iter().chain(ended)) {
        let job = job(number, state);
        changes.push(asked(&request(number, &job)));
        changes.push(Change::Attempt(attempt(number, &job)));
        changes.push(Change::Job(job));
    }
    // The first job has more: a later request, an older one that has ended, a second attempt.
    let first = job(1, Verifying);
    let later = request(50, &first);
    let mut over = request(51, &first);
    over.state = RequestState::Cancelled;
    changes.extend([asked(&later), asked(&over), Change::Attempt(attempt(50, &first))]);
    // The last one is being queued again after the loss of its proof; another one is being proved.
    let fulfilled = |number, job: &JobRecord| {
        let request = request(number, job);
        RequestRecord { state: RequestState::Fulfilled, ..request }
    };
    let again = fulfilled(52, &job(5, Queued));
    let mut ending = job(3, Proving);
    (ending.proof, ending.finished_at) = (Some(ArtifactId([9; 16])), Some(Millis(7)));
    changes.extend([asked(&again), asked(&fulfilled(53, &ending)), Change::Job(ending)]);
    commit(&*store, &changes).await;

    let unfinished = store.unfinished_jobs().await.expect("reads");
    let found: Vec<JobState> = unfinished.iter().map(|found| found.job.state).collect();
    assert_eq!(found, states, "the oldest first");
    assert_eq!(unfinished[0].requests, [request(1, &first), later]);
    assert_eq!(unfinished[0].attempts, [attempt(1, &first), attempt(50, &first)]);
    assert_eq!(unfinished[2].requests.len(), 1);
    assert_eq!(unfinished[4].requests, [request(5, &job(5, Queued)), again]);
    assert_eq!(unfinished[4].attempts.len(), 1);
}

pub(crate) async fn a_proved_job_is_found_by_its_content(place: Place) {
    let store = place.open().await;
    let key = Sha256Digest([5; 32]);
    let with_key = |number, state| JobRecord { key, ..job(number, state) };
    let proved = |number| JobRecord { key, failure: None, ..full_job(number) };
    let proof = |number| artifact(ArtifactId(bytes(6, number)), ArtifactKind::Proof);
    let changes = [
        Change::Job(with_key(1, JobState::Failed)),
        Change::Job(proved(2)),
        Change::Job(proved(3)),
        Change::Job(with_key(4, JobState::Queued)),
        Change::Artifact(proof(2)),
        Change::Artifact(proof(3)),
    ];
    commit(&*store, &changes).await;
    assert_eq!(store.proved_job(key).await.expect("reads"), Some(proved(3)), "the latest");
    let expired = ArtifactRecord { expired_at: Some(Millis(9)), ..proof(3) };
    commit(&*store, &[Change::Artifact(expired)]).await;
    assert_eq!(store.proved_job(key).await.expect("reads"), Some(proved(2)), "its proof is kept");
    assert_eq!(store.proved_job(Sha256Digest([6; 32])).await.expect("reads"), None);
}

pub(crate) async fn every_filter_holds(place: Place) {
    let store = place.open().await;
    let open = job(1, JobState::Queued);
    let mut proved = full_job(2);
    proved.spec.mode = ProofMode::Groth16;
    proved.failure = None;
    let mut failed = full_job(3);
    failed.state = JobState::Unexecutable;
    failed.spec.vk_hash = VkHash([1; 32]);
    let first = request(1, &open);
    let mut second = request(2, &proved);
    second.state = RequestState::Fulfilled;
    second.requester = Address::repeat_byte(0xbb);
    second.deadline += 1;
    let mut third = request(3, &failed);
    third.state = RequestState::Unexecutable;
    third.version = "sp1-v6.0.0".into();
    let changes = [&open, &proved, &failed].map(|job| Change::Job(job.clone()));
    commit(&*store, &changes).await;
    commit(&*store, &[asked(&first), asked(&second), asked(&third)]).await;

    let all = || RequestFilter { limit: 10, ..RequestFilter::default() };
    let gas = ExecutionFailureCause::ExceededGasLimit;
    let memory = ExecutionFailureCause::InvalidMemoryAccess;
    let cases: Vec<(&str, RequestFilter, &[u32])> = vec![
        ("none", all(), &[3, 2, 1]),
        ("version", RequestFilter { version: Some("sp1-v6.0.0".into()), ..all() }, &[3]),
        ("odd version", RequestFilter { version: Some("' OR 1 = 1 --".into()), ..all() }, &[]),
        ("no state", RequestFilter { states: Some(vec![]), ..all() }, &[]),
        (
            "states",
            RequestFilter {
                states: Some(vec![RequestState::Open, RequestState::Fulfilled]),
                ..all()
            },
            &[2, 1],
        ),
        (
            "unexecuted",
            RequestFilter { execution: Some(ExecutionFilter::Unexecuted), ..all() },
            &[1],
        ),
        ("executed", RequestFilter { execution: Some(ExecutionFilter::Executed), ..all() }, &[2]),
        (
            "unexecutable",
            RequestFilter { execution: Some(ExecutionFilter::Unexecutable), ..all() },
            &[3],
        ),
        ("deadline", RequestFilter { minimum_deadline: Some(1_700_000_001), ..all() }, &[2]),
        ("program", RequestFilter { vk_hash: Some(VkHash([1; 32])), ..all() }, &[3]),
        ("requester", RequestFilter { requester: Some(Address::repeat_byte(0xbb)), ..all() }, &[2]),
        ("from", RequestFilter { from: Some(Millis(20)), ..all() }, &[3, 2]),
        ("to", RequestFilter { to: Some(Millis(20)), ..all() }, &[2, 1]),
        ("mode", RequestFilter { mode: Some(ProofMode::Groth16), ..all() }, &[2]),
        ("cause", RequestFilter { execution_failure_cause: Some(gas), ..all() }, &[3]),
        ("other cause", RequestFilter { execution_failure_cause: Some(memory), ..all() }, &[]),
        ("together", RequestFilter { from: Some(Millis(20)), to: Some(Millis(20)), ..all() }, &[2]),
        ("limit", RequestFilter { limit: 2, ..all() }, &[3, 2]),
        ("offset", RequestFilter { offset: 2, ..all() }, &[1]),
    ];
    for (name, filter, expected) in cases {
        let found = store.requests(&filter).await.expect("lists");
        let found: Vec<RequestId> = found.into_iter().map(|view| view.request.id).collect();
        let expected: Vec<RequestId> =
            expected.iter().map(|number| RequestId(bytes(8, *number))).collect();
        assert_eq!(found, expected, "{name}");
    }
}

pub(crate) async fn pages_of_requests_do_not_overlap(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let mut changes = vec![Change::Job(queued.clone())];
    for number in 0..25 {
        let mut request = request(number, &queued);
        request.created_at = Millis(i64::from(number / 10));
        changes.push(asked(&request));
    }
    commit(&*store, &changes).await;
    let mut found = Vec::new();
    for page in 0..4 {
        let filter = RequestFilter { limit: 8, offset: page * 8, ..RequestFilter::default() };
        found.extend(store.requests(&filter).await.expect("lists"));
    }
    let times: Vec<i64> = found.iter().map(|view| view.request.created_at.0).collect();
    assert!(times.is_sorted_by(|earlier, later| earlier >= later), "newest first: {times:?}");
    let mut ids: Vec<RequestId> = found.iter().map(|view| view.request.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 25);
}

pub(crate) async fn pages_of_requests_continue_after_the_last_of_the_page_before(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let mut changes = vec![Change::Job(queued.clone())];
    for number in 0..25 {
        let mut request = request(number, &queued);
        request.created_at = Millis(i64::from(number / 10));
        changes.push(asked(&request));
    }
    commit(&*store, &changes).await;
    let mut found: Vec<RequestRecord> = Vec::new();
    loop {
        let before = found.last().map(|last| (last.created_at, last.id));
        let filter = RequestFilter { limit: 8, before, ..RequestFilter::default() };
        let page = store.requests(&filter).await.expect("lists");
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|view| view.request));
    }
    let times: Vec<i64> = found.iter().map(|request| request.created_at.0).collect();
    assert!(times.is_sorted_by(|earlier, later| earlier >= later), "newest first: {times:?}");
    let mut ids: Vec<RequestId> = found.iter().map(|request| request.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((found.len(), ids.len()), (25, 25));
}

pub(crate) async fn a_filter_looks_at_the_latest_requests_only_if_it_is_bounded(place: Place) {
    let store = place.open().await;
    let queued = job(1, JobState::Queued);
    let mut changes = vec![Change::Job(queued.clone())];
    for number in 0..20 {
        let mut request = request(number, &queued);
        if number < 5 {
            request.state = RequestState::Fulfilled;
        }
        changes.push(asked(&request));
    }
    commit(&*store, &changes).await;
    let found = async |examined| {
        let states = Some(vec![RequestState::Fulfilled]);
        let filter = RequestFilter { states, examined, limit: 10, ..RequestFilter::default() };
        store.requests(&filter).await.expect("lists").len()
    };
    assert_eq!(found(None).await, 5);
    assert_eq!(found(Some(100)).await, 5);
    // The newest 17 and the one before them.
    assert_eq!(found(Some(17)).await, 3);
    assert_eq!(found(Some(3)).await, 0);
}

pub(crate) async fn the_history_is_paged_from_the_latest_end(place: Place) {
    let store = place.open().await;
    let mut changes = vec![Change::Job(job(99, JobState::Proving))];
    for number in 0..10 {
        let mut ended = job(number, JobState::Failed);
        // Several end in the same millisecond.
        ended.finished_at = Some(Millis(i64::from(number / 4)));
        changes.push(asked(&request(number * 2, &ended)));
        changes.push(asked(&request(number * 2 + 1, &ended)));
        changes.push(Change::Job(ended));
    }
    commit(&*store, &changes).await;
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.finished_jobs(3, before).await.expect("reads");
        let Some((last, _)) = page.last() else { break };
        before = last.finished_at.map(|end| (end, last.id));
        for (job, requests) in &page {
            let of_this_job = requests.iter().all(|request| request.job == job.id);
            assert!(requests.len() == 2 && of_this_job, "{job:?}");
            seen.push((job.finished_at, job.id));
        }
    }
    assert_eq!(seen.len(), 10);
    assert!(seen.is_sorted_by(|earlier, later| earlier > later), "{seen:?}");
}

pub(crate) async fn nonces_are_counted_by_account(place: Place) {
    let store = place.open().await;
    let (alice, bob) = (Address::repeat_byte(1), Address::repeat_byte(2));
    commit(&*store, &[Change::CountNonce(alice), Change::CountNonce(alice)]).await;
    commit(&*store, &[Change::CountNonce(bob)]).await;
    commit(&*store, &[]).await;
    let nonces =
        [alice, bob, Address::ZERO].map(async |address| store.nonce(address).await.expect("reads"));
    let [alice, bob, nobody] = nonces;
    assert_eq!((alice.await, bob.await, nobody.await), (2, 1, 0));
}

pub(crate) async fn what_operators_set_is_there_until_it_is_unset(place: Place) {
    let store = place.open().await;
    let setting = |kind, subject: &str, reason: &str, since| Setting {
        kind,
        subject: subject.into(),
        reason: reason.into(),
        since: Millis(since),
    };
    let paused = setting(SettingKind::Paused, "", "new «disks»", 1);
    let (first, second) = (
        setting(SettingKind::Blocked, "10.0.0.9", "lies", 2),
        setting(SettingKind::Blocked, "10.0.0.9", "lies again", 3),
    );
    let drained = setting(SettingKind::Drained, "10.0.0.9", "", 4);
    let set = [&paused, &first, &second, &drained].map(|setting| Change::Set(setting.clone()));
    commit(&*store, &set).await;
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.settings().await.expect("reads"), [second, drained.clone(), paused.clone()]);
    commit(&*store, &[Change::Unset(SettingKind::Blocked, "10.0.0.9".into())]).await;
    assert_eq!(store.settings().await.expect("reads"), [drained, paused]);
}

pub(crate) async fn many_changes_at_once_are_written_like_few(place: Place) {
    let store = place.open().await;
    let queued: Vec<JobRecord> = (0..100).map(|number| job(number, JobState::Queued)).collect();
    let mut changes: Vec<Change> = queued.iter().cloned().map(Change::Job).collect();
    changes.extend(queued.iter().zip(0..).map(|(job, number)| asked(&request(number, job))));
    let ended = JobRecord { key: queued[7].key, id: queued[7].id, ..full_job(7) };
    let mut cancelled = request(7, &ended);
    cancelled.state = RequestState::Cancelled;
    // The last word about a row is the one that counts.
    changes.extend([Change::Job(ended.clone()), asked(&cancelled)]);
    changes.extend((0..3).map(|_| Change::CountNonce(Address::ZERO)));
    commit(&*store, &changes).await;
    for job in &queued {
        let found = store.job(job.id).await.expect("reads").expect("is there");
        assert_eq!(&found, if job.id == ended.id { &ended } else { job });
    }
    assert_eq!(store.unfinished_jobs().await.expect("reads").len(), 99);
    assert_eq!(view(&*store, cancelled.id).await.request, cancelled);
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 3);
}

pub(crate) async fn commits_at_the_same_time_are_all_kept(place: Place) {
    let store = place.open().await;
    let queued = job(0, JobState::Queued);
    commit(&*store, &[Change::Job(queued.clone())]).await;
    let commits = (0..64).map(|number| {
        let (store, request) = (store.clone(), request(number, &queued));
        network_lib::task::spawn("commit", async move {
            let changes = [Change::CountNonce(Address::ZERO), asked(&request)];
            store.commit(&changes).await.expect("commits");
            // What is committed is seen at once.
            view(&*store, request.id).await;
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.expect("does not panic");
    }
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 64);
    assert_eq!(store.unfinished_jobs().await.expect("reads")[0].requests.len(), 64);
}

pub(crate) async fn what_is_known_of_a_submission_is_one_look_up(place: Place) {
    let store = place.open().await;
    let key = full_job(1).key;
    let proof = |number| artifact(ArtifactId(bytes(6, number)), ArtifactKind::Proof);
    let proved = |number: u32| JobRecord {
        key,
        finished_at: Some(Millis(i64::from(number) * 100)),
        ..full_job(number)
    };
    let failed = |number: u32| JobRecord {
        key,
        proof: None,
        state: JobState::Failed,
        failure: Some(Failure::new(FailureClass::Worker, "five times")),
        finished_at: Some(Millis(i64::from(number) * 100)),
        ..full_job(number)
    };
    let call = request(9, &proved(1)).idempotency_key(&spec());
    let look = async |since| store.submission(call, key, Millis(since)).await.expect("reads");
    assert_eq!(look(0).await, Submission::default());
    let gone = ArtifactRecord { expired_at: Some(Millis(1)), ..proof(3) };
    let changes = [1, 2, 3].map(|number| Change::Job(proved(number)));
    commit(&*store, &changes).await;
    commit(&*store, &[1, 2].map(|number| Change::Artifact(proof(number)))).await;
    commit(&*store, &[Change::Artifact(gone)]).await;
    commit(&*store, &[4, 5].map(|number| Change::Job(failed(number)))).await;
    commit(&*store, &[asked(&request(9, &proved(1)))]).await;
    let earlier = Some(Accepted { request: request(9, &proved(1)).id, job: proved(1).id });
    let found = look(500).await;
    assert_eq!(found.earlier, earlier);
    assert_eq!(found.proved, Some(proved(2)), "the latest whose proof is kept");
    assert_eq!(found.set_aside, Some(failed(5)));
    let found = look(501).await;
    assert_eq!((found.earlier, found.set_aside), (earlier, None));
    assert_eq!(found.proved, Some(proved(2)));
}

pub(crate) async fn a_look_up_finds_what_was_committed_last(place: Place) {
    let store = place.open().await;
    let id = ArtifactId(bytes(5, 1));
    let find = async || store.artifact(id).await.expect("reads");
    let ticket = ArtifactRecord::ticket(id, ArtifactKind::Stdin, Address::ZERO, Millis(3));
    commit(&*store, &[Change::Artifact(ticket.clone())]).await;
    assert_eq!(find().await, Some(ticket.clone()));
    let stored = ArtifactRecord { blob: Some(blob(1)), ..ticket };
    commit(&*store, &[Change::Artifact(stored.clone())]).await;
    assert_eq!(find().await, Some(stored.clone()));
    let mut later = stored;
    for (change, at) in [
        (Change::Delivered(id, Millis(4)), &mut later.delivered_at),
        (Change::Expired(id, Some(Millis(4))), &mut later.expired_at),
        (Change::Removed(id, Millis(4)), &mut later.removed_at),
    ] {
        *at = Some(Millis(4));
        commit(&*store, &[change]).await;
    }
    assert_eq!(find().await, Some(later));
    let mut known = program(1);
    for key in [vec![1], vec![2]] {
        known.vk = key;
        commit(&*store, &[Change::Program(known.clone())]).await;
        for _ in 0..2 {
            let found = store.program(known.vk_hash).await.expect("reads");
            assert_eq!(found.as_ref(), Some(&known));
        }
    }
}
