//! `shard-trial prove`: a proof, what it costs, and how many of its shards were there already.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contemplant::kept::{KeptJob, KeptShards};
use network_lib::ids::Sha256Digest;
use serde_json::{Value, json};
use shard_plan::Key;
use sp1_node::{Assignment, LightNode, Node, ProverRuntime, Scope, Settings, Tally};
use tokio_util::sync::CancellationToken;

use crate::cost::Step;
use crate::options::{Mode, Program, Proof};

/// Limit of the kept shards, which a trial does not reach.
const MAX_BYTES: u64 = 1 << 40;

/// Interval between two looks at the memory of waiting data.
const TICK: Duration = Duration::from_millis(200);

/// The kept shards, counted.
struct Counted {
    kept: KeptJob,
    found: AtomicUsize,
    proved: AtomicUsize,
}

impl sp1_node::KeptShards for Counted {
    fn find(&self, key: Key) -> Option<Vec<u8>> {
        let found = self.kept.find(key);
        self.found.fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
        found
    }

    fn keep(&self, key: Key, bytes: &[u8]) {
        self.kept.keep(key, bytes);
        self.proved.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) async fn run(
    program: &Program,
    proof: &Proof,
    keep: Option<&Path>,
) -> anyhow::Result<Value> {
    let runtime = ProverRuntime::start()?;
    let light = runtime.run(LightNode::start()).await.map_err(anyhow::Error::msg)?;
    let loaded = program.load(&light).await?;
    let scope = match proof.mode {
        Mode::Core if !proof.whole_prover => Scope::Core,
        _ => Scope::Every,
    };
    let settings = Settings { shards_at_once: proof.shards_at_once, ..Settings::of_sp1(scope) };
    let step = Step::begin()?;
    let node = runtime.run(Node::build(settings)).await.map_err(anyhow::Error::msg)??;
    let building = step.end()?;

    // A trial's folder has the shards of one job.
    let kept = keep.map(|folder| {
        let kept = KeptShards::new(folder, MAX_BYTES).job(Sha256Digest([0; 32]));
        Arc::new(Counted { kept, found: AtomicUsize::new(0), proved: AtomicUsize::new(0) })
    });
    let mode = proof.mode.of_sp1();
    let key = loaded.key.clone();
    let assignment = Assignment {
        elf: loaded.elf,
        key: loaded.key,
        stdin: loaded.stdin,
        mode,
        tally: Tally::new(mode, 0, 0, None),
        kept: kept.clone().map(|kept| kept as Arc<dyn sp1_node::KeptShards>),
    };
    let step = Step::begin()?;
    let (proved, waiting_peak) = {
        let mut proving =
            std::pin::pin!(runtime.run(node.prove(assignment, CancellationToken::new())));
        let mut ticks = tokio::time::interval(TICK);
        let mut peak = 0;
        loop {
            tokio::select! {
                proved = &mut proving => break (proved, peak),
                _ = ticks.tick() => peak = peak.max(node.depot_usage().peak),
            }
        }
    };
    let proved = proved.and_then(|proved| proved).map_err(anyhow::Error::msg)?;
    let proving = step.end()?;
    let bytes = bincode::serialize(&proved)?.len();
    light.verify(&key, &proved.proof)?;
    let count = |count: fn(&Counted) -> &AtomicUsize| {
        kept.as_ref().map(|kept| count(kept).load(Ordering::Relaxed))
    };
    Ok(json!({
        "mode": proof.mode.name(),
        "prover": match scope { Scope::Core => "core", Scope::Every => "every" },
        "shards_at_once": proof.shards_at_once,
        "building": building,
        "proving": proving,
        "waiting_peak_bytes": waiting_peak,
        "shards_found": count(|kept| &kept.found),
        "shards_proved": count(|kept| &kept.proved),
        "proof_bytes": bytes,
        "public_values": proved.public_values.as_slice(),
        "verified": true,
    }))
}
