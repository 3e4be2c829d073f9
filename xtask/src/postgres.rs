//! Providing the Postgres server that the store's tests start, each time with a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Where Debian puts each version's programs, off the path.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The package to install.
const PACKAGE: &str = "postgresql";

/// Finds the server's programs, or installs Debian's package. Returns their folder.
pub(crate) fn set_up() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    install().with_context(|| {
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

fn install() -> Result<()> {
    if !on_path("apt-get") {
        bail!("this system has no apt-get");
    }
    let root = Command::new("id").arg("-u").output().context("cannot run id")?.stdout == b"0\n";
    if !root && !on_path("sudo") {
        bail!("installing needs root, and there is no sudo");
    }
    println!("== Postgres server: installing the package `{PACKAGE}`");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", PACKAGE]] {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments).stdout(Stdio::null());
        let status = command.status().context("cannot run apt-get")?;
        if !status.success() {
            bail!("`apt-get {}` failed ({status})", arguments.join(" "));
        }
    }
    Ok(())
}

fn on_path(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| Path::new(&folder).join(program).exists())
}
