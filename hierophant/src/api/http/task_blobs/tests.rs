//! Blobs of tasks over HTTP, with a scripted scheduler.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use hierophant_scheduler::proofs::{LeaseAccess, TaskBlob};
use http_body_util::BodyExt;
use network_lib::ids::{ArtifactId, Sha256Digest};
use network_lib::job::ProofMode;
use network_lib::shard::blob_path;
use network_lib::task;
use network_lib::wire::{LEASE_ENDED_HEADER, REJECTION_HEADER};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use harness::{Answer, Harness, JOB, LEASE, MOST, WORKERS, digest, get, info, put, stalled};

use crate::tokens::Role;

/// Far more than any answer takes.
const LONG: Duration = Duration::from_secs(30);

/// Long enough for a call that should not end to do so.
const SHORT: Duration = Duration::from_millis(100);

/// Waits until a condition holds.
async fn until(holds: impl Fn() -> bool) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, holding).await.expect("holds in time");
}

/// A fetch of the blob `record`, which another worker hands in, once it waits for it.
async fn waiting_fetch(hierophant: &Arc<Harness>) -> JoinHandle<Answer> {
    hierophant.script.lock().task_blob = TaskBlob::Expected { job: JOB };
    let fetching = Arc::clone(hierophant);
    let fetch = task::spawn("call", async move { fetching.fetch(digest(b"record")).await });
    until(|| hierophant.script.lock().asked > 0).await;
    assert!(!fetch.is_finished(), "it waits");
    fetch
}

/// An upload by a worker that does not go on after these bytes, once it has begun.
async fn stalled_upload(
    hierophant: &Arc<Harness>,
    key: &'static str,
    request: Request<Body>,
) -> JoinHandle<Answer> {
    let before = hierophant.staged();
    let uploading = Arc::clone(hierophant);
    let upload = task::spawn("call", async move { uploading.call(key, request).await });
    until(|| hierophant.staged() > before).await;
    upload
}

#[tokio::test]
async fn a_blob_that_was_handed_in_is_served_whole_and_in_part() {
    let hierophant = Harness::start().await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let answer = hierophant.hand_in("1", &bytes).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(hierophant.script.lock().handed_in, [(LEASE, WORKERS[0], info(&bytes))]);
    hierophant.script.lock().task_blob = TaskBlob::Readable { job: JOB, size: 200_000 };
    let answer = hierophant.fetch(digest(&bytes)).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &bytes[..]));
    assert_eq!(answer.headers["content-length"], "200000");
    let mut part = get(digest(&bytes));
    part.headers_mut().insert("range", "bytes=199990-".parse().expect("a header"));
    let answer = hierophant.call("1", part).await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.body[..], bytes[199_990..]);
}

#[tokio::test]
async fn bytes_with_another_digest_are_rejected_for_good() {
    let hierophant = Harness::start().await;
    let answer = hierophant.call("1", put(digest(b"promised"), b"sent")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text().contains("wrong digest"), "{}", answer.text());
    assert!(answer.headers.contains_key(REJECTION_HEADER));
    assert!(hierophant.script.lock().handed_in.is_empty());
    assert!(hierophant.tasks.stored(JOB).is_empty());
    assert_eq!(hierophant.staged(), 0);
}

