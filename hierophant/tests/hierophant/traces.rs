//! Traces of proofs, exported by OTLP to a collector.

use std::collections::BTreeMap;
use std::time::Duration;

use hierophant::config::Config;
use hierophant_proto::network as pb;
use hierophant_scheduler::proofs::shards::policy::ShardingMode;
use network_lib::handshake::Hello;
use network_lib::job::{Failure, FailureClass};
use network_lib::trace;
use network_lib::wire::{FromWorker, ToWorker};
use pb::FulfillmentStatus;
use test_peers::collector::{Collector, Span};
use test_peers::task_worker::{TaskWorker, Work};

use crate::support::{Client, Network, Worker, blob, core_proof, eventually, execution, hello};

/// The attempt's lease, and its place in the trace.
async fn order(worker: &mut Worker) -> (network_lib::ids::LeaseId, trace::SpanContext) {
    loop {
        match worker.hear().await {
            Some(ToWorker::Prove { lease_id, traceparent, .. }) => {
                let place = traceparent.as_deref().and_then(trace::parse).expect("a place");
                return (lease_id, place);
            }
            Some(ToWorker::Settled { .. }) => {}
            other => panic!("no job: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_follows_a_proof_from_the_call_over_two_attempts_and_a_restart_to_its_end() {
    let collector = Collector::start().await;
    let url = format!("{}/v1/traces", collector.endpoint());
    // For all tests of this process; what others send belongs to other traces.
    trace::start(Some(url), "hierophant", []).expect("starts");

    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"traced input").await;
    let mut call = tonic::Request::new(client.envelope(client.body(&ask)));
    let callers = trace::span_context(network_lib::ids::random_bytes(), [0xca; 8]);
    let words = trace::traceparent(&callers).parse().expect("ASCII");
    call.metadata_mut().insert(trace::TRACEPARENT, words);
    let answer = client.network.request_proof(call).await.expect("accepted").into_inner();
    let request = answer.body.expect("body").request_id;

    let who = hello();
    let mut worker = Worker::join(&network, who.clone()).await;
    let (lease_id, first) = order(&mut worker).await;
    let failure = Failure::new(FailureClass::Infrastructure, "no route");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    let (lease_id, second) = order(&mut worker).await;
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    drop(worker);

    let network = network.restart().await;
    let mut worker = Worker::join(&network, Hello { held: vec![lease_id], ..who }).await;
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    let mut client = Client::connect(&network).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;

    let job = first.trace_id().to_string();
    assert_eq!(second.trace_id(), first.trace_id());
    eventually("the whole trace has arrived", async || collector.trace(&job).len() >= 6).await;
    let spans = collector.trace(&job);
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let by_name =
        |name: &str| -> Vec<&Span> { spans.iter().filter(|span| span.name == name).collect() };
    let [root] = by_name("proof")[..] else { panic!("{spans:#?}") };
    assert_eq!((root.parent.as_str(), root.failed), ("", false));
    assert!(root.text.contains(&job), "{root:?}");
    for name in ["RequestProof", "queue", "attempt", "verify"] {
        for span in by_name(name) {
            assert!(span.times.0 <= span.times.1 && span.service == "hierophant", "{span:?}");
            let parent =
                if name == "verify" { second.span_id().to_string() } else { root.id.clone() };
            assert_eq!(span.parent, parent, "{span:?}");
        }
    }
    let attempts: BTreeMap<&str, bool> =
        by_name("attempt").iter().map(|span| (span.id.as_str(), span.failed)).collect();
    let (first, second) = (first.span_id().to_string(), second.span_id().to_string());
    assert_eq!(attempts, BTreeMap::from([(first.as_str(), true), (second.as_str(), false)]));

    let caller = callers.trace_id().to_string();
    assert_eq!(by_name("RequestProof")[0].links, [caller.as_str()]);
    let answers = collector.trace(&caller);
    let [answer] = &answers[..] else { panic!("{answers:#?}") };
    assert_eq!(
        (answer.name.as_str(), answer.parent.as_str()),
        ("RequestProof", "cacacacacacacaca")
    );
    assert_eq!(answer.links, [job.as_str()]);
    let secrets = [hex::encode(&request), lease_id.to_string()];
    for span in spans.iter().chain(&answers) {
        assert!(!secrets.iter().any(|secret| span.text.contains(secret)), "{span:?}");
    }
    the_trace_of_a_divided_proof_has_a_span_for_each_attempt_at_a_task(&collector).await;
}

async fn the_trace_of_a_divided_proof_has_a_span_for_each_attempt_at_a_task(collector: &Collector) {
    const WORK: Work = Work {
        shards: 4,
        record_bytes: 1000,
        part_bytes: 1000,
        cut: Duration::ZERO,
        prove: Duration::from_millis(20),
        spread: 0.0,
    };
    let always = |config: &mut Config| config.sharding.mode = ShardingMode::Always;
    let network = Network::start_with(always).await;
    let _worker = TaskWorker::start(network.http, hello(), (1, 1), WORK, reqwest::Client::new());
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"divided").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let jobs = network.json("/api/v1/jobs").await;
    let job = jobs[0]["id"].as_str().expect("an id");
    let tasks = || {
        let spans = collector.trace(job).into_iter();
        spans.filter(|span| span.name == "task").collect::<Vec<_>>()
    };
    eventually("all tasks have arrived", async || tasks().len() >= 5).await;
    eventually("the proof has arrived", async || {
        collector.trace(job).iter().any(|span| span.name == "proof")
    })
    .await;
    let root = collector.trace(job).into_iter().find(|span| span.name == "proof").expect("there");
    let (tasks, kind) = (tasks(), |kind: &'static str| move |it: &&Span| it.text.contains(kind));
    assert_eq!(tasks.len(), 5, "{tasks:#?}");
    assert!(tasks.iter().all(|span| span.parent == root.id && !span.failed), "{tasks:#?}");
    assert_eq!(tasks.iter().filter(kind("prove_shard")).count(), 4);
    assert_eq!(tasks.iter().filter(kind("execute")).count(), 1);
}
