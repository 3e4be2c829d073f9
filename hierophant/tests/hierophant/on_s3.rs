//! The whole Hierophant with its artifacts in an S3 bucket.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hierophant::config::Config;
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use network_lib::secret::Secret;
use network_lib::wire::{FromWorker, ToWorker, stdin_path};
use pb::FulfillmentStatus;
use test_peers::s3::{ACCESS_KEY_ID, BUCKET, Mood, S3, SECRET_ACCESS_KEY};
use tonic::Code;

use crate::storage::memory_with_an_input_of;
use crate::support::{
    self, Ask, Client, Network, Worker, assert_code, blob, core_proof, eventually, execution, hello,
};

fn on(s3: &S3) -> impl FnOnce(&mut Config) {
    let endpoint = s3.endpoint();
    move |config| {
        config.storage.artifacts_url = Some(format!("s3://{BUCKET}/network"));
        config.storage.s3_endpoint = Some(endpoint);
        config.storage.s3_access_key_id = Some(Secret::from(ACCESS_KEY_ID));
        config.storage.s3_secret_access_key = Some(Secret::from(SECRET_ACCESS_KEY));
    }
}

/// The file of the object behind a URI.
fn object_of(s3: &S3, uri: &str) -> PathBuf {
    s3.object(&format!("network/{}", uri.rsplit('/').next().expect("a name")))
}

/// A network on a bucket, a client of it, what it asked for, and the id of its request.
async fn asked() -> (S3, Network, Client, Ask, Vec<u8>) {
    let s3 = S3::start().await;
    let network = Network::start_with(on(&s3)).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    (s3, network, client, ask, id)
}

/// The same with the proof made.
async fn proved() -> (S3, Network, Client, Ask, Vec<u8>, String) {
    let (s3, network, mut client, ask, id) = asked().await;
    Worker::join(&network, hello()).await.prove_next(&core_proof()).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    (s3, network, client, ask, id, status.proof_uri.expect("a proof"))
}

async fn status_of(client: &mut Client, id: &[u8]) -> Result<i32, tonic::Status> {
    let request = pb::GetProofRequestStatusRequest { request_id: id.to_vec() };
    let answer = client.network.get_proof_request_status(request).await?;
    Ok(answer.into_inner().fulfillment_status)
}