#[tokio::test]
async fn bytes_beyond_the_limit_are_rejected_with_and_without_a_length() {
    let hierophant = Harness::start().await;
    let most = usize::try_from(MOST).expect("fits");
    let bytes = vec![5; most + 1];
    let announced = put(digest(&bytes), &bytes);
    let mut unannounced = put(digest(&bytes), &bytes);
    unannounced.headers_mut().remove("content-length");
    for request in [announced, unannounced] {
        let answer = hierophant.call("1", request).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.text().contains("sharding.max_blob_bytes"), "{}", answer.text());
        assert!(answer.headers.contains_key(REJECTION_HEADER));
    }
    assert!(hierophant.tasks.stored(JOB).is_empty());
    let answer = hierophant.hand_in("1", &bytes[..most]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stored_blob_is_not_received_again() {
    let hierophant = Harness::start().await;
    assert_eq!(hierophant.hand_in("1", b"result").await.status, StatusCode::OK);
    let found = hierophant.tasks.metadata(JOB, digest(b"result"));
    // The answer does not wait for the body.
    let again = hierophant.call("2", stalled(digest(b"result"), b"res"));
    let answer = timeout(LONG, again).await.expect("answers");
    assert_eq!(answer.status, StatusCode::OK);
    let expected = WORKERS.map(|worker| (LEASE, worker, info(b"result")));
    assert_eq!(hierophant.script.lock().handed_in, expected);
    assert_eq!(hierophant.tasks.metadata(JOB, digest(b"result")), found, "written once");
}

#[tokio::test]
async fn workers_that_hand_in_the_same_blob_do_not_disturb_each_other() {
    let hierophant = Arc::new(Harness::start().await);
    let bytes = vec![6; 300_000];
    let first = stalled(digest(&bytes), &bytes[..100_000]);
    let slow = stalled_upload(&hierophant, "1", first).await;
    let others = vec![7; 300_000];
    let (one, other) =
        tokio::join!(hierophant.hand_in("2", &bytes), hierophant.hand_in("2", &others));
    assert_eq!((one.status, other.status), (StatusCode::OK, StatusCode::OK));
    assert!(!slow.is_finished(), "another worker's upload ended it");
    // A later upload of the same worker does.
    assert_eq!(hierophant.hand_in("1", &bytes).await.status, StatusCode::OK, "it is stored");
    slow.abort();
    until(|| hierophant.staged() == 0).await;

    let request = stalled(digest(&[8; 300_000]), &[8; 100_000]);
    let earlier = stalled_upload(&hierophant, "1", request).await;
    assert_eq!(hierophant.hand_in("1", &[8; 300_000]).await.status, StatusCode::OK);
    let earlier = timeout(LONG, earlier).await.expect("ends").expect("no panic");
    assert_eq!(earlier.status, StatusCode::GATEWAY_TIMEOUT, "{}", earlier.text());
}

#[tokio::test]
async fn a_record_on_its_way_is_waited_for() {
    let hierophant = Arc::new(Harness::start().await);
    let fetch = waiting_fetch(&hierophant).await;
    assert_eq!(hierophant.hand_in("2", b"another").await.status, StatusCode::OK);
    tokio::time::sleep(SHORT).await;
    assert!(!fetch.is_finished(), "it waits for one blob");
    assert_eq!(hierophant.hand_in("2", b"record").await.status, StatusCode::OK);
    let answer = timeout(LONG, fetch).await.expect("answers").expect("no panic");
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"record"[..]));
}

