//! Jobs that need more memory than a machine has.

use network_lib::handshake::Gpu;
use network_lib::job::Memory as MemoryKind;
use network_lib::job::OutOfMemory;

use super::*;

const GIB: u64 = 1 << 30;

/// A worker with one GPU for each of these sizes in GiB, and `main` GiB of main memory.
fn gpu_worker(core: &mut ProofsCore, n: u8, main: u64, gpus: &[u64]) -> Vec<Effect> {
    let gpu = |gib: &u64| Gpu { model: "L4".into(), memory_bytes: gib * GIB, driver: None };
    let mut joined = arrival(n, n.into(), &[]);
    joined.name = format!("worker {n}");
    joined.capabilities = Capabilities {
        backend: Backend::Cuda,
        slots: u32::try_from(gpus.len()).expect("few"),
        memory_bytes: main * GIB,
        gpus: gpus.iter().map(gpu).collect(),
        ..capabilities(vec![ProofMode::Core])
    };
    core.worker_joined(START, joined)
}

fn ran_out(bytes: Option<u64>) -> Failure {
    let what = OutOfMemory { memory: MemoryKind::Gpu, bytes };
    Failure { out_of_memory: Some(what), ..failure(FailureClass::Worker) }
}

fn reason(core: &ProofsCore) -> String {
    core.why(START, core.open.job(RequestId([1; 32])).expect("open")).expect("unfinished").reason
}

#[test]
fn a_job_that_ran_out_of_memory_never_goes_to_less_and_says_so() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&gpu_worker(&mut core, 1, 64, &[24])).expect("given out");
    gpu_worker(&mut core, 2, 64, &[16]);
    // As much is all there is: once more on the same one.
    let effects = core.failed(START, worker(1), lease, ran_out(None));
    let (again, lease) = given_out(&effects).expect("given out");
    assert_eq!(again, worker(1));
    core.failed(START, worker(1), lease, ran_out(Some(24 * GIB)));
    core.worker_removed(START, worker(1), SessionId(1), "switched off");
    core.sweep(Millis(START.0 + 10 * MINUTE));
    let words = "needs more than 24 GiB of GPU memory: 2 attempts ran out; the largest \
                                        connected worker has \
                 16 GiB";
    assert_eq!(reason(&core), words);
    assert_eq!(given_out(&gpu_worker(&mut core, 3, 64, &[80, 16])), None, "its smallest counts");
    let (larger, _) = given_out(&gpu_worker(&mut core, 4, 64, &[80])).expect("given out");
    assert_eq!(larger, worker(4));
}

#[test]
fn a_larger_machine_that_is_busy_is_waited_for() {
    let mut core = core();
    gpu_worker(&mut core, 4, 64, &[80]);
    submit(&mut core, 2, 2);
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&gpu_worker(&mut core, 1, 64, &[24])).expect("given out");
    gpu_worker(&mut core, 2, 64, &[24]);
    assert_eq!(given_out(&core.failed(START, worker(1), lease, ran_out(None))), None);
    let words = "it ran out of memory and waits for a larger machine, which is busy";
    assert_eq!(reason(&core), words);
}

#[test]
fn what_ran_out_is_known_after_a_restart() {
    let mut core = core();
    let mut stored = Memory::default();
    stored.save(&submit(&mut core, 1, 1));
    let effects = gpu_worker(&mut core, 1, 64, &[24]);
    stored.save(&effects);
    let (_, lease) = given_out(&effects).expect("given out");
    core.worker_draining(START, worker(1), SessionId(1));
    stored.save(&core.failed(START, worker(1), lease, ran_out(None)));
    let attempt = &stored.attempts[&lease];
    let what = OutOfMemory { memory: MemoryKind::Gpu, bytes: Some(24 * GIB) };
    assert_eq!(attempt.out_of_memory, Some(what), "as the handshake said");
    assert_eq!(stored.job_of(1).failure.as_ref().and_then(|failure| failure.out_of_memory), None);
    let (mut core, _) = stored.restart();
    assert_eq!(given_out(&gpu_worker(&mut core, 2, 64, &[16])), None);
    assert!(reason(&core).starts_with("needs more than 24 GiB of GPU memory: an attempt ran out"));
    assert!(given_out(&gpu_worker(&mut core, 3, 64, &[40])).is_some());
}

