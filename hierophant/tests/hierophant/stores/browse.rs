//! Lists for people.

use alloy_primitives::Address;
use hierophant_model::records::{
    ArtifactKind, AttemptOutcome, AttemptRecord, Change, JobRecord, JobState, Millis, RequestRecord,
};
use hierophant_store::{ArtifactFilter, JobFilter, JobStore};
use network_lib::ids::{ArtifactId, VkHash, WorkerId};
use network_lib::job::ProofMode;

use super::Place;
use super::records::{artifact, attempt, bytes, full_job, job, program, prover, request, spec};

const OTHER: Address = Address::repeat_byte(0xbb);

/// Jobs number 1 to 5, of which 5 has ended and 1 is `OTHER`'s; 2 and 3 came at the same time.
async fn fill(store: &dyn JobStore) -> Vec<JobRecord> {
    let mut jobs: Vec<_> = (1..=4).map(|number| job(number, JobState::Queued)).collect();
    jobs.push(full_job(5));
    jobs[2].created_at = jobs[1].created_at;
    let mut changes = Vec::new();
    for (number, job) in (1..).zip(&jobs) {
        let requester = if number == 1 { OTHER } else { Address::repeat_byte(0xaa) };
        let request = RequestRecord { requester, ..request(number, job) };
        changes.push(Change::Job(job.clone()));
        changes.push(Change::Request(request, job.spec.clone()));
        changes.push(Change::Attempt(attempt(number, job)));
    }
    store.commit(&changes).await.expect("writes");
    jobs.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.id)));
    jobs
}

pub(crate) async fn jobs_are_filtered(place: Place) {
    let store = place.open().await;
    let jobs = fill(&*store).await;
    let shown = async |filter: JobFilter| {
        let found = store.jobs(&JobFilter { limit: 10, ..filter }).await.expect("reads");
        found.into_iter().map(|(job, _)| job).collect::<Vec<_>>()
    };
    let all = JobFilter::default;
    assert_eq!(shown(all()).await, jobs);
    let states = vec![JobState::Proved, JobState::Failed];
    assert_eq!(shown(JobFilter { states, ..all() }).await, jobs[..1]);
    let requester = Some(OTHER);
    assert_eq!(shown(JobFilter { requester, ..all() }).await, jobs[4..]);
    let worker = Some(prover().worker);
    assert_eq!(shown(JobFilter { worker, ..all() }).await, jobs[..1]);
    let (mode, program) = (Some(ProofMode::Compressed), Some(VkHash([9; 32])));
    assert_eq!(shown(JobFilter { mode, program, ..all() }).await, jobs);
    for none in [
        JobFilter { mode: Some(ProofMode::Core), ..all() },
        JobFilter { program: Some(VkHash([1; 32])), ..all() },
        JobFilter { worker: Some(WorkerId([1; 16])), ..all() },
        JobFilter { requester: Some(Address::ZERO), ..all() },
    ] {
        assert_eq!(shown(none).await, []);
    }
}

pub(crate) async fn pages_of_jobs_do_not_overlap(place: Place) {
    let store = place.open().await;
    let jobs = fill(&*store).await;
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = JobFilter { limit: 2, before, ..JobFilter::default() };
        let page = store.jobs(&page).await.expect("reads");
        let Some((last, requests)) = page.last() else { break };
        assert_eq!(requests.len(), 1);
        before = Some((last.created_at, last.id));
        seen.extend(page.into_iter().map(|(job, _)| job));
    }
    assert_eq!(seen, jobs);
}

pub(crate) async fn attempts_and_requests_are_found_by_what_they_belong_to(place: Place) {
    let store = place.open().await;
    let jobs = fill(&*store).await;
    let (last, five) = (attempt(5, &jobs[0]), jobs[0].id);
    assert_eq!(store.attempts(five).await.expect("reads"), std::slice::from_ref(&last));
    let worker = prover().worker;
    let latest = store.attempts_of(worker, 2).await.expect("reads");
    assert_eq!((latest.len(), &latest[0]), (2, &last));
    assert_eq!(store.attempts_of(WorkerId([1; 16]), 2).await.expect("reads"), []);
    let requests = store.requests_of(five, 10).await.expect("reads");
    assert_eq!(requests, [request(5, &jobs[0])]);
    // Ids begin with their number, and go on alike.
    let like = async |prefix: &[u8]| store.requests_with_prefix(prefix).await.expect("reads");
    let whole: [u8; 32] = bytes(8, 5);
    for prefix in [&whole[..4], &whole[..8], &whole] {
        let found = like(prefix).await;
        assert_eq!(found.iter().map(|it| &it.request).collect::<Vec<_>>(), [&requests[0]]);
    }
    assert_eq!(like(&whole[..2]).await.len(), 2, "more than one begins so");
    assert_eq!(like(&[0xff; 8]).await, []);
}

