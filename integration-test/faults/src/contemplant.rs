//! The real worker as a process, with the mock backend: true executions, mock proofs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use test_harness::Process;
use toml::{Table, Value};

/// What makes a Contemplant this one and no other, and must not be copied to another.
const OWN: [&str; 5] = ["worker-id", "lock", "tmp", "held", "depot"];

/// What one is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Its name, which must be unique in its case.
    pub(crate) name: String,
    keys: Table,
}

impl Settings {
    /// One that takes `proof_time` for each proof.
    pub(crate) fn new(name: &str, proof_time: Duration) -> Self {
        let settings = Self { name: name.to_owned(), keys: Table::new() };
        settings
            .with("backend", "mock")
            .with("mock_proof_time", format!("{}ms", proof_time.as_millis()))
            .with("reconnect_max_delay", "300ms")
    }

    /// Sets one more key of its configuration.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }
}

/// Starts one that works for the Hierophant at `http`; its data folder begins as a copy of `template`, if there
/// is one.
pub(crate) fn start(
    binary: &Path,
    folder: &Path,
    template: Option<&Path>,
    http: SocketAddr,
    settings: &Settings,
) -> Result<Process> {
    if let Some(template) = template {
        copy_folder(template, &folder.join(format!("contemplant-{}", settings.name)))?;
    }
    let prepared = test_harness::contemplant(binary, folder, http, &settings.name, &settings.keys);
    let mut process = prepared?;
    process.start()?;
    Ok(process)
}

/// Copies what a Contemplant has computed about programs, and leaves out its identity.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
