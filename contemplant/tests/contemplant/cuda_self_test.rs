//! The self-test of prover servers: none gets work before it has passed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contemplant::config::SelfTest;
use contemplant::executor::{Executor, WARMING_UP};
use contemplant::prover_server::command::CommandServer;
use contemplant::prover_server::external::ExternalServer;
use gpu_stand_in::Source;
use gpu_stand_in::behaviour::{Fault, behaviour_file};
use network_lib::job::ProofMode;
use network_lib::task;
use sp1_cuda::api::{Request, Response};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::cuda_command::stand_in;
use crate::cuda_stage::{START_LIMIT, Stage, behave, fault, unused_gpu};
use crate::waiting::until_listening;

/// A stand-in with this fault from its start, and its folder.
async fn server(fault: Option<Fault>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("server.sock");
    behave(&socket, |behaviour| behaviour.fault = fault);
    let listening = socket.clone();
    task::spawn("server", async move { gpu_stand_in::serve(&listening, Source::Recorded).await });
    until_listening(&socket).await;
    (folder, socket)
}

async fn stage(self_test: SelfTest, limit: Duration, socket: &Path) -> Stage {
    Stage::start_with(self_test, limit, socket, |_| ExternalServer::new(socket.to_owned())).await
}

#[tokio::test]
async fn a_server_of_another_version_is_found_before_it_gets_a_job() {
    let (_folder, socket) = server(Some(Fault::OtherKey)).await;
    let stage = stage(SelfTest::Setup, START_LIMIT, &socket).await;
    stage.unavailable_reason("derives another verifying key").await;
}

#[tokio::test]
async fn a_proof_of_the_example_program_is_made_and_verified_if_wanted() {
    let (_folder, socket) = server(None).await;
    // The stand-in has a real proof of it.
    let stage = stage(SelfTest::Prove, START_LIMIT, &socket).await;
    stage.ready().await;
    stage.prove(10, ProofMode::Core).await.unwrap();
}

#[tokio::test]
async fn a_wrong_proof_of_the_example_program_is_told() {
    let (_folder, socket) = server(Some(Fault::OtherCircuit)).await;
    let stage = stage(SelfTest::Prove, START_LIMIT, &socket).await;
    let reason = stage.unavailable_reason("the proof of the example program is wrong").await;
    assert!(reason.contains("its circuit version is v6.0.0: expected v6.1.0"), "{reason}");
    // Once it is right, the server is used.
    stage.behave(|_| {});
    stage.ready().await;
}

/// An executor with its own server, which has this fault from its start.
async fn own_server(self_test: SelfTest, one: Fault) -> Stage {
    let gpu = unused_gpu();
    let socket = PathBuf::from(format!("/tmp/sp1-cuda-{gpu}.sock"));
    behave(&socket, fault(one));
    let program = stand_in().to_str().unwrap().to_owned();
    Stage::start_with(self_test, START_LIMIT, &socket, |data_dir| {
        CommandServer::new(&[program], &BTreeMap::new(), gpu, &[gpu], data_dir)
    })
    .await
}

/// The server passes its self-test once it has no fault.
async fn recovers(stage: &Stage) {
    stage.behave(|_| {});
    stage.ready().await;
    stage.executor.stop().await;
    std::fs::remove_file(behaviour_file(&stage.socket)).unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_build_its_prover_is_reported_with_its_log() {
    let stage = own_server(SelfTest::Setup, Fault::NoProver).await;
    let reason = stage.unavailable_reason("the self-test of the prover server failed").await;
    assert!(reason.contains("closed the connection"), "{reason}");
    assert!(reason.contains("GPU memory must be at least 24GB"), "{reason}");
    recovers(&stage).await;
}

#[tokio::test]
async fn a_server_that_panics_in_its_test_proof_is_not_waited_for() {
    let stage = own_server(SelfTest::Prove, Fault::PanicInTask).await;
    let begin = Instant::now();
    let reason = stage.unavailable_reason("failed: it cannot be finished").await;
    assert!(begin.elapsed() < START_LIMIT, "{:?}", begin.elapsed());
    assert!(reason.contains("panicked"), "{reason}");
    recovers(&stage).await;
}

/// A server that answers pings and sets nothing up.
async fn idle_server(listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        task::spawn("connection", answer_pings(stream));
    }
}

async fn answer_pings(mut stream: UnixStream) {
    while let Ok(length) = stream.read_u32_le().await {
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        if let Request::Destroy { .. } = bincode::deserialize(&request).unwrap() {
            let answer = bincode::serialize(&Response::Ok).unwrap();
            let length = u32::try_from(answer.len()).unwrap().to_le_bytes();
            stream.write_all(&[&length[..], &answer].concat()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_is_warming_up_while_it_is_tested_and_has_limited_time_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("server.sock");
    task::spawn("server", idle_server(UnixListener::bind(&socket).unwrap()));
    let stage = stage(SelfTest::Setup, Duration::from_secs(1), &socket).await;
    let reason = stage.unavailable_reason("builds its prover and is tested").await;
    assert!(reason.starts_with(WARMING_UP), "{reason}");
    stage.unavailable_reason("setting up the example program took more than 1 s").await;
}
