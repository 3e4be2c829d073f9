//! What is measured, by name.

mod artifacts;
mod dispatch;
mod expire;
mod fleet;
mod lifecycle;
mod poll;
mod queue;
mod restart;
mod retention;
mod submit;
mod tasks;

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use network_lib::task;
use tokio::time::Instant;

use crate::coordinator::Coordinator;
use crate::observe;
use crate::report::Scenario;
use crate::requester::{Numbers, Requester};
use crate::stage::Stage;

/// A scenario's name and what it measures, in the order in which they run.
pub const ALL: [(&str, &str); 11] = [
    ("dispatch", "from a request to its worker, idle or behind a queue"),
    ("lifecycle", "whole requests a second, by number of clients"),
    ("submit", "tickets, uploads and requests a second, with the CPU time of all processes"),
    ("poll", "status calls a second, with many requests in the store"),
    ("fleet", "what connected workers cost, idle and at work; all coming back at once"),
    ("tasks", "one proof by many workers: how busy they are, tasks a second, what it costs"),
    ("queue", "what waiting jobs cost: enqueue, assign, cancel, memory"),
    ("expire", "deadlines of many requests that pass at once, while running and while stopped"),
    ("artifacts", "large uploads and downloads against the raw path"),
    ("retention", "a sweep over many kept artifacts of which few are due"),
    ("restart", "time to ready after a stop and after SIGKILL, by number of finished requests"),
];

/// Runs a scenario. A failure is part of the outcome, whose figures do not count then.
pub async fn run(name: &str, stage: &Stage) -> Scenario {
    let mut found = Scenario { name: name.to_owned(), ..Scenario::default() };
    let (began, load) = (Instant::now(), observe::load());
    let outcome = match name {
        "dispatch" => dispatch::run(stage, &mut found).await,
        "lifecycle" => lifecycle::run(stage, &mut found).await,
        "submit" => submit::run(stage, &mut found).await,
        "poll" => poll::run(stage, &mut found).await,
        "fleet" => fleet::run(stage, &mut found).await,
        "tasks" => tasks::run(stage, &mut found).await,
        "queue" => queue::run(stage, &mut found).await,
        "expire" => expire::run(stage, &mut found).await,
        "artifacts" => artifacts::run(stage, &mut found).await,
        "retention" => retention::run(stage, &mut found).await,
        "restart" => restart::run(stage, &mut found).await,
        _ => Err(anyhow::anyhow!("there is no scenario {name:?}")),
    };
    found.seconds = began.elapsed().as_secs_f64();
    found.load = (load, observe::load());
    found.fault = outcome.err().map(|error| format!("{error:#}"));
    found
}

/// Clients that are ready to ask, each on a connection of its own.
async fn requesters(
    stage: &Stage,
    coordinator: &Coordinator,
    clients: usize,
    numbers: &Numbers,
) -> Result<Vec<Requester>> {
    let mut first = Requester::connect(coordinator, &stage.http, 0, numbers).await?;
    first.prepare().await?;
    let mut all = vec![first];
    for seed in 1..u32::try_from(clients)? {
        let mut next = Requester::connect(coordinator, &stage.http, seed, numbers).await?;
        next.share_input(b"one input for all").await?;
        all.push(next);
    }
    Ok(all)
}

/// Has all of them ask until the number of requests is reached; returns their ids.
async fn ask(requesters: &[Requester], requests: usize) -> Result<Vec<Vec<u8>>> {
    let share = requests.div_ceil(requesters.len());
    let asking = requesters.iter().enumerate().map(|(place, requester)| {
        let mut requester = requester.clone();
        let own = share.min(requests.saturating_sub(place * share));
        let asked = async move {
            let mut ids = Vec::with_capacity(own);
            for _ in 0..own {
                ids.push(requester.ask().await?);
            }
            anyhow::Ok(ids)
        };
        task::spawn("requester", asked)
    });
    let mut ids = Vec::with_capacity(requests);
    for asked in try_join_all(asking).await? {
        ids.extend(asked.context("a request failed")?);
    }
    Ok(ids)
}

/// Times a second.
fn rate(times: usize, took: Duration) -> f64 {
    times as f64 / took.as_secs_f64()
}
