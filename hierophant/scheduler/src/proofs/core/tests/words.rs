//! Messages of workers in any order: only the holder of a lease can affect it.

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;

use super::*;

/// A word of worker `n` about a lease. Returns what the core makes of it.
fn word(
    input: &mut Unstructured<'_>,
    core: &mut ProofsCore,
    now: Millis,
    n: u8,
    lease: LeaseId,
) -> Result<Vec<Effect>> {
    let classes = [
        FailureClass::Guest,
        FailureClass::Request,
        FailureClass::Worker,
        FailureClass::Infrastructure,
    ];
    Ok(match input.int_in_range(0..=3)? {
        0 => core.progressed(now, worker(n), lease, Progress::phase(Phase::Proving)),
        1 => core.executed(now, worker(n), lease, execution()),
        2 => core.failed(now, worker(n), lease, failure(*input.choose(&classes)?)),
        _ => {
            let mut effects = Vec::new();
            let holder = core.leases.get(&lease).map(|held| held.attempt.prover.worker);
            if holder == Some(worker(n)) {
                effects = core.proof_stored(now, lease, ArtifactId([5; 16]), proof_blob()).1;
            }
            effects.extend(core.completed(now, worker(n), lease, execution(), proof_blob()));
            effects
        }
    })
}

/// What holds between jobs, leases and queue after every event.
pub(super) fn check(core: &ProofsCore) {
    for (lease, held) in &*core.leases {
        assert!(core.jobs[&held.job].leases.contains(lease), "a lease of no job");
    }
    for (id, live) in &core.jobs {
        assert!(live.leases.len() <= 2);
        assert_eq!(live.leases.is_empty(), core.queue.contains(*id), "{live:?}");
        let going_on: BTreeSet<WorkerId> = live
            .leases
            .iter()
            .map(|lease| core.leases.get(lease).expect("held").attempt.prover.worker)
            .collect();
        assert_eq!(going_on.len(), live.leases.len(), "twice on one worker");
        let at_fault = live.failures.workers.len();
        assert!(at_fault + live.leases.len() <= 3, "beyond the retry budget");
    }
}

#[test]
fn a_lease_hears_only_its_holder() {
    arbtest(|input| {
        let limits = Limits { race_after: 1.0, max_strikes: 0, ..limits() };
        let mut core = core_with(limits);
        let mut now = START;
        let mut known = vec![LeaseId([0xee; 16])];
        let mut session = 0;
        for _ in 0..input.int_in_range(0..=60)? {
            now = Millis(now.0 + input.int_in_range(0..=MINUTE)?);
            let n = input.int_in_range(1..=4)?;
            let effects = match input.int_in_range(0..=9)? {
                0 | 1 => {
                    let id = input.arbitrary()?;
                    core.submit(now, new_request(id, id % 8), StoreLookup::default()).1
                }
                2 => {
                    session += 1;
                    let held: Vec<LeaseId> = core.leases_of(worker(n)).into_iter().collect();
                    let held = if input.arbitrary()? { held } else { vec![] };
                    core.worker_joined(now, arrival(n, session, &held))
                }
                3 => core.sweep(now),
                4 => {
                    let lease = *input.choose(&known)?;
                    let failed = Err(failure(FailureClass::Worker));
                    core.checked(now, lease, if input.arbitrary()? { Ok(()) } else { failed })
                }
                _ => {
                    let lease = *input.choose(&known)?;
                    let holder = core.leases.get(&lease).map(|held| held.attempt.prover.worker);
                    let effects = word(input, &mut core, now, n, lease)?;
                    let told =
                        |effect: &Effect| matches!(effect, Effect::Save(_) | Effect::Check { .. });
                    let dispatched = given_out(&effects).is_some();
                    if holder != Some(worker(n)) && !dispatched {
                        assert!(!effects.iter().any(told), "a stranger was heard: {effects:?}");
                    }
                    if holder.is_some() && holder != Some(worker(n)) {
                        assert!(core.leases.get(&lease).is_some(), "a stranger ended a lease");
                    }
                    effects
                }
            };
            known.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Send(_, ToWorker::Prove { lease_id, .. }) => Some(*lease_id),
                _ => None,
            }));
            check(&core);
        }
        Ok(())
    })
    .budget_ms(1000);
}
