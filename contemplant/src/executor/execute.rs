//! Executing a program without proving it, for its public values, cycles and gas; a failed execution is classified in
//! the client's terms.
//!
//! SP1 is called exactly as by the SDK's `execute`, so the numbers equal those that a client gets when it simulates
//! its request. The guest and the request are blamed for a closed list of failures; every other one is this machine's,
//! and the job is tried elsewhere.

mod claims;
mod input_proofs;
pub(super) mod memory;
mod panics;

use std::sync::Arc;
use std::time::Duration;

use bincode::Options;
use network_lib::ids::Sha256Digest;
use network_lib::job::{
    Execution, ExecutionFailureCause as Cause, Failure, FailureClass, JobSpec, PROGRAM_NOT_LOADED,
};
use serde::{Deserialize, Serialize};
use sp1_core_executor::{ExecutionError, Program, SP1Context};
use sp1_core_machine::io::SP1Stdin;
use sp1_node::{LightNode, ProverRuntime};
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::SP1VerifyingKey;
use tokio::task::JoinError;

use self::claims::Claiming;
pub(super) use self::panics::Panics;
use crate::shared_memory;

/// Processor time of a guest beyond what its cycles take.
const BASE_TIME: Duration = Duration::from_secs(15);

/// A rate that every execution exceeds: the slowest system calls on a slow machine included.
const MIN_CYCLES_PER_SECOND: u64 = 1_000_000;

/// Result of an execution.
pub(super) struct Executed {
    pub(super) execution: Execution,
    pub(super) public_values: SP1PublicValues,
    /// SP1's clock at the end. Unlike cycles, each shard contains its range of the clock.
    pub(super) clock_ticks: u64,
}

/// Settings of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) cycle_limit: Option<u64>,
    pub(super) gas_limit: Option<u64>,
    /// Whether SP1's mock proofs in the input count as valid, as a mock prover needs for chains of programs.
    pub(super) accept_mock_proofs: bool,
}

impl Settings {
    pub(super) fn of(spec: &JobSpec, accept_mock_proofs: bool) -> Self {
        let limit = |limit: u64| (limit != 0 && limit != u64::MAX).then_some(limit);
        Self {
            cycle_limit: limit(spec.cycle_limit),
            gas_limit: limit(spec.gas_limit),
            accept_mock_proofs,
        }
    }

    /// Processor time after which a guest must have reached its cycle limit. SP1 counts cycles between chunks of
    /// memory accesses, and a loop that accesses no memory never ends one.
    pub(super) fn time_limit(&self) -> Option<Duration> {
        let cycles = self.cycle_limit?;
        Some(BASE_TIME + Duration::from_secs(cycles / MIN_CYCLES_PER_SECOND))
    }
}

/// Decodes a program's input.
pub(super) fn decode_stdin(bytes: &[u8]) -> Result<SP1Stdin, Failure> {
    // The same encoding as the SDK's `bincode::deserialize`; the limit bounds a false length prefix.
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .allow_trailing_bytes()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|error| {
            Failure::new(FailureClass::Request, format!("the input is not an SP1Stdin: {error}"))
        })
}

/// Executes a program to its end, in this process, and checks the proofs in its input; `panics` has recorded those of the
/// execution.
pub(super) async fn execute(
    runtime: &ProverRuntime,
    node: &LightNode,
    elf: Arc<Vec<u8>>,
    mut stdin: SP1Stdin,
    settings: Settings,
    panics: &Panics,
) -> Result<Executed, Failure> {
    let proofs = Arc::new(std::mem::take(&mut stdin.proofs));
    let encoded = Arc::clone(&elf);
    let loading = async move { Program::from(&encoded).map_err(|error| format!("{error:#}")) };
    let program = runtime.run(loading).await.map_err(|reason| panicked(&reason, panics))?;
    let program = program.map_err(|reason| could_not_load(&reason))?;
    let claiming = Claiming::of(program, &stdin.buffer, !proofs.is_empty());

    let verifying = input_proofs::verify(node.clone(), proofs, settings.accept_mock_proofs);
    let running = run(runtime, node, elf, stdin, settings, panics);
    let (proofs, executed) = tokio::try_join!(verifying, running)?;
    if let (Some(claiming), Some(expected)) = (claiming, proofs.digest()) {
        let claimed = tokio::task::spawn_blocking(move || claiming.digest()).await;
        let claimed = claimed.map_err(|error| panicked(&error.to_string(), panics))?;
        let claimed = claimed.map_err(|error| classify_execution(&error, panics))?;
        if claimed.is_some_and(|claimed| claimed != expected) {
            return Err(proofs.mismatch());
        }
    }
    Ok(executed)
}

