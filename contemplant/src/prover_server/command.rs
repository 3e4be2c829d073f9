//! A server as a child process, for machines without Docker.
//!
//! `sp1-gpu-server` takes its device from `CUDA_VISIBLE_DEVICES` and its socket from the device:
//! `/tmp/sp1-cuda-N.sock`. Processes that outlived a killed Contemplant are identified by their environment and
//! ended at the next start.

mod leftover;

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use network_lib::task;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::leftover::{Leftover, MARK};
use super::log::{Lines, ServerLog};
use super::server::{Connection, Death, LOG_FILTER, ProverServer, RunningServer, Unavailable};
use super::temp;
use crate::identity::create_private;
use crate::processes;

/// Time limit for reading the rest of the output of an ended process.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// The server behind `prover_command`, for one GPU.
#[derive(Debug)]
pub struct CommandServer {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    gpu: u32,
    temp: PathBuf,
    leftover: Leftover,
}

impl CommandServer {
    /// The server that `command`, a program and its arguments, starts with this additional `environment` for `gpu`, one
    /// of `all_gpus` of this worker. Its processes are identified by `data_dir`, which contains its temp folder.
    #[must_use]
    pub fn new(
        command: &[String],
        environment: &BTreeMap<String, String>,
        gpu: u32,
        all_gpus: &[u32],
        data_dir: &Path,
    ) -> Self {
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self {
            command: command.to_vec(),
            environment: environment.clone(),
            gpu,
            temp: temp::folder(&data_dir, gpu),
            leftover: Leftover::new(gpu, all_gpus, &data_dir),
        }
    }

    /// The command with its whole environment.
    fn command(&self) -> Result<Command, Unavailable> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Unavailable("`prover_command` is empty: expected a program".to_owned()));
        };
        let mut command = prepare(program, &self.environment);
        command
            .args(arguments)
            .env("CUDA_VISIBLE_DEVICES", self.gpu.to_string())
            // The order of NVML and Docker; by default CUDA lists the fastest GPU first.
            .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            .env(MARK, self.leftover.mark())
            .env("RUST_LOG", LOG_FILTER)
            .env("NO_COLOR", "1")
            .env("TMPDIR", &self.temp);
        Ok(command)
    }

    fn spawn(&self) -> Result<Child, Unavailable> {
        self.command()?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that its own children can be ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let program = self.command.first().map_or("", String::as_str);
                Unavailable(format!(
                    "the prover server {program} cannot be started ({error}); install it with `contemplant prover \
                     fetch`, or correct `prover_command`"
                ))
            })
    }

    /// Ends what an earlier process has left, and empties the temp folder.
    async fn clear(&self) -> Result<(), Unavailable> {
        let has_ended = self.leftover.end().await;
        create_private(&self.temp).map_err(|error| {
            let folder = self.temp.display();
            Unavailable(format!(
                "the prover server's temp folder {folder} cannot be created: {error}"
            ))
        })?;
        if has_ended {
            temp::empty(&self.temp).await;
        }
        Ok(())
    }
}

/// A program of `prover_command` with its additional environment, and without this program's own variables.
pub(crate) fn prepare(program: &str, environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(program);
    processes::withhold_own_variables(&mut command);
    command.envs(environment);
    command
}

#[async_trait]
impl ProverServer for CommandServer {
    fn describe(&self) -> String {
        let program = self.command.first().map_or("", String::as_str);
        format!("{program} on GPU {}", self.gpu)
    }

    fn is_ours(&self) -> bool {
        true
    }

    async fn start(&self) -> Result<Box<dyn RunningServer>, Unavailable> {
        self.clear().await?;
        let socket = PathBuf::from(format!("/tmp/sp1-cuda-{}.sock", self.gpu));
        if UnixStream::connect(&socket).is_ok() {
            return Err(Unavailable(format!(
                "another prover server already listens at {}: end it, or use it by `prover_endpoint`",
                socket.display()
            )));
        }
        // A stale socket would be mistaken for the new server's.
        let _ = std::fs::remove_file(&socket);
        let mut child = self.spawn()?;
        let id = child
            .id()
            .ok_or_else(|| Unavailable("the prover server ended immediately".to_owned()))?;
        tracing::info!(command = ?self.command, gpu = self.gpu, process = id, "prover server started");
        let log = ServerLog::default();
        let readers = [
            child.stdout.take().map(|output| read(output, log.clone())),
            child.stderr.take().map(|output| read(output, log.clone())),
        ];
        let readers = readers.into_iter().flatten().collect();
        let connection = Connection { socket, log };
        let leftover = self.leftover.clone();
        Ok(Box::new(Running { child, id, connection, readers, leftover }))
    }
}

struct Running {
    child: Child,
    id: u32,
    connection: Connection,
    readers: Vec<JoinHandle<()>>,
    leftover: Leftover,
}

#[async_trait]
impl RunningServer for Running {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn memory_bytes(&self) -> Option<u64> {
        processes::resident_bytes(self.id)
    }

    async fn ended(&mut self) -> Death {
        let how = match self.child.wait().await {
            Ok(status) => explain(status),
            Err(error) => format!("cannot be waited for: {error}"),
        };
        let all_read = async {
            while let Some(reader) = self.readers.last_mut() {
                let _ = reader.await;
                self.readers.pop();
            }
        };
        let _ = timeout(OUTPUT_LIMIT, all_read).await;
        Death {
            reason: format!("the prover server {how}; {}", self.log().last_lines()),
            out_of_memory: self.log().out_of_memory(),
        }
    }

    async fn stop(mut self: Box<Self>) {
        processes::kill_group(self.id);
        // The group may have ended already.
        let _ = self.child.kill().await;
        // Processes that have left the group.
        self.leftover.end().await;
        let _ = std::fs::remove_file(self.socket());
    }
}

fn explain(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("has ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "has ended".to_owned(),
    }
}

/// Reads an output to its end into `log`.
fn read(mut output: impl AsyncRead + Unpin + Send + 'static, log: ServerLog) -> JoinHandle<()> {
    task::spawn("prover server's output", async move {
        let mut lines = Lines::default();
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut chunk).await {
            lines.feed(&chunk[..read], |line| log.line(line));
        }
        lines.flush(|line| log.line(line));
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::SERVER_VARIABLES;
    use crate::processes::OWN_VARIABLES;

    #[test]
    fn every_variable_that_is_set_here_is_refused_in_the_configuration() {
        let environment = BTreeMap::from([("MEMORY_LIMIT".to_owned(), "1".to_owned())]);
        let command = ["server".to_owned()];
        let server = CommandServer::new(&command, &environment, 0, &[0], Path::new("/data"));
        let command = server.command().unwrap();
        let set: Vec<&str> = command
            .as_std()
            .get_envs()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert!(set.contains(&"MEMORY_LIMIT") && set.contains(&"CUDA_VISIBLE_DEVICES"), "{set:?}");
        for name in set.into_iter().filter(|name| *name != "MEMORY_LIMIT") {
            assert!(SERVER_VARIABLES.contains(&name) || name.starts_with(OWN_VARIABLES), "{name}");
        }
    }
}