#[test]
fn a_second_proof_waits_until_there_is_main_memory_for_it() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&gpu_worker(&mut core, 1, 64, &[24, 24])).expect("given out");
    let progress = Progress { memory_bytes: Some(40 * GIB), ..Progress::phase(Phase::Proving) };
    core.progressed(START, worker(1), lease, progress);
    core.progressed(START, worker(1), lease, Progress::phase(Phase::Uploading));
    hand_in(&mut core, 1, lease);
    core.checked(START, lease, Ok(()));
    // The same program twice more: each needs 40 of 64 GiB.
    let (_, lease) = given_out(&submit(&mut core, 2, 2)).expect("given out");
    assert_eq!(given_out(&submit(&mut core, 1, 3)), None);
    let words = "worker 1 has a free slot, but not enough memory for another proof of 40 GiB";
    assert_eq!(reason(&core), words);
    assert!(given_out(&hand_in(&mut core, 1, lease)).is_some(), "there is room now");
}

#[test]
fn more_than_a_machine_has_cannot_have_run_out() {
    // Of a machine of unknown memory nothing is known, whatever it reports.
    for (gpus, counts) in
        [(vec![24], Some(24 * GIB)), (vec![24, 80], Some(80 * GIB)), (vec![], None)]
    {
        let mut core = core();
        submit(&mut core, 1, 1);
        let mut joined = arrival(1, 1, &[]);
        let gpu = |gib: &u64| Gpu { model: "L4".into(), memory_bytes: gib * GIB, driver: None };
        joined.capabilities.backend = Backend::Cuda;
        joined.capabilities.gpus = gpus.iter().map(gpu).collect();
        let (_, lease) = given_out(&core.worker_joined(START, joined)).expect("given out");
        let effects = core.failed(START, worker(1), lease, ran_out(Some(u64::MAX)));
        let stored = effects.iter().find_map(|effect| match effect {
            Effect::Save(Change::Attempt(attempt)) => attempt.out_of_memory,
            _ => None,
        });
        assert_eq!(stored.expect("stored").bytes, counts, "{gpus:?}");
    }
}

/// A job that ran out of 1024 TiB, as its worker says of itself.
fn boasted() -> (ProofsCore, Memory) {
    let (mut core, mut stored) = (core(), Memory::default());
    let patient = NewRequest { deadline: u64::MAX, ..new_request(1, 1) };
    stored.save(&core.submit(START, patient, StoreLookup::default()).1);
    let effects = gpu_worker(&mut core, 1, 64, &[1 << 20]);
    stored.save(&effects);
    let (_, lease) = given_out(&effects).expect("given out");
    stored.save(&core.failed(START, worker(1), lease, ran_out(None)));
    core.worker_removed(START, worker(1), SessionId(1), "it has left");
    (core, stored)
}

#[test]
fn a_workers_word_about_its_memory_keeps_a_job_from_others_for_an_hour_at_most() {
    let (mut core, mut stored) = boasted();
    let (restarted, _) = stored.restart();
    for core in [&mut core, &mut { restarted }] {
        assert_eq!(given_out(&gpu_worker(core, 2, 64, &[80])), None);
        assert_eq!(given_out(&core.sweep(Millis(START.0 + 60 * MINUTE))), None);
        assert!(given_out(&core.sweep(Millis(START.0 + 60 * MINUTE + 1))).is_some());
    }
}

#[test]
fn an_operator_who_requeues_a_job_sends_it_to_any_machine() {
    let (mut core, _) = boasted();
    assert_eq!(given_out(&gpu_worker(&mut core, 2, 64, &[80])), None);
    let job = core.open.job(RequestId([1; 32])).expect("open");
    let requeue = hierophant_model::commands::Command::Requeue(job);
    let (answer, effects) = core.command(START, &requeue);
    assert_eq!(answer.expect("executed").now, "it waits for its next attempt, on any worker");
    assert_eq!(given_out(&effects).map(|(to, _)| to), Some(worker(2)));
}
