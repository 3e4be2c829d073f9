//! The prover server of a trial: obtained, started, and started again if it has ended.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gpu_stand_in::{BEHAVIOUR_VARIABLE, Behaviour};
use sp1_cuda::client::socket_path;
use sp1_primitives::SP1_CRATE_VERSION;
use test_harness::Process;
use test_harness::binaries::Program;
use tokio::process::Command;
use tokio::time::sleep;

use super::Options;
use crate::server::Talk;

/// Pause between two looks whether the server answers.
const LOOK: Duration = Duration::from_millis(20);

/// Time of a proof by the stand-in, so that the steps have something to measure.
const STAND_IN_PROOF: Duration = Duration::from_secs(2);

/// A program that serves proofs.
pub(super) struct Obtained {
    /// Its file.
    pub(super) program: PathBuf,
    /// Its name and version.
    pub(super) description: String,
    /// Variables for it.
    pub(super) variables: Vec<(&'static str, OsString)>,
}

/// Provides the server that the options name, and asks for its version.
///
/// # Errors
///
/// When it cannot be had, cannot run here, or is of another version.
pub(super) async fn obtain(options: &Options) -> Result<Obtained> {
    let mut variables = Vec::new();
    let program = if let Some(file) = &options.server {
        file.canonicalize().with_context(|| format!("{} cannot be used", file.display()))?
    } else if let Some(digest) = &options.fetch {
        fetch(digest, &options.out).await?
    } else {
        let file = options.out.join("stand-in.behaviour");
        let behaviour = Behaviour { proof_time: STAND_IN_PROOF, ..Behaviour::default() };
        behaviour.write(&file).context("cannot write the stand-in's behaviour")?;
        variables.push((BEHAVIOUR_VARIABLE, file.canonicalize()?.into_os_string()));
        Program::GpuStandIn.locate()?
    };
    let version = version_of(&program).await?;
    let name = program.file_name().unwrap_or_default().display();
    if !options.stand_in {
        ensure!(
            version == SP1_CRATE_VERSION,
            "{} reports version \"{version}\": expected {SP1_CRATE_VERSION}",
            program.display()
        );
    }
    Ok(Obtained { description: format!("{name} {version}"), program, variables })
}

/// Has Contemplant fetch SP1's released program.
async fn fetch(digest: &str, folder: &Path) -> Result<PathBuf> {
    let contemplant = Program::Contemplant.locate()?;
    let mut command = Command::new(contemplant);
    command.args(["prover", "fetch", "--sha256", digest, "--to"]).arg(folder);
    let status = command.kill_on_drop(true).status().await.context("cannot run contemplant")?;
    ensure!(status.success(), "`contemplant prover fetch` has failed ({status})");
    Ok(folder.join("sp1-gpu-server"))
}

/// The last word that a program prints as its version.
async fn version_of(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{} cannot be run", program.display()))?;
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success(),
        "{} --version has failed ({}): {}",
        program.display(),
        output.status,
        errors.trim()
    );
    Ok(text.split_whitespace().next_back().unwrap_or_default().to_owned())
}

/// The running server.
pub(super) struct Server {
    process: Process,
    socket: PathBuf,
    starts: u32,
}

impl Server {
    /// Prepares the server for a GPU. Its log is in the folder `out`.
    pub(super) fn new(obtained: &Obtained, gpu: u32, out: &Path) -> Self {
        let mut process = Process::new("server", &obtained.program, &out.join("server.log"));
        let mut variables = obtained.variables.clone();
        variables.push(("CUDA_VISIBLE_DEVICES", gpu.to_string().into()));
        variables.push(("RUST_LOG", "info".into()));
        process.set_variables(&variables);
        Self { process, socket: socket_path(gpu), starts: 0 }
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// How many times it was started.
    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    /// Starts it; returns the seconds until its first answer.
    ///
    /// # Errors
    ///
    /// When it ends instead, with the last lines of its log, or another server listens there.
    pub(super) async fn start(&mut self) -> Result<f64> {
        if answers(&self.socket).await {
            bail!("another server answers on {}: expected none", self.socket.display());
        }
        let start = Instant::now();
        self.process.start()?;
        self.starts += 1;
        while !answers(&self.socket).await {
            self.process.check_alive()?;
            sleep(LOOK).await;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Starts it again if it has ended. Returns whether it had.
    ///
    /// # Errors
    ///
    /// Those of [`Self::start`].
    pub(super) async fn revive(&mut self) -> Result<bool> {
        if self.process.is_alive() {
            return Ok(false);
        }
        self.start().await.context("the server has ended, and cannot be started again")?;
        Ok(true)
    }

    /// Most main memory that it has had, in MiB.
    pub(super) fn memory_peak_mib(&self) -> Option<u64> {
        super::watch::process_peak_mib(self.process.id()?)
    }

    /// Ends it.
    pub(super) async fn stop(&mut self) {
        // It has nothing to save, and SP1's server only listens to SIGINT.
        let _ = self.process.kill().await;
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Whether a server answers on this socket.
pub(super) async fn answers(socket: &Path) -> bool {
    match Talk::open(socket).await {
        Ok(mut talk) => talk.sign_of_life().await.is_ok(),
        Err(_) => false,
    }
}
