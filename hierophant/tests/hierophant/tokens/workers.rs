//! Which Contemplants are admitted, and what becomes of them when their token is revoked.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::stream;
use hierophant_proto::network::FulfillmentStatus;
use network_lib::handshake::{Hello, RefusalCode};
use network_lib::secret::Secret;
use network_lib::wire::{FromWorker, ToWorker, proof_path, stdin_path};
use reqwest::Method;
use serde_json::json;

use super::{bearer, made, revoke, turned_away};
use crate::acts::Log;
use crate::cli::told;
use crate::support::{Client, Network, Worker, core_proof, eventually, execution, hello};

/// How soon a revoked Contemplant must be cut.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_unknown_worker_gets_nothing() {
    let network = Network::start().await;
    made(&network, "rig-7", "worker").await;
    let clients = made(&network, "rollup", "client").await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let stranger = |token: &str| Hello { token: Some(token.into()), ..hello() };
    for (hello, words) in [
        (hello(), "token required"),
        (stranger(""), "unknown token"),
        (stranger("hpt_worker_"), "unknown token"),
        (stranger(&format!("hpt_worker_{}", "A".repeat(43))), "unknown token"),
        (stranger("rig-7"), "unknown token"),
        (stranger(&"x".repeat(100_000)), "unknown token"),
        (stranger(&clients), "expected a token of role worker"),
    ] {
        let refusal = turned_away(&network, hello).await;
        assert_eq!(refusal.code, RefusalCode::Unauthorized);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    assert_eq!(network.json("/api/v1/workers").await, json!([]));
    let open = FulfillmentStatus::Assigned as i32;
    assert_eq!(client.status(&id).await.fulfillment_status, open, "the request waits");
}

#[tokio::test]
async fn the_shared_token_and_an_own_one_admit_side_by_side() {
    let shared = |config: &mut hierophant::config::Config| {
        config.worker_token = Some(Secret::from("sesame"));
    };
    let network = Network::start_with(shared).await;
    let own = made(&network, "rig-7", "worker").await;
    let mut by_shared =
        Worker::join(&network, Hello { name: "amos".into(), ..bearer("sesame") }).await;
    let _by_own = Worker::join(&network, bearer(&own)).await;
    eventually("both are shown with what admitted them", async || {
        let workers = network.json("/api/v1/workers").await;
        let workers = workers.as_array().cloned().unwrap_or_default();
        let mut by: Vec<_> = workers.iter().filter_map(|it| it["admitted_by"].as_str()).collect();
        by.sort_unstable();
        by == ["token rig-7", "worker_token"]
    })
    .await;
    let listed = told(&format!("http://{}", network.http), "workers").await;
    assert!(listed.contains("token rig-7"), "{listed}");
    revoke(&network, "rig-7").await;
    for secret in [own.as_str(), ""] {
        turned_away(&network, bearer(secret)).await;
    }
    // A worker that was admitted by the shared token is not affected.
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    by_shared.leased().await;
}

#[tokio::test]
async fn a_shared_token_that_was_changed_by_a_restart_admits_nobody() {
    let network = Network::start_with(|config| {
        config.worker_token = Some(Secret::from("old"));
    })
    .await;
    Worker::join(&network, bearer("old")).await;
    let (folder, mut config) = network.stop().await;
    config.worker_token = Some(Secret::from("new"));
    let network = Network::start_in(folder, config).await;
    assert_eq!(turned_away(&network, bearer("old")).await.code, RefusalCode::Unauthorized);
    Worker::join(&network, bearer("new")).await;
}

#[tokio::test]
async fn a_revoked_worker_is_cut_within_five_seconds_and_cannot_return() {
    let network = Network::start().await;
    let (rig, other) =
        (made(&network, "rig-7", "worker").await, made(&network, "rig-8", "worker").await);
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let me = bearer(&rig);
    let mut worker = Worker::join(&network, me.clone()).await;
    let (lease, _) = worker.leased().await;
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 200);

    let began = Instant::now();
    revoke(&network, "rig-7").await;
    match worker.hear().await {
        Some(ToWorker::Refused(refusal)) => {
            assert_eq!(refusal.code, RefusalCode::Unauthorized);
            assert_eq!(refusal.message, "the token rig-7 was revoked");
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(worker.closing_words().await, "the token rig-7 was revoked");
    let took = began.elapsed();
    println!("cut {took:?} after the call that revoked began");
    assert!(took < SOON, "{took:?}");
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 401, "its key is void");
    assert_eq!(worker.hand_in(lease, &core_proof()).await, 401);
    let again = Hello { held: vec![lease], ..me.clone() };
    for hello in [me, again] {
        let refusal = turned_away(&network, hello).await;
        assert_eq!(refusal.message, "the token rig-7 was revoked");
    }

    // Its jobs are requeued without a strike.
    let mut next = Worker::join(&network, bearer(&other)).await;
    assert_ne!(next.prove_next(&core_proof()).await, lease);
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let job = network.json("/api/v1/jobs").await[0]["id"].as_str().expect("id").to_owned();
    let history = network.json(&format!("/api/v1/jobs/{job}")).await["history"].clone();
    let attempt = history.as_array().expect("attempts").iter().find(|it| it["outcome"] == "lost");
    let attempt = attempt.expect("the first attempt is lost");
    assert!(attempt["message"].as_str().is_some_and(|it| it.contains("was revoked")), "{attempt}");
    assert_eq!(attempt["failure_class"], serde_json::Value::Null, "no strike");
}

