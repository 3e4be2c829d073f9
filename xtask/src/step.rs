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
}

impl Steps {
    /// Steps to run in `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, not_inherited: Vec::new(), began: Instant::now() }
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
        let took = readable(began.elapsed());
        if !status.success() {
            bail!("step \"{name}\" failed after {took} ({status}): cargo {}", arguments.join(" "));
        }
        println!("== {name}: done in {took}");
        Ok(())
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

    /// Time since the first step.
    pub(crate) fn total(&self) -> String {
        readable(self.began.elapsed())
    }
}

/// The cargo that started this program, else the one on the path.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Whether cargo has set this variable to describe the package that it runs, which is this one. Some
/// build scripts watch them, so a step that inherited them would build half of the dependencies anew,
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
