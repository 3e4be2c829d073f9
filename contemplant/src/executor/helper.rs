//! Executions in a process of their own, `contemplant execute`, one for each job.
//!
//! A guest's code cannot be interrupted inside SP1, and may crash the process that runs it, or take memory and time
//! without bound. So it runs in a helper process, with SP1's native executor below it, in a process group that is
//! killed as a whole: when the job is cancelled, when it exceeds its time, and when it has ended. The helper ends
//! itself when its Contemplant is gone.

mod child;
mod protocol;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use network_lib::job::{Failure, FailureClass};
use network_lib::task;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::SP1VerifyingKey;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::child::run;
use self::protocol::{Order, Reply, receive_reply, send_order};
use super::execute::{Executed, Settings, did_not_end, memory, shared_memory_is_full};
use crate::identity::{create_private, temp_folder};
use crate::prover_server::log::Lines;
use crate::{processes, shared_memory};

/// The variable that identifies the helper's processes; its value is the data folder.
const MARK: &str = "CONTEMPLANT_EXECUTION";

/// What Linux keeps of the name of SP1's native executor, the process that runs the guest.
const GUEST_PROCESS: &str = "sp1-native-runn";

/// Interval between two looks at a helper's processes.
const TICK: Duration = Duration::from_millis(500);

/// Time for a helper to end on its own, before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);

/// Time limit for reading the rest of the error output of an ended helper.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// Signals by which the kernel ends a process that it cannot give memory.
const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;

/// The executions of a Contemplant.
#[derive(Debug, Clone)]
pub struct Helper {
    program: PathBuf,
    temp: PathBuf,
    owner: String,
    rooms: Arc<Semaphore>,
}

/// Room in this machine's memory for one execution. It is free again when nothing of the execution is left.
pub(super) type Room = OwnedSemaphorePermit;

/// How many executions run at once at most, so that their limits fit into this machine's memory together.
#[must_use]
pub fn executions_at_once() -> usize {
    memory::executions_at_once()
}

impl Helper {
    /// Executions by the Contemplant `program`, whose temporary files are in the data folder `data_dir`.
    #[must_use]
    pub fn new(program: &Path, data_dir: &Path) -> Self {
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self {
            program: program.to_owned(),
            temp: temp_folder(&data_dir),
            owner: data_dir.display().to_string(),
            rooms: Arc::new(Semaphore::new(executions_at_once())),
        }
    }

    /// Executions by the program of this process, even after its file has been replaced.
    #[must_use]
    pub fn of_this_program(data_dir: &Path) -> Self {
        Self::new(Path::new("/proc/self/exe"), data_dir)
    }

    /// Ends what an earlier Contemplant on the same data folder has left. Called once, when the folder is locked and
    /// before the first execution.
    pub(super) fn start(&self) {
        for id in processes::with_variable(MARK, |value| value == self.owner) {
            tracing::info!(process = id, "ending an execution that outlived its Contemplant");
            processes::kill(id);
        }
        task::spawn("left-over shared memory", async {
            // What was killed has ended by then, and the youngest file is old enough.
            sleep(END_GRACE).await;
            if let Err(error) = tokio::task::spawn_blocking(shared_memory::sweep).await {
                tracing::error!(%error, "left-over shared memory could not be removed");
            }
        });
    }

    /// Waits for room in this machine's memory for one more execution.
    pub(super) async fn room(&self) -> Result<Room, Failure> {
        let room = Arc::clone(&self.rooms).acquire_owned().await;
        room.map_err(|error| worker(error.to_string()))
    }

