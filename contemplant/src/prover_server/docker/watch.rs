//! Watching a container: its log, its memory and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerMemoryStats, ContainerState};
use bollard::query_parameters::{LogsOptions, StatsOptions, WaitContainerOptions};
use futures_util::StreamExt;
use humantime::parse_rfc3339;
use network_lib::job::Memory;
use network_lib::task;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::message_of;
use crate::prover_server::log::{Lines, ServerLog};
use crate::prover_server::server::Death;

/// Pause before the next call of an engine that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the log may lag behind the container's end.
const LOG_LAG: Duration = Duration::from_millis(300);

/// Exit code of a process that was killed.
const KILLED: i64 = 137;

/// The end and the memory of a watched container.
#[derive(Debug)]
pub(super) struct Watch {
    death: tokio::sync::watch::Receiver<Option<Death>>,
    /// In bytes, 0 while unknown.
    memory: Arc<AtomicU64>,
}

impl Watch {
    /// Waits for the end.
    pub(super) async fn ended(&mut self) -> Death {
        match self.death.wait_for(Option::is_some).await {
            Ok(death) => death.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| Death {
            reason: "the container is no longer watched".to_owned(),
            out_of_memory: None,
        })
    }

    /// Main memory that it uses now, in bytes, if the engine has reported it.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        Some(self.memory.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

/// Starts the tasks that watch a container, which are to be aborted with it.
pub(super) fn start(engine: &Docker, id: &str, log: &ServerLog) -> (Watch, Vec<JoinHandle<()>>) {
    let (sender, receiver) = tokio::sync::watch::channel(None);
    let follow = follow(engine.clone(), id.to_owned(), log.clone());
    let wait = {
        let (engine, id, log) = (engine.clone(), id.to_owned(), log.clone());
        async move {
            let death = wait(&engine, &id, &log).await;
            sender.send_replace(Some(death));
        }
    };
    let memory = Arc::new(AtomicU64::new(0));
    let measure = measure(engine.clone(), id.to_owned(), Arc::clone(&memory));
    let tasks = vec![
        task::spawn("container's log", follow),
        task::spawn("container's end", wait),
        task::spawn("container's memory", measure),
    ];
    (Watch { death: receiver, memory }, tasks)
}

/// Follows the engine's measurements, about once a second. After a restart of the engine the call is repeated.
async fn measure(engine: Docker, id: String, memory: Arc<AtomicU64>) {
    loop {
        let options = StatsOptions { stream: true, one_shot: false };
        let mut figures = std::pin::pin!(engine.stats(&id, Some(options)));
        while let Some(Ok(figure)) = figures.next().await {
            let used = figure.memory_stats.as_ref().and_then(in_use);
            memory.store(used.unwrap_or(0), Ordering::Relaxed);
        }
        sleep(PAUSE).await;
    }
}

/// Memory in use without the kernel's reclaimable file cache, as `docker stats` counts it.
fn in_use(memory: &ContainerMemoryStats) -> Option<u64> {
    let files = memory.stats.as_ref().and_then(|stats| {
        // Control groups of version 2 and 1.
        stats.get("inactive_file").or_else(|| stats.get("total_inactive_file"))
    });
    Some(memory.usage?.saturating_sub(files.copied().unwrap_or(0)))
}

/// Follows the log. After a restart of the engine the call is repeated from the last line that was read.
async fn follow(engine: Docker, id: String, log: ServerLog) {
    let mut position = Position::default();
    loop {
        let options = LogsOptions {
            follow: true,
            stdout: true,
            stderr: true,
            timestamps: true,
            since: position.resume(),
            ..Default::default()
        };
        let mut output = std::pin::pin!(engine.logs(&id, Some(options)));
        let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
        while let Some(Ok(chunk)) = output.next().await {
            let (lines, bytes) = match chunk {
                LogOutput::StdOut { message } => (&mut stdout, message),
                LogOutput::StdErr { message } => (&mut stderr, message),
                // The part of a message that was cut. It is sent again.
                LogOutput::StdIn { .. } | LogOutput::Console { .. } => continue,
            };
            lines.feed(&bytes, |line| position.pass_on(line, &log));
        }
        for lines in [&mut stdout, &mut stderr] {
            lines.flush(|line| position.pass_on(line, &log));
        }
        sleep(PAUSE).await;
    }
}

/// How far a log was read, by the times that the engine writes before its lines.
#[derive(Debug, Default)]
struct Position {
    /// Latest time of a line.
    read: Option<SystemTime>,
    /// The same when the log was last requested. The engine repeats lines up to there.
    resumed: Option<SystemTime>,
}

impl Position {
    /// Prepares to read on; returns from when on the log is needed, in Unix seconds, 0 for all of it.
    fn resume(&mut self) -> i32 {
        self.resumed = self.read;
        let since = self.read.and_then(|read| read.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| i32::try_from(since.as_secs()).ok()).unwrap_or(0)
    }

