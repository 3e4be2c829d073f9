//! Processes that die at every stage of a proof that two Contemplants make together.

use std::time::Duration;

use network_lib::job::ProofMode;
use serde::Deserialize;
use test_harness::config::key;
use test_harness::{Process, wait};
use toml::{Table, Value};

use super::restart::crash;
use crate::case::{Case, short_silence};
use crate::contemplant::Settings;
use crate::stage::Stage;

/// Shards of each proof.
const SHARDS: usize = 40;

/// Time of a shard, long enough that each state of the tasks can be observed.
const SHARD: &str = "250ms";

/// Longest wait for a state of the tasks: before the first one, a Contemplant may have to derive the program's key.
const STATE: Duration = Duration::from_secs(100);

const NAMES: [&str; 2] = ["amos", "joel"];

/// Attempts that a Contemplant may lose when it dies: one at the shard that it proves, one at the shard whose inputs it
/// has fetched meanwhile.
const LOST_AT_ONCE: usize = 2;

/// The group.
/// A case from the sentence, the kind of proof and the function.
macro_rules! divided {
    ($name:literal, $about:literal, $mode:ident, $play:path) => {
        Case::new("tasks", $name, $about, |stage| Box::pin($play(stage, ProofMode::$mode)))
    };
}

#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    [
        divided!("task-executor-killed-early", "SIGKILL of the Contemplant that executes a divided program, after its first shards: the other executes again, and what was proved is not proved again", Core, executor_early),
        divided!("task-executor-killed-late", "SIGKILL of the Contemplant that holds the records of shards, after its execution: the other executes again, and what was proved is not proved again", Core, executor_late),
        divided!("task-prover-killed", "SIGKILL of the Contemplant that proves shards of another one's execution: one execution, and what was proved is not proved again", Core, prover),
        divided!("task-contemplants-killed", "SIGKILL of both Contemplants of a divided proof, twice, and their restart: finished shards are reused", Core, contemplants),
        divided!("task-hierophant-killed", "SIGKILL of Hierophant at each state of the tasks of a proof: the attempts continue, and what was proved is not proved again", Core, hierophant),
        divided!("task-all-killed", "SIGKILL of Hierophant and of both Contemplants of a divided proof: finished shards are reused", Core, all),
        divided!("task-executor-killed-late-compressed", "SIGKILL of the Contemplant that holds the records of shards, after its execution: the other executes again, and what was proved is not proved again (Compressed: its shards are reduced)", Compressed, executor_late),
        divided!("task-hierophant-killed-compressed", "SIGKILL of Hierophant at each state of the tasks of a proof: the attempts continue, and what was proved is not proved again (Compressed: its shards are reduced)", Compressed, hierophant),
        divided!("task-executor-killed-early-groth16", "SIGKILL of the Contemplant that executes a divided program, after its first shards: the other executes again, and what was proved is not proved again (Groth16: reduces and wraps as well)", Groth16, executor_early),
        divided!("task-executor-killed-late-groth16", "SIGKILL of the Contemplant that holds the records of shards, after its execution: the other executes again, and what was proved is not proved again (Groth16: reduces and wraps as well)", Groth16, executor_late),
        divided!("task-prover-killed-groth16", "SIGKILL of the Contemplant that proves shards of another one's execution: one execution, and what was proved is not proved again (Groth16: reduces and wraps as well)", Groth16, prover),
        divided!("task-contemplants-killed-groth16", "SIGKILL of both Contemplants of a divided proof, twice, and their restart: finished shards are reused (Groth16: reduces and wraps as well)", Groth16, contemplants),
        divided!("task-hierophant-killed-groth16", "SIGKILL of Hierophant at each state of the tasks of a proof: the attempts continue, and what was proved is not proved again (Groth16: reduces and wraps as well)", Groth16, hierophant),
        divided!("task-all-killed-groth16", "SIGKILL of Hierophant and of both Contemplants of a divided proof: finished shards are reused (Groth16: reduces and wraps as well)", Groth16, all),
    ]
    .into_iter()
    .map(|case| case.with_contemplants().keys(always_divided()).keys(short_silence()))
    .collect()
}

/// Configuration of a Hierophant that divides every proof.
fn always_divided() -> Table {
    key("sharding.mode", "always")
}

/// Task as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Task {
    id: String,
    kind: String,
    state: String,
    contemplant: Option<String>,
    attempts: usize,
}

impl Task {
    fn is_shard(&self) -> bool {
        self.kind == "prove_shard"
    }