    /// Starts an execution of a program on an input, in a room of its own.
    ///
    /// # Errors
    ///
    /// When the process cannot be started.
    pub(super) fn execute(
        &self,
        room: Room,
        elf: Arc<Vec<u8>>,
        input: Arc<Vec<u8>>,
        settings: Settings,
        derive_key: bool,
    ) -> Result<Running, Failure> {
        let mut child = self
            .spawn()
            .map_err(|error| worker(format!("the execution process cannot be started: {error}")))?;
        let (Some(id), Some(stdin), Some(stdout), Some(stderr)) =
            (child.id(), child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(worker("the execution process has ended immediately".to_owned()));
        };
        let (sender, replies) = mpsc::channel(1);
        let processor_time = watch::Sender::default();
        let used = processor_time.subscribe();
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            child,
            id,
            settings,
            log: pass_on(stderr),
            files: BTreeSet::new(),
            processor_time,
            kills_before: memory::kills_by_kernel(),
            _room: room,
        };
        let order = Order { settings, derive_key };
        let talk = talk(stdin, stdout, order, elf, input, sender.clone());
        task::spawn("execution", supervisor.run(talk, sender, stop.clone()));
        Ok(Running { replies, processor_time: used, _stop: stop.drop_guard() })
    }

    fn spawn(&self) -> std::io::Result<Child> {
        create_private(&self.temp)?;
        let mut command = Command::new(&self.program);
        processes::withhold_own_variables(&mut command);
        command
            .arg0("contemplant")
            .arg("execute")
            .env("TMPDIR", &self.temp)
            .env(MARK, &self.owner)
            .env(memory::LIMIT, memory::limit().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Not killed on drop: when this program ends, the closed pipe lets the helper end its whole group.
            .process_group(0)
            .spawn()
    }
}

/// An execution that runs. Dropping it ends its processes.
pub(super) struct Running {
    replies: mpsc::Receiver<Result<(Reply, Vec<u8>), Failure>>,
    processor_time: watch::Receiver<Duration>,
    _stop: DropGuard,
}

impl Running {
    /// The program's verifying key, if it was ordered.
    pub(super) async fn key(&mut self) -> Result<SP1VerifyingKey, Failure> {
        match self.next().await? {
            (Reply::Key, key) => bincode::deserialize(&key)
                .map_err(|error| worker(format!("the verifying key cannot be decoded: {error}"))),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Processor time that its processes have used, as seen every half second. The channel closes at its end.
    pub(super) fn processor_time(&self) -> watch::Receiver<Duration> {
        self.processor_time.clone()
    }

    /// The result of the execution.
    pub(super) async fn executed(mut self) -> Result<Executed, Failure> {
        match self.next().await? {
            (Reply::Executed { execution, clock_ticks }, public_values) => Ok(Executed {
                execution,
                public_values: SP1PublicValues::from(&public_values),
                clock_ticks,
            }),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    async fn next(&mut self) -> Result<(Reply, Vec<u8>), Failure> {
        match self.replies.recv().await {
            Some(Ok((Reply::Failed(failure), _))) | Some(Err(failure)) => Err(failure),
            Some(Ok(reply)) => Ok(reply),
            None => Err(worker("the execution has ended without a result".to_owned())),
        }
    }
}

/// Sends the order and passes the replies on, to the last; false if the helper has broken off.
async fn talk(
    mut stdin: ChildStdin,
    mut stdout: ChildStdout,
    order: Order,
    elf: Arc<Vec<u8>>,
    input: Arc<Vec<u8>>,
    replies: mpsc::Sender<Result<(Reply, Vec<u8>), Failure>>,
) -> bool {
    // If the helper has ended, that is noticed when its reply is read.
    let sent = send_order(&mut stdin, &order, &elf, &input).await;
    drop((elf, input));
    if let Err(error) = sent {
        tracing::debug!(%error, "an order could not be sent");
    }
    loop {
        let (reply, body) = match receive_reply(&mut stdout).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, "an execution process has not replied");
                return false;
            }
        };
        let is_last = !matches!(reply, Reply::Key);
        if replies.send(Ok((reply, body))).await.is_err() || is_last {
            // Closing its standard input asks the helper to end.
            return true;
        }
    }
}

/// Watches over a helper until nothing of it is left.
struct Supervisor {
    child: Child,
    /// Number of the helper, and of its process group.
    id: u32,
    settings: Settings,
    log: JoinHandle<()>,
    /// SP1's files that the group has had mapped.
    files: BTreeSet<PathBuf>,
    /// Most processor time that the group was seen to have used.
    processor_time: watch::Sender<Duration>,
    kills_before: u64,
    _room: Room,
}

impl Supervisor {
    async fn run(
        mut self,
        talk: impl Future<Output = bool>,
        replies: mpsc::Sender<Result<(Reply, Vec<u8>), Failure>>,
        stop: CancellationToken,
    ) {
        let time_limit = self.settings.time_limit();
        let broken = tokio::select! {
            complete = talk => (!complete).then_some(None),
            failure = self.watch(time_limit) => Some(Some(failure)),
            () = stop.cancelled() => None,
        };
        // `talk` and with it the helper's standard input are dropped: it ends on its own.
        let status = self.end().await;
        if let Some(failure) = broken {
            let failure = failure.unwrap_or_else(|| self.died(status));
            let _ = replies.send(Err(failure)).await;
        }
    }