    /// Adds a line without its time to `log`, unless it was read before.
    fn pass_on(&mut self, line: &str, log: &ServerLog) {
        let (at, text) = line.split_once(' ').unwrap_or((line, ""));
        let Ok(at) = parse_rfc3339(at) else {
            log.line(line);
            return;
        };
        if self.resumed.is_some_and(|resumed| at <= resumed) {
            return;
        }
        self.read = self.read.max(Some(at));
        if !text.trim().is_empty() {
            log.line(text);
        }
    }
}

/// Waits until the container has ended. A restarting engine does not answer for a while.
async fn wait(engine: &Docker, id: &str, log: &ServerLog) -> Death {
    loop {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        // The state, read next, is more precise than the answer.
        let _ = std::pin::pin!(engine.wait_container(id, Some(options))).next().await;
        match engine.inspect_container(id, None).await {
            Ok(container) => {
                let state = container.state.unwrap_or_default();
                if state.running != Some(true) {
                    sleep(LOG_LAG).await;
                    return death(&state, log);
                }
            }
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                return Death {
                    reason: "the prover server's container was removed".to_owned(),
                    out_of_memory: None,
                };
            }
            Err(error) => {
                tracing::warn!(error = message_of(&error), "the Docker engine does not answer");
            }
        }
        sleep(PAUSE).await;
    }
}

fn death(state: &ContainerState, log: &ServerLog) -> Death {
    let killed_for_memory = state.oom_killed == Some(true);
    let how = match (killed_for_memory, state.exit_code) {
        (true, _) => "was killed because its memory limit was reached".to_owned(),
        (false, Some(KILLED)) => "was killed".to_owned(),
        (false, Some(code)) => format!("has ended with exit code {code}"),
        (false, None) => "has ended".to_owned(),
    };
    let error = state.error.as_deref().filter(|error| !error.is_empty());
    let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
    Death {
        reason: format!("the prover server's container {how}{error}; {}", log.last_lines()),
        out_of_memory: killed_for_memory.then_some(Memory::Main).or(log.out_of_memory()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::extract::State;
    use axum::http::Uri;
    use bollard::API_DEFAULT_VERSION;
    use tokio::net::UnixListener;
    use tokio::time::Instant;

    use super::*;

    /// An engine that cuts the log after two lines, and then sends it from the second one on.
    async fn engine(State(asked): State<Arc<Mutex<Vec<Uri>>>>, uri: Uri) -> Vec<u8> {
        let number = {
            let mut asked = asked.lock().unwrap();
            asked.push(uri);
            asked.len()
        };
        let lines = match number {
            1 => [("11:00:00.000000001Z", "first"), ("11:00:00.000000002Z", "second")],
            2 => [("11:00:00.000000002Z", "second"), ("11:00:00.000000003Z", "third")],
            _ => std::future::pending().await,
        };
        let mut body = Vec::new();
        for (stream, (at, text)) in (1..).zip(lines) {
            let line = format!("2026-11-29T{at} {text}\n");
            body.extend([stream, 0, 0, 0]);
            body.extend((line.len() as u32).to_be_bytes());
            body.extend(line.as_bytes());
        }
        body
    }

    #[tokio::test]
    async fn a_log_that_was_cut_is_read_on_without_repeating_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::<Mutex<Vec<Uri>>>::default();
        let app = Router::new().fallback(engine).with_state(Arc::clone(&asked));
        task::spawn("engine", async move { axum::serve(listener, app).await });
        let address = format!("unix://{}", socket.display());
        let docker = Docker::connect_with_unix(&address, 5, API_DEFAULT_VERSION).unwrap();
        let log = ServerLog::default();
        let following = task::spawn("log", follow(docker, "id".to_owned(), log.clone()));
        let start = Instant::now();
        while asked.lock().unwrap().len() < 3 {
            assert!(start.elapsed() < Duration::from_secs(30), "{asked:?}");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(log.last_lines(), "its last log lines: first | second | third");
        following.abort();
        let asked = asked.lock().unwrap();
        let query = |number: usize| asked[number].query().unwrap().to_owned();
        assert!(query(0).contains("since=0"), "{asked:?}");
        // 2026-11-29, 11:00 UTC
        assert!(query(1).contains("since=1795950000"), "{asked:?}");
    }

    #[test]
    fn an_end_for_lack_of_memory_is_recognised() {
        let log = ServerLog::default();
        let state = |oom_killed, exit_code| ContainerState {
            oom_killed: Some(oom_killed),
            exit_code: Some(exit_code),
            ..Default::default()
        };
        assert_eq!(death(&state(true, KILLED), &log).out_of_memory, Some(Memory::Main));
        let killed = death(&state(false, KILLED), &log);
        assert_eq!(killed.out_of_memory, None);
        assert!(killed.reason.contains("was killed"), "{killed:?}");
        log.line("thread panicked: out of GPU memory");
        let ended = death(&state(false, 101), &log);
        assert_eq!(ended.out_of_memory, Some(Memory::Gpu));
        assert!(ended.reason.contains("out of GPU memory"), "{ended:?}");
    }
}
