//! Floods of calls that anyone may make and that cost much, on a store with many requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hierophant::config::{Config, ListAccess};
use hierophant_model::records::{Change, JobState, RequestState};
use hierophant_proto::network as pb;
use network_lib::task;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::stores::records::{job, request, spec};
use crate::support::{Client, Network};

/// Requests in the store.
const STORED: u32 = 10_000;

/// Lists that strangers have outstanding.
const LISTS: u32 = 60;

/// Status calls of an honest client.
const POLLS: usize = 60;

/// A network whose store has many ended requests.
async fn network_with_history() -> Network {
    let folder = TempDir::new().expect("temp dir");
    let mut config = Config::for_test(folder.path().join("data"));
    config.mock_mode = true;
    config.calls.lists = ListAccess::Open;
    std::fs::create_dir_all(&config.data_dir).expect("creates");
    let file = config.data_dir.join("hierophant.db");
    let store = hierophant_store::sqlite::open(&file, ()).await.expect("opens");
    let numbers: Vec<u32> = (0..STORED).collect();
    for part in numbers.chunks(1000) {
        let mut changes = Vec::new();
        for number in part {
            let ended = job(*number, JobState::Failed);
            let mut request = request(*number, &ended);
            request.state = RequestState::Failed;
            changes.extend([Change::Job(ended), Change::Request(request, spec())]);
        }
        store.commit(&changes).await.expect("commits");
    }
    store.close().await;
    Network::start_in(folder, config).await
}

/// How long an honest client's status calls take, the middle one.
async fn poll(client: &mut Client) -> Duration {
    let mut times = Vec::new();
    for number in 0..POLLS {
        let id = request(u32::try_from(number).expect("small"), &job(0, JobState::Failed)).id;
        let started = Instant::now();
        let status = client.status(&id.0).await;
        assert_eq!(status.fulfillment_status, pb::FulfillmentStatus::Unfulfillable as i32);
        times.push(started.elapsed());
    }
    times.sort();
    times[POLLS / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_lists_is_refused_in_part_and_status_calls_do_not_wait_for_it() {
    let network = network_with_history().await;
    let mut client = Client::connect(&network).await;
    let (answered, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut flood = Vec::new();
    for number in 0..LISTS {
        let seed = u8::try_from(number + 10).expect("small");
        let mut stranger = Client::with_key(&network, seed).await;
        let counts = [Arc::clone(&answered), Arc::clone(&refused)];
        flood.push(task::spawn("lists", async move {
            let [answered, refused] = counts;
            // All requests are looked at, and none is found.
            let filter = pb::GetFilteredProofRequestsRequest {
                version: Some("sp1-v9.9.9".into()),
                limit: Some(1000),
                ..Default::default()
            };
            loop {
                match stranger.network.get_filtered_proof_requests(filter.clone()).await {
                    Ok(list) => {
                        assert!(list.into_inner().requests.is_empty());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                        assert!(status.message().contains("too many lists"), "{status:?}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        }));
    }
    while answered.load(Ordering::Relaxed) < 3 || refused.load(Ordering::Relaxed) < LISTS {
        assert!(flood.iter().all(|one| !one.is_finished()), "a list was answered wrongly");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let middle = poll(&mut client).await;
    assert!(flood.iter().all(|one| !one.is_finished()), "a list was answered wrongly");
    println!(
        "{answered:?} lists answered, {refused:?} refused, half of the polls within {middle:?}"
    );
    // An operator's lists have a reader that clients' lists cannot take.
    let listed = network.json("/api/v1/requests?limit=10").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(10));
    flood.iter().for_each(JoinHandle::abort);
    assert!(middle < Duration::from_millis(150), "half of the polls took {middle:?} or longer");
}

#[tokio::test]
async fn many_callers_of_the_readiness_page_share_one_check_and_may_hang_up() {
    let network = Network::start().await;
    let http = reqwest::Client::new();
    let calls = async || {
        let metrics = reqwest::get(network.url("/metrics")).await.expect("answers");
        let metrics = metrics.text().await.expect("text");
        let name = "hierophant_store_seconds_count{operation=\"write\"} ";
        let line = metrics.lines().find(|line| line.starts_with(name)).expect("a series");
        line[name.len()..].parse::<f64>().expect("a number")
    };
    let before = calls().await;
    let started = Instant::now();
    let asking = (0..300).map(|number| {
        let call = http.get(network.url("/ready")).send();
        async move {
            let patience = if number % 3 == 0 { 1 } else { 20_000 };
            tokio::time::timeout(Duration::from_millis(patience), call).await
        }
    });
    for answer in futures_util::future::join_all(asking).await.into_iter().flatten() {
        assert_eq!(answer.expect("answers").status(), 200);
    }
    let checks = calls().await - before;
    let most = started.elapsed().as_secs_f64() / 0.25 + 2.0;
    assert!(checks <= most, "{checks} checks in {:?}", started.elapsed());
}