#[tokio::test]
async fn a_revoked_worker_is_cut_in_the_middle_of_a_download_and_of_an_upload() {
    let network = Network::start().await;
    let rig = made(&network, "rig-7", "worker").await;
    let mut client = Client::connect(&network).await;
    // More than fits into the buffers on the way.
    let input = vec![7; 48 << 20];
    let ask = client.ready_to_ask(&input).await;
    client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, bearer(&rig)).await;
    let (lease, _) = worker.leased().await;

    let mut download = worker.get(&stdin_path(lease)).await;
    let mut fetched = download.chunk().await.expect("begins").expect("bytes").len();
    let piece = Ok::<_, std::io::Error>(Bytes::from_static(&[7; 1000]));
    let never_ends = stream::unfold(Some(piece), |piece| async move {
        if piece.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some((piece.unwrap_or(Ok(Bytes::from_static(&[7; 10]))), None))
    });
    let before = network.files();
    let upload = worker.call(Method::PUT, &proof_path(lease));
    let upload = upload.body(reqwest::Body::wrap_stream(never_ends)).send();
    let upload = network_lib::task::spawn("upload", upload);
    eventually("the upload has begun", async || network.files() > before).await;

    let began = Instant::now();
    revoke(&network, "rig-7").await;
    let answer = upload.await.expect("no panic");
    // The answer may be lost with the connection.
    assert!(answer.is_err() || answer.is_ok_and(|it| it.status() == 403), "the upload ends");
    let cut = loop {
        match download.chunk().await {
            Ok(Some(chunk)) => fetched += chunk.len(),
            Ok(None) => break fetched < input.len(),
            Err(_) => break true,
        }
    };
    assert!(cut, "all {fetched} bytes have come");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    eventually("nothing is left of the upload", async || network.files() == before).await;
}

#[tokio::test]
async fn tokens_and_revocations_last_over_a_restart() {
    let network = Network::start().await;
    let (good, bad) =
        (made(&network, "good", "worker").await, made(&network, "bad", "worker").await);
    revoke(&network, "bad").await;
    let network = network.restart().await;
    Worker::join(&network, bearer(&good)).await;
    assert_eq!(turned_away(&network, bearer(&bad)).await.message, "the token bad was revoked");
    assert_eq!(turned_away(&network, hello()).await.code, RefusalCode::Unauthorized);
    revoke(&network, "good").await;
    let network = network.restart().await;
    assert_eq!(turned_away(&network, bearer(&good)).await.message, "the token good was revoked");
    // With no token left that is valid, those of this machine need none.
    Worker::join(&network, hello()).await;
}

#[tokio::test]
async fn an_id_that_another_token_has_connected_is_not_taken_over() {
    let network = Network::start().await;
    let (rig, thief) =
        (made(&network, "rig-7", "worker").await, made(&network, "rig-8", "worker").await);
    let me = bearer(&rig);
    let mut worker = Worker::join(&network, me.clone()).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    let (lease, _) = worker.leased().await;
    worker.say(FromWorker::Executed { lease_id: lease, execution: execution() }).await;
    eventually("it has begun", async || {
        network.json("/api/v1/jobs").await[0]["state"] == "proving"
    })
    .await;
    let impostor = Hello { worker_id: me.worker_id, held: vec![lease], ..bearer(&thief) };
    assert_eq!(turned_away(&network, impostor.clone()).await.code, RefusalCode::Taken);
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 200, "nothing has happened to it");
    drop(worker);
    assert_eq!(turned_away(&network, impostor).await.code, RefusalCode::Taken, "it may come back");
    let worker = Worker::join(&network, Hello { held: vec![lease], ..me }).await;
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 200);
}

#[tokio::test]
async fn a_secret_is_in_no_log_line_and_in_no_row_of_the_database() {
    let log = Log::default();
    let writer = log.clone();
    let logging = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let logging = logging.with_ansi(false).with_writer(move || writer.clone());
    // Everything of this test runs on its own thread.
    let _logging = tracing::subscriber::set_default(logging.finish());
    let network = Network::start().await;
    let mut secrets = Vec::new();
    for (name, role) in [("a", "worker"), ("b", "client"), ("c", "read"), ("d", "act")] {
        secrets.push(made(&network, name, role).await);
    }
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, bearer(&secrets[0])).await;
    let key = worker.key.clone().expect("a key").reveal().to_owned();
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    turned_away(&network, bearer(&secrets[1])).await;
    revoke(&network, "a").await;
    worker.closing_words().await;
    turned_away(&network, bearer(&secrets[0])).await;
    let (folder, config) = network.stop().await;
    secrets.push(key);

    let text = log.text();
    assert!(text.contains("token=\"a\"") && text.contains("/api/v1/tokens"), "the log is there");
    let mut files = 0;
    for entry in std::fs::read_dir(&config.data_dir).expect("readable") {
        let path = entry.expect("entry").path();
        if !path.is_file() {
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).expect("readable");
        for secret in &secrets {
            let end = &secret.as_bytes()[secret.len() - 20..];
            let found = bytes.windows(end.len()).any(|window| window == end);
            assert!(!found, "a secret is in {}", path.display());
        }
    }
    assert!(files > 0, "no database");
    for secret in &secrets {
        assert!(!text.contains(&secret[secret.len() - 20..]), "a secret is in the log");
    }
    drop(folder);
}
