//! Check: test proofs by the whole executor.

use std::fmt;
use std::time::Duration;

use network_lib::handshake::Capabilities;
use network_lib::ids::LeaseId;
use network_lib::job::ProofMode;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::TestProofs;
use crate::build_executor;
use crate::config::Config;
use crate::executor::{EventSink, Executor, WARMING_UP, example};
use crate::identity::DataDir;
use crate::machine::Finding;
use crate::processes;

/// Name of the check.
const WHAT: &str = "proof";

/// Time limit for the prover to become ready, in addition to the limits of its server.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Makes proofs of a small program, each reported by `report`.
pub(super) async fn make(config: &Config, proofs: TestProofs, report: &mut impl FnMut(&Finding)) {
    let mut config = config.clone();
    if let TestProofs::Of(mode) = proofs {
        config.modes = Some(vec![mode]);
    }
    if let Err(error) = make_each(&config, proofs, report).await {
        report(&Finding::failed(WHAT, error));
    }
}

async fn make_each(
    config: &Config,
    proofs: TestProofs,
    report: &mut impl FnMut(&Finding),
) -> Result<(), String> {
    let _lock = DataDir::open(&config.data_dir).map_err(|error| format!("{error:#}"))?;
    let executor = build_executor(config).await.map_err(|error| format!("{error:#}"))?;
    executor.start();
    let start = Instant::now();
    let offered = match offered(config, executor.as_ref()).await {
        Ok(offered) => offered,
        Err(reason) => {
            executor.stop().await;
            return Err(reason);
        }
    };
    let ready = Effort::since(start, Duration::ZERO);
    for mode in chosen(proofs, config, &offered) {
        let outcome = match offered.contains(&mode) {
            true => prove(executor.as_ref(), mode, ready).await,
            false => Err("this machine does not offer it; see the line circuits".to_owned()),
        };
        report(&Finding::of(WHAT, outcome.map_err(|reason| format!("{mode}: {reason}"))));
    }
    executor.stop().await;
    Ok(())
}

/// The kinds of proof to make.
fn chosen(proofs: TestProofs, config: &Config, offered: &[ProofMode]) -> Vec<ProofMode> {
    match proofs {
        TestProofs::None => Vec::new(),
        TestProofs::First => offered.iter().take(1).copied().collect(),
        TestProofs::Of(mode) => vec![mode],
        TestProofs::All => config.wanted_modes(),
    }
}

/// Waits until the executor offers something, or cannot.
async fn offered(config: &Config, executor: &dyn Executor) -> Result<Vec<ProofMode>, String> {
    let mut capabilities = executor.capabilities();
    // From its start to its answer, for its self-test, and for a proof in it.
    let limit = 3 * config.prover_start_limit + READY_LIMIT;
    let decided = timeout(limit, capabilities.wait_for(is_decided)).await;
    let offered = decided
        .map_err(|_| format!("the prover is not ready after {} s", limit.as_secs()))?
        .map_err(|_| "the prover cannot be started; see the log".to_owned())?
        .clone();
    match offered.unavailable_reason {
        Some(reason) if offered.modes.is_empty() => Err(reason),
        _ => Ok(offered.modes),
    }
}

/// Whether waiting changes nothing.
fn is_decided(now: &Capabilities) -> bool {
    let reason = now.unavailable_reason.as_ref();
    !now.modes.is_empty() || reason.is_some_and(|reason| !reason.starts_with(WARMING_UP))
}

/// Time that a step took.
#[derive(Debug, Clone, Copy)]
struct Effort {
    elapsed: Duration,
    /// Processor time of this program and the executions that it started.
    processors: Duration,
}

impl Effort {
    /// The effort since `start`, when this program had used `before`.
    fn since(start: Instant, before: Duration) -> Self {
        let processors = processes::own_time().saturating_sub(before);
        Self { elapsed: start.elapsed(), processors }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (elapsed, processors) = (self.elapsed.as_secs_f64(), self.processors.as_secs_f64());
        write!(formatter, "{elapsed:.1} s ({processors:.1} s of processor time)")
    }
}

async fn prove(executor: &dyn Executor, mode: ProofMode, ready: Effort) -> Result<String, String> {
    let job = example::job(mode)?;
    let (sender, _events) = mpsc::unbounded_channel();
    let events = EventSink::new(LeaseId::random(), sender);
    let (start, before) = (Instant::now(), processes::own_time());
    let proved = executor
        .prove(job, events, CancellationToken::new())
        .await
        .map_err(|failure| failure.to_string())?;
    Ok(format!(
        "{mode} proof of {} cycles and {} bytes in {}; the prover was ready after {ready}",
        proved.execution.cycles,
        proved.proof.len(),
        Effort::since(start, before)
    ))
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::Backend;

    use super::*;

    #[test]
    fn one_proof_one_of_a_kind_or_one_of_each_is_made() {
        let mut config = Config::for_test("ws://127.0.0.1:1/ws", "/data");
        let offered = [ProofMode::Core, ProofMode::Compressed];
        config.modes = Some(vec![ProofMode::Core, ProofMode::Compressed, ProofMode::Plonk]);
        assert_eq!(chosen(TestProofs::First, &config, &offered), [ProofMode::Core]);
        let of = TestProofs::Of(ProofMode::Groth16);
        assert_eq!(chosen(of, &config, &offered), [ProofMode::Groth16]);
        assert_eq!(chosen(TestProofs::All, &config, &offered).len(), 3);
    }

    #[test]
    fn a_prover_that_warms_up_is_waited_for_and_an_obstacle_is_not() {
        let mut now = Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: Vec::new(),
            modes: Vec::new(),
            backend: Backend::Cpu,
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: Vec::new(),
            unavailable_reason: None,
            sharding: None,
        };
        let warming_up = format!("{WARMING_UP}the prover is being built");
        for (reason, decided) in
            [(None, false), (Some(warming_up), false), (Some("no GPU".to_owned()), true)]
        {
            now.unavailable_reason = reason;
            assert_eq!(is_decided(&now), decided, "{now:?}");
        }
        now.modes = vec![ProofMode::Core];
        assert!(is_decided(&now));
    }
}
