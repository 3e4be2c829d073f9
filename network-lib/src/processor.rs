//! The processor that this program was compiled for, and whether this machine has it.
//!
//! SP1 chooses its field arithmetic (AVX-512, AVX2 or plain) when it is compiled, from the target features of the
//! build. A program that was compiled for a newer processor would end with an illegal instruction, without a word.
//! Therefore `processor.c` is linked to every program on Linux: it checks the processor before `main`, and ends the program
//! with an error that names the missing features.

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The field arithmetic that the prover was compiled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Build {
    /// Runs on every processor of the architecture.
    Portable,
    /// Uses AVX2.
    Avx2,
    /// Uses AVX-512.
    Avx512,
}

impl Build {
    /// The build of this program.
    #[must_use]
    pub const fn of_this_program() -> Self {
        if cfg!(target_feature = "avx512f") {
            Self::Avx512
        } else if cfg!(target_feature = "avx2") {
            Self::Avx2
        } else {
            Self::Portable
        }
    }

    /// The fastest build that this machine can run.
    #[must_use]
    pub fn of_this_machine() -> Self {
        if has("avx512f") {
            Self::Avx512
        } else if has("avx2") {
            Self::Avx2
        } else {
            Self::Portable
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

/// Whether this machine's processor has a feature. Always true for one that this program was compiled for.
#[cfg(target_arch = "x86_64")]
fn has(feature: &str) -> bool {
    macro_rules! detect {
        ($($name:tt)*) => {
            match feature {
                $($name => std::arch::is_x86_feature_detected!($name),)*
                _ => false,
            }
        };
    }
    detect!("avx" "avx2" "avx512f" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe")
}

#[cfg(not(target_arch = "x86_64"))]
fn has(_feature: &str) -> bool {
    false
}

/// Features of the level x86-64-v3, the processors of the last ten years, beyond those of every x86-64.
const V3: [&str; 8] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"];

/// What the name of a program's build for [`V3`] ends with.
const V3_SUFFIX: &str = "-x86-64-v3";

/// Runs the faster build of this program in place of this process, if one is installed beside it and this machine can
/// run it. An image contains both: the portable one is started, and stays where the processor is too old.
///
/// # Errors
///
/// When the faster build is there and cannot be started. Otherwise the call does not return, or there is nothing to
/// do.
pub fn run_faster_build() -> io::Result<()> {
    let faster = faster_build(&std::env::current_exe()?, Build::of_this_program(), has);
    let Some(faster) = faster.filter(|faster| faster.is_file()) else { return Ok(()) };
    Err(Command::new(faster).args(std::env::args_os().skip(1)).exec())
}

/// The path of the faster build, if the processor has what it needs.
fn faster_build(program: &Path, build: Build, has: impl Fn(&str) -> bool) -> Option<PathBuf> {
    if build != Build::Portable || !V3.iter().all(|feature| has(feature)) {
        return None;
    }
    let mut name = program.file_name()?.to_owned();
    name.push(V3_SUFFIX);
    Some(program.with_file_name(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_what_was_compiled_on_it() {
        assert!(Build::of_this_program() <= Build::of_this_machine());
    }

    #[test]
    fn the_faster_build_is_chosen_by_a_portable_program_on_a_processor_that_has_it() {
        let program = Path::new("/usr/local/bin/contemplant");
        let faster = Some(PathBuf::from("/usr/local/bin/contemplant-x86-64-v3"));
        assert_eq!(faster_build(program, Build::Portable, |_| true), faster);
        assert_eq!(faster_build(program, Build::Portable, |feature| feature != "bmi2"), None);
        assert_eq!(faster_build(program, Build::Avx2, |_| true), None);
    }
}