#[tokio::test]
async fn a_proof_is_made_served_in_ranges_and_survives_a_restart() {
    let (s3, network, client, ask, id, uri) = proved().await;
    assert_eq!(network.files(), 0, "nothing stays on the disk");
    assert_eq!(std::fs::read(object_of(&s3, &uri)).expect("is there"), core_proof());
    let whole = client.http.get(&uri).send().await.expect("sends");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let modified = whole.headers()["last-modified"].clone();
    assert_eq!(whole.bytes().await.expect("bytes"), core_proof());
    let range = async |range: &str| {
        let answer = client.http.get(&uri).header("range", range).send().await.expect("sends");
        (answer.status().as_u16(), answer.bytes().await.expect("bytes").to_vec())
    };
    assert_eq!(range("bytes=2-4").await, (206, core_proof()[2..5].to_vec()));
    assert_eq!(range("bytes=-2").await, (206, core_proof()[core_proof().len() - 2..].to_vec()));
    assert_eq!(range("bytes=99999999-").await.0, 416);
    let again = client.http.get(&uri).header("if-modified-since", modified);
    assert_eq!(again.send().await.expect("sends").status(), 304);

    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let uri = client.status(&id).await.proof_uri.expect("URI");
    let proof = client.http.get(uri).send().await.expect("sends");
    assert_eq!(proof.bytes().await.expect("bytes"), core_proof());
    // The same content is not proved again.
    let joined = client.ask(&Ask { deadline: ask.deadline + 1, ..ask }).await.expect("accepted");
    client.until(&joined, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn while_the_bucket_is_away_clients_try_again_and_nothing_is_lost() {
    let (s3, network, mut client, ask, id, uri) = proved().await;
    let ticket = client.ticket(ArtifactType::Stdin).await;
    for mood in [Mood::Away, Mood::Silent] {
        s3.be(mood);
        assert_code(status_of(&mut client, &id).await, Code::Unavailable, "try again later");
        let again = Ask { deadline: ask.deadline + 1, ..ask.clone() };
        assert_code(client.ask(&again).await, Code::Unavailable, "try again later");
        assert_eq!(client.http.get(&uri).send().await.expect("answers").status(), 504);
        assert_eq!(client.put(&ticket.artifact_presigned_url, "bytes").await.status(), 504);
    }
    let ready = reqwest::get(network.url("/ready")).await.expect("answers");
    assert_eq!(ready.status(), 200);
    s3.be(Mood::Well);
    assert_eq!(status_of(&mut client, &id).await.expect("answers"), 3);
    assert_eq!(client.put(&ticket.artifact_presigned_url, "bytes").await.status(), 200);
    let proof = client.http.get(&uri).send().await.expect("sends");
    assert_eq!(proof.bytes().await.expect("bytes"), core_proof());
    let history = network.json("/proof-history").await;
    assert_eq!(history.as_array().map(Vec::len), Some(1), "nothing was proved again: {history}");
}

#[tokio::test]
async fn a_bucket_that_is_away_when_a_proof_is_handed_in_costs_no_proof() {
    let (s3, network, mut client, _, id) = asked().await;
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    s3.be(Mood::Away);
    assert_eq!(worker.get(&stdin_path(lease_id)).await.status(), 504, "the attempt goes on");
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 504);
    s3.be(Mood::Well);
    assert_eq!(worker.get(&stdin_path(lease_id)).await.bytes().await.expect("reads"), "input");
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    // Away again before the check.
    s3.be(Mood::Away);
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    assert_eq!(worker.hear().await, Some(ToWorker::Settled { lease_id }));
    s3.turns_away().await;
    let open = status_of(&mut client, &id).await.expect("answers");
    assert_eq!(open, FulfillmentStatus::Assigned as i32);
    s3.be(Mood::Well);
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let history = network.json("/proof-history").await;
    assert_eq!(history[0]["attempts"], 1);
}

/// As a worker behind a proxy that waits for an answer for less time than the bucket takes.
#[tokio::test]
async fn a_proof_whose_worker_leaves_while_it_is_stored_is_stored_once() {
    let (s3, network, mut client, _, id) = asked().await;
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let inputs = s3.objects("network");
    s3.be(Mood::Slow);
    tokio::select! {
        biased;
        () = s3.turns_away() => {}
        answer = worker.upload(lease_id, core_proof()) => panic!("not stored yet: {answer:?}"),
    }
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 504, "it is being stored");
    s3.be(Mood::Well);
    eventually("the proof is stored", async || {
        worker.hand_in(lease_id, &core_proof()).await == 200
    })
    .await;
    assert_eq!(s3.objects("network"), inputs + 1, "the proof is stored once");
    // A repeated hand-in does not need the bucket.
    s3.be(Mood::Away);
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    s3.be(Mood::Well);
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert_eq!(s3.objects("network"), inputs + 1);
}

