//! The server: the requests of `sp1-gpu-server`, and the faults on demand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use network_lib::task;
use sp1_cuda::api::{Request, Response};
use sp1_primitives::SP1_CRATE_VERSION;
use sp1_prover::SP1VerifyingKey;
use sp1_prover_types::network_base_types::ProofMode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use crate::behaviour::{Behaviour, Fault, behaviour_file};
use crate::prover::{Engine, Prover, Source};
use crate::times::{self, Proof};

/// The number of shards of a proof, according to the log.
const SHARDS: u32 = 4;

/// The module of SP1 that logs the outcome of a task.
const INIT: &str = "sp1_prover::worker::node::full::init";

/// A failed allocation, as SP1 prints it.
const ALLOC_ERROR: &str =
    "AllocError { layout: Layout { size: 2147483648, align: 8 (1 << 3) }, non_exhaustive: () }";

/// State shared by all connections.
struct Server {
    behaviour: PathBuf,
    engine: Engine,
    hung: AtomicBool,
}

/// Serves on `socket` until the process ends or the call is dropped. The file of its faults is beside the socket.
///
/// # Errors
///
/// When it cannot listen, a behaviour ends it, or SP1's prover cannot be built.
pub async fn serve(socket: &Path, source: Source) -> anyhow::Result<()> {
    serve_with(socket, source, &behaviour_file(socket)).await
}

/// Serves as [`serve`] does, with this `file` of its faults.
///
/// # Errors
///
/// Those of [`serve`].
pub async fn serve_with(socket: &Path, source: Source, file: &Path) -> anyhow::Result<()> {
    let behaviour = Behaviour::read(file);
    let version = behaviour.version.as_deref().unwrap_or(SP1_CRATE_VERSION);
    eprintln!("Running sp1-gpu-server {version} with device 0");
    match behaviour.fault {
        Some(Fault::ExitAtStart) => leave(4),
        Some(Fault::Deaf) => std::future::pending().await,
        _ => {}
    }
    let _ = std::fs::remove_file(socket);
    let engine = Engine::start(source).await?;
    let listener = UnixListener::bind(socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    println!("{} INFO gpu_stand_in: Server listening @ {}", time(), socket.display());
    let behaviour = file.to_owned();
    let server = Arc::new(Server { behaviour, engine, hung: AtomicBool::new(false) });
    loop {
        let (stream, _) = listener.accept().await?;
        let server = Arc::clone(&server);
        task::spawn("connection", async move {
            println!("{} INFO gpu_stand_in: Connection accepted", time());
            // An error only means that the client has disconnected.
            let _ = server.connection(stream).await;
            println!("{} INFO gpu_stand_in: Connection disconnected", time());
        });
    }
}

impl Server {
    async fn connection(&self, mut stream: UnixStream) -> anyhow::Result<()> {
        let mut prover = Prover::new(self.engine.clone());
        loop {
            let length = stream.read_u32_le().await?;
            let mut request = vec![0; length as usize];
            stream.read_exact(&mut request).await?;
            while self.hung.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100)).await;
            }
            let answer = match bincode::deserialize(&request) {
                Ok(request) => self.answer(&mut prover, &mut stream, request).await?,
                Err(error) => Response::InternalError(error.to_string()),
            };
            let answer = bincode::serialize(&answer)?;
            stream.write_all(&u32::try_from(answer.len())?.to_le_bytes()).await?;
            stream.write_all(&answer).await?;
        }
    }

    async fn answer(
        &self,
        prover: &mut Prover,
        stream: &mut UnixStream,
        request: Request,
    ) -> anyhow::Result<Response> {
        let behaviour = Behaviour::read(&self.behaviour);
        Ok(match request {
            Request::Setup { .. } if behaviour.fault == Some(Fault::NoProver) => {
                eprintln!(
                    "thread 'tokio-runtime-worker' panicked: GPU memory must be at least 24GB"
                );
                anyhow::bail!("no prover on demand")
            }
            Request::Setup { elf, .. } => match prover.set_up(elf).await {
                Ok((id, _)) if behaviour.fault == Some(Fault::OtherKey) => {
                    Response::Setup { id, vk: other_key()? }
                }
                Ok((id, vk)) => Response::Setup { id, vk },
                Err(error) => Response::InternalError(error.to_string()),
            },
            Request::Destroy { key } => {
                println!("{} INFO gpu_stand_in: Destroying key", time());
                prover.destroy(key);
                Response::Ok
            }
            Request::ProveWithMode { mode, key, stdin, .. } => {
                let begin = times::now();
                pretend(mode, behaviour.proof_time).await;
                if let Some(fault) = behaviour.fault
                    && let Some(answer) = self.fail(fault, stream).await?
                {
                    return Ok(answer);
                }
                let proved = prover.prove(key, mode, stdin).await;
                if let Some(file) = &behaviour.times {
                    times::append(file, Proof { begin, end: times::now() })?;
                }
                match proved {
                    Ok(mut proof) => {
                        if behaviour.fault == Some(Fault::OtherCircuit) {
                            proof.sp1_version = "v6.0.0".to_owned();
                        }
                        Response::Proof { proof }
                    }
                    Err(error) => Response::ProverError(error.to_string()),
                }
            }
        })
    }

    /// Carries out a fault. None if the fault does not concern proving.
    async fn fail(
        &self,
        fault: Fault,
        stream: &mut UnixStream,
    ) -> anyhow::Result<Option<Response>> {
        match fault {
            Fault::Exit => leave(3),
            Fault::Close => anyhow::bail!("closed on demand"),
            Fault::Garbage => {
                stream.write_all(&[12, 0, 0, 0, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8]).await?;
                anyhow::bail!("garbage on demand")
            }
            Fault::FourGib => {
                stream.write_all(&[0xff; 4]).await?;
                loop {
                    stream.write_all(&[0; 1 << 16]).await?;
                }
            }
            Fault::OutOfGpuMemory => {
                println!("{} ERROR gpu_stand_in: out of GPU memory", time());
                Ok(Some(Response::ProverError("out of GPU memory".to_owned())))
            }
            Fault::EatMemory => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![1_u8; 64 << 20]);
                    sleep(Duration::from_millis(5)).await;
                }
            }
            Fault::Hang => {
                self.hung.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
            Fault::PanicInTask => {
                let index = "index out of bounds: the len is 0 but the index is 0";
                panic_in_task(index);
                std::future::pending().await
            }
            Fault::AllocError => {
                panic_in_task(&format!(
                    "called `Result::unwrap()` on an `Err` value: {ALLOC_ERROR}"
                ));
                std::future::pending().await
            }
            Fault::FailedController => {
                let failed = format!("{} ERROR {INIT}", time());
                println!("{failed}: task failed with fatal error: {ALLOC_ERROR}");
                println!("{failed}: Controller: task failed: Fatal(core proof task failed: t_0)");
                Ok(Some(Response::ProverError("artifact not found: artifact_0".to_owned())))
            }
            Fault::ExitAtStart
            | Fault::Deaf
            | Fault::NoProver
            | Fault::OtherKey
            | Fault::OtherCircuit => Ok(None),
        }
    }
}

