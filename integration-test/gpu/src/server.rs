//! Cases that any prover server must hold, a real `sp1-gpu-server` first of all: what the Contemplant relies on.
//!
//! Nothing is started but, for the last case, a Hierophant and a Contemplant; the server is not started by the suite.

mod cases;
mod shared;
mod talk;

use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::timeout;

pub(crate) use self::cases::prove_with;
pub(crate) use self::shared::{Proving, Shared, Which};
pub(crate) use self::talk::Talk;

/// Longest time for a case: several proofs by a server that may be a CPU.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What a case does with a server; it may have a figure to report.
type Play = for<'a> fn(&'a mut Shared) -> Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

/// A named case.
pub(crate) struct ServerCase {
    /// By which it is run.
    pub(crate) name: &'static str,
    /// What must hold, in one line.
    pub(crate) about: &'static str,
    /// What it does.
    pub(crate) play: Play,
}

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<ServerCase> {
    let mut all = cases::protocol();
    all.push(cases::through_the_network());
    all
}

/// The cases of the protocol alone: all but the network.
pub(crate) fn protocol() -> Vec<ServerCase> {
    cases::protocol()
}

/// Runs these cases, or all, against the server on `socket`.
///
/// # Errors
///
/// When a case fails, or there is no such case.
pub(crate) async fn run(socket: &Path, names: &[String]) -> Result<()> {
    let all = all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|case| case.name != **name)) {
        bail!("there is no case {unknown} for a server; --list says which there are");
    }
    let wanted = |case: &&ServerCase| names.is_empty() || names.iter().any(|it| it == case.name);
    let mut shared = Shared::new(socket);
    let (mut played, mut fell_short) = (0, 0);
    for case in all.iter().filter(wanted) {
        played += 1;
        let start = Instant::now();
        let outcome = timeout(LIMIT, (case.play)(&mut shared)).await;
        let outcome = outcome.unwrap_or_else(|_| bail!("not over within {} s", LIMIT.as_secs()));
        let verdict = if outcome.is_ok() { "held" } else { "FELL SHORT" };
        println!("{:<24} {verdict:<10} {:>6.1} s", case.name, start.elapsed().as_secs_f64());
        match outcome {
            Ok(figure) if figure.is_empty() => {}
            Ok(figure) => println!("    {figure}"),
            Err(error) => {
                fell_short += 1;
                println!("    {error:#}");
            }
        }
    }
    println!("{played} cases, {fell_short} fell short");
    if fell_short > 0 {
        bail!("{fell_short} cases fell short");
    }
    Ok(())
}
