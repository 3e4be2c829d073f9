//! A whole network at work, for looking at: many Contemplants that pretend to prove, and clients that ask.

mod player;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use hierophant_proto::network as pb;
use network_lib::task;
use tokio::task::JoinHandle;

use crate::{Addresses, Ask, Client, Reach};
use player::{Player, Role};

/// How many requests are made at once.
const AT_ONCE: usize = 16;

/// Least limit of cycles of a request: more than any player claims.
const CYCLE_LIMIT: u64 = 10_000_000_000;

/// How a network stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// No workers, no requests.
    Empty,
    /// Eight Contemplants at work, some dozen jobs waiting, proofs ending all the time.
    Busy,
    /// Workers that fail, cannot prove, drain or are away; abandoned jobs.
    Failing,
    /// 500 Contemplants at work and 10,000 requests.
    Large,
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Empty, Self::Busy, Self::Failing, Self::Large];

    /// How many Contemplants there are.
    #[must_use]
    pub const fn contemplants(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Busy => 8,
            Self::Failing => 6,
            Self::Large => 500,
        }
    }

    /// How many requests are made.
    #[must_use]
    pub const fn requests(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Busy => 60,
            Self::Failing => 24,
            Self::Large => 10_000,
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::Busy => "busy",
            Self::Failing => "failing",
            Self::Large => "large",
        })
    }
}

impl FromStr for Scene {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scene| scene.to_string() == word);
        found.ok_or_else(|| format!("no scene is called {word:?}: empty, busy, failing, large"))
    }
}

/// The players of a scene; they stop when it is dropped.
#[derive(Debug)]
pub struct Fleet(Vec<JoinHandle<()>>);

impl Fleet {
    /// Makes all requests of a scene, then lets its Contemplants join and play on their own. The Hierophant
    /// must take mock proofs, and as many waiting jobs as there are requests.
    pub async fn play(network: &impl Reach, scene: Scene) -> Self {
        let network = Addresses { grpc: network.grpc(), http: network.http() };
        ask(&network, scene.requests()).await;
        let mut tasks = Vec::new();
        for number in 0..scene.contemplants() {
            let player = Player::join(&network, number, role(scene, number)).await;
            tasks.push(task::spawn("contemplant", player.play()));
        }
        Self(tasks)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

fn role(scene: Scene, number: usize) -> Role {
    let seconds = |seconds| Role::Proves(Duration::from_secs(seconds));
    match (scene, number) {
        (Scene::Failing, 0) => Role::Obstructed,
        (Scene::Failing, 1) => Role::Drains,
        (Scene::Failing, 2) => Role::Leaves,
        (Scene::Failing, 3) => Role::FailsItself,
        (Scene::Failing, 4) => Role::FindsFaults,
        (Scene::Large, _) => seconds(20 + number as u64 % 100),
        _ => seconds(3 + 7 * number as u64),
    }
}

/// Requests of three requesters for four kinds of proof, each of another job.
async fn ask(network: &Addresses, requests: usize) {
    let mut clients = Vec::new();
    for seed in [7, 8, 9] {
        let mut client = Client::with_key(network, seed).await;
        let ask = client.ready_to_ask(b"scene").await;
        clients.push((client, ask));
    }
    let asked = (0..requests).map(|number| {
        let (mut client, template) = clients[number % 3].clone();
        // The limit makes it another job, the deadline another request, so that one upload does for all.
        let cycle_limit = CYCLE_LIMIT + number as u64;
        let deadline = template.deadline + number as u64;
        let ask = Ask { mode: mode(number), cycle_limit, deadline, ..template };
        async move { client.ask(&ask).await.map(|_| ()) }
    });
    let all = stream::iter(asked).buffer_unordered(AT_ONCE);
    all.try_collect::<()>().await.expect("every request is accepted");
}

/// Mostly Core: only of that kind do the players make proofs, and only every fourth of them is at others.
const fn mode(number: usize) -> i32 {
    let mode = match number % 12 {
        9 => pb::ProofMode::Compressed,
        10 => pb::ProofMode::Plonk,
        11 => pb::ProofMode::Groth16,
        _ => pb::ProofMode::Core,
    };
    mode as i32
}
