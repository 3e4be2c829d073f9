//! Whose a program is, and what refutes and confirms it.

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use network_lib::job::{Failure, FailureClass, PROGRAM_MISMATCH};
use network_lib::wire::FromWorker;
use pb::FulfillmentStatus;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::configured;
use crate::cli::told;
use crate::support::{Client, Network, Worker, assert_code, hello, program_upload};

const PROGRAM: [u8; 32] = [1; 32];

/// Registers a program with an upload of its own; returns what the answer says about it.
async fn register(client: &mut Client, filling: u8) -> Result<String, Status> {
    let upload = [program_upload(), vec![filling; 8]].concat();
    let program_uri = client.upload(ArtifactType::Program, &upload).await;
    let (vk_hash, vk) = (PROGRAM.to_vec(), vec![1; 130]);
    let body = pb::CreateProgramBody { nonce: 0, vk_hash, vk, program_uri }.encode_to_vec();
    let call = client.call(client.envelope(body));
    let answer = client.network.create_program(call).await?;
    let outcome = answer.metadata().get("hierophant-program").expect("says what it did");
    Ok(outcome.to_str().expect("text").to_owned())
}

async fn program(client: &mut Client) -> Result<pb::Program, Status> {
    let call = pb::GetProgramRequest { vk_hash: PROGRAM.to_vec() };
    let answer = client.network.get_program(call).await?;
    Ok(answer.into_inner().program.expect("a program"))
}

async fn nonce(client: &mut Client) -> u64 {
    let call = pb::GetNonceRequest { address: client.address().to_vec() };
    client.network.get_nonce(call).await.expect("answers").into_inner().nonce
}

async fn act(network: &Network, path: &str, body: Value) -> (u16, Value) {
    let call = reqwest::Client::new().post(network.url(&format!("/api/v1{path}"))).json(&body);
    let answer = call.send().await.expect("answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_key_of_another_program_registers_nothing() {
    let network = Network::start_with(|config| config.mock_mode = false).await;
    let mut client = Client::connect(&network).await;
    assert_code(register(&mut client, 0).await, Code::InvalidArgument, "invalid verifying key");
    assert_code(program(&mut client).await, Code::NotFound, "not registered");
    assert_eq!(nonce(&mut client).await, 0);
}

#[tokio::test]
async fn the_first_client_keeps_a_program_and_the_answer_says_so() {
    let network = Network::start().await;
    let mut owner = Client::with_key(&network, 7).await;
    let mut other = Client::with_key(&network, 8).await;
    assert_eq!(register(&mut owner, 1).await.as_deref().ok(), Some("stored"));
    let first = program(&mut owner).await.expect("registered");
    assert_eq!(register(&mut owner, 1).await.as_deref().ok(), Some("kept"), "the same bytes");
    assert_eq!(register(&mut other, 2).await.as_deref().ok(), Some("kept"));
    assert_eq!(program(&mut owner).await.expect("registered"), first);
    assert_eq!((nonce(&mut owner).await, nonce(&mut other).await), (1, 0), "nothing was stored");
    assert_eq!(register(&mut owner, 3).await.as_deref().ok(), Some("stored"));
    let replaced = program(&mut owner).await.expect("registered");
    assert_ne!(replaced.program_uri, first.program_uri);
    let listed = network.json("/api/v1/programs").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["state"], "claimed");
}

#[tokio::test]
async fn a_program_that_a_worker_refutes_may_be_registered_by_any_client() {
    let network = Network::start().await;
    let mut squatter = Client::with_key(&network, 8).await;
    register(&mut squatter, 1).await.expect("registers");
    let mut owner = Client::with_key(&network, 7).await;
    let ask = owner.ask_for(PROGRAM, b"input").await;
    let id = owner.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let failure = Failure::new(FailureClass::Request, format!("{PROGRAM_MISMATCH}; its own is x"));
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    owner.until(&id, FulfillmentStatus::Unfulfillable).await;
    assert_code(program(&mut owner).await, Code::NotFound, "not registered");
    assert_code(owner.ask(&ask).await.map(|_| ()), Code::FailedPrecondition, "not registered");
    assert_eq!(network.json("/api/v1/programs").await[0]["state"], "refuted");
    assert_eq!(register(&mut owner, 2).await.as_deref().ok(), Some("stored"));
    assert_eq!(program(&mut owner).await.expect("registered").owner, owner.address().to_vec());
}

#[tokio::test]
async fn the_command_line_reassigns_and_removes_a_program() {
    let network =
        Network::start_with(|config| config.clients = vec![configured(7, "rollup")]).await;
    let mut squatter = Client::with_key(&network, 8).await;
    register(&mut squatter, 1).await.expect("registers");
    let (url, id) = (format!("http://{}", network.http), hex::encode(PROGRAM));
    assert!(told(&url, "programs").await.contains("claimed"));
    let done = told(&url, &format!("program reassign {id} --client rollup")).await;
    assert_eq!(done, "of rollup\n");
    assert!(told(&url, "programs").await.contains("(rollup)"));
    let made = "token create --name rollup-1 --role client --client rollup";
    assert!(told(&url, made).await.starts_with("hpt_client_"));
    assert!(told(&url, "token list").await.contains("client of rollup"));
    assert_eq!(told(&url, &format!("program remove {id}")).await, "removed\n");
    assert_eq!(told(&url, "programs").await, "no programs\n");
}

#[tokio::test]
async fn an_operator_removes_and_reassigns_programs_and_the_audit_has_both() {
    let network =
        Network::start_with(|config| config.clients = vec![configured(7, "rollup")]).await;
    let mut squatter = Client::with_key(&network, 8).await;
    register(&mut squatter, 1).await.expect("registers");
    let id = hex::encode(PROGRAM);
    let path = format!("/programs/{id}");
    for (body, code) in [
        (json!({}), 400),
        (json!({"client": "unknown"}), 400),
        (json!({"client": "rollup", "address": super::address(7).to_string()}), 400),
        (json!({"address": "0x12"}), 400),
    ] {
        assert_eq!(act(&network, &format!("{path}/reassign"), body).await.0, code);
    }
    let (code, done) =
        act(&network, &format!("{path}/reassign"), json!({"client": "rollup"})).await;
    assert_eq!((code, &done["now"]), (200, &"of rollup".into()));
    let mut owner = Client::with_key(&network, 7).await;
    assert_eq!(program(&mut owner).await.expect("there").owner, owner.address().to_vec());
    assert_eq!(register(&mut owner, 2).await.as_deref().ok(), Some("stored"), "it is its own now");
    assert_eq!(act(&network, &format!("{path}/remove"), json!({})).await.0, 200);
    assert_code(program(&mut owner).await, Code::NotFound, "not registered");
    assert_eq!(act(&network, &format!("{path}/remove"), json!({})).await.0, 404);
    assert_eq!(act(&network, "/programs/12/remove", json!({})).await.0, 400);
    let audit = network.json("/api/v1/audit").await;
    let actions: Vec<_> = audit.as_array().expect("a list").iter().collect();
    let shown = format!("/programs/{}", &id[..16]);
    for act in ["remove", "reassign"] {
        let action = format!("POST /api/v1{shown}/{act}");
        let audited = |entry: &&&Value| entry["action"] == action && entry["code"] == 200;
        assert!(actions.iter().any(|entry| audited(&entry)), "{action}: {audit}");
    }
}
