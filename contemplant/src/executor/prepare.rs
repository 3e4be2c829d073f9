//! Preparation of a job's proof: its program's verifying key, and its execution.

use std::sync::Arc;
use std::time::Duration;

use network_lib::job::{Failure, FailureClass, Phase};
use sp1_core_machine::io::SP1Stdin;
use tokio::time::{Instant, interval_at};

use super::execute::{Executed, Settings, decode_stdin};
use super::helper::{Helper, Room, Running};
use super::program::{Program, Programs};
use super::{EventSink, ProveJob};

/// Interval between two reports of waiting.
const TICK: Duration = Duration::from_secs(10);

/// An executed job, ready to be proved.
pub(super) struct Prepared {
    pub(super) program: Arc<Program>,
    pub(super) stdin: SP1Stdin,
    pub(super) executed: Executed,
}

/// Checks a job's program and executes it, with its events. SP1's mock proofs in the input count as valid if
/// `accept_mock_proofs`. Dropping the call ends the execution.
pub(super) async fn prepare(
    helper: &Helper,
    programs: &Programs,
    job: ProveJob,
    accept_mock_proofs: bool,
    events: &EventSink,
) -> Result<Prepared, Failure> {
    events.phase(Phase::SettingUp);
    let settings = Settings::of(&job.spec, accept_mock_proofs);
    let ProveJob { spec, program_digest, elf, stdin } = job;
    let known = programs.find(program_digest, &elf);
    if let Some(program) = &known {
        program.check(spec.vk_hash)?;
    }
    let input = Arc::new(stdin);
    let encoded = Arc::clone(&input);
    // An input may be large, so not on the threads that keep connections.
    let stdin = tokio::task::spawn_blocking(move || decode_stdin(&encoded))
        .await
        .map_err(|error| Failure::new(FailureClass::Worker, error.to_string()))??;
    let room = room(helper, events).await?;
    let mut running = helper.execute(room, Arc::clone(&elf), input, settings, known.is_none())?;
    let program = match known {
        Some(program) => program,
        None => {
            let program = programs.add(program_digest, elf, running.key().await?);
            program.check(spec.vk_hash)?;
            program
        }
    };
    events.phase(Phase::Executing);
    let executed = executed(running, events).await?;
    events.executed(executed.execution);
    Ok(Prepared { program, stdin, executed })
}

/// Room for an execution. Until there is some, the seconds of waiting are reported as steps: the executions before it may
/// take long, and have limits of their own.
async fn room(helper: &Helper, events: &EventSink) -> Result<Room, Failure> {
    let start = Instant::now();
    let mut ticks = interval_at(start + TICK, TICK);
    let waiting = helper.room();
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            biased;
            room = &mut waiting => return room,
            _ = ticks.tick() => events.steps(Phase::SettingUp, start.elapsed().as_secs()),
        }
    }
}

/// The result of an execution. Until then the seconds of processor time that it has used are reported as its steps.
async fn executed(running: Running, events: &EventSink) -> Result<Executed, Failure> {
    let mut processor_time = running.processor_time();
    let executing = running.executed();
    tokio::pin!(executing);
    loop {
        tokio::select! {
            biased;
            executed = &mut executing => return executed,
            Ok(()) = processor_time.changed() => {
                let used = *processor_time.borrow_and_update();
                events.steps(Phase::Executing, used.as_secs());
            }
        }
    }
}
