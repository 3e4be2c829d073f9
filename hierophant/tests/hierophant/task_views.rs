//! One proof by several workers, as an operator sees it: API, command line, metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use hierophant_proto::network::FulfillmentStatus;
use serde_json::Value;
use test_peers::task_worker::Work;

use crate::cli::told;
use crate::metrics::series;
use crate::support::tasks::{always, worker};
use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

const WORK: Work = Work {
    shards: 6,
    record_bytes: 20_000,
    part_bytes: 10_000,
    cut: Duration::from_millis(2),
    prove: Duration::from_millis(200),
    spread: 0.0,
};

/// Shards that are proved for as long as a test looks.
const LONG: Work = Work { prove: Duration::from_secs(600), ..WORK };

/// The only job, once it is divided and both workers have tasks.
async fn divided_job(network: &Network) -> String {
    eventually("both workers prove shards", async || {
        let workers = network.json("/api/v1/workers").await;
        let workers = workers.as_array().expect("a list");
        let proves = |worker: &Value| worker["tasks"][0]["kind"] == "prove_shard";
        workers.iter().filter(|worker| proves(worker)).count() == 2
    })
    .await;
    let jobs = network.json("/api/v1/jobs").await;
    jobs[0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_running_proof_shows_who_does_what_and_what_waits() {
    let network = Network::start_with(always).await;
    let _workers = (worker(&network, "one", LONG), worker(&network, "two", LONG));
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    client.ask(&ask).await.expect("accepted");
    let job = divided_job(&network).await;

    let shown = network.json(&format!("/api/v1/jobs/{job}/tasks")).await;
    assert_eq!((&shown["job"], &shown["ended_at"]), (&Value::from(job.clone()), &Value::Null));
    assert!(shown["summary"]["running"].as_u64() >= Some(1), "{shown}");
    let tasks = shown["tasks"].as_array().expect("tasks");
    assert_eq!(tasks[0]["kind"], "execute");
    assert!(tasks[1..].iter().all(|task| task["shard"] == "core"), "{shown}");
    for task in tasks.iter().filter(|task| task["state"] == "waiting") {
        assert_eq!(task["waits_for"], "worker", "{task}");
        assert!(["one", "two"].map(Value::from).contains(&task["record_on"]), "{task}");
    }
    let whole = network.json(&format!("/api/v1/jobs/{job}")).await;
    let (summary, running) = (&whole["tasks"], &whole["running"][0]);
    assert_eq!((&summary["workers"], &running["tasks"]["workers"]), (&2.into(), &2.into()));
    assert_eq!((&whole["attempts"], &whole["history"][0]["divided"]), (&1.into(), &true.into()));
    let overview = network.json("/api/v1/overview").await;
    assert_eq!(overview["running"], 1);
    assert_eq!(overview["divided"][0]["job"], job);
    let contemplants = network.json("/contemplants").await;
    let current = &contemplants[0]["current_tasks"][0];
    assert_eq!((&current["job"], &current["kind"]), (&job.clone().into(), &"prove_shard".into()));
    let now = series(&network).await;
    // Two are proved, and the inputs of others are fetched.
    assert!(now[r#"hierophant_tasks{kind="prove_shard",state="running"}"#] >= 2.0);
    assert_eq!(now[r#"hierophant_attempts_running{mode="core"}"#], 1.0);

    let url = format!("http://{}", network.http);
    let text = told(&url, &format!("job {job}")).await;
    assert!(text.contains("several workers") && text.contains(", on 2 workers"), "{text}");
    assert!(text.contains("machines with engine"), "why it is divided: {text}");
    let text = told(&url, &format!("job {job} --tasks")).await;
    assert!(text.contains("prove_shard core") && text.contains("leased"), "{text}");
    let json: Value = serde_json::from_str(&told(&url, &format!("job {job} --tasks --json")).await)
        .expect("JSON");
    assert_eq!(json["engine"], shown["engine"]);
    let why = told(&url, &format!("why {job}")).await;
    assert!(why.contains("shards are done") && why.contains("run on 2 workers"), "{why}");
    assert!(told(&url, "workers").await.contains("2 tasks: prove_shard"));
}

#[tokio::test]
async fn a_finished_proof_keeps_the_record_of_its_tasks() {
    let network = Network::start_with(always).await;
    let (one, two) = (worker(&network, "one", WORK), worker(&network, "two", WORK));
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let jobs = network.json("/api/v1/jobs").await;
    let job = jobs[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (&jobs[0]["attempts"], &jobs[0]["contemplant"]),
        (&1.into(), &"several workers".into())
    );

    let shown = network.json(&format!("/api/v1/jobs/{job}/tasks")).await;
    let number = |of: &Value, name: &str| of[name].as_i64().expect(name);
    let summary = &shown["summary"];
    for (name, expected) in [("done", 7), ("all", 7), ("running", 0), ("workers", 2)] {
        assert_eq!(number(summary, name), expected, "{name}: {shown}");
    }
    assert_eq!((number(&shown, "shards_done"), number(&shown, "shards")), (6, 6));
    assert_eq!(number(&shown, "record_bytes"), 6 * 20_000);
    let phases = ["divided_at", "first_shard_at", "last_shard_at", "ended_at"];
    let times = phases.map(|phase| number(&shown, phase));
    assert!(times.is_sorted(), "{times:?}");
    assert!((times[0]..=times[3]).contains(&number(&shown, "executed_at")), "{shown}");
    let tasks = shown["tasks"].as_array().expect("tasks");
    let by: BTreeSet<_> = tasks.iter().map(|task| task["contemplant"].as_str()).collect();
    assert_eq!(by, [Some("one"), Some("two")].into());
    for task in tasks {
        assert_eq!((&task["state"], &task["outcome"]), (&"done".into(), &"completed".into()));
        assert!(number(task, "started_at") <= number(task, "ended_at"), "{task}");
        assert_eq!((&task["waits_for"], number(task, "failures")), (&Value::Null, 0));
    }
    let whole = network.json(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!(whole["tasks"], shown["summary"]);
    assert_eq!(whole["history"].as_array().map(Vec::len), Some(1), "{whole}");

    let id = network.json("/api/v1/workers").await[0]["id"].as_str().expect("an id").to_owned();
    let of_worker = network.json(&format!("/api/v1/workers/{id}")).await;
    let history = of_worker["history"].as_array().expect("attempts");
    assert!(history.iter().all(|attempt| attempt["task_kind"].is_string()), "{of_worker}");
    assert_eq!(of_worker["worker"]["tasks_completed"], history.len());
    assert_eq!(of_worker["worker"]["proofs_completed"], 0);

    let now = series(&network).await;
    for (name, expected) in [
        (r#"hierophant_task_ends_total{kind="prove_shard",outcome="completed"}"#, 6.0),
        (r#"hierophant_task_ends_total{kind="execute",outcome="completed"}"#, 1.0),
        (r#"hierophant_task_seconds_count{kind="prove_shard"}"#, 6.0),
        (r#"hierophant_attempts_ended_total{outcome="completed",class=""}"#, 1.0),
        (r#"hierophant_tasks{kind="prove_shard",state="running"}"#, 0.0),
    ] {
        assert_eq!(now[name], expected, "{name}");
    }

    // A job that one worker proves has no tasks.
    drop((one, two));
    let ask = client.ready_to_ask(b"whole").await;
    let request = client.ask(&ask).await.expect("accepted");
    Worker::join(&network, hello()).await.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let jobs = network.json("/api/v1/jobs?limit=1").await;
    let job = jobs[0]["id"].as_str().expect("an id");
    let url = network.url(&format!("/api/v1/jobs/{job}/tasks"));
    let answer = reqwest::get(url).await.expect("answers");
    assert_eq!(answer.status(), 404);
    assert_eq!(network.json(&format!("/api/v1/jobs/{job}")).await["tasks"], Value::Null);
}
