//! Many requests whose deadlines pass at once, while Hierophant runs and while it is stopped: how long it takes until
//! each has its end in the store, and new clients are served in their usual time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_client::ProverNetworkClient;
use network_lib::task;
use test_peers::{Addresses, unix_now};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use super::requesters;
use crate::coordinator::Store;
use crate::database;
use crate::measure::Latencies;
use crate::report::{Figure, Scenario};
use crate::requester::{Numbers, Requester};
use crate::stage::{Fresh, Part, Stage};
use crate::workers::Fleet;

/// Most seconds until all is as usual.
const TARGET: f64 = 30.0;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for the answer to a look.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How many times its usual time a status call may take, and still be served as usual.
const USUAL: u32 = 10;

/// Time of a status call that is usual, whatever it takes in quiet.
const QUICK: Duration = Duration::from_millis(20);

/// Longest wait for the proof that is made afterwards.
const LIMIT: Duration = Duration::from_secs(60);

/// Requests about which a client asks afterwards.
const ASKED: usize = 100;

const ASSIGNED: i32 = pb::FulfillmentStatus::Assigned as i32;
const UNFULFILLABLE: i32 = pb::FulfillmentStatus::Unfulfillable as i32;

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let stage = stage.at_a_distance();
    let requests = stage.scale.pick(100_000, 5000, 100);
    let of = match stage.store {
        Store::Distant(_) => format!("{requests} requests, 10 ms of round trip"),
        Store::Sqlite | Store::Postgres(_) => format!("{requests} requests"),
    };
    while_running(&stage, requests, &format!("{of}, while running"), found).await?;
    while_stopped(&stage, requests, &format!("{of}, while stopped"), found).await
}

async fn while_running(
    stage: &Stage,
    requests: usize,
    name: &str,
    found: &mut Scenario,
) -> Result<()> {
    // Until then the store must be filled and Hierophant started.
    let deadline = unix_now() + stage.scale.pick(60, 20, 10);
    let mut fresh = filled(stage, requests, deadline).await?;
    fresh.coordinator.start().await?;
    let open = database::count(&fresh.coordinator.database(), "requests", "state = 'open'").await?;
    ensure!(open == requests, "{open} requests are open before their deadline, not {requests}");
    let part = Part::begin(&fresh.coordinator)?;
    let looks = Looks::start(fresh.coordinator.addresses());
    ensure!(unix_now() < deadline, "the start ended after the deadline of the requests");
    while unix_now() < deadline {
        sleep(Duration::from_millis(1)).await;
    }
    let passed = Instant::now();
    let fresh = measured(fresh, (part, looks, passed), requests, name, found, stage).await?;
    checked(stage, fresh, requests).await
}

async fn while_stopped(
    stage: &Stage,
    requests: usize,
    name: &str,
    found: &mut Scenario,
) -> Result<()> {
    let mut fresh = filled(stage, requests, unix_now() - 60).await?;
    let looks = Looks::start(fresh.coordinator.addresses());
    let began = Instant::now();
    fresh.coordinator.start().await?;
    let part = Part::begin(&fresh.coordinator)?;
    let fresh = measured(fresh, (part, looks, began), requests, name, found, stage).await?;
    checked(stage, fresh, requests).await
}

/// A coordinator that does not run, with open requests in its store.
async fn filled(stage: &Stage, requests: usize, deadline: u64) -> Result<Fresh> {
    let mut fresh = stage.launch().await?;
    requesters(stage, &fresh.coordinator, 1, &Numbers::default()).await?;
    fresh.coordinator.stop().await?;
    database::fill_with_open(&fresh.coordinator.database(), requests, deadline).await?;
    Ok(fresh)
}

/// Waits until all have ended, and measures how that went since a time.
async fn measured(
    fresh: Fresh,
    (part, looks, passed): (Part, Looks, Instant),
    requests: usize,
    name: &str,
    found: &mut Scenario,
    stage: &Stage,
) -> Result<Fresh> {
    let database = fresh.coordinator.database();
    database::reach(&database, "expired", requests).await?;
    let ended = Instant::now();
    part.end(name, found)?;
    // What is usual is measured now that nothing else goes on.
    sleep(Duration::from_secs(stage.scale.pick(10, 4, 2))).await;
    let looks = looks.stop();
    let served = looks.served(passed, ended)?;
    let all = served.max(ended) - passed;
    let figure = format!("ended in the store and served as usual, {name}");
    found.figure(Figure::cost(figure, all.as_secs_f64(), "s").within(TARGET));
    let stored = (ended - passed).as_secs_f64();
    found.figure(Figure::cost(format!("of which until all have ended, {name}"), stored, "s"));
    let longest = looks.within(passed, ended).map(Look::took).max().unwrap_or_default();
    let figure = format!("longest status call of a new client meanwhile, {name}");
    found.figure(Figure::cost(figure, longest.as_secs_f64() * 1000.0, "ms"));
    let latencies = Latencies::of(format!("status call of a new client, {name}"));
    looks.within(passed, ended).for_each(|look| latencies.note(look.took()));
    found.latencies.push(latencies.summary());
    Ok(fresh)
}

/// Checks every state, and that a new request is accepted and proved, and nothing else given out.
async fn checked(stage: &Stage, fresh: Fresh, requests: usize) -> Result<()> {
    let network = fresh.coordinator.addresses();
    let fleet = Fleet::start(network, &stage.http, 1).await?;
    let seed = 0;
    let mut client =
        Requester::connect(&fresh.coordinator, &stage.http, seed, &Numbers::default()).await?;
    client.share_input(b"one input for all").await?;
    let id = client.ask().await?;
    let proving = client.until_fulfilled(&id);
    timeout(LIMIT, proving).await.context("no proof of a new request in time")??;
    fleet.check(1)?;
    for number in (0..requests).step_by(requests.div_ceil(ASKED)) {
        let (status, _) = client.status(&database::request_id(number)).await?;
        ensure!(status == UNFULFILLABLE, "the status of request {number} is {status}");
    }
    let judge = async |database: &str| {
        database::check(database, "expired", requests).await?;
        database::check_jobs(database, "expired", requests).await?;
        database::check(database, "fulfilled", 1).await?;
        database::check(database, "open", 0).await
    };
    fresh.finish(judge).await?;
    Ok(())
}

