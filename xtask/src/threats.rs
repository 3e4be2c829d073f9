//! Runs the tests of the threat model: each named one must exist, run and pass.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use self::table::THREATS;
use crate::step::Steps;

/// A row of the threat model.
struct Threat {
    /// The attacker.
    who: &'static str,
    /// The target.
    reach: &'static str,
    /// The defence.
    stop: &'static str,
    /// The tests that prove it; at least one.
    shown_by: &'static [Proof],
}

/// A test that proves a defence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// A test of a package, by its target (`lib` for unit tests) and full path.
    Test { package: &'static str, target: &'static str, path: &'static str },
    /// A case of the fault suite.
    Case(&'static str),
}

impl Proof {
    fn name(self) -> String {
        match self {
            Self::Test { package, target, path } => format!("{package} {target} {path}"),
            Self::Case(name) => format!("fault-suite {name}"),
        }
    }
}

/// A test program.
struct TestProgram {
    executable: PathBuf,
    /// The working folder that cargo gives it.
    folder: PathBuf,
}

type Programs = BTreeMap<(String, String), TestProgram>;

/// Runs every named test and prints the rows with what was found.
pub(crate) fn run(steps: &mut Steps) -> Result<()> {
    let everything = ["--release", "--workspace"];
    let build = [&["build"], &everything[..], &["--bins"]].concat();
    steps.cargo("programs (about half an hour the first time)", &build)?;
    let list = [&["test"], &everything[..], &["--no-run", "--message-format=json"]].concat();
    let programs = programs(&steps.cargo_output("tests", &list)?)?;
    let passed = passed(steps, &programs)?;
    let mut short = Vec::new();
    for threat in THREATS {
        let holds = threat.shown_by.iter().all(|proof| passed.contains(proof));
        println!("{} {}: {}", if holds { "ok   " } else { "SHORT" }, threat.who, threat.reach);
        println!("      defence: {}", threat.stop);
        for proof in threat.shown_by {
            let verdict = if passed.contains(proof) { "passed" } else { "NOT PASSED" };
            println!("      {verdict}: {}", proof.name());
            if !passed.contains(proof) {
                short.push(proof.name());
            }
        }
    }
    println!("\n{} threats, {} tests passed", THREATS.len(), passed.len());
    ensure!(short.is_empty(), "these tests did not run and pass:\n  {}", short.join("\n  "));
    Ok(())
}

/// The test programs, from the messages of a cargo build.
fn programs(messages: &str) -> Result<Programs> {
    #[derive(Deserialize)]
    struct Artifact {
        manifest_path: PathBuf,
        target: Target,
        profile: Profile,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let mut programs = Programs::new();
    for line in messages.lines().filter(|line| line.contains("\"compiler-artifact\"")) {
        let artifact: Artifact =
            serde_json::from_str(line).context("unexpected message of cargo")?;
        let Some(executable) = artifact.executable.filter(|_| artifact.profile.test) else {
            continue;
        };
        let folder = artifact.manifest_path.parent().context("a manifest lies in a folder")?;
        let package = folder_name(folder);
        let kind = &artifact.target.kind;
        let target =
            if kind.iter().any(|kind| kind == "lib") { "lib" } else { &*artifact.target.name };
        // A program's own tests stand beside those of a library of the same name.
        if kind.iter().any(|kind| kind == "bin") {
            continue;
        }
        let program = TestProgram { executable, folder: folder.to_owned() };
        programs.insert((package, target.to_owned()), program);
    }
    Ok(programs)
}

/// The name of a package is that of its folder.
fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs the named tests, each program once, and returns those that passed.
fn passed(steps: &Steps, programs: &Programs) -> Result<BTreeSet<Proof>> {
    let all: BTreeSet<Proof> = THREATS.iter().flat_map(|threat| threat.shown_by).copied().collect();
    let mut passed = BTreeSet::new();
    let mut cases = Vec::new();
    let mut tests: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for proof in &all {
        match proof {
            Proof::Test { package, target, path } => {
                tests.entry((package, target)).or_default().push(path);
            }
            Proof::Case(name) => cases.push(*name),
        }
    }
    for ((package, target), paths) in tests {
        let key = (package.to_owned(), target.to_owned());
        let program = programs.get(&key);
        let program = program.with_context(|| format!("{package} has no tests {target}"))?;
        println!("== {} tests of {package}, {target}", paths.len());
        let mut command = Command::new(&program.executable);
        command.current_dir(&program.folder).arg("--exact").args(&paths);
        let output = command.output().context("cannot run a test program")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        for path in paths {
            if said.lines().any(|line| line == format!("test {path} ... ok")) {
                passed.insert(Proof::Test { package, target, path });
            }
        }
    }
    if !cases.is_empty() {
        println!("== {} cases of the fault suite", cases.len());
        let mut arguments = vec!["run", "--quiet", "--release", "--bin", "fault-suite", "--"];
        arguments.extend(&cases);
        let said = steps.cargo_lines(&arguments)?;
        for name in cases {
            // "[  1/4] NAME   held   1.0 s"
            let held = |line: &String| {
                let mut words =
                    line.split_once(']').map_or("", |(_, rest)| rest).split_whitespace();
                words.next() == Some(name) && words.next() == Some("held")
            };
            if said.iter().any(held) {
                passed.insert(Proof::Case(name));
            }
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "../docs/security.md";
    const BEGIN: &str = "<!-- the table of xtask/src/threats/table.rs -->\n";
    const END: &str = "<!-- its end -->\n";

    fn table() -> String {
        let mut table =
            String::from("| Attacker | Target | Defence | Tests |\n|---|---|---|---|\n");
        for Threat { who, reach, stop, shown_by } in THREATS {
            let proofs: Vec<String> =
                shown_by.iter().map(|proof| format!("`{}`", proof.name())).collect();
            table.push_str(&format!("| {who} | {reach} | {stop} | {} |\n", proofs.join("<br>")));
        }
        table
    }

    #[test]
    fn the_documentation_holds_the_table() {
        let page = std::fs::read_to_string(PAGE).expect("docs/security.md");
        let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
        let (found, after) = rest.split_once(END).expect("where it ends");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = [before, BEGIN, &table(), END, after].concat();
            std::fs::write(PAGE, page).expect("writes");
        } else {
            assert_eq!(found, table(), "UPDATE_DOCS=1 cargo test -p xtask updates it");
        }
    }

    #[test]
    fn every_row_names_its_tests_once() {
        for threat in THREATS {
            assert!(!threat.shown_by.is_empty(), "{}: no test proves it", threat.reach);
            let once: BTreeSet<&Proof> = threat.shown_by.iter().collect();
            assert_eq!(once.len(), threat.shown_by.len(), "{}: a test twice", threat.reach);
        }
    }

    #[test]
    fn test_programs_are_found_in_what_cargo_says() {
        let artifact = |name: &str, kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/xtask/Cargo.toml","target":{{"name":"{name}","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":"/t/{name}"}}"#
            )
        };
        let said = [
            artifact("xtask", "lib", true),
            artifact("xtask", "bin", true),
            artifact("xtask", "lib", false),
            artifact("seeds", "test", true),
            r#"{"reason":"build-finished","success":true}"#.into(),
        ];
        let found = programs(&said.join("\n")).expect("understood");
        let names: Vec<&str> = found.keys().map(|(_, target)| target.as_str()).collect();
        assert_eq!(names, ["lib", "seeds"]);
    }
}
