//! Check: a test proof by the whole executor.

use std::sync::Arc;
use std::time::Duration;

use network_lib::ids::{LeaseId, Sha256Digest, VkHash};
use network_lib::job::JobSpec;
use sha2::{Digest, Sha256};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::SP1_CIRCUIT_VERSION;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::build_executor;
use crate::config::Config;
use crate::executor::{EventSink, Executor, ProveJob};
use crate::identity::DataDir;

/// Time limit for the prover to become ready, in addition to the limit of its server.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Input of the test program: about twenty thousand cycles.
const N: u32 = 1000;

/// Makes a proof of a small program in the first offered mode.
pub(super) async fn make(config: &Config) -> Result<String, String> {
    let _lock = DataDir::open(&config.data_dir).map_err(|error| format!("{error:#}"))?;
    let executor = build_executor(config).await.map_err(|error| format!("{error:#}"))?;
    executor.start();
    let outcome = prove(config, executor.as_ref()).await;
    executor.stop().await;
    outcome
}

async fn prove(config: &Config, executor: &dyn Executor) -> Result<String, String> {
    let start = Instant::now();
    let mut capabilities = executor.capabilities();
    let limit = config.prover_start_limit + READY_LIMIT;
    let decided =
        capabilities.wait_for(|now| !now.modes.is_empty() || now.unavailable_reason.is_some());
    let decided = timeout(limit, decided).await;
    let offered = decided
        .map_err(|_| format!("the prover is not ready after {} s", limit.as_secs()))?
        .map_err(|_| "the prover cannot be started; see the log".to_owned())?
        .clone();
    let Some(mode) = offered.modes.first().copied() else {
        return Err(offered.unavailable_reason.unwrap_or_default());
    };
    let ready = start.elapsed();
    let mut stdin = SP1Stdin::new();
    stdin.write(&N);
    let job = ProveJob {
        spec: JobSpec {
            vk_hash: VkHash(fibonacci::VK_HASH),
            circuit_version: SP1_CIRCUIT_VERSION.to_owned(),
            mode,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program_digest: Sha256Digest(Sha256::digest(fibonacci::ELF).into()),
        elf: Arc::new(fibonacci::ELF.to_vec()),
        stdin: bincode::serialize(&stdin).map_err(|error| error.to_string())?,
    };
    let (sender, _events) = mpsc::unbounded_channel();
    let events = EventSink::new(LeaseId::random(), sender);
    let start = Instant::now();
    let proved = executor
        .prove(job, events, CancellationToken::new())
        .await
        .map_err(|failure| failure.to_string())?;
    Ok(format!(
        "{mode} proof of {} cycles and {} bytes in {:.1} s; the prover was ready after {:.1} s",
        proved.execution.cycles,
        proved.proof.len(),
        start.elapsed().as_secs_f64(),
        ready.as_secs_f64()
    ))
}
