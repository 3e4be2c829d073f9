//! The cases.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_test::client::Client;
use integration_test::network::{ContemplantSettings, LocalNetwork};
use integration_test::options::{Backend, Mode};
use integration_test::verify::check_proof;
use sp1_cuda::api::Response;
use sp1_prover_types::network_base_types::ProofMode;
use sp1_sdk::network::NetworkMode;
use sp1_sdk::{SP1_CIRCUIT_VERSION, SP1ProofWithPublicValues};
use test_harness::binaries::Binaries;
use tokio::time::sleep;
use toml::{Table, Value};

use super::talk::{AT_ONCE, PROOF, error_of, prove};
use super::{Proving, ServerCase, Shared, Which};

/// Input of the example program: some twenty thousand cycles.
const N: u32 = 1000;

/// Rounds of proofs on two connections at a time.
const ROUNDS: u32 = 2;

/// How long a proof is under way when its client goes away.
const MID_PROOF: Duration = Duration::from_millis(500);

macro_rules! case {
    ($name:literal, $about:literal, $play:path) => {
        ServerCase { name: $name, about: $about, play: |shared| Box::pin($play(shared)) }
    };
}

pub(super) fn protocol() -> Vec<ServerCase> {
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
            "interleaved",
            "two connections that prove at the same time each get the proof of their own input",
            interleaved
        ),
        case!(
            "client-leaves",
            "a client that disconnects during a message or a proof does not affect the next one",
            client_leaves
        ),
    ]
}

pub(super) fn through_the_network() -> ServerCase {
    case!(
        "network",
        "client, Hierophant, Contemplant, this server: the SDK verifies Core and Compressed",
        network
    )
}

/// Has a proof made over this connection; returns it with the seconds that it took.
///
/// # Errors
///
/// When there is no proof, or it is of another input or circuit version. It is not verified.
pub(crate) async fn prove_with(
    proving: &mut Proving,
    n: u32,
    mode: ProofMode,
) -> Result<(SP1ProofWithPublicValues, f64)> {
    let start = Instant::now();
    let answer = proving.talk.ask(&prove(proving.key, n, mode), PROOF).await?;
    let took = start.elapsed().as_secs_f64();
    let Response::Proof { proof } = answer else { bail!("no proof: {}", error_of(&answer)) };
    let values = proof.public_values.as_slice();
    ensure!(values == fibonacci::public_values(n), "it commits {values:x?}");
    let version = &proof.sp1_version;
    ensure!(version == SP1_CIRCUIT_VERSION, "it is of circuit version {version}");
    Ok((proof.into(), took))
}

/// Seconds of a Core proof over the first connection.
async fn core(shared: &mut Shared) -> Result<f64> {
    let mut first = shared.take(Which::First).await?;
    let (_, took) = prove_with(&mut first, N, ProofMode::Core).await?;
    shared.keep(Which::First, first);
    Ok(took)
}

async fn sign_of_life(shared: &mut Shared) -> Result<String> {
    let start = Instant::now();
    shared.open().await?.sign_of_life().await?;
    Ok(format!("answered after {:.3} s", start.elapsed().as_secs_f64()))
}

async fn same_key(shared: &mut Shared) -> Result<String> {
    let start = Instant::now();
    let first = shared.take(Which::First).await?;
    let took = start.elapsed().as_secs_f64();
    let key = first.verifying_key;
    shared.keep(Which::First, first);
    ensure!(key == fibonacci::VK_HASH, "its key is {key:x?}: it is of another SP1 version");
    Ok(format!("set up after {took:.1} s"))
}

async fn proof(shared: &mut Shared) -> Result<String> {
    Ok(format!("Core proof, direct: {:.1} s", core(shared).await?))
}

async fn alive_while_proving(shared: &mut Shared) -> Result<String> {
    let mut first = shared.take(Which::First).await?;
    let mut signs = 0;
    {
        let proving = prove_with(&mut first, N, ProofMode::Core);
        tokio::pin!(proving);
        loop {
            tokio::select! {
                biased;
                sign = async { shared.open().await?.sign_of_life().await } => {
                    sign.context("while a proof is being made")?;
                    signs += 1;
                }
                proved = &mut proving => {
                    proved?;
                    break;
                }
            }
            tokio::select! {
                () = sleep(Duration::from_secs(1)) => {}
                proved = &mut proving => {
                    proved?;
                    break;
                }
            }
        }
    }
    shared.keep(Which::First, first);
    Ok(format!("{signs} signs of life while it proved"))
}

async fn unknown_program(shared: &mut Shared) -> Result<String> {
    let mut talk = shared.open().await?;
    let answer = talk.ask(&prove([7; 32], N, ProofMode::Core), AT_ONCE).await?;
    let said = matches!(answer, Response::ProverError(_) | Response::InternalError(_));
    let words = error_of(&answer);
    ensure!(said && !words.is_empty(), "it says: {words}");
    shared.open().await?.sign_of_life().await?;
    Ok(format!("it says: {words}"))
}

async fn nonsense(shared: &mut Shared) -> Result<String> {
    for bytes in [&[0xff_u8; 16][..], &[], &[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]] {
        let mut talk = shared.open().await?;
        talk.say(u32::try_from(bytes.len())?, bytes).await?;
        // An error message or a closed connection; both are right.
        if let Ok(answer) = talk.answer(AT_ONCE).await {
            let is_error = !matches!(answer, Response::Proof { .. } | Response::Setup { .. });
            ensure!(is_error, "nonsense is taken for a request");
        }
        shared.open().await?.sign_of_life().await?;
    }
    Ok(String::new())
}

async fn interleaved(shared: &mut Shared) -> Result<String> {
    let mut first = shared.take(Which::First).await?;
    let mut second = shared.take(Which::Second).await?;
    let start = Instant::now();
    for round in 0..ROUNDS {
        let one = prove_with(&mut first, N, ProofMode::Core);
        let other = prove_with(&mut second, N + 1 + round, ProofMode::Core);
        let (one, other) = tokio::join!(one, other);
        one.context("the first connection")?;
        other.context("the second connection")?;
    }
    let took = start.elapsed().as_secs_f64();
    shared.keep(Which::First, first);
    shared.keep(Which::Second, second);
    Ok(format!("{} Core proofs on two connections: {took:.1} s", 2 * ROUNDS))
}

async fn client_leaves(shared: &mut Shared) -> Result<String> {
    shared.open().await?.say(1 << 20, &[0; 100]).await?;
    shared.open().await?.sign_of_life().await?;
    let mut leaves = shared.take(Which::Second).await?;
    leaves.talk.request(&prove(leaves.key, N, ProofMode::Core)).await?;
    sleep(MID_PROOF).await;
    drop(leaves);
    proof(shared).await
}

async fn network(shared: &mut Shared) -> Result<String> {
    let endpoint = format!("unix://{}", shared.socket().display());
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
