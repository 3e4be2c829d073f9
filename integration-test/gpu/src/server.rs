//! Cases that any prover server must hold, a real `sp1-gpu-server` first of all: what the Contemplant relies on.
//!
//! Nothing is started but, for the last case, a Hierophant and a Contemplant; the server is not started by the suite.

mod cases;
mod talk;

use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::timeout;

/// Longest time for a case: several proofs by a server that may be a CPU.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What a case does with the server on a socket; it may have a figure to tell.
type Play = for<'a> fn(&'a Path) -> Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

/// A named case.
pub(crate) struct ServerCase {
    /// By which it is run.
    pub(crate) name: &'static str,
    /// What must hold, in one line.
    pub(crate) about: &'static str,
    /// What it does.
    play: Play,
}

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<ServerCase> {
    cases::all()
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
    let (mut played, mut fell_short) = (0, 0);
    for case in all.iter().filter(wanted) {
        played += 1;
        let start = Instant::now();
        let outcome = timeout(LIMIT, (case.play)(socket)).await;
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
