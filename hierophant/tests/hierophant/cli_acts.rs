//! What operators do on the command line: words, JSON and exit codes.

use std::path::Path;

use hierophant_proto::network as pb;
use network_lib::wire::{FromWorker, ToWorker};
use pb::FulfillmentStatus;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cli::{hierophant, text, told};
use crate::support::{Client, Network, Worker, core_proof, hello};

/// A command that is refused: its exit code, and what it says.
async fn refused(url: &str, arguments: &str) -> (Option<i32>, String) {
    let output = hierophant(url, arguments).await;
    (output.status.code(), text(&output.stderr).to_owned())
}

async fn json_of(url: &str, arguments: &str) -> Value {
    serde_json::from_str(&told(url, &format!("{arguments} --json")).await).expect("JSON")
}

/// A request that waits: its client, its short id, its whole id and its job's.
async fn waiting(network: &Network, input: &[u8]) -> (Client, String, Vec<u8>, String) {
    let mut client = Client::connect(network).await;
    let ask = client.ready_to_ask(input).await;
    let id = client.ask(&ask).await.expect("accepted");
    let short = hex::encode(&id[..8]);
    let whole = network.json(&format!("/api/v1/requests/{short}")).await;
    (client, short, id, whole["id"].as_str().expect("id").to_owned())
}

#[tokio::test]
async fn requests_and_jobs_are_cancelled_one_by_one() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let (_, first, ..) = waiting(&network, b"one").await;
    let (_, _, second, job) = waiting(&network, b"two").await;
    let said = told(&url, &format!("cancel {first} {job}")).await;
    assert_eq!(
        said,
        format!(
            "{first}: the request and its job are cancelled\n\
             {job}: the job is cancelled, with 1 request\n"
        )
    );
    let whole = hex::encode(&second);
    let again = json_of(&url, &format!("cancel 0x{whole}")).await;
    assert_eq!(
        again,
        json!([{
            "id": format!("0x{whole}"), "changed": false, "now": "the request is already cancelled",
            "job": null
        }])
    );
    let none = "0".repeat(32);
    let output = hierophant(&url, &format!("cancel {first} {none}")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains(&format!("{none}: no such request")));
    assert!(text(&output.stderr).contains("1 of 2 not cancelled"));
}

#[tokio::test]
async fn jobs_are_requeued_and_prioritised() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let (_, _, _, job) = waiting(&network, b"one").await;
    assert_eq!(told(&url, &format!("requeue {job}")).await, "it is already waiting\n");
    assert_eq!(told(&url, &format!("priority {job} low")).await, "its priority is low\n");
    assert_eq!(
        json_of(&url, &format!("priority {job} low")).await,
        json!({"changed": false, "now": "its priority is already low", "job": null})
    );
    assert!(told(&url, &format!("job {job}")).await.contains("low"));
    assert_eq!(refused(&url, &format!("priority {job} high")).await.0, Some(2));
    told(&url, &format!("cancel {job}")).await;
    for command in [format!("requeue {job}"), format!("priority {job} low")] {
        let (code, words) = refused(&url, &command).await;
        assert!(code == Some(1) && words.contains("the job is cancelled"), "{words}");
    }
}

#[tokio::test]
async fn contemplants_are_drained_dropped_and_blocked_by_name() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    waiting(&network, b"one").await;
    let hello = hello();
    let id = hello.worker_id;
    let mut worker = Worker::join(&network, hello.clone()).await;
    worker.leased().await;
    told(&url, "drain tobit --reason kernel").await;
    assert!(told(&url, "workers").await.contains("drained: kernel"));
    assert_eq!(told(&url, "undrain tobit").await, "tobit accepts jobs again\n");
    let said = told(&url, "drop tobit --reason stuck").await;
    assert_eq!(said, "tobit is dropped; its jobs are queued again\n");
    assert_eq!(worker.closing_words().await, "dropped by the operator: stuck");
    Worker::join(&network, hello.clone()).await;
    told(&url, "block tobit --reason lies").await;
    assert!(told(&url, "block 10.0.0.9").await.contains("10.0.0.9 is blocked"));
    let listed = told(&url, "blocked").await;
    assert!(listed.contains(&id.to_string()) && listed.contains("lies"), "{listed}");
    assert!(told(&url, &format!("worker {id}")).await.contains("blocked: lies"));
    for subject in [id.to_string(), "10.0.0.9".to_owned()] {
        let words = format!("{subject} is no longer blocked\n");
        assert_eq!(told(&url, &format!("unblock {subject}")).await, words);
    }
    assert_eq!(told(&url, "blocked").await, "nothing is blocked\n");
    let unknown = "unknown worker";
    for (command, expected) in
        [("drop amos", unknown), ("block amos", unknown), ("unblock amos", "or an IP address")]
    {
        let (code, words) = refused(&url, command).await;
        assert!(code == Some(1) && words.contains(expected), "{command}: {words}");
    }
}

