//! Bills of materials of the two programs: every crate that they contain, from the lock file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::step::Steps;

/// What is shipped.
const PROGRAMS: [&str; 2] = ["hierophant", "contemplant"];

/// Where the tool is installed to.
const TOOLS: &str = "target/tools";

/// The part of a CycloneDX bill that is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: String,
    components: Vec<Component>,
}

/// A crate.
#[derive(Debug, Deserialize)]
struct Component {
    name: String,
    version: String,
}

/// Writes one bill for each program to `out`, and reads it back.
pub(crate) fn run(steps: &mut Steps, root: &Path, out: &Path) -> Result<()> {
    let tool = cargo_sbom(steps, root)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    for program in PROGRAMS {
        let arguments =
            ["sbom", "--cargo-package", program, "--output-format", "cyclone_dx_json_1_6"];
        let text = steps.program_output(&format!("bill of {program}"), &tool, &arguments)?;
        let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("no Cargo.lock")?;
        let crates = check(&text, &lock).with_context(|| format!("the bill of {program}"))?;
        let file = out.join(format!("{program}.cdx.json"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}: {crates} crates", file.display());
    }
    Ok(())
}

/// How many crates a bill names, each of which must be in the lock file.
fn check(bill: &str, lock: &str) -> Result<usize> {
    let bill: Bill = serde_json::from_str(bill).context("not a CycloneDX JSON file")?;
    ensure!(bill.bom_format == "CycloneDX", "is {}", bill.bom_format);
    ensure!(bill.components.len() > 1, "names nothing");
    for Component { name, version } in &bill.components {
        let locked = lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"));
        ensure!(locked, "names {name} {version}, which Cargo.lock does not");
    }
    Ok(bill.components.len())
}

/// The program `cargo-sbom`.
fn cargo_sbom(steps: &mut Steps, root: &Path) -> Result<PathBuf> {
    let folder = root.join(TOOLS);
    let program = folder.join("bin/cargo-sbom");
    if !program.exists() {
        let into = folder.to_string_lossy().into_owned();
        let install = ["install", "cargo-sbom", "--version", "^0.10", "--locked", "--root", &into];
        steps.cargo("cargo-sbom", &install)?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";

    fn bill(format: &str, last: &str) -> String {
        format!(
            r#"{{"bomFormat":"{format}","components":[{{"name":"a","version":"1.0.0"}},{{"name":"b","version":"{last}"}}]}}"#
        )
    }

    #[test]
    fn a_bill_names_what_is_locked_and_nothing_else() {
        assert_eq!(check(&bill("CycloneDX", "2.0.0"), LOCK).expect("a bill"), 2);
        for wrong in [bill("SPDX", "2.0.0"), bill("CycloneDX", "2.0.1"), "{}".into(), "".into()] {
            assert!(check(&wrong, LOCK).is_err(), "{wrong}");
        }
        assert!(check(r#"{"bomFormat":"CycloneDX","components":[]}"#, LOCK).is_err());
    }
}
