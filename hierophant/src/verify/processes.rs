//! The checking processes: started, given one proof after the other, ended.
//!
//! A check may take time and memory without bound, and may crash the process that runs it. It therefore runs in a
//! process of its own, with limits. A process checks many proofs, because its start and the set-up of SP1's verifiers
//! would add to every check; it is replaced after a failure. It has no variable of Hierophant's environment and none of its open
//! files, and it ends when Hierophant ends, because its standard input does.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use network_lib::task;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::protocol::{Order, Verdict, receive_verdict, send_order};
use super::rejection::Rejection;

/// The command of the checking process.
const COMMAND: &str = "verify-proofs";

/// Number of proofs after which a process is replaced, so that what is left of one proof is left for a while only.
const MAX_CHECKS: u32 = 200;

/// Idle time after which a process is ended.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Time for the end of a killed process, and for the rest of its error output.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Memory in bytes that the allocator reserves at once. Its own choice of 1 GiB would count towards the limit.
const RESERVE: &str = "67108864";

/// Length of the kept error output in characters.
const MAX_OUTPUT: usize = 200;

/// The checking processes of a Hierophant.
#[derive(Debug)]
pub(super) struct Processes {
    program: PathBuf,
    time: Duration,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    process: Process,
    since: Instant,
}

impl Processes {
    /// Processes of `program`, with a time limit for one check.
    pub(super) fn new(program: &Path, time: Duration) -> Arc<Self> {
        let (program, idle) = (program.to_owned(), Mutex::default());
        let processes = Arc::new(Self { program, time, idle });
        task::spawn("idle checking processes", end_idle(Arc::downgrade(&processes)));
        processes
    }

    /// Checks a proof in an idle process, or in a new one.
    pub(super) async fn check(&self, order: &Order) -> Result<Verdict, Rejection> {
        if let Some(process) = self.take_idle() {
            let result = self.check_in(process, order).await;
            // An idle process may have ended for reasons of its own: only the end of a new one tells of the proof.
            if !matches!(result, Err(Rejection::CheckDied { .. })) {
                return result;
            }
        }
        let process = Process::start(&self.program).map_err(Rejection::NoProcess)?;
        self.check_in(process, order).await
    }

    async fn check_in(&self, mut process: Process, order: &Order) -> Result<Verdict, Rejection> {
        match timeout(self.time, process.check(order)).await {
            Ok(Ok(verdict)) => {
                if process.checks < MAX_CHECKS {
                    self.idle.lock().push(Idle { process, since: Instant::now() });
                }
                Ok(verdict)
            }
            Ok(Err(error)) => {
                let (status, output) = process.end().await;
                tracing::warn!(%error, ?status, output, "a checking process has ended during a check");
                let memory = order.memory >> 20;
                Err(Rejection::CheckDied { how: described(status), output, memory })
            }
            Err(_) => {
                process.end().await;
                Err(Rejection::CheckTooLong(self.time))
            }
        }
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

/// A checking process. Dropping it ends it.
#[derive(Debug)]
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    output: JoinHandle<String>,
    /// Number of orders.
    checks: u32,
}

impl Process {
    fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg0("hierophant")
            .arg(COMMAND)
            .env_clear()
            .env("MIMALLOC_ARENA_RESERVE", RESERVE)
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
        let output = task::spawn("output of a checking process", last_line(stderr));
        Ok(Self { child, stdin, stdout, output, checks: 0 })
    }

    async fn check(&mut self, order: &Order) -> io::Result<Verdict> {
        self.checks += 1;
        send_order(&mut self.stdin, order).await?;
        receive_verdict(&mut self.stdout).await
    }

    /// Kills the process, unless it has ended; returns its status and the last line of its error output.
    async fn end(mut self) -> (Option<ExitStatus>, String) {
        // One that breaks off is ending already, and its own status tells why.
        let grace = Duration::from_millis(500);
        let status = match timeout(grace, self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = self.child.start_kill();
                timeout(END_LIMIT, self.child.wait()).await.ok().and_then(Result::ok)
            }
        };
        let output = timeout(END_LIMIT, self.output).await;
        (status, output.ok().and_then(Result::ok).unwrap_or_default())
    }
}

/// How a process has ended, for people.
fn described(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => match status.signal() {
            Some(signal) => format!("by signal {signal}"),
            None => format!("with exit code {}", status.code().unwrap_or_default()),
        },
        None => "for an unknown reason".into(),
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
