//! `docs/worker-protocol.md` shows one example of each message; here each is compared with what this
//! build writes, and read back.

mod shard;

use network_lib::codec::{decode, encode};
use network_lib::handshake::{
    Backend, Capabilities, Gpu, GpuLoad, Hello, ProtocolRange, Refusal, RefusalCode, Welcome,
};
use network_lib::ids::{LeaseId, Sha256Digest, VkHash, WorkerId};
use network_lib::job::{
    BlobInfo, Execution, ExecutionFailureCause, Failure, FailureClass, JobSpec, Phase, Progress,
    ProofMode,
};
use network_lib::wire::{FromWorker, ToWorker};
use serde::Serialize;
use serde::de::DeserializeOwned;

const DOCUMENT: &str = include_str!("../../../docs/worker-protocol.md");

fn lease() -> LeaseId {
    LeaseId([0x1e; 16])
}

fn capabilities() -> Capabilities {
    Capabilities {
        vm: "sp1".into(),
        circuit_versions: vec!["v6.1.0".into()],
        modes: vec![ProofMode::Core, ProofMode::Compressed],
        backend: Backend::Cuda,
        slots: 1,
        prefetch: 1,
        memory_bytes: 68_719_476_736,
        gpus: vec![Gpu {
            model: "NVIDIA H200".into(),
            memory_bytes: 150_754_820_096,
            driver: Some("550.54.15".into()),
        }],
        unavailable_reason: None,
        sharding: None,
    }
}

fn execution() -> Execution {
    Execution { cycles: 18_909, gas: Some(21_140), public_values_hash: Sha256Digest([0xa5; 32]) }
}

fn from_worker() -> Vec<FromWorker> {
    vec![
        FromWorker::Hello(Hello {
            protocol: ProtocolRange::OURS,
            software_version: "0.1.0".into(),
            name: "habakkuk".into(),
            worker_id: WorkerId([0x77; 16]),
            instance: Some("prover-7f9c".into()),
            token: Some("a shared secret".into()),
            local_secret: None,
            capabilities: capabilities(),
            held: vec![lease()],
        }),
        FromWorker::Heartbeat {
            held: vec![lease()],
            gpus: vec![GpuLoad {
                utilisation_percent: Some(97),
                temperature_celsius: Some(64),
                memory_used_bytes: Some(21_474_836_480),
            }],
        },
        FromWorker::CapabilitiesChanged { capabilities: capabilities() },
        FromWorker::Progress {
            lease_id: lease(),
            progress: Progress {
                phase: Phase::Proving,
                fraction: Some(0.5),
                cycles_done: Some(9_000),
                cycles_total: Some(18_909),
                eta_seconds: Some(42),
                estimated: false,
                memory_bytes: Some(12_884_901_888),
                steps_done: Some(37),
            },
        },
        FromWorker::Executed { lease_id: lease(), execution: execution() },
        FromWorker::Completed {
            lease_id: lease(),
            execution: execution(),
            proof: BlobInfo { size: 2_800_000, sha256: Sha256Digest([0x9f; 32]) },
        },
        FromWorker::Failed {
            lease_id: lease(),
            failure: Failure::new(FailureClass::Guest, "the program ended with exit code 1")
                .caused_by(ExecutionFailureCause::HaltWithNonZeroExitCode),
        },
        FromWorker::Draining { reason: "SIGTERM".into() },
    ]
}

fn to_worker() -> Vec<ToWorker> {
    vec![
        ToWorker::Welcome(Welcome {
            protocol: 3,
            software_version: "0.1.0".into(),
            heartbeat_interval_ms: 5_000,
            access_key: "4b".repeat(32).into(),
            resume: vec![lease()],
        }),
        ToWorker::Refused(Refusal {
            code: RefusalCode::Unauthorized,
            message: "token required: set `token` in contemplant.toml".into(),
            protocol: ProtocolRange::OURS,
        }),
        ToWorker::Prove {
            lease_id: lease(),
            spec: JobSpec {
                vk_hash: VkHash([0x7c; 32]),
                circuit_version: "v6.1.0".into(),
                mode: ProofMode::Compressed,
                cycle_limit: 1_000_000_000_000,
                gas_limit: 1_000_000_000,
            },
            program: BlobInfo { size: 41_000, sha256: Sha256Digest([0x01; 32]) },
            stdin: BlobInfo { size: 512, sha256: Sha256Digest([0x02; 32]) },
            traceparent: Some(format!("00-{}-{}-01", "3a".repeat(16), "5b".repeat(8))),
        },
        ToWorker::Cancel { lease_id: lease(), reason: "the job is cancelled".into() },
        ToWorker::Settled { lease_id: lease() },
        ToWorker::Drain { reason: "maintenance".into() },
    ]
}