/// Whatever their leases, which are random: the one that has ended came before the one that goes on.
pub(crate) async fn a_list_shows_the_oldest_hundred_requests_of_a_job(place: Place) {
    let store = place.open().await;
    let (popular, other) = (job(1, JobState::Queued), job(2, JobState::Queued));
    let mut changes = vec![Change::Job(popular.clone()), Change::Job(other.clone())];
    for number in 0..150 {
        changes.push(Change::Request(request(number, &popular), spec()));
    }
    changes.push(Change::Request(request(999, &other), spec()));
    store.commit(&changes).await.expect("commits");
    let filter = JobFilter { limit: 10, ..JobFilter::default() };
    let listed = store.jobs(&filter).await.expect("lists");
    let oldest: Vec<_> = (0..100).map(|number| request(number, &popular).id).collect();
    let shown = |index: usize| listed[index].1.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!((shown(0), shown(1)), (vec![request(999, &other).id], oldest));
    assert_eq!(store.requests_of(popular.id, 120).await.expect("reads").len(), 120);
    let (_, all) = store.job_of(request(0, &popular).id).await.expect("reads").expect("is there");
    assert_eq!(all.len(), 150);
}

pub(crate) async fn attempts_of_the_same_millisecond_are_in_order(place: Place) {
    let store = place.open().await;
    let jobs = [job(1, JobState::Leased), job(2, JobState::Leased)];
    let mut changes = Vec::new();
    for (number, job) in (1..).zip(&jobs) {
        let (first, second) = if number == 1 { (1, 2) } else { (4, 3) };
        let failed = AttemptRecord {
            started_at: Millis(10),
            ended_at: Some(Millis(10)),
            ..attempt(first, job)
        };
        let running = AttemptRecord {
            started_at: Millis(10),
            ended_at: None,
            outcome: AttemptOutcome::Running,
            failure_class: None,
            ..attempt(second, job)
        };
        changes.extend([
            Change::Job(job.clone()),
            Change::Attempt(failed),
            Change::Attempt(running),
        ]);
    }
    store.commit(&changes).await.expect("writes");
    for job in &jobs {
        let attempts = store.attempts(job.id).await.expect("reads");
        let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [AttemptOutcome::Failed, AttemptOutcome::Running]);
    }
    let latest = store.attempts_of(prover().worker, 2).await.expect("reads");
    assert!(latest.iter().all(|attempt| attempt.ended_at.is_none()), "{latest:?}");
}

pub(crate) async fn programs_and_artifacts_are_listed(place: Place) {
    let store = place.open().await;
    let programs: Vec<_> = (1..=3).map(program).collect();
    let artifacts = [
        artifact(ArtifactId([1; 16]), ArtifactKind::Stdin),
        artifact(ArtifactId([2; 16]), ArtifactKind::Proof),
    ];
    let changes = programs.iter().cloned().map(Change::Program);
    let changes = changes.chain(artifacts.iter().cloned().map(Change::Artifact));
    store.commit(&changes.collect::<Vec<_>>()).await.expect("writes");
    let found = store.programs(None, 2).await.expect("reads");
    assert_eq!(found, [programs[2].clone(), programs[1].clone()]);
    let last = Some((Millis(1), programs[1].vk_hash));
    assert_eq!(store.programs(last, 2).await.expect("reads"), programs[..1]);
    let proofs = ArtifactFilter { kind: Some(ArtifactKind::Proof), offset: 0, limit: 5 };
    assert_eq!(store.artifacts(&proofs).await.expect("reads"), artifacts[1..]);
    let second = ArtifactFilter { kind: None, offset: 1, limit: 5 };
    assert_eq!(store.artifacts(&second).await.expect("reads"), artifacts[..1]);
}
