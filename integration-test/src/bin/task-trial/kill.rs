//! Proofs during which processes are killed. Finished shards must not be proved again, by the record of the tasks.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use integration_test::options::Mode;
use integration_test::status::Task;
use serde_json::{Value, json};

use crate::trial::{Requested, Size, Trial, name, pinned};

/// What is killed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The executing Contemplant, as soon as it has announced a shard.
    ExecutorEarly,
    /// The Contemplant that has executed, when a quarter of the shards is proved.
    ExecutorLate,
    /// The other Contemplant, when a quarter of the shards is proved.
    Prover,
    /// Hierophant, at each state of the tasks.
    Hierophant,
    /// Both Contemplants, which are started again.
    Contemplants,
}

/// A proof, and what was done before processes were killed.
struct Story {
    trial: Trial,
    proof: Requested,
    done: Vec<Task>,
    mode: Mode,
}

pub(crate) async fn run(size: Size, names: &[Name]) -> Result<Value> {
    let names = if names.is_empty() { Name::value_variants() } else { names };
    let mut told = Vec::new();
    for name in names {
        eprintln!("{name:?}");
        let found = tell(size, *name).await.with_context(|| format!("{name:?}"))?;
        eprintln!("{found}");
        told.push(found);
    }
    Ok(json!({
        "about": "one proof by two Contemplants, each pinned to a core, during which processes get SIGKILL; verified by \
                  sp1-sdk; no shard that was proved before was tried again, by the record of the tasks",
        "mode": size.mode.as_str(),
        "n": size.n,
        "shard_cells": size.shard_cells,
        "stories": told,
    }))
}

async fn tell(size: Size, name: Name) -> Result<Value> {
    let trial =
        Trial::begin(size, "always", &[0, 1].map(|number| pinned(number, size.mode))).await?;
    let proof = trial.request(size.n).await?;
    let mut story = Story { trial, proof, done: Vec::new(), mode: size.mode };
    let told = async {
        match name {
            Name::ExecutorEarly => {
                let tasks = story.when("a shard is announced", |tasks| tasks.len() > 1).await?;
                ensure!(!execution(&tasks)?.is_done(), "the execution has ended before");
                story.kill(executor(&tasks)?).await?;
            }
            Name::ExecutorLate | Name::Prover => {
                let what = "the execution is done, and a quarter of the shards";
                let is_so = |tasks: &[Task]| {
                    execution(tasks).is_ok_and(Task::is_done)
                        && shards_done(tasks) * 4 >= shards(tasks)
                };
                let tasks = story.when(what, is_so).await?;
                let executor = executor(&tasks)?;
                story.kill(if name == Name::Prover { 1 - executor } else { executor }).await?;
            }
            Name::Hierophant => story.kill_hierophant().await?,
            Name::Contemplants => {
                story.when("three shards are done", |tasks| shards_done(tasks) >= 3).await?;
                for number in [0, 1] {
                    story.kill(number).await?;
                }
                for process in story.trial.network.contemplants() {
                    if !process.is_alive() {
                        process.start()?;
                    }
                }
            }
        }
        let entry = story.trial.proof(&story.proof).await?;
        let after = story.trial.tasks(&story.proof).await?;
        story.check(&after)?;
        let repeated = after.iter().filter(|task| task.attempts > 1);
        Ok(json!({
            "killed": format!("{name:?}"),
            "seconds": entry.proof_seconds,
            "shards": shards(&after),
            "done_before": story.done.len(),
            "executions": execution(&after)?.attempts,
            "shards_tried_again": repeated.filter(|task| task.shard.is_some()).count(),
        }))
    }
    .await;
    // A killed one cannot stop well.
    let Story { mut trial, .. } = story;
    for process in trial.network.contemplants() {
        if !process.is_alive() && told.is_ok() {
            process.start()?;
        }
    }
    if told.is_ok() {
        trial.until_ready(2).await?;
    }
    trial.end(told).await
}

impl Story {
    /// The tasks as soon as they are in this state; remembers which shards are done.
    async fn when(&mut self, what: &str, is_so: impl Fn(&[Task]) -> bool) -> Result<Vec<Task>> {
        let tasks = self.trial.when(&self.proof, what, is_so).await?;
        self.done = tasks.iter().filter(|task| task.is_proved_shard()).cloned().collect();
        Ok(tasks)
    }

    async fn kill(&mut self, number: usize) -> Result<()> {
        let process = self.trial.network.contemplants().get_mut(number);
        let process = process.context("there is no such Contemplant")?;
        process.kill().await?;
        // Only the first one joins shards: it has to return.
        if self.mode == Mode::Core { Ok(()) } else { process.start() }
    }

    async fn kill_hierophant(&mut self) -> Result<()> {
        type State = (&'static str, fn(&[Task]) -> bool);
        const STATES: [State; 4] = [
            ("the execution is leased", |tasks| tasks.iter().any(|task| task.state == "leased")),
            ("a shard is leased", |tasks| {
                tasks.iter().any(|task| task.shard.is_some() && task.state == "leased")
            }),
            ("a shard is done", |tasks| shards_done(tasks) >= 1),
            ("all shards but two are done", |tasks| {
                execution(tasks).is_ok_and(Task::is_done) && shards_done(tasks) + 2 >= shards(tasks)
            }),
        ];
        for (what, state) in STATES {
            self.when(what, state).await?;
            let hierophant = self.trial.network.hierophant();
            hierophant.process.kill().await?;
            hierophant.launch().await?;
        }
        Ok(())
    }

    /// What was done is as it was, and everything is done.
    fn check(&self, after: &[Task]) -> Result<()> {
        for task in &self.done {
            ensure!(after.contains(task), "{task:?} was done and has changed: {after:?}");
        }
        let undone = after.iter().find(|task| !task.is_done());
        ensure!(undone.is_none(), "a task of a finished proof is not done: {undone:?}");
        Ok(())
    }
}

fn execution(tasks: &[Task]) -> Result<&Task> {
    tasks.iter().find(|task| task.kind == "execute").context("the proof has no execution")
}

/// Number of the Contemplant that executes, or has executed.
fn executor(tasks: &[Task]) -> Result<usize> {
    let of = execution(tasks)?.contemplant.as_deref();
    [0, 1].into_iter().find(|number| Some(name(*number)) == of).context("no Contemplant executes")
}

fn shards(tasks: &[Task]) -> usize {
    tasks.iter().filter(|task| task.shard.is_some()).count()
}

fn shards_done(tasks: &[Task]) -> usize {
    tasks.iter().filter(|task| task.is_proved_shard()).count()
}