    fn is_done(&self) -> bool {
        self.state == "done"
    }
}

/// State of the tasks of a job.
#[derive(Debug, Deserialize)]
struct Tasks {
    tasks: Vec<Task>,
}

impl Tasks {
    fn has_done(&self, kind: &str) -> bool {
        self.tasks.iter().any(|task| task.kind == kind && task.is_done())
    }

    fn shards_done(&self) -> usize {
        self.done_shards().len()
    }

    fn execution(&self) -> &Task {
        let execution = self.tasks.iter().find(|task| task.kind == "execute");
        execution.expect("a divided job has an execution")
    }

    /// Shards whose proofs are stored.
    fn done_shards(&self) -> Vec<Task> {
        self.tasks.iter().filter(|task| task.is_shard() && task.is_done()).cloned().collect()
    }

    /// Number of attempts at shards, beyond one at each.
    fn repeated(&self) -> usize {
        let shards = self.tasks.iter().filter(|task| task.is_shard());
        shards.map(|task| task.attempts.saturating_sub(1)).sum()
    }
}

/// Two Contemplants and the proof that they make.
struct Story<'a> {
    stage: &'a mut Stage,
    contemplants: [Process; 2],
    job: String,
}

impl<'a> Story<'a> {
    async fn begin(stage: &'a mut Stage, mode: ProofMode) -> Self {
        let mut shards = Table::new();
        shards.insert("count".into(), Value::from(i64::try_from(SHARDS).expect("few")));
        shards.insert("prove_time".into(), SHARD.into());
        let contemplants = NAMES.map(|name| {
            let settings = Settings::new(name, Duration::ZERO).with("shards_at_once", 1);
            stage.contemplant(&settings.with("mock_shards", shards.clone()))
        });
        for name in NAMES {
            stage.joined(name).await;
        }
        let mut client = stage.client(7).await;
        let request = stage.request_mode(&mut client, 20, mode).await;
        let job = stage.store().await.job_id(&request.id).await.expect("a job");
        Self { stage, contemplants, job }
    }

    /// The tasks as soon as they are in the wanted state. While Hierophant is busy, the page may be late.
    async fn when(&self, what: &str, wanted: impl Fn(&Tasks) -> bool) -> Tasks {
        wait::eventually(what, STATE, async || {
            let path = format!("/api/v1/jobs/{}/tasks", self.job);
            let page = self.stage.hierophant.page(&path).await.ok()?;
            let tasks: Tasks = serde_json::from_value(page).expect("the tasks of a job");
            wanted(&tasks).then_some(tasks)
        })
        .await
    }

    async fn when_proved(&self, shards: usize) -> Tasks {
        self.when(&format!("{shards} shards are proved"), |tasks| tasks.shards_done() >= shards)
            .await
    }

    async fn kill(&mut self, number: usize) {
        self.stage.fault_begins();
        self.contemplants[number].kill().await.expect("killed");
    }

    /// Waits for the proof. All shards were made as tasks, and none of those that were done before a fault was tried again.
    async fn end(&self, done: impl IntoIterator<Item = Task>) -> Tasks {
        self.stage.all_arrive(STATE).await;
        let after = self.when_proved(SHARDS).await;
        for task in done {
            assert!(after.tasks.contains(&task), "{task:?} was done and has changed: {after:?}");
        }
        let undone = after.tasks.iter().find(|task| !task.is_done());
        assert_eq!(undone, None, "a task of a finished proof");
        // A worker may report that the record of a shard is lost with another one: that is an attempt that failed.
        for name in NAMES {
            if let Some(page) = self.stage.contemplant_page(name).await {
                assert_eq!(page["strikes"], 0, "{name} is not to blame");
            }
        }
        after
    }
}

/// Number of the Contemplant that executes, or has executed.
fn executor(tasks: &Tasks) -> usize {
    let name = tasks.execution().contemplant.as_deref();
    NAMES.iter().position(|one| Some(*one) == name).expect("one of the two")
}

async fn executor_early(stage: &mut Stage, mode: ProofMode) {
    let mut story = Story::begin(stage, mode).await;
    let before = story.when_proved(3).await;
    assert!(!before.execution().is_done(), "its window is full: {before:?}");
    let killed = executor(&before);
    story.kill(killed).await;
    let after = story.end(before.done_shards()).await;
    executed_again_by_the_other(&after, killed);
}

