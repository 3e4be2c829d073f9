//! What every scenario finds: the program under test, an empty folder, and how thorough to be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::coordinator::{Coordinator, Store};
use crate::observe::{Usage, Watch};
use crate::report::Scenario;

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As much as the targets are about; some twenty minutes.
    Full,
    /// A few minutes, for a look while working. Smaller numbers, the same checks.
    Quick,
    /// Seconds, in a debug build too: shows that the suite works, and measures nothing.
    Smoke,
}

impl Scale {
    /// What belongs to this scale.
    pub fn pick<T>(self, full: T, quick: T, smoke: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Smoke => smoke,
        }
    }
}

/// What every scenario finds.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The `hierophant` program.
    pub binary: PathBuf,
    /// Folder for data, on the disk that is to be measured.
    pub root: PathBuf,
    /// Where records are kept.
    pub store: Store,
    /// How thorough to be.
    pub scale: Scale,
    /// For uploads, downloads and pages: connections are kept and shared.
    pub http: reqwest::Client,
}

/// A coordinator in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Fresh {
    /// The coordinator, not started yet.
    pub coordinator: Coordinator,
    folder: TempDir,
}

impl Stage {
    /// A stage whose data lies in `root`.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(binary: PathBuf, root: PathBuf, store: Store, scale: Scale) -> Result<Self> {
        let http = reqwest::Client::builder().tcp_nodelay(true).build()?;
        Ok(Self { binary, root, store, scale, http })
    }

    /// The same stage with its database server, if it has one, at the end of a long link.
    #[must_use]
    pub fn at_a_distance(&self) -> Self {
        let store = match &self.store {
            Store::Postgres(server) => Store::Distant(Arc::clone(server)),
            other => other.clone(),
        };
        Self { store, ..self.clone() }
    }

    /// A coordinator with an empty store, not started yet.
    ///
    /// # Errors
    ///
    /// When it cannot be prepared.
    pub async fn prepare(&self) -> Result<Fresh> {
        std::fs::create_dir_all(&self.root)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.root);
        let folder = folder.context("no folder for data")?;
        let prepared = Coordinator::prepare(&self.binary, folder.path(), &self.store).await?;
        Ok(Fresh { coordinator: prepared, folder })
    }

    /// A running coordinator with an empty store.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub async fn launch(&self) -> Result<Fresh> {
        let mut fresh = self.prepare().await?;
        fresh.coordinator.start().await?;
        Ok(fresh)
    }
}

impl Fresh {
    /// Stops it, which must have gone well until here. `judge` looks at the stopped store. Its data is removed
    /// when the folder that is returned is dropped: some file systems create files slowly for seconds after
    /// many were removed.
    ///
    /// # Errors
    ///
    /// When Hierophant does not stop cleanly, or what `judge` finds.
    pub async fn finish(self, judge: impl AsyncFnOnce(&str) -> Result<()>) -> Result<TempDir> {
        let Self { coordinator, folder } = self;
        let database = coordinator.database();
        coordinator.finish().await?;
        judge(&database).await?;
        Ok(folder)
    }
}

/// A part of a scenario, watched from outside.
#[derive(Debug)]
pub struct Part {
    pid: u32,
    began: Instant,
    before: Usage,
    watch: Watch,
}

impl Part {
    /// Begins now; the highest memory is counted from here on.
    ///
    /// # Errors
    ///
    /// When Hierophant does not run.
    pub fn begin(coordinator: &Coordinator) -> Result<Self> {
        let pid = coordinator.pid()?;
        crate::observe::forget_peak(pid)?;
        let before = Usage::of(pid)?;
        Ok(Self { pid, began: Instant::now(), before, watch: Watch::start(pid) })
    }

    /// Ends now, and is kept under a name. Returns what was used, and how long it took.
    ///
    /// # Errors
    ///
    /// When Hierophant has ended.
    pub fn end(self, name: &str, found: &mut Scenario) -> Result<(Usage, Duration)> {
        let took = self.began.elapsed();
        let usage = Usage::of(self.pid)?.since(self.before);
        found.usage.push((name.to_owned(), usage));
        found.samples.push((name.to_owned(), self.watch.stop()));
        Ok((usage, took))
    }
}
