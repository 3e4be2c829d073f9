//! The cases.

mod compose;
mod engine;
mod failures;
mod life;
mod memory;
mod real;

use crate::case::{Case, case};

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    vec![
        case!(
            "whole-path",
            "client, Hierophant, Contemplant, container and back: the SDK verifies the proof",
            life::whole_path
        ),
        case!(
            "real-proof",
            "the same with a real proof, made on the CPU inside the container, which is killed once",
            real::real_proof,
            real::LIMIT
        ),
        case!(
            "compose",
            "deploy/docker/compose.yml as it is, run by Docker Compose: a real Core proof",
            compose::both_programs,
            compose::LIMIT
        ),
        case!(
            "compose-gpu",
            "deploy/docker/gpu-worker.yml as it is, with a stand-in for the server in its image: the proof is made",
            compose::gpu_worker
        ),
        case!(
            "two-gpus",
            "two GPUs are two containers and two slots; if one dies, the other is unaffected",
            life::two_gpus
        ),
        case!(
            "contemplant-killed",
            "a killed Contemplant's leftovers are removed at its next start",
            life::contemplant_killed
        ),
        case!(
            "container-killed",
            "a container killed during a proof: another is started, the proof is made",
            failures::container_killed
        ),
        case!(
            "container-frozen",
            "a container that no longer responds is replaced",
            failures::container_frozen
        ),
        case!(
            "task-panics",
            "a task of the server panics, and pings are answered: the attempt fails within 15 s, the proof is made",
            failures::task_panics
        ),
        case!(
            "gpu-memory-exhausted",
            "the server logs a failed allocation: the attempt fails within 15 s for lack of GPU memory, the proof is made",
            failures::gpu_memory_exhausted
        ),
        case!(
            "server-hangs",
            "a server with a limit of 6 s no longer responds: the attempt fails within 15 s, the proof is made",
            failures::server_hangs
        ),
        case!(
            "socket-vanishes",
            "the socket's file is deleted: the running proof is unaffected",
            failures::socket_vanishes
        ),
        case!(
            "other-version",
            "a server of another SP1 version: both versions are named, no mode is offered",
            failures::other_version
        ),
        case!(
            "out-of-memory",
            "a container killed for its memory is recognised, and the proof is made",
            memory::out_of_memory
        ),
        case!(
            "no-gpu-driver",
            "no GPU driver in the engine: the engine's error on /contemplants, no mode is offered",
            engine::no_gpu_driver
        ),
        case!(
            "image-missing",
            "a missing image, and one that cannot be pulled, are named",
            engine::image_missing
        ),
        case!(
            "engine-absent",
            "without an engine the reason is reported; once it runs, modes are offered",
            engine::engine_absent
        ),
        case!(
            "engine-restarted",
            "the engine is restarted during a proof: the proof is made",
            engine::engine_restarted
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_documented() {
        let docs = include_str!("../../../docs/gpu.md");
        let own = all().into_iter().map(|case| (case.name, case.about));
        let servers = crate::server::all().into_iter().map(|case| (case.name, case.about));
        for (name, about) in own.chain(servers) {
            let line = format!("| `{name}` | {about} |");
            assert!(docs.contains(&line), "docs/gpu.md lacks\n{line}");
        }
    }
}
