//! Uploads: how many tickets are open, how many bytes are kept, and what their ids open.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hierophant::config::AuthMode;
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use tokio_tungstenite::tungstenite::Bytes;
use tonic::{Code, Status};

use super::configured;
use crate::support::{Client, Network, assert_code};

/// Asks for a ticket; returns its URL.
async fn ticket(client: &mut Client) -> Result<String, Status> {
    let signature = client.sign(b"create_artifact", 54);
    let artifact_type = ArtifactType::Stdin as i32;
    let request = CreateArtifactRequest { signature, artifact_type };
    let answer = client.artifacts.create_artifact(request).await?;
    Ok(answer.into_inner().artifact_presigned_url)
}

#[tokio::test]
async fn open_tickets_of_an_address_are_bounded_and_an_upload_makes_room() {
    let network = Network::start_with(|config| config.quotas.open_tickets = 2).await;
    let mut client = Client::connect(&network).await;
    let first = ticket(&mut client).await.expect("opened");
    ticket(&mut client).await.expect("opened");
    assert_code(
        ticket(&mut client).await,
        Code::Unavailable,
        "quota exhausted: 2 open upload tickets",
    );
    ticket(&mut Client::with_key(&network, 8).await).await.expect("another has its own");

    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    assert_code(ticket(&mut client).await, Code::Unavailable, "upload to them");
    let path = first.split_once("/artifacts/").expect("a URL").1;
    let url = network.url(&format!("/artifacts/{path}"));
    assert_eq!(client.put(&url, "bytes").await.status(), 200);
    assert_eq!(client.put(&url, "bytes").await.status(), 200, "a retry makes no more room");
    ticket(&mut client).await.expect("there is room");
    assert_code(ticket(&mut client).await, Code::Unavailable, "upload to them");
}

#[tokio::test]
async fn a_flood_of_tickets_stops_and_leaves_room_for_configured_clients() {
    let network = Network::start_with(|config| {
        config.auth = AuthMode::None;
        config.quotas.strangers_tickets = 20;
        config.clients = vec![configured(7, "rollup")];
    })
    .await;
    // Each with a key of its own, and some with none.
    let floods = (10..50).map(async |seed| {
        let mut stranger = Client::with_key(&network, seed).await;
        let unsigned = CreateArtifactRequest { signature: vec![], artifact_type: 2 };
        let second = stranger.artifacts.create_artifact(unsigned).await.map(|_| ());
        [ticket(&mut stranger).await.map(|_| ()), second]
    });
    let answers: Vec<_> = join_all(floods).await.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
    for refused in answers.into_iter().filter_map(Result::err) {
        assert_code(Err::<(), _>(refused), Code::Unavailable, "this network allows 20");
    }
    ticket(&mut Client::connect(&network).await).await.expect("the rollup is a configured client");
}

#[tokio::test]
async fn tickets_nobody_uploads_to_are_forgotten_and_make_room() {
    let network = Network::start_with(|config| {
        config.quotas.open_tickets = 1;
        config.retention.unused_uploads = std::time::Duration::from_millis(200);
    })
    .await;
    let mut client = Client::connect(&network).await;
    ticket(&mut client).await.expect("opened");
    crate::support::eventually("there is room again", async || {
        ticket(&mut client.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn bytes_over_the_quota_are_refused_announced_or_not_and_then_no_ticket_is_given() {
    let network = Network::start_with(|config| config.quotas.stored_bytes = 100_000).await;
    let mut client = Client::connect(&network).await;
    let url = ticket(&mut client).await.expect("opened");
    let announced = client.put(&url, vec![1; 8 << 20]).await;
    assert_eq!(announced.status(), 413);
    assert!(announced.text().await.expect("text").contains("100000 bytes"));
    let chunks = (0..3).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![1; 50_000])));
    let unannounced = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_eq!(client.put(&url, unannounced).await.status(), 413);
    assert_eq!(network.files(), 0, "nothing of it is kept");
    assert_eq!(client.put(&url, vec![1; 100_000]).await.status(), 200);
    assert_eq!(client.put(&url, vec![1; 100_000]).await.status(), 200, "a retry adds nothing");
    let refused = ticket(&mut client).await;
    assert_code(refused, Code::FailedPrecondition, "100000 bytes of programs and inputs");
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    assert_code(ticket(&mut client).await, Code::FailedPrecondition, "try again tomorrow");
    ticket(&mut Client::with_key(&network, 8).await).await.expect("another has its own");
}

#[tokio::test]
async fn uploads_at_once_cannot_both_take_the_last_bytes() {
    let network = Network::start_with(|config| config.quotas.stored_bytes = 100_000).await;
    let mut client = Client::connect(&network).await;
    let mut urls = Vec::new();
    for _ in 0..8 {
        urls.push(ticket(&mut client).await.expect("opened"));
    }
    let uploads = urls.iter().map(async |url| client.put(url, vec![1; 60_000]).await.status());
    let mut answers: Vec<u16> =
        join_all(uploads).await.into_iter().map(|status| status.as_u16()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 413, 413, 413, 413, 413, 413, 413]);
}

#[tokio::test]
async fn bytes_that_retention_removes_make_room() {
    let network = Network::start_with(|config| {
        config.quotas.stored_bytes = 100;
        config.retention.unused_uploads = std::time::Duration::from_secs(3);
    })
    .await;
    let mut client = Client::connect(&network).await;
    let url = ticket(&mut client).await.expect("opened");
    assert_eq!(client.put(&url, vec![1; 100]).await.status(), 200);
    assert_code(ticket(&mut client).await, Code::FailedPrecondition, "100 bytes");
    crate::support::eventually("the bytes are gone", async || {
        ticket(&mut client.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn ids_that_open_something_are_random_in_every_byte() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let (mut tickets, mut requests) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let url = ticket(&mut client).await.expect("opened");
        let id = url.rsplit('/').next().expect("an id");
        tickets.push(hex::decode(id).expect("hex"));
        ask.deadline += 1;
        requests.push(client.ask(&ask).await.expect("accepted"));
    }
    for (ids, bytes) in [(tickets, 16), (requests, 32)] {
        assert!(ids.iter().all(|id| id.len() == bytes));
        for place in 0..bytes {
            let values: BTreeSet<u8> = ids.iter().map(|id| id[place]).collect();
            // Of 50 random bytes some 45 differ.
            assert!(values.len() > 25, "byte {place} has {} values", values.len());
        }
    }
}