async fn run(
    runtime: &ProverRuntime,
    node: &LightNode,
    elf: Arc<Vec<u8>>,
    stdin: SP1Stdin,
    settings: Settings,
    panics: &Panics,
) -> Result<Executed, Failure> {
    let mut context = SP1Context::builder();
    context.calculate_gas(true).set_deferred_proof_verification(false);
    if let Some(limit) = settings.cycle_limit {
        // SP1 stops at its limit; a client's limit is the number of cycles that it has counted.
        context.max_cycles(limit.saturating_add(1));
    }
    let context = context.build();
    let (public_values, digest, report) = runtime
        .run(node.execute(elf, stdin, context))
        .await
        .map_err(|reason| panicked(&reason, panics))?
        .map_err(|error| classify(error, panics))?;

    if report.exit_code != 0 {
        let message = format!("the program ended with exit code {}", report.exit_code);
        let failure = Failure::new(FailureClass::Guest, message);
        return Err(failure.caused_by(Cause::HaltWithNonZeroExitCode));
    }
    let execution = Execution {
        cycles: report.total_instruction_count(),
        gas: report.gas(),
        public_values_hash: Sha256Digest(digest),
    };
    check_limits(&execution, &settings)?;
    let system_calls = report.total_syscall_count();
    let clock_ticks = 8 * execution.cycles.saturating_sub(system_calls) + 256 * system_calls;
    Ok(Executed { execution, public_values, clock_ticks })
}

fn check_limits(execution: &Execution, settings: &Settings) -> Result<(), Failure> {
    if let Some(limit) = settings.cycle_limit
        && execution.cycles > limit
    {
        return Err(too_many_cycles(limit));
    }
    if let (Some(limit), Some(gas)) = (settings.gas_limit, execution.gas)
        && gas > limit
    {
        let message = format!("the program used {gas} gas: expected at most the limit of {limit}");
        let failure = Failure::new(FailureClass::Request, message);
        return Err(failure.caused_by(Cause::ExceededGasLimit));
    }
    Ok(())
}

fn too_many_cycles(limit: u64) -> Failure {
    let message = format!("the program exceeds the limit of {limit} cycles");
    Failure::new(FailureClass::Request, message).caused_by(Cause::ExceededCycleLimit)
}

/// The failure of a guest that has used all processor time that its cycle limit allows.
pub(super) fn did_not_end(settings: &Settings, time: Duration) -> Failure {
    let message = format!(
        "the program has run for {} s of processor time without an end: expected at most the limit of {} cycles",
        time.as_secs(),
        settings.cycle_limit.unwrap_or(u64::MAX)
    );
    Failure::new(FailureClass::Request, message).caused_by(Cause::ExceededCycleLimit)
}

/// The bincode of a derived verifying key, or why there is none.
pub(super) fn could_not_derive(
    outcome: Result<anyhow::Result<SP1VerifyingKey>, String>,
    panics: &Panics,
) -> Result<Vec<u8>, Failure> {
    let key = outcome
        .map_err(|reason| panicked(&reason, panics))?
        .map_err(|error| classify(error, panics))?;
    bincode::serialize(&key).map_err(|error| {
        Failure::new(FailureClass::Worker, format!("the verifying key cannot be encoded: {error}"))
    })
}

/// Explanation of the signal SIGBUS.
pub(super) fn shared_memory_is_full() -> String {
    format!(
        "shared memory is full: expected several gigabytes free in {}, of which a container gets 64 MiB unless it is \
         started with a larger `--shm-size`",
        shared_memory::FOLDER
    )
}

fn could_not_load(reason: &str) -> Failure {
    Failure::new(FailureClass::Guest, format!("{PROGRAM_NOT_LOADED}: {reason}"))
}

/// The failure of an execution that has panicked in this process.
fn panicked(reason: &str, panics: &Panics) -> Failure {
    match panics.of_guest() {
        Some(message) => could_not_load(&message),
        None => not_executed(reason),
    }
}

/// A failure of this machine.
fn not_executed(reason: &str) -> Failure {
    Failure::new(FailureClass::Worker, format!("the program could not be executed: {reason}"))
}

/// Class and cause of SP1's error.
fn classify(error: anyhow::Error, panics: &Panics) -> Failure {
    let error = match error.downcast::<ExecutionError>() {
        Ok(error) => return classify_execution(&error, panics),
        Err(error) => error,
    };
    let error = match error.downcast::<JoinError>() {
        Ok(error) => return panicked(&error.to_string(), panics),
        Err(error) => error,
    };
    let text = format!("{error:#}");
    if text.starts_with("failed to dissassemble") || text.starts_with("failed to disassemble") {
        return could_not_load(&text);
    }
    not_executed(&text)
}