/// Waits for the time of a proof, with the log of the real server at level debug.
async fn pretend(mode: ProofMode, proof_time: Duration) {
    for _ in 0..SHARDS {
        submit("ProveShard");
    }
    let controller = "sp1_prover::worker::controller::core";
    println!("{} DEBUG {controller}: minimal Executor finished. elapsed: 0s", time());
    for shard in 0..SHARDS {
        sleep(proof_time / SHARDS).await;
        let span = format!("ProveShard{{proof_id=p task_id=t_{shard}}}");
        println!("{} DEBUG {span}: {INIT}: task succeeded", time());
    }
    let last = match mode {
        ProofMode::Plonk => "PlonkWrap",
        ProofMode::Groth16 => "Groth16Wrap",
        _ => return,
    };
    for kind in ["ShrinkWrap", last] {
        submit(kind);
        // The real server logs this outside the span that would name the kind.
        println!("{} DEBUG {INIT}: task succeeded", time());
    }
}

fn submit(kind: &str) {
    let client = "sp1_prover::worker::client::local";
    println!("{} DEBUG {client}: submitting task of kind {kind}", time());
}

/// Logs the panic of a task: the panic's own lines, and SP1's.
fn panic_in_task(message: &str) {
    let place = "sp1-gpu/crates/shard_prover/src/prover.rs:82:14";
    eprintln!("\nthread 'tokio-rt-worker' (4242) panicked at {place}:\n{message}");
    let span = "ProveShard{proof_id=p task_id=t_0}";
    println!("{} ERROR {span}: {INIT}: task panicked: JoinError::Panic(Id(42), ...)", time());
}

/// A key that belongs to no program.
fn other_key() -> anyhow::Result<SP1VerifyingKey> {
    Ok(bincode::deserialize(&7_u32.to_le_bytes().repeat(26))?)
}

/// A timestamp in the format of the real server's log; nothing depends on its value.
const fn time() -> &'static str {
    "2026-01-01T00:00:00.000000Z"
}

#[allow(clippy::disallowed_methods, reason = "a server that dies unwinds nothing")]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}
