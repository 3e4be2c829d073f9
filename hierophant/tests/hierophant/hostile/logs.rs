//! Logs contain no secrets.

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use pb::FulfillmentStatus;

use super::{Fortress, TOKEN};
use crate::support::{core_proof, unix_now};

/// With everything logged that Hierophant's own crates have to say.
#[tokio::test]
async fn no_secret_and_no_id_that_opens_something_is_in_the_log() {
    let fortress = Fortress::start_with(&[("RUST_LOG", "info,hierophant=trace,network_lib=trace")]);
    let fortress = fortress.await;
    let mut client = fortress.client().await;
    let mut ask = client.ready_to_ask(&unix_now().to_le_bytes()).await;
    ask.stdin_uri = client.upload(ArtifactType::PrivateStdin, b"a private input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = fortress.contemplant().await;
    let lease = worker.prove_next(&core_proof()).await;
    let proof = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("URI");
    client.http.get(&proof).send().await.expect("answers").bytes().await.expect("bytes");
    let log = fortress.log();
    assert!(log.contains("upload stored"), "{log}");
    let tail = |uri: &str| uri.rsplit('/').next().expect("an id").to_owned();
    for (what, secret) in [
        ("the token", TOKEN.to_owned()),
        ("the request's id", hex::encode(&id)),
        ("the lease's id", lease.to_string()),
        ("the input's id", tail(&ask.stdin_uri)),
        ("the proof's id", tail(&proof)),
        ("the input", "a private input".to_owned()),
    ] {
        assert!(!log.contains(&secret), "{what} is in the log");
    }
}
