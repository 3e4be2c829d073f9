//! The program itself with `prover_command`: however it ends, its next start finds no prover server of the
//! one before.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cuda_command::{processes_of, stand_in};
use crate::cuda_stage::{PATIENCE, unused_gpu};

/// The token of every Contemplant here.
const TOKEN: &str = "a secret of the operator";

/// A Contemplant as a process of its own. Hierophant is not there, which it takes for passing.
struct Contemplant(Child);

impl Contemplant {
    /// Starts it on this data folder with a server for each of these GPUs.
    fn start(folder: &Path, command: &[&str], gpus: &[u32]) -> Self {
        Self::start_with(folder, command, gpus, "")
    }

    /// Starts it with more settings, and a token in its environment.
    fn start_with(folder: &Path, command: &[&str], gpus: &[u32], more: &str) -> Self {
        let file = folder.join("contemplant.toml");
        let data_dir = folder.join("data");
        let settings = format!(
            "hierophant_ws_address = \"ws://127.0.0.1:1/ws\"\nbackend = \"cuda\"\ngpus = {gpus:?}\n\
             prover_command = {command:?}\ndata_dir = {data_dir:?}\n{more}"
        );
        fs::write(&file, settings).unwrap();
        let mut contemplant = Command::new(env!("CARGO_BIN_EXE_contemplant"));
        contemplant.arg("--config").arg(&file).stdin(Stdio::null());
        contemplant.env("CONTEMPLANT_TOKEN", TOKEN);
        contemplant.stdout(Stdio::null()).stderr(Stdio::null());
        Self(contemplant.spawn().unwrap())
    }

    /// Ends it by this signal.
    fn end(mut self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Contemplant {
    /// For a test that fails.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `count` processes serve a GPU, none of which is among `old`; returns them.
fn processes(gpu: u32, count: usize, old: &[String]) -> Vec<String> {
    let start = Instant::now();
    loop {
        let now = processes_of(gpu);
        if now.len() == count && !now.iter().any(|id| old.contains(id)) {
            return now;
        }
        assert!(start.elapsed() < PATIENCE, "{now:?} serve GPU {gpu}, before {old:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_killed_contemplant_s_servers_are_gone_after_its_next_start() {
    let (folder, program) = (folder(), stand_in());
    let command = [program.to_str().unwrap()];
    let (kept, dropped) = (unused_gpu(), unused_gpu());
    let killed = Contemplant::start(folder.path(), &command, &[kept, dropped]);
    let (first, second) = (processes(kept, 1, &[]), processes(dropped, 1, &[]));
    killed.end("KILL");
    assert_eq!(processes_of(kept), first, "it still runs");
    assert_eq!(processes_of(dropped), second);
    // The next one has a GPU less: processes of a GPU that is no longer served must end, too.
    let next = Contemplant::start(folder.path(), &command, &[kept]);
    processes(kept, 1, &first);
    processes(dropped, 0, &[]);
    next.end("TERM");
    assert_eq!(processes_of(kept), Vec::<String>::new());
}

/// A wrapper dies with its Contemplant, or before; what it has started does not.
#[test]
fn children_that_outlive_their_parent_are_ended_too() {
    let (folder, gpu) = (folder(), unused_gpu());
    // Its child has a session of its own, and so is in no group that could be killed.
    let command = ["sh", "-c", "setsid sleep 600 & exec sleep 600"];
    let killed = Contemplant::start(folder.path(), &command, &[gpu]);
    let both = processes(gpu, 2, &[]);
    killed.end("KILL");
    assert!(Command::new("kill").args(["-s", "KILL", &both[0]]).status().unwrap().success());
    let next = Contemplant::start(folder.path(), &command, &[gpu]);
    processes(gpu, 2, &both);
    next.end("TERM");
    assert_eq!(processes_of(gpu), Vec::<String>::new());
}

#[test]
fn a_server_gets_the_configured_environment_and_not_contemplant_s_token() {
    let (folder, gpu, program) = (folder(), unused_gpu(), stand_in());
    let more = "prover_environment = { STAND_IN_TEST = \"a b\" }\n";
    let command = [program.to_str().unwrap()];
    let contemplant = Contemplant::start_with(folder.path(), &command, &[gpu], more);
    let server = processes(gpu, 1, &[]).remove(0);
    let environment = fs::read(format!("/proc/{server}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.split('\0').any(|entry| entry == "STAND_IN_TEST=a b"), "{environment}");
    assert!(!environment.contains("CONTEMPLANT_TOKEN") && !environment.contains(TOKEN));
    contemplant.end("TERM");
}