fn classify_execution(error: &ExecutionError, panics: &Panics) -> Failure {
    use ExecutionError as E;
    let cause = match error {
        // SP1 was given one cycle more than the request allows.
        E::ExceededCycleLimit(limit) => return too_many_cycles(limit.saturating_sub(1)),
        E::KilledByMemoryMonitor(_) => return memory::ran_out(&error.to_string(), memory::limit()),
        E::ChildKilled() | E::InvalidShardingState() => return not_executed(&error.to_string()),
        // The native executor has panicked or was ended by a signal.
        E::Other(text) => match panics.of_guest() {
            Some(message) => {
                return Failure::new(FailureClass::Guest, format!("the program failed: {message}"));
            }
            None if text.contains("signal: 7") || text.contains("signal: Some(7)") => {
                return not_executed(&format!("{}; {text}", shared_memory_is_full()));
            }
            None => return not_executed(text),
        },
        E::InvalidMemoryAccess(..)
        | E::InvalidMemoryAccessUntrustedProgram(_)
        | E::UnhandledTrap(_) => Some(Cause::InvalidMemoryAccess),
        E::UnsupportedSyscall(_) => Some(Cause::UnsupportedSyscall),
        E::Breakpoint() => Some(Cause::Breakpoint),
        E::InvalidSyscallUsage(_) => Some(Cause::InvalidSyscallUsage),
        E::Unimplemented() | E::InstructionNotFound() => Some(Cause::Unimplemented),
        E::EndInUnconstrained() => Some(Cause::EndInUnconstrained),
        E::UnexpectedExitCode(_) => Some(Cause::HaltWithNonZeroExitCode),
        E::UnconstrainedCycleLimitExceeded(_) | E::TooMuchMemory() => None,
    };
    let failure = Failure::new(FailureClass::Guest, format!("the program failed: {error}"));
    Failure { cause, ..failure }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn classified(error: impl Into<anyhow::Error>) -> Failure {
        classify(error.into(), &Panics::default())
    }

    #[test]
    fn limits_count_as_the_request_s_fault_and_crashes_as_the_guest_s() {
        let limit = classified(ExecutionError::ExceededCycleLimit(101));
        assert_eq!(limit.class, FailureClass::Request);
        assert_eq!(limit.cause, Some(Cause::ExceededCycleLimit));
        assert!(limit.message.ends_with("limit of 100 cycles"), "{}", limit.message);

        let access = classified(ExecutionError::Breakpoint());
        assert_eq!((access.class, access.cause), (FailureClass::Guest, Some(Cause::Breakpoint)));
    }

    #[test]
    fn what_may_be_the_machine_s_fault_is_not_the_guest_s() {
        let other = |text: &str| classified(ExecutionError::Other(text.to_owned()));
        let crashed = "Child native executor crashed, details: CrashDetails { signal: 6, addr: 0 }";
        let ended = "Child native executor terminated abnormally, code: None, signal: Some(7)";
        for failure in [
            classified(ExecutionError::ChildKilled()),
            classified(anyhow::anyhow!("No space left on device")),
            other("failed to spawn child process: Permission denied"),
            other(crashed),
            other(ended),
        ] {
            assert_eq!((failure.class, failure.cause), (FailureClass::Worker, None), "{failure}");
            assert_eq!(failure.out_of_memory, None);
        }
        assert!(other(ended).message.contains("--shm-size"), "{}", other(ended));

        let monitor = classified(ExecutionError::KilledByMemoryMonitor(30_000));
        assert_eq!(monitor.class, FailureClass::Worker);
        assert!(monitor.out_of_memory.is_some());

        let panics = Panics::default();
        panics.line("thread 'main' panicked at x/sp1-core-executor-6/src/minimal/hint.rs:45:9:");
        panics.line("hint input stream exhausted");
        let of_guest = classify(ExecutionError::Other(crashed.to_owned()).into(), &panics);
        assert_eq!(of_guest.class, FailureClass::Guest);
        assert_eq!(of_guest.message, "the program failed: hint input stream exhausted");
    }

    #[test]
    fn the_time_of_a_guest_follows_from_its_cycles() {
        let settings =
            |cycle_limit| Settings { cycle_limit, gas_limit: None, accept_mock_proofs: false };
        assert_eq!(settings(None).time_limit(), None);
        assert_eq!(settings(Some(1000)).time_limit(), Some(BASE_TIME));
        let minutes = Some(BASE_TIME + Duration::from_secs(600));
        assert_eq!(settings(Some(600_000_000)).time_limit(), minutes);
    }

    #[test]
    fn zero_and_the_highest_number_mean_no_limit() {
        let spec = |cycle_limit, gas_limit| JobSpec {
            vk_hash: network_lib::ids::VkHash([0; 32]),
            circuit_version: "v6.1.0".into(),
            mode: network_lib::job::ProofMode::Core,
            cycle_limit,
            gas_limit,
        };
        let none = Settings::of(&spec(0, u64::MAX), true);
        assert_eq!((none.cycle_limit, none.gas_limit), (None, None));
        let both = Settings::of(&spec(5, 7), true);
        assert_eq!((both.cycle_limit, both.gas_limit), (Some(5), Some(7)));
    }

    #[test]
    fn an_input_survives_and_anything_else_is_refused_without_a_panic() {
        let mut stdin = SP1Stdin::new();
        stdin.write(&7_u32);
        stdin.write_slice(b"bytes");
        let bytes = bincode::serialize(&stdin).unwrap();
        assert_eq!(decode_stdin(&bytes).unwrap().buffer, stdin.buffer);

        // A length prefix that promises more than any machine has.
        let huge = [0xff; 64];
        assert_eq!(decode_stdin(&huge).unwrap_err().class, FailureClass::Request);
        assert_eq!(decode_stdin(b"hello").unwrap_err().class, FailureClass::Request);
        assert_eq!(
            decode_stdin(&bytes[..bytes.len() - 1]).unwrap_err().class,
            FailureClass::Request
        );
    }
}
