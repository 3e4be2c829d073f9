//! The checking processes: started, given one proof after the other, ended.
//!
//! A check may take time and memory without bound, and may crash the process that runs it. It therefore runs in a
//! process of its own, with limits. A process checks many proofs, because its start and the set-up of SP1's verifiers
//! would add to every check; it is replaced after a failure. Not every failure is the proof's: a process may be ended from
//! outside, fail before it has the order, or wait for a disk that hangs. So it reports how far it has come. It has no variable of Hierophant's environment and none of its open
//! files, and it ends when Hierophant ends, because its standard input does.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use hierophant_model::text::error_chain;
use network_lib::task;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::SignalKind;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::protocol::{Order, Reply, Verdict, receive_reply, send_order};
use super::rejection::Rejection;

/// The command of the checking process.
const COMMAND: &str = "verify-proofs";

/// Number of proofs after which a process is replaced, so that what is left of one proof is left for a while only.
const MAX_CHECKS: u32 = 1000;

/// Idle time after which a process is ended.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Time for the end of a killed process, and for the rest of its error output.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Memory in bytes that the allocator reserves at once. Its own choice of 1 GiB would count towards the limit.
const RESERVE: &str = "67108864";

/// Length of the kept error output in characters.
const MAX_OUTPUT: usize = 200;

/// Time for a process to start and to take its order.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Signals that are sent from outside: by an operator, a terminal or a service manager. The kernel ends a process that
/// takes too much memory by SIGKILL, and no signal of these.
const FROM_OUTSIDE: [SignalKind; 4] =
    [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];

/// SIGKILL, which a process cannot handle.
const KILL: SignalKind = SignalKind::from_raw(9);

/// The checking processes of a Hierophant.
#[derive(Debug)]
pub(super) struct Processes {
    program: PathBuf,
    time: Duration,
    threads: usize,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    process: Process,
    since: Instant,
}

impl Processes {
    /// Processes of `program`, each of which computes with some threads, with a time limit for reading a proof and for
    /// verifying it.
    pub(super) fn new(program: &Path, time: Duration, threads: usize) -> Arc<Self> {
        let (program, idle) = (program.to_owned(), Mutex::default());
        let processes = Arc::new(Self { program, time, threads, idle });
        task::spawn("idle checking processes", end_idle(Arc::downgrade(&processes)));
        processes
    }

    /// Checks a proof in an idle process, or in a new one. One that ends for reasons that have nothing to do with the
    /// proof is replaced a few times.
    pub(super) async fn check(&self, order: &Order) -> Result<Verdict, Rejection> {
        if let Some(process) = self.take_idle() {
            let result = self.check_in(process, order).await;
            // An idle process may have ended for reasons of its own: only the end of a new one tells of the proof.
            let has_ended = |rejection: &Rejection| {
                rejection.passes_soon() || matches!(rejection, Rejection::CheckDied { .. })
            };
            if !result.as_ref().is_err_and(has_ended) {
                return result;
            }
        }
        (|| self.check_in_new(order))
            .retry(replacement_policy())
            .when(Rejection::passes_soon)
            .notify(|rejection, rest| {
                let error = error_chain(rejection);
                tracing::warn!(
                    error,
                    ?rest,
                    "a proof could not be checked; another process follows"
                );
            })
            .await
    }

    async fn check_in_new(&self, order: &Order) -> Result<Verdict, Rejection> {
        let process = Process::start(&self.program, self.threads).map_err(Rejection::NoProcess)?;
        self.check_in(process, order).await
    }

    async fn check_in(&self, mut process: Process, order: &Order) -> Result<Verdict, Rejection> {
        let (phase, fault) = match process.check(order, self.time).await {
            Ok(verdict) => {
                if process.checks < MAX_CHECKS {
                    self.idle.lock().push(Idle { process, since: Instant::now() });
                }
                return Ok(verdict);
            }
            Err(fault) => fault,
        };
        let (status, output) = process.end().await;
        let Fault::Broken(error) = fault else {
            return Err(match phase {
                Phase::Starting => Rejection::NoBeginning(START_LIMIT),
                Phase::Reading => Rejection::ReadTooLong(self.time),
                Phase::Verifying => Rejection::CheckTooLong(self.time),
            });
        };
        tracing::warn!(%error, ?phase, ?status, output, "a checking process has ended during a check");
        let how = described(status);
        let signal = status.and_then(|status| status.signal()).map(SignalKind::from_raw);
        Err(match signal {
            _ if phase == Phase::Starting => Rejection::EndedEarly { how, output },
            Some(signal) if FROM_OUTSIDE.contains(&signal) => Rejection::EndedFromOutside(how),
            _ => {
                let (memory, is_killed) = (order.memory >> 20, signal == Some(KILL));
                Rejection::CheckDied { how, output, memory, is_killed }
            }
        })
    }

