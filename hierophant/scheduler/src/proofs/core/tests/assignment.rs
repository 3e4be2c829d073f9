//! Assignment by indices decides as walks over all jobs and workers do ([`reference`]).

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use hierophant_model::clients::{NamedClient, Quota};
use hierophant_model::records::Priority;
use network_lib::handshake::Gpu;
use network_lib::job::{Memory as MemoryKind, OutOfMemory};

use super::*;

fn two_addresses_of_one_client() -> Clients {
    let addresses = [1, 2].map(Address::repeat_byte).to_vec();
    let name = "rollup".into();
    Clients::new([NamedClient { name, addresses, ..NamedClient::default() }], Quota::default(), 0)
}

/// Two schedulers that hear the same: one of them walks.
struct Pair {
    indexed: ProofsCore,
    walking: ProofsCore,
    now: Millis,
    session: u64,
    requests: u8,
    /// How many jobs were started, leased ahead, and given back.
    seen: [usize; 3],
}

impl Pair {
    fn new() -> Self {
        let limits = || Limits {
            max_waiting: 1000,
            max_attempts: 4,
            max_strikes: 0,
            race_after: 0.0,
            clients: two_addresses_of_one_client(),
            ..limits()
        };
        let mut walking = core_with(limits());
        walking.walks = true;
        let indexed = core_with(limits());
        Self { indexed, walking, now: START, session: 0, requests: 0, seen: [0; 3] }
    }

    fn tell(&mut self, what: &str, event: impl Fn(&mut ProofsCore, Millis) -> Vec<Effect>) {
        let effects = event(&mut self.indexed, self.now);
        assert_eq!(effects, event(&mut self.walking, self.now), "{what} as by a walk");
        assert!(!self.indexed.is_behind(), "a small event is complete");
        for effect in &effects {
            if let Effect::Save(Change::Attempt(attempt)) = effect {
                let number = match attempt.outcome {
                    AttemptOutcome::Running => 0,
                    AttemptOutcome::Ahead => 1,
                    AttemptOutcome::GivenBack => 2,
                    _ => continue,
                };
                self.seen[number] += 1;
            }
        }
        self.check();
    }

    /// What the indices say holds.
    fn check(&self) {
        let core = &self.indexed;
        let mut running = BTreeMap::<ClientKey, usize>::new();
        for live in core.jobs.values() {
            let is_running = |lease| core.leases.get(lease).is_some_and(|held| !held.checking);
            if live.leases.iter().any(is_running) {
                *running.entry(live.requester()).or_default() += 1;
            }
            let interrupted = live.interrupted.as_ref().map(|held| held.attempt.lease);
            assert!(interrupted.is_none_or(|lease| core.interrupted[&lease] == live.record.id));
        }
        assert_eq!(core.queue.running_by_requester(), &running);
        let interrupted = core.jobs.values().filter(|live| live.interrupted.is_some());
        assert_eq!(core.interrupted.len(), interrupted.count());
        let ahead = core.jobs.values().filter(|live| live.ahead.is_some());
        assert_eq!(core.prepared.iter().count(), ahead.count());
    }

    fn submit(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        self.requests = self.requests.wrapping_add(1);
        let mut new = new_request(self.requests, self.requests);
        new.requester = Address::repeat_byte(input.int_in_range(1..=5)?);
        new.spec.mode = *input.choose(&[ProofMode::Core, ProofMode::Groth16, ProofMode::Plonk])?;
        new.spec.circuit_version = (*input.choose(&["v6.1.0", "v6.1.0", "v7.0.0"])?).to_owned();
        new.spec.vk_hash = VkHash([input.int_in_range(1..=3)?; 32]);
        new.deadline = input.int_in_range(2000..=2020)?;
        if input.ratio(1, 8)? {
            // The content of another one.
            new.stdin_blob.sha256 = Sha256Digest([input.int_in_range(1..=self.requests)?; 32]);
        }
        new.stdin_private = input.ratio(1, 4)?;
        self.tell("submit", |core, now| core.submit(now, new.clone(), StoreLookup::default()).1);
        Ok(())
    }

