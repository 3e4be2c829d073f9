//! Floods that are under way: this program once more, as processes of their own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use test_harness::Hierophant;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::flood::{DONE, FULL_FORCE, Flood};

/// A shell line that starts the program and arguments behind it with as many open files as the system allows. It
/// is the same process afterwards.
const WITH_ALL_FILES: &str = r#"ulimit -n "$(ulimit -H -n)"; exec "$0" "$@""#;

/// Longest time until a flood reaches its full force.
const FORCE_LIMIT: Duration = Duration::from_secs(40);

/// A flood. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Attacker {
    _child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Attacker {
    /// Starts one, and returns when it has reached its full force. Uploads go to `tickets`, and what needs a known artifact
    /// uses the program `known`. It runs at low priority: attackers have machines of their own.
    pub(crate) async fn start(
        flood: Flood,
        hierophant: &Hierophant,
        tickets: &[String],
        known: &str,
    ) -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let mut child = Command::new("nice")
            .args(["-n", "10", "sh", "-c", WITH_ALL_FILES])
            .arg(own)
            .args(["--flood", &flood.to_string()])
            .args(["--grpc", &hierophant.grpc().to_string()])
            .args(["--http", &hierophant.http().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .context("cannot start a flood")?;
        let mut input = child.stdin.take().context("no input")?;
        // The others read nothing, and a pipe holds less than all tickets.
        match flood {
            Flood::Uploads => input.write_all(tickets.join("\n").as_bytes()).await?,
            Flood::Unread | Flood::Known | Flood::Heads => {
                input.write_all(known.as_bytes()).await?;
            }
            Flood::Connections | Flood::Calls | Flood::Lists | Flood::Ready | Flood::Resets => {}
        }
        drop(input);
        let said = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut attacker = Self { _child: child, said };
        let force = attacker.until(FULL_FORCE);
        timeout(FORCE_LIMIT, force).await.context("no full force in time")??;
        Ok(attacker)
    }

    /// Waits until it has done what it does, and returns its figures.
    pub(crate) async fn done(&mut self) -> Result<String> {
        self.until(DONE).await
    }

    async fn until(&mut self, beginning: &str) -> Result<String> {
        while let Some(line) = self.said.next_line().await? {
            if let Some(rest) = line.strip_prefix(beginning) {
                return Ok(rest.trim().to_owned());
            }
        }
        bail!("a flood has ended unexpectedly")
    }
}