    /// Returns when the guest has used more than its processor time. Notes the files that the group maps, and the
    /// processor time that it uses.
    async fn watch(&mut self, time_limit: Option<Duration>) -> Failure {
        loop {
            sleep(TICK).await;
            let mut seen = look(self.id).await;
            self.files.append(&mut seen.files);
            self.processor_time.send_if_modified(|most| {
                let grows = seen.processor_time > *most;
                *most = seen.processor_time.max(*most);
                grows
            });
            if let Some(limit) = time_limit.filter(|limit| seen.guest_time > *limit) {
                return did_not_end(&self.settings, limit);
            }
        }
    }

    /// Ends the group and removes what it has left.
    async fn end(&mut self) -> Option<ExitStatus> {
        if timeout(END_GRACE, self.child.wait()).await.is_err() {
            // It does not react: what it has mapped can still be seen.
            self.files.append(&mut look(self.id).await.files);
        }
        processes::kill_group(self.id);
        let status = self.child.wait().await.ok();
        let _ = timeout(OUTPUT_LIMIT, &mut self.log).await;
        shared_memory::remove(&self.files);
        status
    }

    /// The failure of a helper that has ended without a last reply.
    fn died(&self, status: Option<ExitStatus>) -> Failure {
        use std::os::unix::process::ExitStatusExt;
        let reason = "the execution process was ended";
        match status.and_then(|status| status.signal()) {
            Some(SIGKILL) if memory::kills_by_kernel() > self.kills_before => {
                memory::ran_out(reason, memory::limit())
            }
            Some(SIGBUS) => worker(format!("{reason}: {}", shared_memory_is_full())),
            Some(signal) => worker(format!("{reason} by signal {signal}")),
            None => worker(format!("{reason} with {status:?}")),
        }
    }
}

/// What is seen of a group.
#[derive(Default)]
struct Seen {
    files: BTreeSet<PathBuf>,
    /// Processor time of the guest itself.
    guest_time: Duration,
    /// Processor time of all processes.
    processor_time: Duration,
}

async fn look(group: u32) -> Seen {
    let looked = tokio::task::spawn_blocking(move || {
        let processes = processes::of_group(group);
        let guests = processes.iter().filter(|process| process.name == GUEST_PROCESS);
        Seen {
            guest_time: guests.map(|process| process.processor_time).sum(),
            processor_time: processes.iter().map(|process| process.processor_time).sum(),
            files: shared_memory::mapped_by(processes.iter().map(|process| process.id)),
        }
    });
    looked.await.unwrap_or_default()
}

/// Passes the error output of a helper to the log, to its end.
fn pass_on(mut output: ChildStderr) -> JoinHandle<()> {
    task::spawn("execution's output", async move {
        let mut lines = Lines::default();
        let mut chunk = [0; 4096];
        let log = |line: &str| tracing::warn!(target: "execution", "{line}");
        while let Ok(read @ 1..) = output.read(&mut chunk).await {
            lines.feed(&chunk[..read], log);
        }
        lines.flush(log);
    })
}

fn unexpected(reply: &Reply) -> Failure {
    worker(format!("unexpected reply of the execution process: {reply:?}"))
}

fn worker(message: String) -> Failure {
    Failure::new(FailureClass::Worker, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_execution_waits_until_there_is_room_for_it() {
        let mut helper = Helper::new(Path::new("/bin/false"), Path::new("/data"));
        helper.rooms = Arc::new(Semaphore::new(1));
        // Clones share the machine.
        let room = helper.clone().room().await.unwrap();
        let minute = Duration::from_secs(60);
        assert!(timeout(minute, helper.room()).await.is_err(), "two at once");
        drop(room);
        drop(timeout(minute, helper.room()).await.unwrap().unwrap());
    }
}
