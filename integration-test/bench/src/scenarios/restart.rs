//! How long a start takes after an orderly stop and after SIGKILL, by number of finished requests in the store.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{ask, requesters};
use crate::database;
use crate::report::{Figure, Scenario, mebibytes};
use crate::requester::Numbers;
use crate::stage::{Fresh, Part, Stage};

/// Starts of each size and kind; the middle one counts.
const STARTS: usize = 3;

/// Most seconds of a start after an orderly stop, by the number of requests.
const AFTER_STOP: [(usize, f64); 2] = [(100_000, 1.0), (1_000_000, 2.0)];

/// Most seconds of a start after SIGKILL, by the number of requests.
const AFTER_KILL: [(usize, f64); 1] = [(1_000_000, 5.0)];

/// Requests that wait when Hierophant is killed.
const WAITING: usize = 100;

/// Longest wait for the check of the database.
const CHECK_LIMIT: Duration = Duration::from_secs(300);

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let sizes: &[usize] = stage.scale.pick(&[1000, 100_000, 1_000_000], &[1000, 20_000], &[100]);
    for stored in sizes {
        of(stage, *stored, found).await?;
    }
    Ok(())
}

async fn of(stage: &Stage, stored: usize, found: &mut Scenario) -> Result<()> {
    let mut fresh = stage.launch().await?;
    fresh.coordinator.stop().await?;
    database::fill(&fresh.coordinator.database(), stored).await?;
    let name = format!("{stored} stored");
    // A SQLite file that another program has written is checked once, in the background.
    let mark = fresh.coordinator.mark_of_orderly_stop();
    fresh.coordinator.start().await?;
    if mark.is_some() {
        fresh.coordinator.logs("the database is intact", CHECK_LIMIT).await?;
    }

    let mut times = Vec::new();
    for _ in 0..STARTS {
        fresh.coordinator.stop().await?;
        let is_in_order = mark.as_ref().is_none_or(|mark| mark.exists());
        ensure!(is_in_order, "an orderly stop has left no mark");
        times.push(fresh.coordinator.start().await?);
        shows_history(stage, &fresh).await?;
    }
    let figure = format!("ready after a start, {name}");
    found.figure(wanted(Figure::cost(figure, middle(times), "s"), &AFTER_STOP, stored));
    let part = Part::begin(&fresh.coordinator)?;
    let (usage, _) = part.end(&name, found)?;
    let memory = mebibytes(usage.rss);
    found.figure(Figure::cost(format!("memory after a start, {name}"), memory, "MiB"));

    let client = requesters(stage, &fresh.coordinator, 1, &Numbers::default()).await?;
    ask(&client, WAITING).await?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        fresh.coordinator.kill().await?;
        times.push(fresh.coordinator.start().await?);
        shows_history(stage, &fresh).await?;
    }
    let figure = format!("ready after SIGKILL, {name}");
    found.figure(wanted(Figure::cost(figure, middle(times), "s"), &AFTER_KILL, stored));
    let judge = async |database: &str| {
        database::check(database, "fulfilled", stored).await?;
        database::check(database, "open", WAITING).await
    };
    fresh.finish(judge).await?;
    Ok(())
}

/// Checks that the history is read from the start on.
async fn shows_history(stage: &Stage, fresh: &Fresh) -> Result<()> {
    let url = fresh.coordinator.url("/proof-history?limit=5");
    let page: Value = stage.http.get(url).send().await?.json().await?;
    let shown = serde_json::to_string(&page)?.matches("\"filled\"").count();
    ensure!(shown >= 5, "finished proofs are not shown: {page}");
    Ok(())
}

/// The middle one of times, in seconds.
fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn wanted(figure: Figure, bounds: &[(usize, f64)], stored: usize) -> Figure {
    match bounds.iter().find(|(size, _)| *size == stored) {
        Some((_, bound)) => figure.within(*bound),
        None => figure,
    }
}
