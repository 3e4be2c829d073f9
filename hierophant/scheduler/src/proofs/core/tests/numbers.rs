//! Numbers of workers: whatever they are, nothing panics, and no job is kept from honest workers.

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use network_lib::handshake::Gpu;
use network_lib::job::{Memory as MemoryKind, OutOfMemory};

use super::*;

/// Workers that may say anything.
const LIARS: u8 = 3;

const HOUR: i64 = 60 * MINUTE;

fn any_u64(input: &mut Unstructured<'_>) -> Result<u64> {
    let edges = [0, 1, 2, (1 << 50) - 1, 1 << 50, 1 << 53, 1 << 63, u64::MAX - 1, u64::MAX];
    if input.ratio(3, 4)? { Ok(*input.choose(&edges)?) } else { input.arbitrary() }
}

fn any_u32(input: &mut Unstructured<'_>) -> Result<u32> {
    let edges = [0, 1, 2, 3, u32::MAX - 1, u32::MAX];
    if input.ratio(3, 4)? { Ok(*input.choose(&edges)?) } else { input.arbitrary() }
}

fn any_f32(input: &mut Unstructured<'_>) -> Result<f32> {
    input.arbitrary()
}

fn maybe<T>(
    input: &mut Unstructured<'_>,
    any: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if input.arbitrary()? { any(input).map(Some) } else { Ok(None) }
}

fn any_capabilities(input: &mut Unstructured<'_>) -> Result<Capabilities> {
    let modes = *input.choose(&[&ProofMode::ALL[..], &[ProofMode::Core], &[]])?;
    let mut gpus = Vec::new();
    for _ in 0..input.int_in_range(0..=2)? {
        gpus.push(Gpu { model: "L4".into(), memory_bytes: any_u64(input)?, driver: None });
    }
    Ok(Capabilities {
        backend: *input.choose(&[Backend::Cpu, Backend::Cuda])?,
        slots: any_u32(input)?,
        prefetch: any_u32(input)?,
        memory_bytes: any_u64(input)?,
        gpus,
        ..capabilities(modes.to_vec())
    })
}

fn any_progress(input: &mut Unstructured<'_>) -> Result<Progress> {
    Ok(Progress {
        phase: *input.choose(&Phase::ALL)?,
        fraction: maybe(input, any_f32)?,
        cycles_done: maybe(input, any_u64)?,
        cycles_total: maybe(input, any_u64)?,
        eta_seconds: maybe(input, any_u64)?,
        estimated: input.arbitrary()?,
        memory_bytes: maybe(input, any_u64)?,
        steps_done: maybe(input, any_u64)?,
    })
}

fn any_execution(input: &mut Unstructured<'_>) -> Result<Execution> {
    Ok(Execution { cycles: any_u64(input)?, gas: maybe(input, any_u64)?, ..execution() })
}

fn any_failure(input: &mut Unstructured<'_>) -> Result<Failure> {
    let class = *input.choose(&FailureClass::ALL)?;
    let memory = *input.choose(&MemoryKind::ALL)?;
    let bytes = maybe(input, any_u64)?;
    let out_of_memory = maybe(input, |_| Ok(OutOfMemory { memory, bytes }))?;
    Ok(Failure { out_of_memory, ..failure(class) })
}

fn any_leases(input: &mut Unstructured<'_>, known: &[LeaseId]) -> Result<Vec<LeaseId>> {
    let mut leases = Vec::new();
    for _ in 0..input.int_in_range(0..=6)? {
        let made_up = LeaseId([input.int_in_range(0xe0..=0xff)?; 16]);
        leases.push(if input.arbitrary()? { made_up } else { *input.choose(known)? });
    }
    Ok(leases)
}

/// What workers say about themselves and about attempts.
#[derive(Default)]
struct Liars {
    sessions: BTreeMap<u8, u64>,
    known: Vec<LeaseId>,
    next_session: u64,
}

impl Liars {
    fn says(
        &mut self,
        input: &mut Unstructured<'_>,
        core: &mut ProofsCore,
        now: Millis,
    ) -> Result<Vec<Effect>> {
        let n = input.int_in_range(1..=LIARS)?;
        let id = worker(n);
        let session = SessionId(self.sessions.get(&n).copied().unwrap_or(0));
        let lease = *input.choose(&self.known)?;
        Ok(match input.int_in_range(0..=11)? {
            0 | 1 => {
                self.next_session += 1;
                self.sessions.insert(n, self.next_session);
                let held = any_leases(input, &self.known)?;
                let joined = arrival(n, self.next_session, &held);
                core.worker_joined(
                    now,
                    WorkerJoined { capabilities: any_capabilities(input)?, ..joined },
                )
            }
            2 => core.capabilities_changed(now, id, session, any_capabilities(input)?),
            3 => {
                let held = any_leases(input, &self.known)?;
                core.held_leases(now, id, session, &held)
            }
            4 | 5 => core.progressed(now, id, lease, any_progress(input)?),
            6 => core.executed(now, id, lease, any_execution(input)?),
            7 | 8 => core.failed(now, id, lease, any_failure(input)?),
            9 | 10 => {
                let blob = BlobInfo { size: any_u64(input)?, ..proof_blob() };
                let (_, mut effects) = core.proof_stored(now, lease, ArtifactId([5; 16]), blob);
                let other = BlobInfo { size: any_u64(input)?, ..proof_blob() };
                let announced = if input.ratio(3, 4)? { blob } else { other };
                effects.extend(core.completed(now, id, lease, any_execution(input)?, announced));
                effects
            }
            _ if input.ratio(1, 4)? => core.worker_draining(now, id, session),
            _ => core.worker_away(now, id, session),
        })
    }

