//! The real worker as a process.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use toml::Table;

use crate::Process;
use crate::config::{self, merge};

/// Prepares a Contemplant of the Hierophant at `http`, with its files in `folder`; `keys` are added to its
/// configuration. One of the same name and folder has the same data.
///
/// # Errors
///
/// When its configuration cannot be written.
pub fn contemplant(
    binary: &Path,
    folder: &Path,
    http: SocketAddr,
    name: &str,
    keys: &Table,
) -> Result<Process> {
    let files = format!("contemplant-{name}");
    let mut table = Table::new();
    table.insert("hierophant_ws_address".into(), format!("ws://{http}/ws").into());
    table.insert("name".into(), name.into());
    table.insert("data_dir".into(), config::path(&folder.join(&files))?);
    merge(&mut table, keys);
    let file = folder.join(format!("{files}.toml"));
    config::write(&file, &table)?;
    let log = folder.join(format!("{files}.log"));
    Ok(Process::new(&files, binary, &log).argument("--config").argument(file))
}
