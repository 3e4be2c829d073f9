//! Providing the Postgres server that the store's tests start, each time with a data folder of its own.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::packages;

/// Where Debian puts each version's programs, off the path.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The package to install.
const PACKAGE: &str = "postgresql";

/// Finds the server's programs, or installs Debian's package. Returns their folder.
pub(crate) fn set_up() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    packages::install(PACKAGE).with_context(|| {
        format!("no Postgres server is installed; install the package `{PACKAGE}` by hand")
    })?;
    find().with_context(|| format!("`{PACKAGE}` is installed, but has no `initdb`"))
}

fn find() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}
