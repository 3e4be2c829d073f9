//! What the log says of an attempt: its ids in every line, how far it is now and then.

use std::sync::Arc;
use std::time::Duration;

use contemplant::attempt::{Job, JobEvent, Outcome, TaskOrder, TaskOutcome};
use contemplant::metrics::Metrics;
use contemplant::observer::AttemptObserver;
use contemplant::observer::task::TaskObserver;
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId, VkHash};
use network_lib::job::{BlobInfo, Execution, JobSpec, Phase, Progress, ProofMode};
use network_lib::metrics::Counter;
use network_lib::shard::{Blob, TaskInput};

fn job() -> Job {
    let blob = BlobInfo { size: 1, sha256: Sha256Digest([0; 32]) };
    Job {
        lease_id: LeaseId([0x5b; 16]),
        spec: JobSpec {
            vk_hash: VkHash([7; 32]),
            circuit_version: "v6.1.0".to_owned(),
            mode: ProofMode::Core,
            cycle_limit: 0,
            gas_limit: 0,
        },
        program: blob,
        stdin: blob,
        traceparent: Some(format!("00-{}-{}-01", "3a".repeat(16), "0b".repeat(8))),
    }
}

#[tokio::test(start_paused = true)]
async fn every_line_of_an_attempt_has_its_ids_and_progress_is_no_flood() {
    let metrics = Metrics::new(Counter::default());
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber =
        tracing_subscriber::fmt().json().with_writer(Arc::new(log.reopen().unwrap())).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let job = job();
    let observed = AttemptObserver::start(&job, metrics.clone());
    observed.record(&JobEvent::Progress(Progress::phase(Phase::Downloading)));
    for done in 0..300 {
        observed.record(&JobEvent::Progress(Progress {
            cycles_done: Some(done),
            cycles_total: Some(300),
            ..Progress::phase(Phase::Proving)
        }));
        tokio::time::advance(Duration::from_millis(200)).await;
    }
    let execution = Execution { cycles: 300, gas: None, public_values_hash: Sha256Digest([0; 32]) };
    observed.record(&JobEvent::Executed(execution));
    let ended = Outcome::Completed { execution, proof: job.program };
    observed.record(&JobEvent::Ended(ended));
    drop(guard);

    let text = std::fs::read_to_string(log.path()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!(line["span"]["job_id"], "3a".repeat(16), "{line}");
        assert_eq!(line["span"]["lease"], "5b5b5b5b", "{line}");
    }
    assert!(!text.contains(&job.lease_id.to_string()), "{text}");
    let said = |message: &str| -> Vec<&serde_json::Value> {
        lines.iter().map(|line| &line["fields"]).filter(|f| f["message"] == message).collect()
    };
    // One for each step, and one every 15 s of the minute.
    let progress = said("progress");
    assert_eq!(progress.len(), 5, "{text}");
    assert_eq!(progress[4]["cycles_done"], 225);
    assert_eq!(progress[4]["elapsed_seconds"], 45);
    assert_eq!((said("attempt started").len(), said("proof handed in").len()), (1, 1));
    let figures = metrics.render();
    for line in [
        r#"contemplant_phase_seconds_sum{mode="core",phase="proving"} 60.0"#,
        r#"contemplant_phase_seconds_count{mode="core",phase="downloading"} 1"#,
        r#"contemplant_proof_seconds_sum{mode="core"} 60.0"#,
        "contemplant_attempts_running 0",
    ] {
        assert!(figures.lines().any(|found| found == line), "{line} is not in\n{figures}");
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_a_prepared_attempt_waits_is_not_part_of_its_execution() {
    let metrics = Metrics::new(Counter::default());
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber =
        tracing_subscriber::fmt().json().with_writer(Arc::new(log.reopen().unwrap())).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let observed = AttemptObserver::start(&job(), metrics.clone());
    let execution = Execution { cycles: 300, gas: None, public_values_hash: Sha256Digest([0; 32]) };
    for (event, seconds) in [
        (JobEvent::Progress(Progress::phase(Phase::Executing)), 5),
        (JobEvent::Executed(execution), 0),
        (JobEvent::Waiting, 40),
        (JobEvent::Progress(Progress::phase(Phase::Proving)), 20),
    ] {
        observed.record(&event);
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
    observed.record(&JobEvent::Ended(Outcome::Abandoned));
    drop(guard);
    let figures = metrics.render();
    for (phase, seconds) in [("executing", "5.0"), ("waiting", "40.0"), ("proving", "20.0")] {
        let line =
            format!(r#"contemplant_phase_seconds_sum{{mode="core",phase="{phase}"}} {seconds}"#);
        assert!(figures.lines().any(|found| found == line), "{line} is not in\n{figures}");
    }
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(text.matches("prepared, waits for a free slot").count(), 1, "{text}");
}

#[test]
fn every_line_of_a_task_has_its_ids_and_kind() {
    let metrics = Metrics::new(Counter::default());
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber =
        tracing_subscriber::fmt().json().with_writer(Arc::new(log.reopen().unwrap())).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let blob = BlobInfo { size: 1, sha256: Sha256Digest([0; 32]) };
    let of = |info| Blob { info, from: Vec::new() };
    let order = TaskOrder {
        lease_id: LeaseId([0x5b; 16]),
        job: JobId([0x3a; 16]),
        task: TaskId([0x2b; 16]),
        input: TaskInput::Retrace { common: of(blob), record: of(blob) },
        traceparent: None,
    };
    let observed = TaskObserver::start(&order, metrics.clone());
    observed.phase(Phase::Downloading);
    observed.waits();
    observed.phase(Phase::Proving);
    observed.ended(&TaskOutcome::Done);
    drop(guard);

    let text = std::fs::read_to_string(log.path()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = |line: &serde_json::Value| {
        line["fields"]["phase"].as_str().or(line["fields"]["message"].as_str()).map(str::to_owned)
    };
    let messages: Vec<String> = lines.iter().filter_map(message).collect();
    let expected = ["task started", "downloading", "waiting", "proving", "task done"];
    assert_eq!(messages, expected);
    for line in &lines {
        let span = &line["span"];
        assert_eq!(
            (&span["job_id"], &span["lease"]),
            (&"3a".repeat(16).into(), &"5b5b5b5b".into())
        );
        assert_eq!((&span["task"], &span["kind"]), (&"2b2b2b2b".into(), &"retrace".into()));
    }
    let count = r#"contemplant_task_phase_seconds_count{kind="retrace",phase="waiting"} 1"#;
    assert!(metrics.render().lines().any(|line| line == count));
}
