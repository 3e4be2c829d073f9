//! Executing a program without proving it, for its public values, cycles and gas; a failed execution is classified in
//! the client's terms.
//!
//! SP1 is called exactly as by the SDK's `execute`, so the numbers equal those that a client gets when it simulates
//! its request.

use std::sync::Arc;

use bincode::Options;
use network_lib::ids::Sha256Digest;
use network_lib::job::{
    Execution, ExecutionFailureCause as Cause, Failure, FailureClass, JobSpec, Phase,
};
use sp1_core_executor::{ExecutionError, SP1Context};
use sp1_core_machine::io::SP1Stdin;
use sp1_node::{LightNode, ProverRuntime, panic_message};
use sp1_primitives::io::SP1PublicValues;
use tokio::task::JoinError;

use super::program::{Program, Programs};
use super::{EventSink, ProveJob};

/// Result of an execution.
pub(super) struct Executed {
    pub(super) execution: Execution,
    pub(super) public_values: SP1PublicValues,
    /// SP1's clock at the end. Unlike cycles, each shard contains its range of the clock.
    pub(super) clock_ticks: u64,
}

/// Settings of an execution.
struct Settings {
    cycle_limit: Option<u64>,
    gas_limit: Option<u64>,
    /// Whether proofs inside the input are verified. A mock prover must not: mock proofs do not verify.
    verify_input_proofs: bool,
}

impl Settings {
    fn of(spec: &JobSpec, verify_input_proofs: bool) -> Self {
        let limit = |limit: u64| (limit != 0 && limit != u64::MAX).then_some(limit);
        Self {
            cycle_limit: limit(spec.cycle_limit),
            gas_limit: limit(spec.gas_limit),
            verify_input_proofs,
        }
    }
}

/// An executed job, ready to be proved.
pub(super) struct Prepared {
    pub(super) program: Arc<Program>,
    pub(super) stdin: SP1Stdin,
    pub(super) executed: Executed,
}

/// Sets up a job's program and executes it, with its events.
pub(super) async fn prepare(
    runtime: &ProverRuntime,
    programs: &Programs,
    job: ProveJob,
    verify_input_proofs: bool,
    events: &EventSink,
) -> Result<Prepared, Failure> {
    events.phase(Phase::SettingUp);
    let program = programs.prepare(runtime, &job).await?;
    let settings = Settings::of(&job.spec, verify_input_proofs);
    // An input may be large, so not on the threads that keep connections.
    let stdin = tokio::task::spawn_blocking(move || decode_stdin(&job.stdin))
        .await
        .map_err(|error| Failure::new(FailureClass::Worker, error.to_string()))??;
    events.phase(Phase::Executing);
    let elf = Arc::clone(&program.elf);
    let executed = execute(runtime, programs.node(), elf, stdin.clone(), settings).await?;
    events.executed(executed.execution);
    Ok(Prepared { program, stdin, executed })
}

/// Decodes a program's input.
fn decode_stdin(bytes: &[u8]) -> Result<SP1Stdin, Failure> {
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

/// Executes a program to its end.
async fn execute(
    runtime: &ProverRuntime,
    node: &LightNode,
    elf: Arc<Vec<u8>>,
    stdin: SP1Stdin,
    settings: Settings,
) -> Result<Executed, Failure> {
    let mut context = SP1Context::builder();
    context.calculate_gas(true).set_deferred_proof_verification(settings.verify_input_proofs);
    if let Some(limit) = settings.cycle_limit {
        // SP1 stops at its limit; a client's limit is the number of cycles that it has counted.
        context.max_cycles(limit.saturating_add(1));
    }
    let context = context.build();
    let (public_values, digest, report) = runtime
        .run(node.execute(elf, stdin, context))
        .await
        .map_err(|reason| could_not_load(&reason))?
        .map_err(classify)?;

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

fn could_not_load(reason: &str) -> Failure {
    Failure::new(FailureClass::Guest, format!("the program could not be loaded: {reason}"))
}

/// Class and cause of SP1's error.
fn classify(error: anyhow::Error) -> Failure {
    let error = match error.downcast::<ExecutionError>() {
        Ok(error) => return classify_execution(error),
        Err(error) => error,
    };
    let error = match error.downcast::<JoinError>() {
        Ok(error) if error.is_panic() => return could_not_load(&panic_message(error)),
        Ok(error) => error.into(),
        Err(error) => error,
    };
    let text = format!("{error:#}");
    if text.starts_with("deferred proof") {
        return Failure::new(
            FailureClass::Request,
            format!("a proof in the input is not valid: {text}"),
        );
    }
    if text.starts_with("failed to dissassemble") {
        return could_not_load(&text);
    }
    Failure::new(FailureClass::Worker, format!("the program could not be executed: {text}"))
}

fn classify_execution(error: ExecutionError) -> Failure {
    use ExecutionError as E;
    let cause = match &error {
        // SP1 was given one cycle more than the request allows.
        E::ExceededCycleLimit(limit) => return too_many_cycles(limit.saturating_sub(1)),
        E::KilledByMemoryMonitor(_) | E::ChildKilled() | E::InvalidShardingState() => {
            return Failure::new(FailureClass::Worker, error.to_string());
        }
        E::Other(text) if text.starts_with("failed") => {
            return Failure::new(FailureClass::Worker, error.to_string());
        }
        E::InvalidMemoryAccess(..)
        | E::InvalidMemoryAccessUntrustedProgram(_)
        | E::UnhandledTrap(_) => Some(Cause::InvalidMemoryAccess),
        E::UnsupportedSyscall(_) => Some(Cause::UnsupportedSyscall),
        E::Breakpoint() => Some(Cause::Breakpoint),
        E::InvalidSyscallUsage(_) => Some(Cause::InvalidSyscallUsage),
        E::Unimplemented() | E::InstructionNotFound() => Some(Cause::Unimplemented),
        E::EndInUnconstrained() => Some(Cause::EndInUnconstrained),
        E::UnexpectedExitCode(_) => Some(Cause::HaltWithNonZeroExitCode),
        E::UnconstrainedCycleLimitExceeded(_) | E::TooMuchMemory() | E::Other(_) => None,
    };
    let failure = Failure::new(FailureClass::Guest, format!("the program failed: {error}"));
    Failure { cause, ..failure }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_as_the_request_s_fault_and_crashes_as_the_guest_s() {
        let limit = classify(ExecutionError::ExceededCycleLimit(101).into());
        assert_eq!(limit.class, FailureClass::Request);
        assert_eq!(limit.cause, Some(Cause::ExceededCycleLimit));
        assert!(limit.message.ends_with("limit of 100 cycles"), "{}", limit.message);

        let access = classify(ExecutionError::Breakpoint().into());
        assert_eq!((access.class, access.cause), (FailureClass::Guest, Some(Cause::Breakpoint)));

        let killed = classify(ExecutionError::ChildKilled().into());
        assert_eq!((killed.class, killed.cause), (FailureClass::Worker, None));

        let forged = classify(anyhow::anyhow!("deferred proof 0 failed verification: no"));
        assert_eq!(forged.class, FailureClass::Request);
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
