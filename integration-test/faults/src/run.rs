//! Runs cases one after the other: each on a stage of its own, within its time, and asks of each what
//! every case owes.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::FutureExt;
use test_harness::binaries::{Binaries, Program};
use test_harness::{STOP_LIMIT, log_tails};
use test_peers::Client;
use tokio::time::{Instant, timeout};

use crate::case::Case;
use crate::observer::{Expected, Observer};
use crate::program;
use crate::proofs::Proofs;
use crate::report::{Outcome, Report, seconds};
use crate::stage::{Kit, STEP, Stage};

/// How long every request is watched after the last one ended: an end must stay an end.
const AFTERGLOW: Duration = Duration::from_millis(600);

/// Requests of a case whose details are looked at.
const DETAILS_CHECKED: usize = 50;

/// Panics of this process, background tasks included, since they were last looked at.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs the cases and adds their outcomes to `report` as they come.
pub(crate) async fn all(
    cases: &[Case],
    rounds: u32,
    keep: bool,
    report: &mut Report,
) -> Result<()> {
    let binaries = Binaries::locate()?;
    let gpu_stand_in = Program::GpuStandIn.locate()?;
    let (proofs, template) = Proofs::prepare(&binaries).await?;
    let kit = Arc::new(Kit { binaries, gpu_stand_in, proofs: Arc::new(proofs), template });
    std::panic::set_hook(Box::new(|panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
    }));
    let total = cases.len() * rounds as usize;
    for case in (0..rounds).flat_map(|_| cases) {
        let outcome = one(case, &kit, keep).await?;
        let number = report.outcomes.len() + 1;
        let (name, verdict, took) = (case.name, outcome.verdict(), outcome.seconds);
        println!("[{number:>3}/{total}] {name:<44} {verdict:<10} {took:>6.1} s");
        report.outcomes.push(outcome);
    }
    Ok(())
}

async fn one(case: &Case, kit: &Arc<Kit>, keep: bool) -> Result<Outcome> {
    let start = Instant::now();
    let mut folder = tempfile::Builder::new().prefix("fault-suite-").tempdir()?;
    folder.disable_cleanup(keep);
    let path = folder.path().to_owned();
    let mut stage = match Stage::open(kit, folder.path(), &case.keys).await {
        Ok(stage) => stage,
        Err(error) => {
            let why = format!("{error:#}");
            eprintln!("\n{} fell short: {why}\n{}", case.name, log_tails(&path));
            return Ok(Outcome::not_begun(case, why));
        }
    };
    let fault = play(case, &mut stage).await;
    let outcome = describe(case, &stage, start.elapsed(), fault);
    if let Some(why) = &outcome.fell_short {
        eprintln!("\n{} fell short: {why}\n{}", case.name, log_tails(&path));
        if keep {
            eprintln!("  its files stay in {}\n", path.display());
        }
    } else if keep {
        // Only what fell short is worth keeping.
        drop(stage);
        std::fs::remove_dir_all(&path)?;
    }
    Ok(outcome)
}