#[tokio::test]
async fn a_record_that_does_not_come_is_asked_for_again() {
    let hierophant = Harness::start().await;
    hierophant.script.lock().task_blob = TaskBlob::Expected { job: JOB };
    tokio::time::pause();
    let start = Instant::now();
    let answer = hierophant.fetch(digest(b"record")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert!(!answer.headers.contains_key(LEASE_ENDED_HEADER));
    let waited = start.elapsed();
    assert!((super::WAIT..super::WAIT + LONG).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn a_wait_ends_when_the_record_does_not_come_any_longer() {
    let hierophant = Arc::new(Harness::start().await);
    let fetch = waiting_fetch(&hierophant).await;
    hierophant.script.lock().task_blob = TaskBlob::Gone;
    let answer = timeout(LONG, fetch).await.expect("answers").expect("no panic");
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
}

#[tokio::test]
async fn a_blob_that_counts_as_stored_and_is_not_is_reported() {
    let hierophant = Harness::start().await;
    let (blob, file) = (digest(b"result"), hierophant.folder.path().join("tasks"));
    let file = file.join(JOB.to_string()).join(blob.to_string());
    let readable = |size| TaskBlob::Readable { job: JOB, size };
    hierophant.script.lock().task_blob = readable(6);
    let mut missing = Vec::new();
    let absent = hierophant.fetch(blob).await;
    missing.push((JOB, blob));
    assert_eq!(hierophant.missing().await, missing, "it was never there");
    hierophant.hand_in("1", b"result").await;
    std::fs::remove_file(&file).expect("removes");
    let removed = hierophant.fetch(blob).await;
    missing.push((JOB, blob));
    assert_eq!(hierophant.missing().await, missing, "its file is gone");
    assert!(hierophant.tasks.stored(JOB).is_empty());
    hierophant.hand_in("1", b"result").await;
    assert!(file.exists(), "it was received again");
    hierophant.script.lock().task_blob = readable(7);
    let other = hierophant.fetch(blob).await;
    missing.push((JOB, blob));
    assert_eq!(hierophant.missing().await, missing, "it has another size");
    for answer in [absent, removed, other] {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    }
}

#[tokio::test]
async fn damage_of_a_blob_is_found_while_it_is_sent() {
    let hierophant = Harness::start().await;
    let bytes = vec![3; 100_000];
    let blob = digest(&bytes);
    assert_eq!(hierophant.hand_in("1", &bytes).await.status, StatusCode::OK);
    hierophant.script.lock().task_blob = TaskBlob::Readable { job: JOB, size: 100_000 };
    let mut damaged = bytes.clone();
    damaged[50_000] ^= 1;
    let file = hierophant.folder.path().join(format!("tasks/{JOB}/{blob}"));
    std::fs::write(file, damaged).expect("writes");
    let body = hierophant.respond("1", get(blob)).await.into_body();
    assert!(body.collect().await.is_err(), "the whole body came");
    until(|| !hierophant.script.lock().missing.is_empty()).await;
    assert_eq!(hierophant.missing().await, [(JOB, blob)]);
    assert!(hierophant.tasks.stored(JOB).is_empty());
    assert_eq!(hierophant.hand_in("1", &bytes).await.status, StatusCode::OK);
    assert_eq!(hierophant.fetch(blob).await.body[..], bytes[..], "it was received again");
}

#[tokio::test]
async fn a_lease_opens_nothing_to_others_and_not_what_it_does_not_need() {
    let hierophant = Harness::start().await;
    for key in ["3", ""] {
        let fetched = hierophant.call(key, get(digest(b"result"))).await;
        let handed_in = hierophant.hand_in(key, b"result").await;
        for answer in [fetched, handed_in] {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
    }
    hierophant.script.lock().may_hand_in = false;
    let over = [hierophant.fetch(digest(b"x")).await, hierophant.hand_in("1", b"x").await];
    let no_lease = Request::builder().uri("/leases/1/blobs/2").body(Body::empty());
    let no_lease = hierophant.call("1", no_lease.expect("a request")).await;
    for answer in over.into_iter().chain([no_lease]) {
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.headers.contains_key(LEASE_ENDED_HEADER));
    }
    hierophant.script.lock().task_blob = TaskBlob::Gone;
    let answer = hierophant.fetch(digest(b"result")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(!answer.headers.contains_key(LEASE_ENDED_HEADER));
    let path = blob_path(LEASE, Sha256Digest([1; 32])).replace("0101", "zz01");
    let wrong = Request::builder().uri(path).body(Body::empty()).expect("a request");
    let answer = hierophant.call("1", wrong).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("expected a SHA-256"), "{}", answer.text());
}

#[tokio::test]
async fn a_lease_that_ended_during_the_upload_is_answered_as_ended() {
    let hierophant = Harness::start().await;
    hierophant.script.lock().counts = false;
    let answer = hierophant.hand_in("1", b"late").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.headers.contains_key(LEASE_ENDED_HEADER));
    assert_eq!(hierophant.tasks.stored(JOB), [digest(b"late")], "the scheduler frees it");
}

#[tokio::test]
async fn a_revoked_token_ends_waits_uploads_and_downloads() {
    let hierophant = Arc::new(Harness::start().await);
    let (_, token) = hierophant.tokens.create("rig", Role::Worker, None).await.expect("made");
    hierophant.script.lock().token = Some(token.id);
    let large = vec![9; 1 << 20];
    assert_eq!(hierophant.hand_in("1", &large).await.status, StatusCode::OK);
    hierophant.script.lock().task_blob = TaskBlob::Readable { job: JOB, size: MOST };
    let mut download = hierophant.respond("1", get(digest(&large))).await.into_body();
    let first = download.frame().await.expect("a frame").expect("bytes");
    assert!(first.is_data());

    hierophant.script.lock().asked = 0;
    let wait = waiting_fetch(&hierophant).await;
    let request = stalled(digest(&[1; 100_000]), &[1; 70_000]);
    let upload = stalled_upload(&hierophant, "2", request).await;
    hierophant.tokens.revoke("rig").await.expect("revoked");
    for call in [wait, upload] {
        let answer = timeout(LONG, call).await.expect("ends").expect("no panic");
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.text().contains("revoked"), "{}", answer.text());
    }
    let rest = StreamExt::collect::<Vec<_>>(download.into_data_stream()).await;
    let rest: usize = rest.iter().filter_map(|chunk| chunk.as_ref().ok()).map(Bytes::len).sum();
    assert!(rest < large.len() / 2, "{rest} bytes came after the revocation");
}

#[tokio::test]
async fn an_attempt_at_a_task_hands_in_no_proof_and_reads_the_input_if_it_needs_it() {
    let hierophant = Harness::start().await;
    let access = LeaseAccess {
        job: JOB,
        program: ArtifactId([1; 16]),
        stdin: None,
        mode: ProofMode::Core,
        is_task: true,
        proof: None,
    };
    hierophant.script.lock().access = Some(access);
    let proof = Request::builder().method("PUT").uri(format!("/leases/{LEASE}/proof"));
    let proof = hierophant.call("1", proof.body(Body::from("a proof")).expect("a request")).await;
    let stdin = Request::builder().uri(format!("/leases/{LEASE}/stdin"));
    let stdin = hierophant.call("1", stdin.body(Body::empty()).expect("a request")).await;
    for answer in [proof, stdin] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.headers.contains_key(LEASE_ENDED_HEADER));
    }
}
