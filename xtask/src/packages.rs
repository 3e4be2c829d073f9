//! Debian packages that tests need and this machine lacks.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Installs a package, as root or by sudo without a password.
pub(crate) fn install(package: &str) -> Result<()> {
    if !on_path("apt-get") {
        bail!("this system has no apt-get");
    }
    let root = Command::new("id").arg("-u").output().context("cannot run id")?.stdout == b"0\n";
    if !root && !on_path("sudo") {
        bail!("installing needs root, and there is no sudo");
    }
    println!("== installing the package `{package}`");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", package]] {
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
