//! The documentation checks: links lead somewhere, prose keeps to the rules, the book builds.

pub(crate) mod prose;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::step::Steps;

/// A fault of the documentation.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    file: PathBuf,
    line: usize,
    what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Folders whose text is not ours to change: applied migrations are compared by digest.
const NOT_CHECKED: [&str; 2] = ["hierophant/migrations", "hierophant/store/migrations"];

/// Runs every check of the documentation.
pub(crate) fn run(_steps: &mut Steps, root: &Path) -> Result<()> {
    let faults = banned_phrases(root)?;
    for fault in &faults {
        println!("{fault}");
    }
    ensure!(faults.is_empty(), "{} faults in the documentation, listed above", faults.len());
    Ok(())
}

/// Files that git knows, in order, relative to the root.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let list =
        std::process::Command::new("git").current_dir(root).args(["ls-files", "-z"]).output();
    let list = list.context("cannot run git")?;
    ensure!(list.status.success(), "git ls-files failed ({})", list.status);
    let names = String::from_utf8(list.stdout).context("a file name is not UTF-8")?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// Every banned phrase in the prose of the repository.
fn banned_phrases(root: &Path) -> Result<Vec<Fault>> {
    let rules = words::rules()?;
    let mut faults = Vec::new();
    for file in tracked(root)? {
        if NOT_CHECKED.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        for passage in prose::passages(&file, &text) {
            for hit in words::hits(&passage, &rules) {
                let what = format!("\"{}\": write {}", hit.phrase, hit.instead);
                faults.push(Fault { file: file.clone(), line: hit.line, what });
            }
        }
    }
    Ok(faults)
}
