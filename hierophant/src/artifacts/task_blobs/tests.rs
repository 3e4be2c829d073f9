//! The store of the bytes of tasks.

use std::time::Duration;

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const JOB: JobId = JobId([1; 16]);
const OTHER: JobId = JobId([2; 16]);

fn open(folder: &TempDir) -> TaskBlobs {
    TaskBlobs::open(&folder.path().join("tasks")).expect("opens")
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

async fn keep(blobs: &TaskBlobs, job: JobId, bytes: &[u8]) -> Sha256Digest {
    let mut writer = blobs.begin(Some(bytes.len() as u64));
    writer.write(bytes.to_vec().into()).await.expect("writes");
    blobs.adopt(job, writer.finish().await.expect("staged")).await.expect("adopts");
    digest(bytes)
}

async fn content(blobs: &TaskBlobs, job: JobId, blob: Sha256Digest) -> io::Result<Vec<u8>> {
    let chunks: Vec<_> = blobs.read(job, blob).await?.try_collect().await?;
    Ok(chunks.concat())
}

fn is_missing(found: &io::Result<Vec<u8>>) -> bool {
    found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[tokio::test]
async fn blobs_belong_to_a_job_and_survive_a_restart() {
    let folder = TempDir::new().expect("temp dir");
    let blobs = open(&folder);
    let (small, large) = (b"record".to_vec(), vec![7; 700_000]);
    let first = keep(&blobs, JOB, &small).await;
    let second = keep(&blobs, JOB, &large).await;
    let theirs = keep(&blobs, OTHER, &small).await;
    assert_eq!(first, theirs);
    assert_eq!(blobs.total(), 6 + 700_000 + 6);
    let again = keep(&blobs, JOB, &small).await;
    assert_eq!((again, blobs.total()), (first, 6 + 700_000 + 6), "it is stored once");

    let restarted = open(&folder);
    let mut stored = restarted.stored(JOB);
    stored.sort_unstable();
    let mut expected = vec![first, second];
    expected.sort_unstable();
    assert_eq!(stored, expected);
    assert_eq!(restarted.total(), blobs.total());
    assert_eq!(content(&restarted, JOB, second).await.expect("reads"), large);
    assert_eq!(restarted.metadata(OTHER, theirs).map(|found| found.size), Some(6));
    assert_eq!(restarted.metadata(OTHER, second), None);
}

#[tokio::test]
async fn freed_blobs_and_jobs_leave_nothing() {
    let folder = TempDir::new().expect("temp dir");
    let blobs = open(&folder);
    let first = keep(&blobs, JOB, b"first").await;
    let second = keep(&blobs, JOB, b"second").await;
    let theirs = keep(&blobs, OTHER, b"first").await;
    blobs.remove(JOB, first).await.expect("removes");
    blobs.remove(JOB, first).await.expect("removes a missing one");
    assert_eq!(blobs.stored(JOB), [second]);
    assert!(is_missing(&content(&blobs, JOB, first).await));
    blobs.remove_all(JOB).await.expect("removes");
    blobs.remove_all(JOB).await.expect("removes what is missing");
    assert!(blobs.stored(JOB).is_empty());
    assert!(!folder.path().join("tasks").join(JOB.to_string()).exists());
    assert_eq!(content(&blobs, OTHER, theirs).await.expect("reads"), b"first");
    assert_eq!(blobs.total(), 5);
}

#[tokio::test]
async fn a_start_keeps_the_blobs_of_unfinished_jobs_alone() {
    let folder = TempDir::new().expect("temp dir");
    let blobs = open(&folder);
    let kept = keep(&blobs, JOB, b"kept").await;
    keep(&blobs, OTHER, b"ended").await;
    let foreign = folder.path().join("tasks/README");
    fs::write(&foreign, "an operator's note").expect("writes");
    let restarted = open(&folder);
    restarted.retain(&BTreeSet::from([JOB])).await.expect("removes");
    assert_eq!((restarted.stored(JOB), restarted.stored(OTHER)), (vec![kept], vec![]));
    assert!(!folder.path().join("tasks").join(OTHER.to_string()).exists());
    assert!(foreign.exists());
}

#[tokio::test]
async fn an_arrival_is_noticed_and_that_of_another_job_is_not() {
    let folder = TempDir::new().expect("temp dir");
    let blobs = open(&folder);
    let awaited = digest(b"awaited");
    let arrival = blobs.arrival(JOB, awaited);
    tokio::pin!(arrival);
    keep(&blobs, OTHER, b"awaited").await;
    keep(&blobs, JOB, b"another").await;
    let early = timeout(Duration::from_millis(50), &mut arrival).await;
    assert!(early.is_err(), "it has not arrived");
    keep(&blobs, JOB, b"awaited").await;
    timeout(Duration::from_secs(10), arrival).await.expect("noticed");
    let present = blobs.arrival(JOB, awaited);
    timeout(Duration::from_secs(10), present).await.expect("it is there");
}

#[tokio::test]
async fn concurrent_copies_and_removals_leave_the_index_as_the_files_are() {
    let folder = TempDir::new().expect("temp dir");
    let blobs = open(&folder);
    let blob = digest(b"the same");
    for _ in 0..20 {
        let copies = (0..4).map(|_| keep(&blobs, JOB, b"the same"));
        let removal = blobs.remove(JOB, blob);
        let (_, removed) = tokio::join!(futures_util::future::join_all(copies), removal);
        removed.expect("removes");
        let is_there = folder.path().join(format!("tasks/{JOB}/{blob}")).exists();
        assert_eq!(blobs.metadata(JOB, blob).is_some(), is_there);
    }
}
