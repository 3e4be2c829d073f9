//! One proof by several real Contemplants with mock proofs, for an unmodified `sp1-sdk` client.

use std::time::Duration;

use integration_test::client::{Client, Expected};
use integration_test::network::{ContemplantSettings, LocalNetwork, mock_mode};
use integration_test::options::{Backend, Network};
use integration_test::status::Task;
use integration_test::verify::check_proof;
use sp1_sdk::SP1ProofMode;
use sp1_sdk::network::B256;
use test_harness::binaries::Binaries;
use test_harness::config::key;
use test_harness::wait;
use toml::{Table, Value};

/// More than the proof should take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

const SHARDS: usize = 16;

/// Two Contemplants that make every proof together, and a client that has asked for one.
struct Story {
    network: LocalNetwork,
    client: Client,
    expected: Expected,
    request: B256,
    job: String,
}

impl Story {
    async fn begin() -> Self {
        let binaries = Binaries::locate().expect("programs under test");
        let mut keys = mock_mode(true);
        keys.insert("sharding".into(), key("mode", "always").into());
        let mut registry = key("heartbeat_interval", "200ms");
        registry.extend(key("silence_limit", "2s"));
        keys.insert("worker_registry".into(), registry.into());
        let mut network = LocalNetwork::start(&binaries, &keys).await.expect("a network");
        let mut shards = Table::new();
        shards.insert("count".into(), Value::from(i64::try_from(SHARDS).expect("few")));
        shards.insert("prove_time".into(), "300ms".into());
        for name in ["one", "two"] {
            let settings = ContemplantSettings::mock(name, Duration::ZERO)
                .with("shards_at_once", 1)
                .with("mock_shards", shards.clone());
            network.add_contemplant(&settings).expect("starts");
        }
        let status = network.status().expect("status");
        wait::until("two Contemplants", LIMIT, async || {
            Ok((status.contemplants().await?.len() == 2).then_some(()))
        })
        .await
        .expect("they register");
        let client = Client::connect(&network.rpc_url(), Network::Reserved.sdk()).await;
        let client = client.expect("a client");
        let expected = client.execute(90).await.expect("executes here");
        let request = client.request(90, SP1ProofMode::Core, LIMIT).await.expect("requested");
        let job = status.job_of(request.as_slice()).await.expect("has a job");
        Self { network, client, expected, request, job }
    }

    async fn tasks(&self) -> anyhow::Result<Vec<Task>> {
        self.network.status()?.tasks_of(&self.job).await
    }

    /// Waits until this number of shards is proved.
    async fn until_proved(&self, number: usize) -> Vec<Task> {
        wait::until("shards are proved", LIMIT, async || {
            // There are no tasks before the job is divided.
            let tasks = self.tasks().await.ok();
            Ok(tasks.filter(|tasks| proved(tasks).count() >= number))
        })
        .await
        .expect("they are proved")
    }

    /// The proof is valid, and every shard was proved once.
    async fn end(self) -> Vec<Task> {
        let proof = self.client.sdk.wait_proof(self.request, Some(LIMIT), None).await;
        let proof = proof.expect("proved");
        check_proof(&self.client, &proof, SP1ProofMode::Core, Backend::Mock, &self.expected)
            .await
            .expect("is valid");
        let tasks = self.tasks().await.expect("tasks");
        assert_eq!(proved(&tasks).count(), SHARDS, "{tasks:?}");
        self.network.stop().await.expect("stops cleanly");
        tasks
    }
}

fn proved(tasks: &[Task]) -> impl Iterator<Item = &Task> {
    tasks.iter().filter(|task| task.is_proved_shard())
}

fn by<'a>(tasks: &'a [Task], name: &'a str) -> impl Iterator<Item = &'a Task> {
    proved(tasks).filter(move |task| task.contemplant.as_deref() == Some(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_contemplants_make_one_proof() {
    let tasks = Story::begin().await.end().await;
    for name in ["one", "two"] {
        assert!(by(&tasks, name).count() > 2, "{name}: {tasks:?}");
    }
    assert!(tasks.iter().all(|task| task.attempts == 1), "{tasks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_contemplant_leaves_its_shards_to_the_other_and_none_is_proved_again() {
    for killed in [0, 1] {
        let mut story = Story::begin().await;
        let before = story.until_proved(5).await;
        assert!(proved(&before).count() < SHARDS, "there is something left to prove: {before:?}");
        let process = &mut story.network.contemplants()[killed];
        let name = ["one", "two"][killed];
        process.kill().await.expect("is killed");
        let proof = story.client.sdk.wait_proof(story.request, Some(LIMIT), None).await;
        let proof = proof.expect("proved");
        check_proof(&story.client, &proof, SP1ProofMode::Core, Backend::Mock, &story.expected)
            .await
            .expect("is valid");
        let after = story.tasks().await.expect("tasks");
        assert_eq!(proved(&after).count(), SHARDS, "{after:?}");
        // What the killed one had done is still its own.
        let kept = by(&after, name).count();
        assert!(kept >= by(&before, name).count(), "{name}: {before:?} {after:?}");
    }
}
