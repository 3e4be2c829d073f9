//! `contemplant doctor`: checks of this machine, and the remedy of each fault.
//!
//! The checks change nothing and do not disturb a running worker; only the optional test proofs need the
//! machine alone.

mod circuits;
mod gpus;
mod network;
mod proof;
mod servers;

use network_lib::job::ProofMode;

use crate::config::{BackendChoice, Config};
use crate::executor::helper::executions_at_once;
pub use crate::machine::{Finding, Verdict};
use crate::machine::{Machine, Needs};

/// Which test proofs to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestProofs {
    /// None.
    None,
    /// One of the first kind that is offered.
    First,
    /// One of this kind, whether or not it is among `modes`.
    Of(ProofMode),
    /// One of each kind in `modes`.
    All,
}

/// Runs every check that applies to `config`, each reported by `report`; then makes the test proofs.
pub async fn examine(config: &Config, proofs: TestProofs, mut report: impl FnMut(&Finding)) {
    network::look(config).await.iter().for_each(&mut report);
    let asked = config.clone();
    // The driver and a disk may be slow.
    let examined = tokio::task::spawn_blocking(move || examine_machine(&asked)).await;
    match examined {
        Ok(findings) => findings.iter().for_each(&mut report),
        Err(error) => report(&Finding::failed("machine", error.to_string())),
    }
    if config.backend == BackendChoice::Cuda {
        let found = servers::look(config).await;
        found.iter().for_each(&mut report);
    }
    circuits::look(config).iter().for_each(&mut report);
    if proofs != TestProofs::None {
        proof::make(config, proofs, &mut report).await;
    }
}

/// Checks of the machine and its GPUs.
fn examine_machine(config: &Config) -> Vec<Finding> {
    let machine = Machine::default();
    // An external server may have its GPU on another machine.
    let own_servers = config.backend == BackendChoice::Cuda && config.prover_endpoint.is_none();
    let slots = if own_servers { config.wanted_gpus().len() } else { 1 };
    // Only with this backend a job that is taken ahead is also executed ahead.
    let ahead = config.backend == BackendChoice::Cuda && config.prefetches();
    let jobs = if ahead { 2 * slots } else { slots };
    let needs = Needs::of(config, jobs.min(executions_at_once()));
    let mut findings = machine.examine(&needs);
    if own_servers {
        findings.push(gpus::look(config, machine.is_container()));
    }
    findings
}
