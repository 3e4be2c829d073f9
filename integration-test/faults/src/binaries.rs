//! The two programs under test: those that variables name, else those built beside this one.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Paths of the programs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    /// The coordinator; `HIEROPHANT_BIN`.
    pub(crate) hierophant: PathBuf,
    /// The worker; `CONTEMPLANT_BIN`.
    pub(crate) contemplant: PathBuf,
    /// Where this program lies, and may leave what the next run can use again.
    pub(crate) folder: PathBuf,
}

impl Binaries {
    /// Finds both.
    pub(crate) fn locate() -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let folder = own.parent().context("this program lies in no folder")?.to_owned();
        let find = |variable: &str, name: &str| {
            let path = std::env::var_os(variable).map_or_else(|| folder.join(name), PathBuf::from);
            ensure!(
                path.is_file(),
                "{} is missing; start this as `cargo xtask faults`, or name the program in {variable}",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            hierophant: find("HIEROPHANT_BIN", "hierophant")?,
            contemplant: find("CONTEMPLANT_BIN", "contemplant")?,
            folder,
        })
    }
}
