//! The tasks of a job as a table.

use hierophant_admin_model::{JobTasks, RunningTask, Task, TaskSummary, TaskWait};

use super::show::{Show, ago, facts_table, list, size, took};

impl Show for JobTasks {
    fn show(&self) -> String {
        let since = |at: Option<i64>| at.map(|_| took(Some(self.divided_at), at));
        let mut facts = vec![
            ("job", self.job.clone()),
            ("engine", self.engine.clone()),
            ("tasks", summary(&self.summary)),
            ("shards", format!("{} of {} proved", self.shards_done, self.shards)),
            ("records", size(self.record_bytes)),
            ("results", size(self.result_bytes)),
            ("divided", ago(self.divided_at)),
        ];
        let phases = [
            ("executed", since(self.executed_at)),
            ("first shard", since(self.first_shard_at)),
            ("last shard", since(self.last_shard_at)),
            ("ended", since(self.ended_at)),
        ];
        let phases = phases.into_iter().filter_map(|(name, after)| Some((name, after?)));
        facts.extend(phases.map(|(name, after)| (name, format!("after {after}"))));
        if self.restarts > 0 {
            facts.push(("restarts", self.restarts.to_string()));
        }
        let rows = self.tasks.iter().map(row);
        let heads =
            ["task", "kind", "state", "worker", "attempts", "started", "took", "record", ""];
        format!("{}\n{}", facts_table(&facts), list(heads, rows, "no tasks"))
    }
}

fn row(task: &Task) -> [String; 9] {
    let shard = task.shard.as_ref().map(|shard| format!(" {shard}")).unwrap_or_default();
    let took = match (task.started_at, task.ended_at) {
        (Some(start), Some(end)) => took(Some(start), Some(end)),
        _ => String::new(),
    };
    [
        task.id.chars().take(8).collect(),
        format!("{}{shard}", task.kind),
        task.state.to_string(),
        task.contemplant.clone().unwrap_or_default(),
        task.attempts.to_string(),
        task.started_at.map_or_else(String::new, ago),
        took,
        task.record_bytes.map_or_else(String::new, size),
        wait(task),
    ]
}

/// What a task waits for, or why its latest attempt ended.
fn wait(task: &Task) -> String {
    let holder = task.record_on.as_deref();
    match task.waits_for.as_ref().map(TaskWait::as_str) {
        Some("worker") => "waits for a free worker".to_owned(),
        Some("record") => match holder {
            Some(name) => format!("waits for its record from {name}"),
            None => "waits for the return of the worker with its record".to_owned(),
        },
        Some("events") => "waits for precompile events of other shards".to_owned(),
        Some("results") => "waits for other tasks".to_owned(),
        Some("execution") => "waits for another execution".to_owned(),
        Some(other) => format!("waits for: {other}"),
        None => task.message.clone().unwrap_or_default(),
    }
}

/// Numbers of tasks, such as `12 of 34 done, 3 running, on 3 workers`.
pub(super) fn summary(tasks: &TaskSummary) -> String {
    let TaskSummary { done, all, running, workers } = tasks;
    let running = if *running == 0 { String::new() } else { format!(", {running} running") };
    let noun = if *workers == 1 { "worker" } else { "workers" };
    format!("{done} of {all} done{running}, on {workers} {noun}")
}

/// What a worker does for proofs that it makes together with others, such as `2 tasks: prove_shard, execute`.
pub(super) fn of_worker(tasks: &[RunningTask]) -> Option<String> {
    let kinds: Vec<&str> = tasks.iter().map(|task| task.kind.as_str()).collect();
    match &kinds[..] {
        [] => None,
        [kind] => Some(format!("task: {kind}")),
        [..] => Some(format!("{} tasks: {}", kinds.len(), kinds.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(more: Value) -> Task {
        let mut all = json!({
            "id": "0a".repeat(16), "kind": "prove_shard", "shard": "core", "state": "waiting",
            "attempts": 0, "failures": 0, "created_at": 1_000,
        });
        let fields = all.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        serde_json::from_value(all).expect("as the API has it")
    }

    #[test]
    fn each_task_shows_what_it_waits_for() {
        for (more, expected) in [
            (json!({"waits_for": "worker"}), "waits for a free worker"),
            (json!({"waits_for": "record", "record_on": "amos"}), "waits for its record from amos"),
            (json!({"waits_for": "record"}), "waits for the return of the worker with its record"),
            (json!({"waits_for": "moon"}), "waits for: moon"),
            (json!({"message": "out of memory"}), "out of memory"),
            (json!({}), ""),
        ] {
            assert_eq!(wait(&task(more)), expected);
        }
    }

    #[test]
    fn the_phases_of_a_proof_are_shown_with_its_tasks() {
        let done = json!({
            "state": "done", "contemplant": "amos", "attempts": 2, "started_at": 2_000,
            "ended_at": 5_000, "record_bytes": 2048,
        });
        let tasks = JobTasks {
            job: "0b".repeat(16),
            engine: "sp1-6.10.0 native".into(),
            max_elements: 1 << 22,
            summary: TaskSummary { done: 1, all: 2, running: 1, workers: 2 },
            shards_done: 1,
            shards: 2,
            record_bytes: 4096,
            result_bytes: 10,
            restarts: 0,
            divided_at: 1_000,
            executed_at: Some(4_000),
            first_shard_at: Some(5_000),
            last_shard_at: None,
            ended_at: None,
            tasks: vec![task(done), task(json!({"waits_for": "worker"}))],
        };
        let text = tasks.show();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for expected in [
            "tasks 1 of 2 done, 1 running, on 2 workers",
            "shards 1 of 2 proved",
            "executed after 3s",
            "first shard after 4s",
            "records 4.0 KiB",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{text}");
        }
        assert!(!text.contains("last shard"), "{text}");
        let row = lines.iter().find(|line| line.contains("amos")).expect("a row");
        assert!(row.starts_with("0a0a0a0a prove_shard core done amos 2 "), "{row}");
        assert!(row.ends_with("3s 2.0 KiB"), "{row}");
    }

    #[test]
    fn workers_show_their_tasks() {
        let task = |kind: &str| -> RunningTask {
            serde_json::from_value(json!({"job": "", "task": "", "kind": kind, "started_at": 0}))
                .expect("as the API has it")
        };
        assert_eq!(of_worker(&[]), None);
        assert_eq!(of_worker(&[task("execute")]).as_deref(), Some("task: execute"));
        let two = of_worker(&[task("execute"), task("prove_shard")]);
        assert_eq!(two.as_deref(), Some("2 tasks: execute, prove_shard"));
    }
}
