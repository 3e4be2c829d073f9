//! Status calls a second, with many requests in the store: half of them about open requests, half about
//! fulfilled ones.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hierophant_proto::network::FulfillmentStatus;
use network_lib::task;
use tokio::time::Instant;

use super::{ask, rate, requesters};
use crate::database;
use crate::measure::Latencies;
use crate::report::{Figure, Scenario};
use crate::requester::Numbers;
use crate::stage::{Part, Stage};
use crate::workers::Fleet;

/// Clients that poll at once, and calls that each has going on.
const CLIENTS: (usize, usize) = (8, 8);

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let (stored, polled) = stage.scale.pick((100_000, 500), (10_000, 100), (100, 10));
    let time = Duration::from_millis(stage.scale.pick(15_000, 4000, 500));
    let mut fresh = stage.launch().await?;
    fresh.coordinator.stop().await?;
    database::fill(&fresh.coordinator.database(), stored).await?;
    fresh.coordinator.start().await?;
    let all = requesters(stage, &fresh.coordinator, CLIENTS.0, &Numbers::default()).await?;
    let network = fresh.coordinator.addresses();
    let fleet = Fleet::start(network, &stage.http, 4).await?;
    let fulfilled = ask(&all, polled).await?;
    let mut first = all[0].clone();
    for id in &fulfilled {
        first.until_fulfilled(id).await?;
    }
    // No worker is left to prove the others.
    fleet.check(polled)?;
    let open = ask(&all, polled).await?;
    let wanted: Vec<(Vec<u8>, FulfillmentStatus)> = fulfilled
        .into_iter()
        .zip(open)
        .flat_map(|(done, open)| {
            [(done, FulfillmentStatus::Fulfilled), (open, FulfillmentStatus::Assigned)]
        })
        .collect();
    let wanted = Arc::new(wanted);
    let latencies = Arc::new(Latencies::of("GetProofRequestStatus"));
    let part = Part::begin(&fresh.coordinator)?;
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for place in 0..CLIENTS.0 * CLIENTS.1 {
        let mut requester = all[place % CLIENTS.0].clone();
        let (wanted, latencies) = (Arc::clone(&wanted), Arc::clone(&latencies));
        tasks.push(task::spawn("poller", async move {
            let mut next = place * 7;
            while Instant::now() < end {
                let (id, status) = &wanted[next % wanted.len()];
                next += 1;
                let asked = Instant::now();
                let (got, _) = requester.status(id).await?;
                latencies.note(asked.elapsed());
                ensure!(got == *status as i32, "the status of a request is {got}, not {status:?}");
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await?.context("a status call failed")?;
    }
    let name = format!("{stored} stored");
    let (usage, took) = part.end(&name, found)?;
    let polls = usize::try_from(latencies.count())?;
    let a_second = rate(polls, took);
    found.figure(
        Figure::gain(format!("status calls a second, {name}"), a_second, "/s").within(10_000.0),
    );
    let cpu = usage.cpu_seconds * 1_000_000.0 / polls as f64;
    found.figure(Figure::cost("Hierophant's CPU for each", cpu, "µs"));
    found.latencies.push(latencies.summary());
    let all = stored + polled;
    fresh.finish(async |database| database::check(database, "fulfilled", all).await).await?;
    Ok(())
}
