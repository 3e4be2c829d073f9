//! The whole Hierophant on a Postgres database.

use std::sync::Arc;
use std::time::Duration;

use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use network_lib::secret::Secret;
use pb::FulfillmentStatus;
use sqlx::{Connection, PgConnection};
use tonic::Code;

use crate::support::{self, Client, Network, Worker, assert_code, core_proof, eventually, hello};

#[tokio::test]
async fn requests_are_proved_and_survive_restarts_of_both() {
    let server =
        tokio::task::spawn_blocking(support::postgres::Server::start).await.expect("starts");
    let server = Arc::new(server);
    let url = Secret::from(server.url("postgres"));
    let network = Network::start_with(|config| config.database_url = Some(url)).await;
    assert!(!network.data().join("hierophant.db").exists());
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);

    // While the server is unreachable, calls are refused as retryable; then everything is as before.
    let away = Arc::clone(&server);
    tokio::task::spawn_blocking(move || away.stop()).await.expect("stops");
    let signature = client.sign(b"create_artifact", 54);
    let ticket = CreateArtifactRequest { signature, artifact_type: ArtifactType::Stdin as i32 };
    assert_code(client.artifacts.create_artifact(ticket).await, Code::Unavailable, "try again");
    let request = pb::GetProofRequestStatusRequest { request_id: id.clone() };
    let status = client.network.get_proof_request_status(request).await;
    assert_code(status, Code::Unavailable, "try again later");
    eventually("it is not ready", async || {
        reqwest::get(network.url("/ready")).await.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    let back = Arc::clone(&server);
    tokio::task::spawn_blocking(move || back.start_again()).await.expect("starts");
    eventually("Hierophant is ready again", async || {
        reqwest::get(network.url("/ready")).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);
    client.upload(ArtifactType::Stdin, b"more").await;
}

#[tokio::test]
async fn a_second_hierophant_and_a_wrong_url_are_refused() {
    let database = support::postgres::database().await;
    let url = Secret::from(database.url.clone());
    let network = Network::start_with(|config| config.database_url = Some(url)).await;
    let other = tempfile::tempdir().expect("temp dir");
    let mut config = network.config.clone();
    config.data_dir = other.path().to_owned();
    config.storage.database_wait = Duration::from_secs(1);
    let refusal = async |config: hierophant::config::Config| {
        let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
        let outcome = hierophant::run(config, listeners, Default::default()).await;
        format!("{:#}", outcome.expect_err("must be refused"))
    };
    let error = refusal(config.clone()).await;
    assert!(error.contains("another Hierophant uses the database test_"), "{error}");
    config.database_url = Some(Secret::from("postgres://kahana:s3cret@127.0.0.1:1/proofs"));
    let error = refusal(config).await;
    assert!(error.contains("cannot open the database proofs on 127.0.0.1:1"), "{error}");
    assert!(!error.contains("s3cret") && !error.contains('\n'), "{error}");
    network.stop().await;
}

/// A network on a database of its own, and the database.
async fn network_and_database() -> (Network, support::postgres::Database) {
    let database = support::postgres::database().await;
    let url = Secret::from(database.url.clone());
    let network = Network::start_with(|config| config.database_url = Some(url)).await;
    (network, database)
}

/// Waits until another session waits for a lock of this table.
async fn someone_waits_for(table: &'static str, url: &str) {
    let connection = PgConnection::connect(url).await.expect("connects");
    let connection = tokio::sync::Mutex::new(connection);
    eventually("a session waits for the lock", async || {
        let waiting = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass",
        );
        let waiting = waiting.bind(table).fetch_one(&mut *connection.lock().await).await;
        waiting.expect("counts") > 0
    })
    .await;
}

#[tokio::test]
async fn a_read_that_hangs_holds_up_its_caller_and_not_the_scheduler() {
    let (network, database) = network_and_database().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let mut other = PgConnection::connect(&database.url).await.expect("connects");
    let mut locking = other.begin().await.expect("begins");
    let lock = "LOCK TABLE requests IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *locking).await.expect("locks");
    let asking = network_lib::task::spawn("a request", {
        let mut client = client.clone();
        async move { client.ask(&ask).await }
    });
    someone_waits_for("requests", &database.url).await;
    // The scheduler answers, and admits workers.
    let overview = network.json("/api/v1/overview");
    let overview = tokio::time::timeout(Duration::from_secs(5), overview).await.expect("in time");
    assert_eq!(overview["unfinished"], 0);
    let joining = Worker::join(&network, hello());
    let _worker = tokio::time::timeout(Duration::from_secs(5), joining).await.expect("in time");
    assert!(!asking.is_finished());
    locking.rollback().await.expect("unlocks");
    asking.await.expect("does not panic").expect("accepted");
}

#[tokio::test]
async fn a_commit_that_hangs_delays_neither_the_refusal_of_unknown_ids_nor_the_counters() {
    let (network, database) = network_and_database().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let mut other = PgConnection::connect(&database.url).await.expect("connects");
    let mut locking = other.begin().await.expect("begins");
    // Reads go on.
    let lock = "LOCK TABLE requests IN EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *locking).await.expect("locks");
    let asking = network_lib::task::spawn("a request", {
        let mut client = client.clone();
        async move { client.ask(&ask).await }
    });
    someone_waits_for("requests", &database.url).await;
    let in_time = Duration::from_secs(5);
    for id in 0..20 {
        let answer = tokio::time::timeout(in_time, client.cancel(&[id; 32])).await;
        assert_code(answer.expect("in time"), Code::NotFound, "no such request");
    }
    let metrics = async {
        let answer = reqwest::get(network.url("/metrics")).await.expect("answers");
        answer.text().await.expect("text")
    };
    let metrics = tokio::time::timeout(in_time, metrics).await.expect("in time");
    assert!(metrics.contains("\nhierophant_gauges_current 0\n"), "{metrics}");
    assert!(metrics.contains("hierophant_rpc_seconds_count{method=\"CancelRequest\""), "{metrics}");
    assert!(!asking.is_finished());
    locking.rollback().await.expect("unlocks");
    asking.await.expect("does not panic").expect("accepted");
}
