//! Running one step after the other, each with its name and time, until one fails.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Steps of a command, run in the repository's root.
#[derive(Debug)]
pub(crate) struct Steps {
    root: PathBuf,
    not_inherited: Vec<&'static str>,
    began: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Steps to run in `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, not_inherited: Vec::new(), began: Instant::now(), done: Vec::new() }
    }

    /// Keeps a variable of this process from the steps.
    pub(crate) fn do_not_inherit(&mut self, variable: &'static str) {
        self.not_inherited.push(variable);
    }

    /// Runs cargo.
    pub(crate) fn cargo(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        self.cargo_with(name, arguments, &[])
    }

    /// Runs cargo with additional variables.
    pub(crate) fn cargo_with(
        &mut self,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        println!("== {name}: cargo {}", arguments.join(" "));
        let began = Instant::now();
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        let status = command.status().context("cannot run cargo")?;
        let took = self.note(name, began);
        if !status.success() {
            bail!("step \"{name}\" failed after {took} ({status}): cargo {}", arguments.join(" "));
        }
        println!("== {name}: done in {took}");
        Ok(())
    }

    /// Runs a step that needs no other program.
    pub(crate) fn here<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== {name}");
        let began = Instant::now();
        let outcome = step();
        let took = self.note(name, began);
        let outcome = outcome.with_context(|| format!("step \"{name}\" failed after {took}"))?;
        println!("== {name}: done in {took}");
        Ok(outcome)
    }

    /// Keeps the time of a step for the table.
    fn note(&mut self, name: &str, began: Instant) -> String {
        let took = began.elapsed();
        self.done.push((name.to_owned(), took));
        readable(took)
    }

    /// Runs cargo and returns what it prints.
    pub(crate) fn cargo_output(&mut self, name: &str, arguments: &[&str]) -> Result<String> {
        self.program_output(name, &PathBuf::from(cargo_program()), arguments)
    }

    /// Runs a program and returns what it prints.
    pub(crate) fn program_output(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> Result<String> {
        let line = format!("{} {}", program.display(), arguments.join(" "));
        println!("== {name}: {line}");
        let mut command = self.command_of(program, arguments);
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        if !output.status.success() {
            bail!("step \"{name}\" failed ({}): {line}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("{line} prints no text"))
    }

    /// Runs cargo, shows what it prints, and returns that, however it ends.
    pub(crate) fn cargo_lines(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let mut child =
            self.command(arguments).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
            let line = line.context("cargo prints no text")?;
            println!("{line}");
            said.push(line);
        }
        child.wait().context("cannot wait for cargo")?;
        Ok(said)
    }

    /// Cargo with these arguments, in the root.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(&cargo_program()), arguments)
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).args(arguments);
        for variable in &self.not_inherited {
            command.env_remove(variable);
        }
        for (variable, _) in std::env::vars_os().filter(|(name, _)| describes_this_package(name)) {
            command.env_remove(variable);
        }
        command
    }

    /// The steps so far with their times, one a line.
    pub(crate) fn table(&self) -> String {
        let total = ("total".to_owned(), self.began.elapsed());
        let rows = self.done.iter().chain([&total]);
        let width = rows.clone().map(|(name, _)| name.len()).max().unwrap_or_default();
        let line = |(name, took): &(String, Duration)| {
            format!("   {name:<width$} {:>14}\n", readable(*took))
        };
        rows.map(line).collect()
    }
}

/// The cargo that started this program, else the one on the path.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Whether cargo has set this variable to describe the package that it runs, which is this one. Some
/// build scripts watch them, so a step that inherited them would rebuild half of the dependencies,
/// and so would the next plain `cargo build`.
fn describes_this_package(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    name.starts_with("CARGO_PKG_")
        || ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_CRATE_NAME", "CARGO_BIN_NAME"]
            .contains(&name.as_ref())
}

fn readable(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_step_also_the_one_that_failed() {
        let mut steps = Steps::new(PathBuf::from("."));
        steps.here("first", || Ok(())).expect("passes");
        let failure = steps.here("second", || -> Result<()> { bail!("reason") });
        let failure = format!("{:#}", failure.expect_err("fails"));
        assert!(failure.starts_with("step \"second\" failed after "), "{failure}");
        assert!(failure.ends_with(": reason"), "{failure}");
        let table = steps.table();
        let names: Vec<&str> =
            table.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["first", "second", "total"]);
    }
}