    fn capabilities(input: &mut Unstructured<'_>) -> Result<Capabilities> {
        let all = [ProofMode::Core, ProofMode::Groth16, ProofMode::Plonk];
        let some = [&all[..], &all[..1], &all[..2], &[]];
        let modes = *input.choose(&some)?;
        let slots = input.int_in_range(0..=3)?;
        let gpu = |memory_bytes| Gpu { model: "L4".into(), memory_bytes, driver: None };
        Ok(Capabilities {
            circuit_versions: input
                .choose(&[
                    vec!["v6.1.0".to_owned()],
                    vec!["v6.1.0".to_owned(), "v7.0.0".to_owned()],
                ])?
                .clone(),
            slots,
            prefetch: input.int_in_range(0..=slots)?,
            backend: *input.choose(&[Backend::Cpu, Backend::Cuda])?,
            memory_bytes: *input.choose(&[0, 16, 32, 64])?,
            gpus: vec![gpu(*input.choose(&[8, 16])?)],
            ..capabilities(modes.to_vec())
        })
    }

    fn worker(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let n = input.int_in_range(1..=5)?;
        let id = worker(n);
        let session = self.indexed.workers.get(&id).map(|worker| worker.session);
        match (input.int_in_range(0..=6)?, session) {
            (0, Some(session)) => {
                self.tell("away", |core, now| core.worker_away(now, id, session));
            }
            (1, Some(session)) => {
                self.tell("removed", |core, now| core.worker_removed(now, id, session, "gone"));
            }
            (2, Some(session)) => {
                self.tell("draining", |core, now| core.worker_draining(now, id, session));
            }
            (3, Some(session)) => {
                let new = Self::capabilities(input)?;
                self.tell("capabilities", |core, now| {
                    core.capabilities_changed(now, id, session, new.clone())
                });
            }
            (4, Some(session)) => {
                let listed = self.listed(input, id)?;
                self.tell("held", |core, now| core.held_leases(now, id, session, &listed));
            }
            (5, Some(session)) => {
                let drained = input.arbitrary::<bool>()?.then(|| "disk".to_owned());
                self.tell("drained", |core, now| {
                    core.worker_drained(now, id, session, drained.clone())
                });
            }
            _ => {
                self.session += 1;
                let (session, held) = (self.session, self.listed(input, id)?);
                let (capabilities, private_inputs) =
                    (Self::capabilities(input)?, input.arbitrary()?);
                self.tell("joined", |core, now| {
                    let (joined, capabilities) = (arrival(n, session, &held), capabilities.clone());
                    core.worker_joined(now, WorkerJoined { capabilities, private_inputs, ..joined })
                });
            }
        }
        Ok(())
    }

    /// Attempts of a worker, and such that were interrupted, each with some probability.
    fn listed(&self, input: &mut Unstructured<'_>, id: WorkerId) -> Result<Vec<LeaseId>> {
        let core = &self.indexed;
        let interrupted = core.interrupted.keys().copied();
        let mut listed = Vec::new();
        for lease in core.leases.of(id).chain(interrupted) {
            if input.ratio(4, 5)? {
                listed.push(lease);
            }
        }
        Ok(listed)
    }

    fn attempt(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let leases: Vec<LeaseId> = self.indexed.leases.keys().copied().collect();
        if leases.is_empty() {
            return Ok(());
        }
        let lease = *input.choose(&leases)?;
        let held = &self.indexed.leases[&lease];
        let (id, checking) = (held.attempt.prover.worker, held.checking);
        match input.int_in_range(0..=4)? {
            _ if checking => {
                let verdict =
                    if input.ratio(3, 4)? { Ok(()) } else { Err(failure(FailureClass::Worker)) };
                self.tell("checked", |core, now| core.checked(now, lease, verdict.clone()));
            }
            0 => {
                let class = *input.choose(&[
                    FailureClass::Worker,
                    FailureClass::Worker,
                    FailureClass::Infrastructure,
                    FailureClass::Guest,
                ])?;
                let mut failure = failure(class);
                if input.ratio(1, 3)? {
                    let memory = *input.choose(&[MemoryKind::Main, MemoryKind::Gpu])?;
                    let bytes = input.choose(&[None, Some(8), Some(16), Some(32)])?;
                    failure.out_of_memory = Some(OutOfMemory { memory, bytes: *bytes });
                }
                self.tell("failed", |core, now| core.failed(now, id, lease, failure.clone()));
            }
            1 => {
                let progress = Progress {
                    memory_bytes: *input.choose(&[None, Some(4), Some(20), Some(40)])?,
                    eta_seconds: *input.choose(&[None, Some(5), Some(50)])?,
                    ..Progress::phase(*input.choose(&[Phase::Downloading, Phase::Proving])?)
                };
                self.tell("progress", |core, now| core.progressed(now, id, lease, progress));
            }
            2 => self.tell("executed", |core, now| core.executed(now, id, lease, execution())),
            _ => {
                let (artifact, blob) = (ArtifactId([5; 16]), proof_blob());
                self.tell("stored", |core, now| core.proof_stored(now, lease, artifact, blob).1);
                self.tell("completed", |core, now| {
                    core.completed(now, id, lease, execution(), blob)
                });
            }
        }
        Ok(())
    }