    /// The process that has been idle for the shortest time.
    fn take_idle(&self) -> Option<Process> {
        self.idle.lock().pop().map(|idle| idle.process)
    }
}

/// Ends processes that are idle for long, for as long as there are `processes`.
async fn end_idle(processes: Weak<Processes>) {
    loop {
        sleep(IDLE_TIME / 2).await;
        let Some(processes) = processes.upgrade() else { return };
        processes.idle.lock().retain(|idle| idle.since.elapsed() < IDLE_TIME);
    }
}

/// Retry policy of checks whose process ended for reasons that have nothing to do with the proof.
fn replacement_policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_factor(3.0)
        .with_max_times(4)
}

/// How far a process has come with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It starts, and takes the order.
    Starting,
    /// It reads the proof.
    Reading,
    /// It decodes and verifies the proof.
    Verifying,
}

/// Why a process sends no verdict.
#[derive(Debug)]
enum Fault {
    /// The time of the phase is over.
    Late,
    /// It has ended, or sent something else.
    Broken(io::Error),
}

/// A checking process. Dropping it ends it.
#[derive(Debug)]
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    output: JoinHandle<String>,
    /// Number of orders.
    checks: u32,
}

impl Process {
    fn start(program: &Path, threads: usize) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg0("hierophant")
            .arg(COMMAND)
            .env_clear()
            .env("MIMALLOC_ARENA_RESERVE", RESERVE)
            // SP1's verifiers compute with a pool of threads, which would otherwise have one for each processor.
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal of the terminal is meant for Hierophant, which decides about its checks.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a pipe of the checking process is missing"));
        };
        let stdout = BufReader::with_capacity(1024, stdout);
        let output = task::spawn("output of a checking process", last_line(stderr));
        Ok(Self { child, stdin, stdout, output, checks: 0 })
    }

    /// Lets the process check a proof. It has `time` to read it, and again to verify it.
    async fn check(&mut self, order: &Order, time: Duration) -> Result<Verdict, (Phase, Fault)> {
        self.checks += 1;
        let Self { stdin, stdout, .. } = self;
        let sent = async {
            send_order(stdin, order).await?;
            receive_reply(stdout).await
        };
        let mut reply = in_phase(Phase::Starting, START_LIMIT, sent).await?;
        for (phase, expected) in [(Phase::Reading, Reply::Began), (Phase::Verifying, Reply::Read)] {
            if reply != expected {
                break;
            }
            reply = in_phase(phase, time, receive_reply(stdout)).await?;
        }
        match reply {
            Reply::Verdict(verdict) => Ok(verdict),
            Reply::Began | Reply::Read => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "an unexpected reply");
                Err((Phase::Verifying, Fault::Broken(error)))
            }
        }
    }

    /// Ends the process. Returns its status if it has ended on its own, and the last line of its error output.
    async fn end(mut self) -> (Option<ExitStatus>, String) {
        // One that breaks off is ending already, and its own status tells why.
        let grace = Duration::from_millis(500);
        let status = timeout(grace, self.child.wait()).await;
        if status.is_err() {
            let _ = self.child.start_kill();
            let _ = timeout(END_LIMIT, self.child.wait()).await;
        }
        let output = timeout(END_LIMIT, self.output).await;
        (status.ok().and_then(Result::ok), output.ok().and_then(Result::ok).unwrap_or_default())
    }
}

/// Waits for a reply in a phase.
async fn in_phase(
    phase: Phase,
    time: Duration,
    reply: impl Future<Output = io::Result<Reply>>,
) -> Result<Reply, (Phase, Fault)> {
    match timeout(time, reply).await {
        Ok(reply) => reply.map_err(|error| (phase, Fault::Broken(error))),
        Err(_) => Err((phase, Fault::Late)),
    }
}

/// How a process has ended, for people.
fn described(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => match status.signal() {
            Some(signal) => format!("by signal {signal}"),
            None => format!("with exit code {}", status.code().unwrap_or_default()),
        },
        None => "after an invalid reply".into(),
    }
}

/// The last line of error output, to its end. Only its beginning is kept.
async fn last_line(mut output: ChildStderr) -> String {
    let (mut last, mut line) = (String::new(), Vec::new());
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        for &byte in &chunk[..read] {
            if byte != b'\n' {
                if line.len() < 4 * MAX_OUTPUT {
                    line.push(byte);
                }
            } else {
                // What follows a message of Rust's, which says how to see more.
                if !line.is_empty() && !line.starts_with(b"note:") {
                    last = readable(&line);
                }
                line.clear();
            }
        }
    }
    if line.is_empty() { last } else { readable(&line) }
}

fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().filter(|c| !c.is_control()).take(MAX_OUTPUT).collect()
}