async fn executor_late(stage: &mut Stage, mode: ProofMode) {
    let mut story = Story::begin(stage, mode).await;
    let before = story.when("the execution is done", |tasks| tasks.execution().is_done()).await;
    assert!(before.shards_done() < SHARDS, "nothing is left to prove");
    let killed = executor(&before);
    story.kill(killed).await;
    let after = story.end(before.done_shards()).await;
    executed_again_by_the_other(&after, killed);
}

fn executed_again_by_the_other(after: &Tasks, killed: usize) {
    let execution = after.execution();
    let by = (execution.attempts, execution.contemplant.as_deref());
    // Shards may be tried in vain until the loss of their records is noticed.
    assert_eq!(by, (2, Some(NAMES[1 - killed])), "{execution:?}");
}

async fn prover(stage: &mut Stage, mode: ProofMode) {
    let mut story = Story::begin(stage, mode).await;
    let before = story.when_proved(5).await;
    story.kill(1 - executor(&before)).await;
    let after = story.end(before.done_shards()).await;
    assert_eq!(after.execution().attempts, 1);
    assert!(after.repeated() <= LOST_AT_ONCE, "{after:?}");
}

async fn contemplants(stage: &mut Stage, mode: ProofMode) {
    let mut story = Story::begin(stage, mode).await;
    for shards in [4, 20] {
        story.when_proved(shards).await;
        for number in [0, 1] {
            story.kill(number).await;
        }
        for contemplant in &mut story.contemplants {
            contemplant.start().expect("starts again");
        }
    }
    let before = story.when_proved(20).await;
    let after = story.end(before.done_shards()).await;
    assert!(after.repeated() <= 4 * LOST_AT_ONCE, "{after:?}");
}

async fn hierophant(stage: &mut Stage, mode: ProofMode) {
    /// A state of the tasks, in the order in which a proof passes through them.
    type State = (&'static str, fn(&Tasks) -> bool);
    const STATES: [State; 7] = [
        ("the execution is leased", |tasks| tasks.execution().state == "leased"),
        ("a shard waits", |tasks| {
            tasks.tasks.iter().any(|task| task.is_shard() && task.state == "waiting")
        }),
        ("a shard is leased", |tasks| {
            tasks.tasks.iter().any(|task| task.is_shard() && task.state == "leased")
        }),
        ("a shard is done", |tasks| tasks.shards_done() >= 1),
        ("half of the shards are done", |tasks| tasks.shards_done() >= SHARDS / 2),
        ("the execution is done", |tasks| tasks.execution().is_done()),
        ("almost all shards are done", |tasks| tasks.shards_done() >= SHARDS - 1),
    ];
    /// States that only proofs beyond Core pass through.
    const BEYOND_CORE: [State; 2] = [
        ("a reduce is done", |tasks| tasks.has_done("reduce")),
        ("the last reduce is leased", |tasks| {
            let reduces = tasks.tasks.iter().filter(|task| task.kind == "reduce");
            tasks.shards_done() == SHARDS && reduces.filter(|task| !task.is_done()).count() <= 1
        }),
    ];
    /// States that only wrapped proofs pass through.
    const WRAPPED: [State; 1] = [("the proof is wrapped", |tasks| tasks.has_done("shrink_wrap"))];
    let states: Vec<State> = match mode {
        ProofMode::Core => STATES.to_vec(),
        ProofMode::Compressed => [&STATES[..], &BEYOND_CORE].concat(),
        ProofMode::Plonk | ProofMode::Groth16 => [&STATES[..], &BEYOND_CORE, &WRAPPED].concat(),
    };
    let story = Story::begin(stage, mode).await;
    let mut done = Vec::new();
    let kills = states.len();
    for (what, state) in states {
        let before = story.when(what, state).await;
        crash(story.stage).await;
        // Also the execution: the workers still hold the records.
        done.extend(before.tasks.into_iter().filter(Task::is_done));
    }
    let after = story.end(done).await;
    // An order that was stored and not sent is lost with the process, and made again.
    assert!(after.repeated() <= kills, "{after:?}");
    assert!(after.execution().attempts <= 2, "{after:?}");
}

async fn all(stage: &mut Stage, mode: ProofMode) {
    let mut story = Story::begin(stage, mode).await;
    let before = story.when_proved(SHARDS / 4).await;
    for number in [0, 1] {
        story.kill(number).await;
    }
    crash(story.stage).await;
    for contemplant in &mut story.contemplants {
        contemplant.start().expect("starts again");
    }
    let after = story.end(before.done_shards()).await;
    assert!(after.repeated() <= 2 * LOST_AT_ONCE, "{after:?}");
}