#[tokio::test]
async fn dispatch_is_paused_and_resumed() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    assert!(told(&url, "pause --reason disks").await.starts_with("dispatch is paused"));
    let status = told(&url, "status").await;
    assert!(status.contains("ago: disks"), "{status}");
    assert_eq!(told(&url, "resume").await, "dispatch is resumed\n");
    assert_eq!(
        json_of(&url, "resume").await,
        json!({"changed": false, "now": "dispatch is not paused", "job": null})
    );
}

#[tokio::test]
async fn the_queue_is_cleared_only_when_it_is_meant() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let (_, _, _, job) = waiting(&network, b"one").await;
    let dry = told(&url, "clear --dry-run --mode core").await;
    assert_eq!(dry, format!("1 job with 1 request would be cancelled\n  {job}\n"));
    // No confirmation is possible: the test's standard input is not a terminal.
    let (code, words) = refused(&url, "clear").await;
    assert!(code == Some(1) && words.contains("expected --yes"), "{words}");
    let (code, words) = refused(&url, "clear --yes --state proving").await;
    assert!(code == Some(1) && words.contains("require `running`"), "{words}");
    assert_eq!(refused(&url, "clear --yes --older-than soon").await.0, Some(2));
    // As a shell passes a variable that is not set.
    for option in ["requester", "program", "mode", "state"] {
        let (code, words) = refused(&url, &format!("clear --yes --{option} ")).await;
        assert!(code == Some(2) && words.contains("a value is required"), "{option}: {words}");
    }
    assert_eq!(network.json(&format!("/api/v1/jobs/{job}")).await["state"], "queued");
    assert_eq!(
        json_of(&url, "clear --yes --older-than 1h").await,
        json!({"dry_run": false, "jobs": 0, "requests": 0, "listed": []})
    );
    let cleared = json_of(&url, "clear --yes").await;
    assert_eq!(cleared["listed"], json!([job]));
    assert_eq!(network.json(&format!("/api/v1/jobs/{job}")).await["state"], "cancelled");
}

/// What lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("readable");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_proof_is_downloaded_whole_or_not_at_all() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let (mut client, short, id, _) = waiting(&network, b"one").await;
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("a.proof");
    let download = format!("proof download {short} -o {}", file.display());
    let (code, words) = refused(&url, &download).await;
    assert!(code == Some(1) && words.contains("the request is open, its job queued"), "{words}");
    assert_eq!(names(folder.path()), [""; 0]);

    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let said = json_of(&url, &download).await;
    let digest = hex::encode(Sha256::digest(core_proof()));
    assert_eq!(said, json!({"file": file, "bytes": core_proof().len(), "sha256": digest}));
    assert_eq!(std::fs::read(&file).expect("there"), core_proof());

    std::fs::write(&file, "mine").expect("writes");
    let (code, words) = refused(&url, &download).await;
    assert!(code == Some(1) && words.contains("--force replaces it"), "{words}");
    assert_eq!(std::fs::read(&file).expect("there"), b"mine");
    told(&url, &format!("{download} --force")).await;
    assert_eq!(std::fs::read(&file).expect("there"), core_proof());
    let nowhere = format!("proof download {short} -o {}/no/a.proof", folder.path().display());
    let (code, words) = refused(&url, &nowhere).await;
    assert!(code == Some(1) && words.contains("No such file"), "{words}");
    assert_eq!(names(folder.path()), ["a.proof"]);
    let delivered = network.json("/api/v1/artifacts?kind=proof").await[0]["delivered_at"].clone();
    assert_eq!(delivered, Value::Null, "its client has not fetched it");
    drop(worker);
}

#[tokio::test]
async fn a_proof_that_arrives_damaged_leaves_no_file() {
    use axum::routing::get;
    let wrong = [("x-proof-sha256", "00".repeat(32))];
    let api =
        axum::Router::new().route("/api/v1/requests/{id}/proof", get(async || (wrong, "proof")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serving = network_lib::task::spawn("liar", async { axum::serve(listener, api).await });
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("a.proof");
    let (code, words) =
        refused(&url, &format!("proof download 0011223344556677 -o {}", file.display())).await;
    assert!(code == Some(1) && words.contains("damaged in transfer"), "{words}");
    assert_eq!(names(folder.path()), [""; 0]);
    serving.abort();
}

#[tokio::test]
async fn nobody_is_there_to_act() {
    for command in ["pause", "cancel 0011223344556677", "clear --yes"] {
        assert_eq!(refused("http://127.0.0.1:1", command).await.0, Some(3), "{command}");
    }
}

#[tokio::test]
async fn a_contemplant_that_finishes_after_a_drain_is_told_to_leave() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let mut worker = Worker::join(&network, hello()).await;
    told(&url, "drain tobit --reason done").await;
    assert!(matches!(worker.hear().await, Some(ToWorker::Drain { reason }) if reason == "done"));
    worker.say(FromWorker::Draining { reason: "done".into() }).await;
    crate::support::eventually("it leaves", async || {
        refused(&url, "undrain tobit").await.1.contains("is already leaving")
    })
    .await;
}
