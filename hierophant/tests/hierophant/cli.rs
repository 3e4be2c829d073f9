//! The command line against a running Hierophant.

use std::process::{Command, Output, Stdio};

use network_lib::handshake::Hello;
use network_lib::wire::{FromWorker, ToWorker};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, LIMIT, Network, Worker, blob, core_proof, execution, hello};

/// Runs the program in an empty folder; its arguments are separated by blanks.
pub(crate) async fn hierophant(url: &str, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hierophant"));
    command.args(arguments.split(' ')).args(["--url", url]);
    command.current_dir(std::env::temp_dir()).env_clear();
    tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("starts")
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// What it prints when all goes well.
pub(crate) async fn told(url: &str, arguments: &str) -> String {
    let output = hierophant(url, arguments).await;
    let complaint = text(&output.stderr);
    assert!(output.status.success(), "{arguments}: {complaint}");
    text(&output.stdout).to_owned()
}

#[tokio::test]
async fn jobs_requests_and_contemplants_are_shown() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let status = told(&url, "status").await;
    assert!(status.contains("1 core") && status.contains("workers"), "{status}");
    assert!(told(&url, "workers").await.contains("no worker is connected"));

    let on_a_pod = Hello { instance: Some("prover-7f9c\u{1b}[2J".into()), ..hello() };
    let mut worker = Worker::join(&network, on_a_pod).await;
    let (lease_id, _) = worker.leased().await;
    let workers = told(&url, "workers").await;
    assert!(workers.contains("tobit") && workers.contains("1/1"), "{workers}");
    assert!(workers.contains("prover-7f9c[2J"), "{workers}");
    assert_eq!(network.json("/contemplants").await[0]["instance"], "prover-7f9c[2J");
    let jobs: Value = serde_json::from_str(&told(&url, "jobs --json").await).expect("JSON");
    let job = jobs[0]["id"].as_str().expect("id");
    let by_request = told(&url, &format!("request {}", hex::encode(&request[..8]))).await;
    assert!(by_request.contains(job) && by_request.contains("tobit"), "{by_request}");
    assert!(told(&url, &format!("job {job}")).await.contains("running"));
    assert!(told(&url, &format!("why {job}")).await.starts_with("assigned to tobit"));
    assert!(told(&url, "requests --state open").await.contains(job));
    assert!(told(&url, "programs").await.contains(&"01".repeat(32)));
    assert!(told(&url, "worker tobit").await.contains(job));

    assert!(told(&url, "drain tobit").await.contains("finishes its jobs"));
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    loop {
        if let Some(ToWorker::Drain { .. }) = worker.hear().await {
            break;
        }
    }
}

/// On a terminal that `script` (part of every Debian) plays.
#[tokio::test]
async fn watch_shows_what_goes_on_until_q_is_pressed_and_leaves_the_terminal_as_it_was() {
    let network = Network::start().await;
    let mut worker = Worker::join(&network, hello()).await;
    let program = env!("CARGO_BIN_EXE_hierophant");
    let watch = format!("stty cols 100 rows 40; {program} watch --url http://{}", network.http);
    let mut command = tokio::process::Command::new("script");
    command.args(["-q", "-e", "-c", &watch, "/dev/null"]).current_dir(std::env::temp_dir());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = command.spawn().expect("starts");
    let mut keys = running.stdin.take().expect("piped");
    let mut screen = running.stdout.take().expect("piped");
    let mut shown = Vec::new();
    let mut until = async |words: &str| {
        while !String::from_utf8_lossy(&shown).contains(words) {
            let read = tokio::time::timeout(LIMIT, screen.read_buf(&mut shown)).await;
            let count = read.unwrap_or_else(|_| panic!("{words}: not in time")).expect("reads");
            assert!(count > 0, "{words}: {}", String::from_utf8_lossy(&shown));
        }
    };
    until("live").await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    worker.leased().await;
    until("tobit").await;
    keys.write_all(b"q").await.expect("writes");
    until(&termion::screen::ToMainScreen.to_string()).await;
    let ended = tokio::time::timeout(LIMIT, running.wait()).await.expect("in time");
    assert!(ended.expect("ends").success());
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_told_by_the_exit_code() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    for (arguments, words) in [
        ("job 7", "invalid job id"),
        ("request 0011223344556677", "no such request"),
        ("worker amos", "unknown worker"),
        ("drain amos", "unknown worker"),
        ("jobs --state lost", "invalid `state`"),
    ] {
        let output = hierophant(&url, arguments).await;
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {complaint}");
        assert!(complaint.contains(words), "{arguments}: {complaint}");
    }
    let nobody = hierophant("http://127.0.0.1:1", "status").await;
    assert_eq!(nobody.status.code(), Some(3));
    assert!(text(&nobody.stderr).contains("cannot reach Hierophant at http://127.0.0.1:1"));
    assert_eq!(hierophant(&url, "stats").await.status.code(), Some(2));
    let piped = hierophant(&url, "watch").await;
    assert_eq!(piped.status.code(), Some(2));
    assert!(text(&piped.stderr).contains("no terminal"));
}

#[test]
fn shells_can_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hierophant"));
        let output = command.args(["completions", shell]).output().expect("starts");
        assert!(text(&output.stdout).contains("workers"), "{shell}");
    }
}
