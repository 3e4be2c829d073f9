//! What an event costs in a crowd, compared with a small network.
//!
//! The limits in microseconds are in the benchmark (`integration-test/bench/benches/core`). Here a factor is compared,
//! which does not depend on the machine: a walk over jobs, requesters or workers would be hundreds of times as long.

use std::time::{Duration, Instant};

use super::*;

/// Largest factor between a crowd and a small network. Search trees are twice as deep; the rest is the machine's noise.
const MOST: u32 = 20;

/// A network in which half of the workers support none of the waiting jobs, one warms up and one is busy.
struct Network {
    core: ProofsCore,
    made: u32,
    lease: LeaseId,
}

impl Network {
    fn new(waiting: u32, unfit: u32, requesters: u32) -> Self {
        let core = core_with(Limits { max_waiting: usize::MAX, ..limits() });
        let mut network = Self { core, made: 0, lease: LeaseId([0; 16]) };
        for n in 0..unfit {
            let modes = if n == 0 { vec![] } else { vec![ProofMode::Groth16] };
            let mut arrival = arrival(1, 1, &[]);
            arrival.worker.0[..4].copy_from_slice(&(n + 1000).to_be_bytes());
            arrival.capabilities.modes = modes;
            network.core.worker_joined(START, arrival);
        }
        let lease = given_out(&network.ask(requesters)).map(|(_, lease)| lease);
        assert_eq!(lease, None);
        let effects = join(&mut network.core, 1, 1);
        network.lease = given_out(&effects).expect("a job waits").1;
        for _ in 0..waiting {
            network.ask(requesters);
        }
        network
    }

    fn ask(&mut self, requesters: u32) -> Vec<Effect> {
        self.made += 1;
        let mut new = new_request(1, 1);
        new.id.0[..4].copy_from_slice(&self.made.to_be_bytes());
        new.stdin_blob.sha256.0[..4].copy_from_slice(&self.made.to_be_bytes());
        new.requester = Address::left_padding_from(&(self.made % requesters).to_be_bytes());
        self.core.submit(START, new, StoreLookup::default()).1
    }

    /// The median time of some events.
    fn time(&mut self, mut event: impl FnMut(&mut Self) -> Duration) -> Duration {
        let mut times: Vec<Duration> = (0..101).map(|_| event(self)).collect();
        times.sort_unstable();
        times[times.len() / 2]
    }

    fn heartbeat(&mut self) -> Duration {
        let (started, held) = (Instant::now(), [self.lease]);
        let effects = self.core.held_leases(START, worker(1), SessionId(1), &held);
        assert_eq!(effects, []);
        started.elapsed()
    }

    fn turn(&mut self) -> Duration {
        let started = Instant::now();
        let effects = self.core.failed(START, worker(1), self.lease, failure(FailureClass::Guest));
        let taken = started.elapsed();
        self.lease = given_out(&effects).expect("the next job").1;
        taken
    }

    fn hello(&mut self) -> Duration {
        self.core.progressed(START, worker(1), self.lease, Progress::phase(Phase::Proving));
        self.core.worker_removed(START, worker(1), SessionId(1), "silent");
        let started = Instant::now();
        let effects = self.core.worker_joined(START, arrival(1, 1, &[self.lease]));
        assert_eq!(resumed(&effects), Some(vec![self.lease]));
        started.elapsed()
    }

    fn wait(&mut self) -> Duration {
        let started = Instant::now();
        assert_eq!(given_out(&self.ask(7)), None);
        started.elapsed()
    }
}

type Event = (&'static str, fn(&mut Network) -> Duration);

#[test]
fn an_event_looks_at_as_few_jobs_and_workers_in_a_crowd_as_in_a_small_network() {
    let mut small = Network::new(110, 3, 5);
    let mut crowd = Network::new(10_000, 1000, 2000);
    let events: [Event; 4] = [
        ("heartbeat", Network::heartbeat),
        ("hello", Network::hello),
        ("request", Network::wait),
        ("dispatch", Network::turn),
    ];
    for (name, event) in events {
        let (alone, crowded) = (small.time(event), crowd.time(event));
        assert!(crowded <= alone * MOST, "{name}: {crowded:?} instead of {alone:?}");
    }
}

#[test]
fn a_request_that_joins_a_job_with_many_others_costs_no_more_than_one_that_joins_a_few() {
    let join = |core: &mut ProofsCore, n: u32| {
        let mut new = new_request(1, 1);
        new.id.0[..4].copy_from_slice(&n.to_be_bytes());
        new.requester = Address::left_padding_from(&n.to_be_bytes());
        let started = Instant::now();
        core.submit(START, new, StoreLookup::default()).0.expect("joins");
        started.elapsed()
    };
    let mut core = core();
    let mut times: Vec<Duration> = (0..10_000).map(|n| join(&mut core, n)).collect();
    assert_eq!(core.jobs.len(), 1);
    let median = |times: &mut [Duration]| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (few, many) = (median(&mut times[..100]), median(&mut times[9900..]));
    assert!(many <= few * MOST, "{many:?} instead of {few:?}");
}
