//! Providing the library by which the fault suite sets the clock of one process.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::packages;

/// The package to install.
const PACKAGE: &str = "libfaketime";

/// Where it lies below a folder of libraries.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Finds the library, or installs Debian's package. Returns its path.
pub(crate) fn set_up() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    packages::install(PACKAGE).with_context(|| {
        format!("{LIBRARY} is not installed; install the package `{PACKAGE}` by hand")
    })?;
    find().with_context(|| format!("`{PACKAGE}` is installed, but has no {LIBRARY}"))
}

/// Debian's folders are named after the kind of machine.
fn find() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders
        .chain(["/usr/lib", "/usr/local/lib"].map(PathBuf::from))
        .map(|folder| folder.join(LIBRARY))
        .find(|library| library.is_file())
}
