//! The helper process itself: one order from standard input, replies to standard output.

use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;

use network_lib::job::FailureClass;
use sp1_node::{LightNode, ProverRuntime};

use super::protocol::{Order, Reply, read_order, write_reply};
use crate::executor::execute::{self, Executed, Panics, could_not_derive, memory};
use crate::{processes, shared_memory};

/// How much sooner the kernel ends this process than others when memory runs out, of 1000.
const OOM_SCORE: &str = "500";

/// Runs as the helper process of a Contemplant. Returns only if there is no order.
#[must_use]
pub fn run() -> ExitCode {
    let order = match read_order(&mut io::stdin().lock()) {
        Ok(order) => order,
        Err(error) => {
            eprintln!(
                "contemplant: no order could be read ({error}): `execute` is started by the Contemplant itself"
            );
            return ExitCode::FAILURE;
        }
    };
    // Without it this process is as likely to be ended as others.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    std::thread::spawn(leave_with_the_contemplant);
    if let Err(error) = serve(order) {
        eprintln!("contemplant: a reply could not be sent: {error}");
    }
    leave()
}

fn serve((order, elf, input): (Order, Vec<u8>, Vec<u8>)) -> io::Result<()> {
    let panics = Panics::record();
    let kills_before = memory::kills_by_kernel();
    let runtime = ProverRuntime::start()?;
    let mut output = io::stdout().lock();
    let outcome =
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let node = LightNode::start().await;
            let elf = Arc::new(elf);
            if order.derive_key {
                let key = runtime.run(node.setup(Arc::clone(&elf))).await;
                match could_not_derive(key, &panics) {
                    Ok(key) => write_reply(&mut output, &Reply::Key, &key)?,
                    Err(failure) => return Ok(Err(failure)),
                }
            }
            let stdin = match execute::decode_stdin(&input) {
                Ok(stdin) => stdin,
                Err(failure) => return Ok(Err(failure)),
            };
            drop(input);
            io::Result::Ok(
                execute::execute(&runtime, &node, elf, stdin, order.settings, &panics).await,
            )
        })?;
    match outcome {
        Ok(Executed { execution, public_values, clock_ticks }) => {
            let reply = Reply::Executed { execution, clock_ticks };
            write_reply(&mut output, &reply, public_values.as_slice())
        }
        Err(mut failure) => {
            let is_machine_s = failure.class == FailureClass::Worker;
            if is_machine_s && memory::kills_by_kernel() > kills_before {
                failure = memory::ran_out(&failure.message, memory::limit());
            }
            write_reply(&mut output, &Reply::Failed(failure), &[])
        }
    }
}

/// Waits for the end of standard input: the Contemplant is gone, or no longer needs this process.
fn leave_with_the_contemplant() {
    let mut byte = [0];
    while matches!(io::stdin().read(&mut byte), Ok(1)) {}
    leave();
}

/// Ends this process and those that it has started, and removes their shared memory.
#[allow(
    clippy::disallowed_methods,
    reason = "other threads may be inside SP1, which cannot be interrupted"
)]
fn leave() -> ! {
    let own = std::process::id();
    let group = processes::of_group(own);
    shared_memory::remove(&shared_memory::mapped_by(group.iter().map(|process| process.id)));
    processes::kill_group(own);
    // Only if this process leads no group.
    std::process::exit(1)
}
