//! The cases.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_test::client::Client;
use integration_test::network::{ContemplantSettings, LocalNetwork};
use integration_test::options::{Backend, Mode};
use integration_test::verify::check_proof;
use sp1_cuda::api::Response;
use sp1_prover_types::network_base_types::ProofMode;
use sp1_sdk::SP1_CIRCUIT_VERSION;
use sp1_sdk::network::NetworkMode;
use test_harness::binaries::Binaries;
use tokio::time::sleep;
use toml::{Table, Value};

use super::ServerCase;
use super::talk::{AT_ONCE, PROOF, Talk, error_of, prove};

/// Input of the example program: some twenty thousand cycles.
const N: u32 = 1000;

/// How long a proof is under way when its client goes away.
const MID_PROOF: Duration = Duration::from_millis(500);

macro_rules! case {
    ($name:literal, $about:literal, $play:path) => {
        ServerCase { name: $name, about: $about, play: |socket| Box::pin($play(socket)) }
    };
}

pub(super) fn all() -> Vec<ServerCase> {
    vec![
        case!(
            "sign-of-life",
            "a request that needs no computation is answered at once",
            sign_of_life
        ),
        case!("same-key", "it derives the verifying key that this SP1 version derives", same_key),
        case!("proof", "a Core proof with the right public values, of this circuit version", proof),
        case!(
            "alive-while-proving",
            "other connections get signs of life while a proof is being made",
            alive_while_proving
        ),
        case!(
            "unknown-program",
            "an unknown program is answered with an error message, and the server keeps running",
            unknown_program
        ),
        case!("nonsense", "bytes that are not a request affect no other connection", nonsense),
        case!(
            "client-leaves",
            "a client that disconnects during a message or a proof does not affect the next one",
            client_leaves
        ),
        case!(
            "network",
            "client, Hierophant, Contemplant, this server: the SDK verifies Core and Compressed",
            network
        ),
    ]
}

async fn sign_of_life(socket: &Path) -> Result<String> {
    let start = Instant::now();
    Talk::open(socket).await?.sign_of_life().await?;
    Ok(format!("answered after {:.3} s", start.elapsed().as_secs_f64()))
}

async fn same_key(socket: &Path) -> Result<String> {
    let start = Instant::now();
    let (_, key) = Talk::open(socket).await?.set_up().await?;
    ensure!(key == fibonacci::VK_HASH, "its key is {key:x?}: it is of another SP1 version");
    Ok(format!("derived after {:.1} s", start.elapsed().as_secs_f64()))
}

async fn proof(socket: &Path) -> Result<String> {
    let mut talk = Talk::open(socket).await?;
    let (key, _) = talk.set_up().await?;
    let start = Instant::now();
    let answer = talk.ask(&prove(key, N, ProofMode::Core), PROOF).await?;
    let Response::Proof { proof } = answer else { bail!("no proof: {}", error_of(&answer)) };
    let took = start.elapsed().as_secs_f64();
    let values = proof.public_values.as_slice();
    ensure!(values == fibonacci::public_values(N), "it commits {values:x?}");
    let version = proof.sp1_version;
    ensure!(version == SP1_CIRCUIT_VERSION, "it is of circuit version {version}");
    Ok(format!("Core proof, direct: {took:.1} s"))
}

async fn alive_while_proving(socket: &Path) -> Result<String> {
    let mut busy = Talk::open(socket).await?;
    let (key, _) = busy.set_up().await?;
    let mut signs = 0;
    let request = prove(key, N, ProofMode::Core);
    let proving = busy.ask(&request, PROOF);
    tokio::pin!(proving);
    loop {
        tokio::select! {
            biased;
            sign = async { Talk::open(socket).await?.sign_of_life().await } => {
                sign.context("while a proof is being made")?;
                signs += 1;
            }
            answer = &mut proving => {
                let answer = answer?;
                ensure!(matches!(answer, Response::Proof { .. }), "{}", error_of(&answer));
                return Ok(format!("{signs} signs of life while it proved"));
            }
        }
        tokio::select! {
            () = sleep(Duration::from_secs(1)) => {}
            answer = &mut proving => {
                let answer = answer?;
                ensure!(matches!(answer, Response::Proof { .. }), "{}", error_of(&answer));
                return Ok(format!("{signs} signs of life while it proved"));
            }
        }
    }
}

async fn unknown_program(socket: &Path) -> Result<String> {
    let mut talk = Talk::open(socket).await?;
    let answer = talk.ask(&prove([7; 32], N, ProofMode::Core), AT_ONCE).await?;
    let said = matches!(answer, Response::ProverError(_) | Response::InternalError(_));
    let words = error_of(&answer);
    ensure!(said && !words.is_empty(), "it says: {words}");
    Talk::open(socket).await?.sign_of_life().await?;
    Ok(format!("it says: {words}"))
}

async fn nonsense(socket: &Path) -> Result<String> {
    for bytes in [&[0xff_u8; 16][..], &[], &[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]] {
        let mut talk = Talk::open(socket).await?;
        talk.say(u32::try_from(bytes.len())?, bytes).await?;
        // An error message or a closed connection; both are right.
        if let Ok(answer) = talk.answer(AT_ONCE).await {
            let is_error = !matches!(answer, Response::Proof { .. } | Response::Setup { .. });
            ensure!(is_error, "nonsense is taken for a request");
        }
        Talk::open(socket).await?.sign_of_life().await?;
    }
    Ok(String::new())
}

async fn client_leaves(socket: &Path) -> Result<String> {
    Talk::open(socket).await?.say(1 << 20, &[0; 100]).await?;
    Talk::open(socket).await?.sign_of_life().await?;
    let mut leaves = Talk::open(socket).await?;
    let (key, _) = leaves.set_up().await?;
    leaves.request(&prove(key, N, ProofMode::Core)).await?;
    sleep(MID_PROOF).await;
    drop(leaves);
    proof(socket).await
}

async fn network(socket: &Path) -> Result<String> {
    let endpoint = format!("unix://{}", socket.display());
    let settings = ContemplantSettings::cpu("ezekiel", Mode::Core)
        .with("backend", "cuda")
        .with("modes", vec![Value::from("core"), Value::from("compressed")])
        .with("prover_endpoint", endpoint);
    let mut network = LocalNetwork::start(&Binaries::locate()?, &Table::new()).await?;
    network.add_contemplant(&settings)?;
    network.wait_for_mode(Mode::Core, PROOF).await?;
    let client = Client::connect(&network.rpc_url(), NetworkMode::Reserved).await?;
    let expected = client.execute(N).await?;
    client.register().await?;
    let mut figures = Vec::new();
    for mode in [Mode::Core, Mode::Compressed] {
        let start = Instant::now();
        let id = client.request(N, mode.sdk(), PROOF * 2).await?;
        let waited = client.sdk.wait_proof(id, Some(PROOF), None).await;
        let proof = waited.with_context(|| network.log_tails())?;
        figures.push(format!("{:?} {:.1} s", mode.sdk(), start.elapsed().as_secs_f64()));
        check_proof(&client, &proof, mode.sdk(), Backend::Cpu, &expected).await?;
    }
    network.stop().await?;
    Ok(format!("through the network: {}", figures.join(", ")))
}