    fn operate(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let jobs: Vec<JobId> = self.indexed.jobs.keys().copied().collect();
        let job = if jobs.is_empty() { JobId([0; 16]) } else { *input.choose(&jobs)? };
        let command = match input.int_in_range(0..=4)? {
            0 => Command::Requeue(job),
            1 => Command::Prioritise(job, *input.choose(&[Priority::Urgent, Priority::Low])?),
            2 => Command::CancelJob(job),
            3 => Command::Pause("night".into()),
            _ => Command::Resume,
        };
        self.tell("command", |core, now| core.command(now, &command).1);
        Ok(())
    }
}

/// Compares random runs until enough jobs were started, leased ahead, and given back. A busy machine needs several rounds
/// for it.
fn compare_until_enough(mut run: impl FnMut(&mut Unstructured<'_>, &mut [usize; 3]) -> Result<()>) {
    let mut seen = [0; 3];
    for _ in 0..5 {
        arbtest(|input| run(input, &mut seen)).size_min(2_000).size_max(20_000).budget_ms(4000);
        if seen.iter().all(|count| *count > 100) {
            return;
        }
    }
    panic!("{seen:?}: too few to compare");
}

#[test]
fn jobs_are_assigned_as_by_a_walk_over_all_of_them() {
    compare_until_enough(|input, seen| {
        let mut pair = Pair::new();
        for _ in 0..input.int_in_range(0..=120)? {
            match input.int_in_range(0..=19)? {
                0..=6 => pair.submit(input)?,
                7..=10 => pair.worker(input)?,
                11..=16 => pair.attempt(input)?,
                17 => pair.operate(input)?,
                18 => {
                    let by = input.int_in_range(-100_000..=100_000)?;
                    pair.now = Millis(pair.now.0 + by);
                    pair.indexed.clock_set(by);
                    pair.walking.clock_set(by);
                }
                _ => {
                    pair.now = Millis(pair.now.0 + input.int_in_range(0..=MINUTE)?);
                    pair.tell("sweep", ProofsCore::sweep);
                }
            }
        }
        seen.iter_mut().zip(pair.seen).for_each(|(all, some)| *all += some);
        Ok(())
    });
}

/// Many requesters with the same needs and workers that all prepare: every change is one of fairness.
#[test]
fn places_ahead_are_given_out_as_by_a_walk() {
    compare_until_enough(|input, seen| {
        let mut pair = Pair::new();
        for n in 1..=input.int_in_range(1..=5)? {
            let slots = input.int_in_range(1..=2)?;
            let core_only = capabilities(vec![ProofMode::Core]);
            let new = Capabilities { slots, prefetch: slots, ..core_only };
            pair.tell("joined", |core, now| {
                let joined = arrival(n, n.into(), &[]);
                core.worker_joined(now, WorkerJoined { capabilities: new.clone(), ..joined })
            });
        }
        for _ in 0..input.int_in_range(0..=100)? {
            pair.now = Millis(pair.now.0 + 1);
            if input.ratio(1, 2)? {
                pair.requests = pair.requests.wrapping_add(1);
                let mut new = new_request(pair.requests, pair.requests);
                new.requester = Address::repeat_byte(input.int_in_range(1..=5)?);
                new.deadline = input.int_in_range(5000..=5003)?;
                pair.tell("submit", |core, now| {
                    core.submit(now, new.clone(), StoreLookup::default()).1
                });
            } else {
                pair.attempt(input)?;
            }
        }
        seen.iter_mut().zip(pair.seen).for_each(|(all, some)| *all += some);
        Ok(())
    });
}