/// A status call on a new connection.
#[derive(Debug, Clone, Copy)]
struct Look {
    began: Instant,
    ended: Instant,
    /// The answer, if there was one.
    status: Option<i32>,
}

impl Look {
    fn took(&self) -> Duration {
        self.ended - self.began
    }
}

/// Status calls of new clients about one of the requests, one after the other.
#[derive(Debug)]
struct Looks {
    taken: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

impl Looks {
    fn start(network: Addresses) -> Self {
        let taken = Arc::<Mutex<Vec<Look>>>::default();
        let noted = Arc::clone(&taken);
        let task = task::spawn("looks", async move {
            let id = database::request_id(0);
            loop {
                let began = Instant::now();
                let status = timeout(LOOK_LIMIT, look(network, &id)).await;
                let status = status.ok().and_then(Result::ok);
                let look = Look { began, ended: Instant::now(), status };
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(look);
                sleep(PAUSE).await;
            }
        });
        Self { taken, task }
    }

    fn stop(self) -> Taken {
        self.task.abort();
        Taken(std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn look(network: Addresses, id: &[u8]) -> Result<i32> {
    let channel = Channel::from_shared(format!("http://{}", network.grpc))?.connect().await?;
    let request = pb::GetProofRequestStatusRequest { request_id: id.to_vec() };
    let answer = ProverNetworkClient::new(channel).get_proof_request_status(request).await?;
    Ok(answer.into_inner().fulfillment_status)
}

/// The looks that were taken.
#[derive(Debug)]
struct Taken(Vec<Look>);

impl Taken {
    /// Looks that were answered, and were under way between two moments.
    fn within(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Look> {
        let answered = self.0.iter().filter(|look| look.status.is_some());
        answered.filter(move |look| look.ended > from && look.began < to)
    }

    /// When the last call had ended that was not served as usual, of those that began until all requests had ended.
    /// Answers must be right: open until the deadlines passed, without a proof once all have ended.
    fn served(&self, passed: Instant, ended: Instant) -> Result<Instant> {
        for look in &self.0 {
            match look.status {
                Some(status) if look.ended < passed => {
                    ensure!(status == ASSIGNED, "the status is {status} before the deadline");
                }
                None if look.ended < passed => {}
                Some(status) if look.began > ended => {
                    ensure!(status == UNFULFILLABLE, "the status is {status} afterwards");
                }
                None if look.began > ended => {
                    anyhow::bail!("a status call was not answered afterwards");
                }
                _ => {}
            }
        }
        let quiet = self.0.iter().filter(|look| look.began > ended);
        let mut quiet: Vec<Duration> = quiet.map(Look::took).collect();
        quiet.sort_unstable();
        let usual = *quiet.get(quiet.len() / 2).context("no status call afterwards")?;
        let most = QUICK.max(usual * USUAL);
        let is_late = |look: &&Look| look.status.is_none() || look.took() > most;
        let meanwhile = self.0.iter().filter(|look| look.ended > passed && look.began <= ended);
        Ok(meanwhile.filter(is_late).map(|look| look.ended).max().unwrap_or(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn look(start: Instant, second: u32, took: Duration, status: Option<i32>) -> Look {
        let began = start + SECOND * second;
        Look { began, ended: began + took, status }
    }

    /// Deadlines at second 10, all ended at second 20, quiet from then on.
    fn taken(start: Instant, meanwhile: Vec<Look>) -> Taken {
        let quick = Duration::from_millis(3);
        let before = look(start, 5, quick, Some(ASSIGNED));
        let after = [21, 22, 23].map(|second| look(start, second, quick, Some(UNFULFILLABLE)));
        Taken([vec![before], meanwhile, after.to_vec()].concat())
    }

    #[test]
    fn the_last_call_that_was_late_or_unanswered_counts() {
        let start = Instant::now();
        let (passed, ended) = (start + 10 * SECOND, start + 20 * SECOND);
        let served = |meanwhile| taken(start, meanwhile).served(passed, ended).expect("is right");
        assert_eq!(served(Vec::new()), passed);
        let as_usual = look(start, 19, Duration::from_millis(29), Some(UNFULFILLABLE));
        let late = look(start, 15, Duration::from_millis(31), Some(ASSIGNED));
        let unanswered = look(start, 12, SECOND, None);
        assert_eq!(served(vec![as_usual]), passed);
        assert_eq!(served(vec![late, as_usual]), late.ended);
        assert_eq!(served(vec![unanswered, as_usual]), unanswered.ended);
        let begun_before = look(start, 9, 8 * SECOND, Some(ASSIGNED));
        assert_eq!(served(vec![begun_before]), begun_before.ended);
    }

    #[test]
    fn wrong_answers_are_faults() {
        let start = Instant::now();
        let (passed, ended) = (start + 10 * SECOND, start + 20 * SECOND);
        let quick = Duration::from_millis(3);
        for wrong in [
            look(start, 6, quick, Some(UNFULFILLABLE)),
            look(start, 24, quick, Some(ASSIGNED)),
            look(start, 24, quick, None),
        ] {
            taken(start, vec![wrong]).served(passed, ended).expect_err("is wrong");
        }
    }
}