/// The text of the JSON block in the document that begins with this message's type.
fn documented(type_name: &str) -> &'static str {
    let mut blocks = DOCUMENT
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a split has a first part").trim());
    let start = format!("{{\n  \"type\": \"{type_name}\"");
    blocks
        .find(|block| block.starts_with(&start))
        .unwrap_or_else(|| panic!("docs/worker-protocol.md has no example of `{type_name}`"))
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
    let value = serde_json::to_value(message).expect("serializes");
    let type_name = value["type"].as_str().expect("tagged");
    let shown = serde_json::to_string_pretty(message).expect("serializes");
    assert_eq!(documented(type_name), shown, "docs/worker-protocol.md, `{type_name}`");
    assert_eq!(&decode::<T>(documented(type_name)).expect("reads back"), message);
    assert_eq!(&decode::<T>(&encode(message)).expect("reads back"), message);
}

#[test]
fn every_message_is_written_as_documented() {
    from_worker().iter().for_each(check);
    to_worker().iter().for_each(check);
    let documented = DOCUMENT.matches("```json\n").count();
    let tasks = shard::from_worker().len() + shard::to_worker().len();
    let expected = from_worker().len() + to_worker().len() + tasks;
    assert_eq!(documented, expected, "an example without message");
}

#[test]
fn every_message_about_tasks_is_written_as_documented() {
    shard::from_worker().iter().for_each(check);
    shard::to_worker().iter().for_each(check);
}

/// What was added since the first version is left out where it is not known, and may be missing.
#[test]
fn an_older_contemplant_says_nothing_of_gpus_and_memory() {
    let heartbeat = FromWorker::Heartbeat { held: vec![], gpus: vec![] };
    assert_eq!(encode(&heartbeat), r#"{"type":"heartbeat","held":[]}"#);
    let failed = r#"{"class":"worker","message":"no"}"#;
    let failure: Failure = serde_json::from_str(failed).expect("reads");
    assert_eq!(failure.out_of_memory, None);
    assert_eq!(serde_json::to_string(&failure).expect("writes"), failed);
    let gpu: Gpu = serde_json::from_str(r#"{"model":"L4","memory_bytes":1}"#).expect("reads");
    assert_eq!(gpu.driver, None);
}

#[test]
fn an_older_contemplant_reports_no_steps() {
    let older = r#"{"phase":"uploading","estimated":false}"#;
    let progress: Progress = serde_json::from_str(older).expect("reads");
    assert_eq!(progress, Progress::phase(Phase::Uploading));
    assert_eq!(serde_json::to_string(&progress).expect("writes"), older);
    let newer = r#"{"phase":"uploading","estimated":false,"steps_done":262144}"#;
    let progress: Progress = serde_json::from_str(newer).expect("reads");
    assert_eq!(progress, Progress::steps(Phase::Uploading, 262_144));
    assert_eq!(serde_json::to_string(&progress).expect("writes"), newer);
}

#[test]
fn an_attempt_without_a_trace_is_read() {
    let mut order = serde_json::from_str::<serde_json::Value>(documented("prove")).expect("reads");
    order.as_object_mut().expect("an object").remove("traceparent");
    let read = decode::<ToWorker>(&order.to_string()).expect("reads");
    assert!(matches!(read, ToWorker::Prove { traceparent: None, .. }), "{read:?}");
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let text = r#"{"type":"drain","reason":"r","later":{"field":1}}"#;
    assert_eq!(decode::<ToWorker>(text).expect("reads"), ToWorker::Drain { reason: "r".into() });
}
