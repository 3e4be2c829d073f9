//! SP1's prover as the Contemplant uses it: in threads of its own, task by task, with progress, and
//! stoppable.
//!
//! SP1's prover is generic, and this is the crate that instantiates it, which takes the compiler minutes.
//! Three rules keep those minutes out of an edit of the Contemplant: the code is a crate of its own; of this workspace
//! it depends on `shard-plan` alone, and otherwise speaks SP1's types and plain numbers; and its
//! asynchronous functions return boxed futures, because a plain future is compiled, with all that it
//! calls, by the crate that awaits it.

use std::future::Future;
use std::pin::Pin;

mod announce;
mod attempt;
mod clock;
mod depot;
mod events;
mod execution;
mod kept;
mod light;
mod link;
mod mock;
mod node;
mod record;
mod runtime;
mod survey;
mod tally;

pub use crate::announce::{Announce, Execution, FoundShard, ShardTraced, execute};
pub use crate::depot::Usage;
pub use crate::events::TracedEvents;
pub use crate::kept::{ENGINE, KeptShards};
pub use crate::light::{LightNode, Run};
pub use crate::mock::mock_proof;
pub use crate::node::{
    Assignment, Node, ProvedTask, RecursionAssignment, RecursionError, RecursionInputs, Scope,
    Settings, ShardAssignment,
};
pub use crate::runtime::{ProverRuntime, panic_message};
pub use crate::survey::{Survey, SurveyedShard, survey};
pub use crate::tally::{Estimate, Tally};

/// A future that is compiled in this crate.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
