//! The prover server as a program: its name, and the version that it reports.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use sp1_primitives::SP1_CRATE_VERSION;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// The program's name.
pub const NAME: &str = "sp1-gpu-server";

/// Time limit for a command that only prints something. The server's version needs no GPU.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How often, and after which pause, a program is tried again that is open for writing.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Verifies that `program` reports the SP1 version of this Contemplant.
///
/// # Errors
///
/// What it reports instead, or why it cannot be run; without a remedy.
pub async fn check_version(program: &Path) -> Result<(), String> {
    check_version_of(Command::new(program), program).await
}

/// [`check_version`] with this command, which runs `program`.
///
/// # Errors
///
/// Those of [`check_version`].
pub async fn check_version_of(mut command: Command, program: &Path) -> Result<(), String> {
    let shown = program.display();
    let output = output(command.arg("--version")).await;
    let output = output.map_err(|error| format!("{shown} cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.split_whitespace().any(|word| word.trim_start_matches('v') == SP1_CRATE_VERSION) {
        return Ok(());
    }
    // Such as a missing library.
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.lines().map(str::trim).find(|line| !line.is_empty());
    let error = error.map(|line| format!(" ({line})")).unwrap_or_default();
    Err(format!("{shown} --version prints \"{text}\"{error}: expected {SP1_CRATE_VERSION}"))
}

/// Runs a command that ends soon, and returns what it has printed.
pub(super) async fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let mut tries = 0;
    loop {
        let answer = timeout(ANSWER_LIMIT, command.output()).await.unwrap_or_else(|_| {
            let text = format!("no answer within {} s", ANSWER_LIMIT.as_secs());
            Err(io::Error::new(ErrorKind::TimedOut, text))
        });
        match answer {
            // A new file may for a moment still be open in a process that another thread has started.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                sleep(BUSY_PAUSE).await;
            }
            answer => return answer,
        }
    }
}
