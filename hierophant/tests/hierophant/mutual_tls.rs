//! Peers that must show a certificate.

use hierophant::config::PeerCertificates;
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use test_peers::certificates::{Authority, Leaf};
use tokio_tungstenite::tungstenite;
use tonic::Code;

use crate::support::tls::Secure;
use crate::support::{Client, Worker, assert_code, core_proof, hello};

async fn demanding_workers() -> Secure {
    Secure::start_with(&Leaf::default(), |config| {
        config.tls.worker_certificates = PeerCertificates::Required;
    })
    .await
}

#[tokio::test]
async fn a_contemplant_without_a_certificate_gets_nothing_where_one_is_required() {
    let secure = demanding_workers().await;
    let network = &secure.network;
    match Worker::dial_under_tls(network, &secure.trust).await {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 403),
        other => panic!("not refused: {:?}", other.err()),
    }
    let lease = "ab".repeat(16);
    let http = secure.trust.http();
    for path in ["program", "stdin"] {
        let url = network.url(&format!("/leases/{lease}/{path}"));
        assert_eq!(http.get(url).send().await.expect("answers").status(), 403, "{path}");
    }
    let url = network.url(&format!("/leases/{lease}/proof"));
    assert_eq!(http.put(url).body("proof").send().await.expect("answers").status(), 403);
    // Clients and dashboards come to the same port without one.
    let mut client = Client::under_tls(network, &secure.trust).await;
    let uri = client.upload(ArtifactType::Stdin, b"input").await;
    let got = client.http.get(uri).send().await.expect("answers");
    assert_eq!(got.bytes().await.expect("bytes").as_ref(), b"input");
    assert_eq!(http.get(network.url("/ready")).send().await.expect("answers").status(), 200);
}

#[tokio::test]
async fn a_contemplant_with_a_certificate_works_where_one_is_required() {
    let secure = demanding_workers().await;
    let network = &secure.network;
    let trust = secure.trust.with(secure.issue_for("rig-7"));
    let worker = Worker::dial_under_tls(network, &trust).await.expect("connects");
    let mut worker = worker.welcome(hello()).await;
    let mut client = Client::under_tls(network, &secure.trust).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
}

#[tokio::test]
async fn certificates_of_another_authority_and_expired_ones_are_refused() {
    let secure = demanding_workers().await;
    let foreign = Authority::new("another authority").issue(&Leaf::default());
    let expired = secure.authority.issue(&Leaf { until: 2020, ..Leaf::default() });
    for bad in [foreign, expired] {
        let trust = secure.trust.with(bad);
        let dialled = Worker::dial_under_tls(&secure.network, &trust).await;
        let error = format!("{:?}", dialled.err().expect("must be refused"));
        assert!(!error.contains("403"), "refused by the handshake, not later: {error}");
    }
}

#[tokio::test]
async fn a_grpc_client_must_show_a_certificate_where_one_is_required() {
    let secure = Secure::start_with(&Leaf::default(), |config| {
        config.tls.client_certificates = PeerCertificates::Required;
    })
    .await;
    let network = &secure.network;
    let mut without = Client::under_tls(network, &secure.trust).await;
    let request = CreateArtifactRequest::default();
    let refused = without.artifacts.create_artifact(request).await;
    assert_code(refused, Code::Unauthenticated, "client certificate missing");
    let trust = secure.trust.with(secure.issue_for("sequencer"));
    let mut client = Client::under_tls(network, &trust).await;
    client.upload(ArtifactType::Stdin, b"input").await;
    // Contemplants need none then.
    Worker::dial_under_tls(network, &secure.trust).await.expect("connects").welcome(hello()).await;
}
