//! GPU servers that fail while they prove, played by the stand-in as a process of a real Contemplant.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use test_harness::wait;
use tokio::time::Instant;
use toml::{Table, Value};

use crate::case::{Case, case};
use crate::contemplant::Settings;
use crate::stage::Stage;

/// Longest time from the beginning of a proof, which fails after a second, to the end of the attempt.
const FAULT_LIMIT: Duration = Duration::from_secs(15);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("gpu", "gpu-task-panics", "a task of a GPU server panics, and pings are answered: failed within 15 s, retried on another worker", task_panics).with_contemplants(),
        case!("gpu", "gpu-memory-exhausted", "a GPU server logs a failed allocation: failed within 15 s for lack of GPU memory, retried on another worker", memory_exhausted).with_contemplants(),
        case!("gpu", "gpu-server-hangs", "a GPU server with a limit of 6 s no longer responds: failed within 15 s, retried on another worker", server_hangs).with_contemplants(),
    ]
}

async fn task_panics(stage: &mut Stage) {
    let message = fails_while_proving(stage, "panic-in-task").await;
    assert!(message.starts_with("the prover server cannot finish the proof"), "{message}");
    assert!(message.contains("task panicked"), "{message}");
    assert_eq!(short_of_gpu_memory(stage).await, 0, "{message}");
}

async fn memory_exhausted(stage: &mut Stage) {
    let message = fails_while_proving(stage, "alloc-error").await;
    assert!(message.starts_with("out of memory: the prover server"), "{message}");
    assert!(message.contains("AllocError"), "{message}");
    assert_eq!(short_of_gpu_memory(stage).await, 1, "{message}");
}

async fn server_hangs(stage: &mut Stage) {
    let message = fails_while_proving(stage, "hang").await;
    assert!(message.starts_with("the prover server has stopped answering"), "{message}");
    assert_eq!(short_of_gpu_memory(stage).await, 0, "{message}");
}

/// A Contemplant whose GPU server has this fault proves a request: the attempt fails in time as the machine's, and another
/// worker makes the proof. Returns the message of the failure.
async fn fails_while_proving(stage: &mut Stage, fault: &str) -> String {
    let behaviour = stage.folder().join("stand-in.behaviour");
    std::fs::write(&behaviour, format!("proof-time=1000\n{fault}\n")).expect("written");
    let _first = stage.contemplant(&with_gpu("amos", &stage.kit.gpu_stand_in, &behaviour));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    let began = Instant::now();
    stage.fault_begins();
    let _second = stage.prover("joel", Duration::from_millis(300));
    wait::eventually("the end of the first attempt", FAULT_LIMIT, async || {
        (stage.attempts(&request).await[0].1 == "failed").then_some(())
    })
    .await;
    assert!(began.elapsed() < FAULT_LIMIT, "{:?}", began.elapsed());
    stage.arrives(&request).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(
        attempts,
        [("amos".into(), "failed".into()), ("joel".into(), "completed".into())],
        "the proof is made by the other worker"
    );
    let failure = stage.store().await.failure(&request.id).await.expect("the failure can be read");
    let (class, message) = failure.expect("a failed attempt");
    assert_eq!(class, "worker", "{message}");
    message
}

/// Number of attempts that ran out of GPU memory.
async fn short_of_gpu_memory(stage: &Stage) -> i64 {
    let count = "SELECT count(*) FROM attempts WHERE short_of = 'gpu'";
    stage.store().await.count(count).await.expect("attempts can be read")
}

/// A Contemplant whose prover server is the stand-in, with a limit for its silence that a case can wait for.
pub(super) fn with_gpu(name: &str, stand_in: &Path, behaviour: &Path) -> Settings {
    let text = |path: &Path| Value::from(path.to_str().expect("UTF-8"));
    let mut environment = Table::new();
    environment.insert("GPU_STAND_IN_BEHAVIOUR".into(), text(behaviour));
    Settings::new(name, Duration::ZERO)
        .with("backend", "cuda")
        .with("gpus", vec![Value::from(i64::from(unused_gpu()))])
        .with("prover_command", vec![text(stand_in)])
        .with("prover_environment", environment)
        .with("prover_silence_limit", "6s")
}

/// A number that no GPU has: the server's socket, which is outside the case's folder, is named after it.
fn unused_gpu() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1_000_000 + std::process::id() % 100_000 * 64 + NEXT.fetch_add(1, Ordering::Relaxed)
}
