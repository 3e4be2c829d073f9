//! Very many requests that end at a start, step by step.

use std::sync::Arc;

use hierophant::artifacts::blobs::Blobs;
use hierophant::config::Config;
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, Change, JobRecord, JobState, RequestState,
};
use hierophant_store::{JobStore, sqlite};
use network_lib::ids::ArtifactId;
use tempfile::TempDir;

use crate::stores::records;
use crate::support::{Network, blob, eventually};

/// More than several transactions take.
const MANY: u32 = 2600;

/// A data folder with open requests of the year 2023, with and without their inputs.
async fn with_requests(has_inputs: bool) -> (TempDir, Config) {
    let folder = TempDir::new().expect("temp dir");
    let mut config = Config::for_test(folder.path().join("data"));
    config.mock_mode = true;
    std::fs::create_dir_all(&config.data_dir).expect("creates");
    let store = open(&config).await;
    let blobs = Blobs::open(&config.data_dir.join("artifacts")).expect("opens");
    let bytes: &[u8] = b"an input";
    let input = ArtifactId([0xab; 16]);
    let mut writer = blobs.begin(None);
    writer.write(bytes.into()).await.expect("writes");
    let staged = writer.finish().await.expect("finishes");
    if has_inputs {
        blobs.adopt(staged, input).await.expect("adopts");
    }
    // A new database beside uploads is refused.
    let stored = records::artifact(input, ArtifactKind::Stdin);
    let stored = ArtifactRecord { blob: Some(blob(bytes)), ..stored };
    let mut changes = if has_inputs { vec![Change::Artifact(stored)] } else { Vec::new() };
    for number in 1..=MANY {
        let mut job = queued(number);
        (job.program, job.program_blob) = (input, blob(bytes));
        (job.stdin, job.stdin_blob) = (input, blob(bytes));
        let request = records::request(number, &job);
        changes.push(Change::Request(request, job.spec.clone()));
        changes.push(Change::Job(job));
    }
    for some in changes.chunks(500) {
        store.commit(some).await.expect("stores");
    }
    (folder, config)
}

fn queued(number: u32) -> JobRecord {
    records::job(number, JobState::Queued)
}

async fn open(config: &Config) -> Arc<dyn JobStore> {
    sqlite::open(&config.data_dir.join("hierophant.db"), ()).await.expect("opens")
}

/// All requests end in this state, while Hierophant is ready.
async fn end_as(has_inputs: bool, state: RequestState) {
    let (folder, config) = with_requests(has_inputs).await;
    let network = Network::start_in(folder, config).await;
    let overview = network.url("/api/v1/overview");
    eventually("nothing is unfinished", async || {
        let Ok(answer) = reqwest::get(&overview).await else { return false };
        let Ok(seen) = answer.json::<serde_json::Value>().await else { return false };
        seen["unfinished"] == 0
    })
    .await;
    let (_folder, config) = network.stop().await;
    let store = open(&config).await;
    assert!(store.unfinished_jobs().await.expect("reads").is_empty());
    for number in 1..=MANY {
        let request = records::request(number, &queued(number)).id;
        let found = store.request(request).await.expect("reads").expect("stored");
        assert_eq!(found.request.state, state, "request {number}");
    }
}

#[tokio::test]
async fn a_start_with_very_many_expired_requests_ends_them_in_small_transactions() {
    end_as(true, RequestState::Expired).await;
}

#[tokio::test]
async fn a_start_with_very_many_lost_inputs_fails_their_requests_in_small_transactions() {
    end_as(false, RequestState::Failed).await;
}
