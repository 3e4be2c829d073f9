//! How long a start takes, by number of finished requests in the store.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::database;
use crate::report::{Figure, Scenario, mebibytes};
use crate::stage::{Part, Stage};

/// Starts of each size; the middle one counts.
const STARTS: usize = 3;

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let sizes: &[usize] = stage.scale.pick(&[1000, 100_000, 1_000_000], &[1000, 20_000], &[100]);
    for stored in sizes {
        let mut fresh = stage.launch().await?;
        fresh.coordinator.stop().await?;
        database::fill(&fresh.coordinator.database(), *stored).await?;
        let mut times = Vec::new();
        for start in 1..=STARTS {
            times.push(fresh.coordinator.start().await?.as_secs_f64());
            let page: Value = stage
                .http
                .get(fresh.coordinator.url("/proof-history?limit=5"))
                .send()
                .await?
                .json()
                .await?;
            let shown = serde_json::to_string(&page)?.matches("\"filled\"").count();
            ensure!(shown >= 5, "finished proofs are not shown: {page}");
            if start < STARTS {
                fresh.coordinator.stop().await?;
            }
        }
        times.sort_by(f64::total_cmp);
        let part = Part::begin(&fresh.coordinator)?;
        let name = format!("{stored} stored");
        let (usage, _) = part.end(&name, found)?;
        let figure = Figure::cost(format!("ready after a start, {name}"), times[STARTS / 2], "s");
        found.figure(if *stored == 100_000 { figure.within(1.0) } else { figure });
        let memory = mebibytes(usage.rss);
        found.figure(Figure::cost(format!("memory after a start, {name}"), memory, "MiB"));
        fresh
            .finish(async |database| database::check(database, "fulfilled", *stored).await)
            .await?;
    }
    Ok(())
}