    fn learn(&mut self, effects: &[Effect]) {
        self.known.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Send(_, ToWorker::Prove { lease_id, .. }) => Some(*lease_id),
            _ => None,
        }));
    }
}

fn ask(core: &mut ProofsCore, now: Millis, n: u8) -> Vec<Effect> {
    let mut new = new_request(n, n % 16);
    new.deadline = u64::MAX;
    new.spec.vk_hash = VkHash([n % 2; 32]);
    new.spec.cycle_limit = if n.is_multiple_of(4) { 1_000_000 } else { u64::MAX };
    core.submit(now, new, StoreLookup::default()).1
}

/// An honest worker takes every job that is left.
fn honest_worker_proves_all(core: &mut ProofsCore, mut now: Millis) {
    const N: u8 = 99;
    for n in 1..=LIARS {
        let session = core.workers.get(&worker(n)).map(|worker| worker.session);
        if let Some(session) = session {
            core.worker_removed(now, worker(n), session, "dropped by the operator");
        }
    }
    let checking = core.leases.iter().filter(|(_, held)| held.checking);
    for lease in checking.map(|(lease, _)| *lease).collect::<Vec<_>>() {
        core.checked(now, lease, Ok(()));
    }
    now = Millis(now.0 + 2 * HOUR);
    core.sweep(now);
    let mut honest = arrival(N, 9999, &[]);
    honest.capabilities.memory_bytes = 16 << 30;
    let mut effects = core.worker_joined(now, honest);
    while core.overview().unfinished > 0 {
        let given = given_out(&effects).or_else(|| {
            now = Millis(now.0 + HOUR);
            given_out(&core.sweep(now))
        });
        let waiting =
            || core.jobs.values().map(|live| core.why(now, live.record.id)).collect::<Vec<_>>();
        let (_, lease) = given.unwrap_or_else(|| panic!("stranded: {:?}", waiting()));
        effects = core.executed(now, worker(N), lease, execution());
        effects.extend(core.proof_stored(now, lease, ArtifactId([5; 16]), proof_blob()).1);
        effects.extend(core.completed(now, worker(N), lease, execution(), proof_blob()));
        effects.extend(core.checked(now, lease, Ok(())));
    }
}

#[test]
fn no_number_of_a_worker_stops_the_scheduler_or_strands_a_job() {
    arbtest(|input| {
        let race_after = if input.arbitrary()? { 1.0 } else { 0.0 };
        let limits = Limits { race_after, max_strikes: 0, max_waiting: 100, ..limits() };
        let mut core = core_with(limits);
        let mut liars = Liars { known: vec![LeaseId([0xee; 16])], ..Liars::default() };
        let mut now = START;
        for n in 0..input.int_in_range(1..=80)? {
            now = Millis(now.0 + input.int_in_range(0..=MINUTE)?);
            let effects = match input.int_in_range(0..=9)? {
                0 | 1 => ask(&mut core, now, n),
                2 => core.sweep(now),
                3 => {
                    let lease = *input.choose(&liars.known)?;
                    let verdict =
                        if input.ratio(3, 4)? { Ok(()) } else { Err(any_failure(input)?) };
                    core.checked(now, lease, verdict)
                }
                _ => liars.says(input, &mut core, now)?,
            };
            liars.learn(&effects);
            // What reads the numbers for display.
            drop((core.overview(), core.queue_snapshot(now, 0, 10)));
            core.jobs.keys().for_each(|job| drop(core.why(now, *job)));
        }
        honest_worker_proves_all(&mut core, now);
        Ok(())
    })
    .budget_ms(3000);
}

/// Two numbers of one worker do not end the scheduler.
#[test]
fn demands_that_add_up_to_more_than_a_number_can_hold_are_only_large() {
    let mut core = core_with(Limits { max_waiting: 100, ..limits() });
    let mut joined = arrival(1, 1, &[]);
    joined.capabilities.slots = 4;
    joined.capabilities.memory_bytes = u64::MAX;
    core.worker_joined(START, joined);
    let leases = [1, 2, 3].map(|n| given_out(&submit(&mut core, n, n)).expect("given out").1);
    let progress = Progress { memory_bytes: Some(1 << 63), ..Progress::phase(Phase::Proving) };
    core.progressed(START, worker(1), leases[0], progress);
    hand_in(&mut core, 1, leases[0]);
    core.checked(START, leases[0], Ok(()));
    // Two proofs run that take 2^63 bytes each, and a slot is free.
    assert_eq!(given_out(&submit(&mut core, 4, 4)), None, "they take all there is");
    assert_eq!(core.leases_of(worker(1)).len(), 2);
}