#[tokio::test]
async fn a_start_without_the_bucket_is_refused_and_the_next_one_goes_on() {
    let (s3, network, _, _, id) = asked().await;
    let (folder, config) = network.stop().await;
    let refusal = async |config: Config| {
        let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
        let outcome = hierophant::run(config, listeners, Default::default()).await;
        format!("{:#}", outcome.expect_err("must be refused"))
    };
    s3.be(Mood::Away);
    let error = refusal(config.clone()).await;
    assert!(error.contains("cannot use the bucket: cannot list s3://proofs/network"), "{error}");
    s3.be(Mood::Well);
    let mut wrong = config.clone();
    wrong.storage.s3_secret_access_key = Some(Secret::from("wrong"));
    let error = refusal(wrong).await;
    assert!(error.contains("correct the keys") && !error.contains("wrong"), "{error}");
    let network = Network::start_in(folder, config).await;
    let mut client = Client::connect(&network).await;
    Worker::join(&network, hello()).await.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_bucket_that_is_gone_is_no_lost_input() {
    let (s3, network, mut client, _, id) = asked().await;
    s3.set_bucket(false);
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    assert_eq!(worker.get(&stdin_path(lease_id)).await.status(), 504);
    s3.set_bucket(true);
    assert_eq!(worker.get(&stdin_path(lease_id)).await.bytes().await.expect("reads"), "input");
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_proof_that_is_deleted_or_damaged_in_the_bucket_is_made_again() {
    let (s3, network, mut client, _, id, uri) = proved().await;
    let mut worker = Worker::join(&network, hello()).await;
    std::fs::remove_file(object_of(&s3, &uri)).expect("there");
    let open = FulfillmentStatus::Assigned as i32;
    assert_eq!(status_of(&mut client, &id).await.expect("answers"), open);
    worker.prove_next(&core_proof()).await;
    let uri = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("a proof");
    let mut bytes = core_proof();
    bytes[20] ^= 1;
    std::fs::write(object_of(&s3, &uri), bytes).expect("writes");
    assert_eq!(reqwest::get(&uri).await.expect("answers").status(), 504, "it is never served");
    assert_eq!(status_of(&mut client, &id).await.expect("answers"), open);
    worker.prove_next(&core_proof()).await;
    let uri = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("a proof");
    let proof = reqwest::get(uri).await.expect("answers");
    assert_eq!(proof.bytes().await.expect("bytes"), core_proof());
}

#[tokio::test]
async fn an_input_that_is_deleted_from_the_bucket_ends_its_job_with_a_clear_word() {
    let (s3, network, mut client, ask, id) = asked().await;
    std::fs::remove_file(object_of(&s3, &ask.stdin_uri)).expect("there");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    assert_eq!(worker.get(&stdin_path(lease_id)).await.status(), 410);
    client.until(&id, FulfillmentStatus::Unfulfillable).await;
}

#[tokio::test]
async fn old_objects_without_a_record_go_at_a_start_and_others_stay() {
    let (s3, network, _, _, _, uri) = proved().await;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(support::unix_now());
    let days_ago = now - Duration::from_secs(2 * 24 * 3600);
    let put = |name: &str, written: SystemTime| {
        let path = s3.object(&format!("network/{name}"));
        let file = std::fs::File::create(&path).expect("creates");
        file.set_modified(written).expect("is dated");
        path
    };
    let orphan = put(&"ab".repeat(16), days_ago);
    let recent = put(&"cd".repeat(16), now);
    let foreign = put("notes.txt", days_ago);
    let served = std::fs::File::options().append(true).open(object_of(&s3, &uri)).expect("there");
    served.set_modified(days_ago).expect("is dated");
    let network = network.restart().await;
    eventually("the orphan is removed", async || !orphan.exists()).await;
    assert!(recent.exists() && foreign.exists() && object_of(&s3, &uri).exists());
    network.stop().await;
}

#[tokio::test]
async fn two_uploads_to_one_ticket_do_not_mix() {
    let s3 = S3::start().await;
    let network = Network::start_with(on(&s3)).await;
    let mut client = Client::connect(&network).await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let (first, second) = (vec![1_u8; 9 << 20], vec![2_u8; 9 << 20]);
    let both = futures_util::future::join(
        client.put(&ticket, first.clone()),
        client.put(&ticket, second.clone()),
    );
    let (one, other) = both.await;
    let codes = [one.status().as_u16(), other.status().as_u16()];
    let kept = if codes[0] == 200 { &first } else { &second };
    assert!(codes.contains(&200) && (codes.contains(&504) || codes.contains(&409)), "{codes:?}");
    let bytes = client.http.get(&ticket).send().await.expect("answers").bytes().await;
    assert!(bytes.expect("reads") == *kept, "other bytes than those that were answered with 200");
    eventually("the staging folder is empty", async || network.files() == 0).await;
}

#[tokio::test]
async fn a_large_input_grows_memory_by_less_than_48_mib() {
    let s3 = S3::start().await;
    let variables = [
        ("HIEROPHANT_STORAGE__ARTIFACTS_URL", format!("s3://{BUCKET}")),
        ("HIEROPHANT_STORAGE__S3_ENDPOINT", s3.endpoint()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.into()),
    ];
    let (before, after_upload, after_download) = memory_with_an_input_of(256, &variables).await;
    println!("peak KiB: {before} before, {after_upload} uploaded, {after_download} downloaded");
    assert!(after_download - before < 48 * 1024, "grew by {} KiB", after_download - before);
}