/// What fell short, if anything did.
async fn play(case: &Case, stage: &mut Stage) -> Option<String> {
    let limit = case.limit;
    let played = AssertUnwindSafe((case.play)(stage)).catch_unwind();
    let mut fault = match timeout(limit, played).await {
        Ok(_) => None,
        Err(_) => Some(format!("not over within {} s", limit.as_secs())),
    };
    if fault.is_none() && no_panics().is_ok() {
        let finished = AssertUnwindSafe(finish(stage)).catch_unwind().await;
        fault = finished.unwrap_or(Ok(())).err().map(|error| format!("{error:#}"));
    }
    if let Err(panics) = no_panics() {
        fault = Some(panics.to_string());
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    fault
}

fn no_panics() -> Result<()> {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(panics.is_empty(), "{}", panics.join("\n"));
    Ok(())
}

/// What every case owes.
async fn finish(stage: &mut Stage) -> Result<()> {
    stage.all_arrive(STEP).await;
    tokio::time::sleep(AFTERGLOW).await;
    for (number, observer) in (1..).zip(&stage.observers) {
        ensure!(observer.answers() > 0, "no poll of request {number} was answered");
        if let Err(fault) = observer.verdict() {
            bail!("request {number} {fault}; its client saw {}", observer.story());
        }
    }
    if stage.hierophant.process.is_alive() {
        details_are_true(stage).await?;
        let status = stage.hierophant.process.terminate(STOP_LIMIT).await?;
        ensure!(status.success(), "Hierophant did not stop cleanly ({status})");
    } else {
        ensure!(stage.may_be_down, "Hierophant has ended unexpectedly");
    }
    audit(stage).await?;
    no_program_panicked(stage.folder())
}

/// Details must agree with what running the program finds, and name the cause of a failure.
async fn details_are_true(stage: &Stage) -> Result<()> {
    let mut client = Client::connect(&stage.hierophant).await;
    for (number, observer) in (1..).zip(&stage.observers).take(DETAILS_CHECKED) {
        let details = client.details(&observer.request).await;
        let details = details.with_context(|| format!("request {number} has no details"))?;
        match observer.expected {
            Expected::Proof(n, mode) => {
                let hash = details.public_values_hash.as_deref();
                let right = Some(program::public_values_hash(n));
                ensure!(hash == right.as_deref(), "request {number}: wrong public values hash");
                let known = &stage.kit.proofs.execution(n);
                let cycles = details.cycles;
                ensure!(
                    known.is_none_or(|known| cycles == Some(known.cycles)),
                    "request {number}: {cycles:?} cycles, not {known:?}"
                );
                ensure!(details.mode == mode as i32 + 1, "request {number}: another mode");
                ensure!(details.fulfilled_at.is_some(), "request {number}: no time of its end");
            }
            Expected::Unexecutable(cause) => {
                let told = details.execute_fail_cause();
                ensure!(told == cause, "request {number}: cause {told:?}, not {cause:?}");
            }
            Expected::Cancelled => {
                ensure!(details.is_canceled, "request {number} is not shown as cancelled");
            }
            Expected::Unfulfillable | Expected::StillWaiting => {}
        }
    }
    Ok(())
}

/// The store must agree with what the clients saw.
async fn audit(stage: &Stage) -> Result<()> {
    if stage.observers.is_empty() {
        return Ok(());
    }
    let mut store = stage.open_store().await?;
    for (number, observer) in (1..).zip(&stage.observers) {
        let state = store.request_state(&observer.request).await?;
        let state = state.with_context(|| format!("request {number} is not in the store"))?;
        let fits = match observer.expected {
            Expected::Proof(..) => state == "fulfilled",
            Expected::Unexecutable(_) => state == "unexecutable",
            Expected::Cancelled => state == "cancelled",
            Expected::Unfulfillable => ["failed", "expired"].contains(&state.as_str()),
            Expected::StillWaiting => state == "open",
        };
        ensure!(fits, "request {number} is stored as {state}, not as {:?}", observer.expected);
    }
    let left_over = store
        .count(
            "SELECT count(*) FROM attempts JOIN jobs ON jobs.id = attempts.job
             WHERE attempts.outcome = 'running'
               AND jobs.state IN ('proved', 'unexecutable', 'failed', 'cancelled', 'expired')",
        )
        .await?;
    ensure!(left_over == 0, "{left_over} attempts at finished jobs are stored as running");
    store.close().await
}

fn no_program_panicked(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = test_harness::log_text(&path);
            // A Contemplant also logs, behind a time, what its prover server says of a panic.
            let is_panic =
                |line: &&str| line.starts_with("thread ") && line.contains("panicked at");
            let panic = text.lines().find(is_panic);
            ensure!(panic.is_none(), "{}: {}", path.display(), panic.unwrap_or_default());
        }
    }
    Ok(())
}

fn describe(case: &Case, stage: &Stage, took: Duration, fault: Option<String>) -> Outcome {
    let mut stories = BTreeMap::<String, usize>::new();
    for observer in &stage.observers {
        *stories.entry(observer.story()).or_default() += 1;
    }
    let mut saw: Vec<String> = stories
        .into_iter()
        .map(|(story, count)| if count == 1 { story } else { format!("{count} × {story}") })
        .collect();
    saw.extend(stage.notes.iter().cloned());
    let lost = stage.observers.iter().filter(|observer| observer.verdict().is_err()).count();
    let last_end = stage.observers.iter().filter_map(Observer::ended).max();
    let recovered = stage.recovered.or_else(|| {
        let (fault, end) = (stage.fault?, last_end?);
        Some(end.saturating_duration_since(fault))
    });
    Outcome {
        fault: case.name,
        group: case.group,
        clients_saw: saw.join("; "),
        requests: stage.observers.len(),
        lost,
        seconds_to_recover: recovered.map(seconds),
        seconds: seconds(took),
        fell_short: fault,
    }
}
