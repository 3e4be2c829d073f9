//! Providing the browser in which the dashboard is tested.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::packages;

/// The package to install.
const PACKAGE: &str = "chromium";

/// Names of the program, Debian's first.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Finds the browser, or installs Debian's package. Returns its path.
pub(crate) fn set_up() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    packages::install(PACKAGE).with_context(|| {
        format!("no Chromium is installed; install the package `{PACKAGE}` by hand")
    })?;
    find().with_context(|| format!("`{PACKAGE}` is installed, but is not on the path"))
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut places = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |it| it.join(name)));
    places.find(|place| place.is_file())
}
