//! `/api/v1`: what operators see.

use hierophant::api::http::v1;
use hierophant_proto::network as pb;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::FromWorker;
use pb::FulfillmentStatus;
use serde_json::{Value, json};

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

/// An answer of the API: code and JSON.
async fn ask(network: &Network, path: &str) -> (u16, Value) {
    let answer =
        reqwest::get(format!("http://{}/api/v1{path}", network.http)).await.expect("answers");
    let code = answer.status().as_u16();
    (code, answer.json().await.expect("JSON"))
}

async fn get(network: &Network, path: &str) -> Value {
    let (code, answer) = ask(network, path).await;
    assert_eq!(code, 200, "{path}: {answer}");
    answer
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|entry| entry["id"].as_str().expect("id")).collect()
}

#[tokio::test]
async fn a_job_is_seen_from_the_queue_to_its_end() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let overview = get(&network, "/overview").await;
    assert_eq!(overview["waiting"], json!({"core": 1}));
    assert_eq!((&overview["unfinished"], &overview["slots"]), (&json!(1), &json!(0)));
    let shown = hex::encode(&request[..8]);
    let list = get(&network, "/requests?state=open").await;
    assert_eq!(ids(&list), [shown.as_str()]);
    let job = list[0]["job"].as_str().expect("a job").to_owned();

    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let whole = get(&network, &format!("/requests/{shown}")).await;
    assert_eq!((&whole["id"], &whole["attempts"]), (&json!(job), &json!(1)));
    assert_eq!(whole["running"][0]["mode"], "core");
    let why = get(&network, &format!("/jobs/{job}/why")).await;
    assert!(why["why"].as_str().expect("words").starts_with("assigned to tobit"), "{why}");
    assert_eq!(whole["requests"][0]["requester"], client.address().to_string());

    let failure = Failure::new(FailureClass::Infrastructure, "no route");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    worker.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let whole = get(&network, &format!("/jobs/{job}")).await;
    assert_eq!((&whole["state"], &whole["running"]), (&json!("proved"), &json!([])));
    assert_eq!(get(&network, &format!("/jobs/{job}/why")).await["why"], "it is proved");
    let outcomes: Vec<_> =
        whole["history"].as_array().expect("attempts").iter().map(|a| &a["outcome"]).collect();
    assert_eq!(outcomes, ["failed", "completed"]);
    assert_eq!(whole["history"][0]["message"], "no route");
    assert_eq!(whole["history"][0]["failure_class"], "infrastructure");

    let workers = get(&network, "/workers").await;
    let id = workers[0]["id"].as_str().expect("id").to_owned();
    assert_eq!(
        (&workers[0]["state"], &workers[0]["proofs_completed"]),
        (&json!("ready"), &json!(1))
    );
    drop(worker);
    eventually("the worker is away", async || {
        get(&network, &format!("/workers/{id}")).await["worker"]["state"] == "away"
    })
    .await;
    let whole = get(&network, &format!("/workers/{id}")).await;
    assert_eq!(whole["history"].as_array().map(Vec::len), Some(2));
    assert_eq!(whole["gone"], Value::Null);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    for input in [b"one", b"two", b"six"] {
        let ask = client.ready_to_ask(input).await;
        client.ask(&ask).await.expect("accepted");
    }
    let all = get(&network, "/jobs").await;
    assert_eq!(ids(&all).len(), 3);
    // All are alike but for their age.
    let line = get(&network, "/queue").await;
    let oldest_first: Vec<&str> = ids(&all).into_iter().rev().collect();
    assert_eq!(ids(&line), oldest_first);
    assert_eq!(ids(&get(&network, "/queue?limit=2").await), oldest_first[..2]);
    let first = get(&network, "/jobs?limit=2&state=queued,proved&mode=core").await;
    assert_eq!(ids(&first), ids(&all)[..2]);
    let second = get(&network, &format!("/jobs?limit=2&before={}", ids(&first)[1])).await;
    assert_eq!(ids(&second), ids(&all)[2..]);
    let program = "01".repeat(32);
    assert_eq!(ids(&get(&network, &format!("/jobs?program={program}")).await).len(), 3);
    let requester = format!("/jobs?requester={}", client.address());
    assert_eq!(ids(&get(&network, &requester).await).len(), 3);
    for none in ["state=proved", "mode=plonk", &format!("program={}", "02".repeat(32))] {
        assert_eq!(get(&network, &format!("/jobs?{none}")).await, json!([]), "{none}");
    }
    let programs = get(&network, "/programs").await;
    assert_eq!(
        programs[0]["vk_hash"].as_str().map(|id| id.trim_start_matches("0x")),
        Some(&*program)
    );
    assert_eq!(get(&network, &format!("/programs?before={program}")).await, json!([]));
    let inputs = get(&network, "/artifacts?kind=stdin").await;
    assert_eq!(inputs.as_array().map(Vec::len), Some(3));
    assert_eq!(get(&network, "/artifacts?kind=stdin&offset=3").await, json!([]));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_answered_in_words() {
    let network = Network::start().await;
    for (path, code, word) in [
        ("/jobs?state=lost", 400, "invalid `state` \"lost\": expected one of queued"),
        ("/jobs?mode=fast", 400, "invalid `mode` \"fast\": expected one of core"),
        ("/jobs?stat=queued", 400, "unknown field `stat`"),
        ("/jobs?limit=many", 400, "limit"),
        ("/queue?state=queued", 400, "unknown field `state`"),
        ("/jobs?before=00000000000000000000000000000000", 404, "unknown job in `before`"),
        ("/jobs/7", 400, "invalid job id"),
        ("/jobs/00000000000000000000000000000000", 404, "no such job"),
        ("/jobs/00000000000000000000000000000000/why", 404, "no such job"),
        ("/requests/00", 400, "16 to 64"),
        ("/requests/0000000000000000", 404, "no such request"),
        ("/workers/amos", 400, "invalid worker id"),
        ("/workers/00000000000000000000000000000000", 404, "unknown worker"),
    ] {
        let (answered, body) = ask(&network, path).await;
        let error = body["error"].as_str().expect("an error");
        assert!(answered == code && error.contains(word), "{path}: {answered} {error}");
    }
}

#[tokio::test]
async fn a_page_tries_the_api_out() {
    let network = Network::start().await;
    let page = reqwest::get(network.url("/api/v1/docs/")).await.expect("answers");
    assert!(page.text().await.expect("text").contains("swagger"));
}

/// The description is generated: `UPDATE_DOCS=1 cargo test -p hierophant operate` writes it.
#[test]
fn the_description_that_is_committed_is_the_one_that_is_served() {
    let file = "../docs/openapi.json";
    let wanted = v1::openapi();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &wanted).expect("writes");
    }
    assert_eq!(std::fs::read_to_string(file).expect("there"), wanted, "run it with UPDATE_DOCS=1");
}
