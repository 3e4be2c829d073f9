//! SP1's prover as the Contemplant uses it: in threads of its own, task by task, with progress, and
//! stoppable.
//!
//! A crate of its own for one reason: SP1's prover is generic, and this is where it becomes concrete.
//! That takes the compiler minutes, which nobody should wait for who changes the Contemplant. For the
//! same reason its asynchronous functions return boxed futures: a plain one would be compiled, with all
//! that it calls, by the crate that awaits it.

use std::future::Future;
use std::pin::Pin;

mod attempt;
mod clock;
mod light;
mod node;
mod runtime;
mod tally;

pub use crate::light::{LightNode, Run};
pub use crate::node::{Assignment, Node};
pub use crate::runtime::{ProverRuntime, panic_message};
pub use crate::tally::Tally;

/// A future that is compiled here.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
