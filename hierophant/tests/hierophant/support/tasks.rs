//! Proofs that are made as tasks of several workers.

use hierophant::config::Config;
use hierophant_scheduler::proofs::shards::policy::ShardingMode;
use test_peers::hello;
use test_peers::task_worker::{TaskWorker, Work};

use super::Network;

/// Divides every proof.
pub fn always(config: &mut Config) {
    config.sharding.mode = ShardingMode::Always;
}

/// A worker with one place for an execution and one for a shard.
pub fn worker(network: &Network, name: &str, work: Work) -> TaskWorker {
    let mut hello = hello();
    hello.name = name.into();
    TaskWorker::start(network.http, hello, (1, 1), work, reqwest::Client::new())
}
