//! Check: what PLONK and Groth16 proofs need.

use std::io;
use std::path::Path;

use network_lib::job::ProofMode;

use crate::circuits::{are_complete, folder_below};
use crate::config::{BackendChoice, Config};
use crate::executor::cpu::circuits;
use crate::machine::Finding;

/// Name of the check.
const WHAT: &str = "circuits";

/// Free space that fetching the circuit files needs: the archive and its content.
const FETCH_BYTES: u64 = 16 << 30;

/// Checks each of the two kinds that is wanted.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    config.wanted_modes().into_iter().filter_map(|mode| look_for(config, mode)).collect()
}

/// None if the kind needs no circuit files, or those of an external server, which cannot be seen.
fn look_for(config: &Config, mode: ProofMode) -> Option<Finding> {
    let folder = circuits::folder(mode)?;
    let is_external = config.prover_endpoint.is_some();
    match config.backend {
        BackendChoice::Cpu => Some(judge_here(mode, circuits::missing(mode))),
        BackendChoice::Cuda if !is_external => {
            let folder = match folder {
                Ok(folder) => folder,
                Err(reason) => return Some(Finding::failed(WHAT, format!("{mode}: {reason}"))),
            };
            let folder = match config.prover_command {
                // The server has the same home folder.
                Some(_) => folder,
                None => folder_below(&config.data_dir.join("sp1-home"), mode)?,
            };
            let home = if config.prover_command.is_some() { &folder } else { &config.data_dir };
            let free = free_space(home);
            Some(judge_fetched(mode, &folder, are_complete(&folder), free))
        }
        BackendChoice::Cuda | BackendChoice::Mock => None,
    }
}

/// Free space for a folder that may not exist yet.
fn free_space(folder: &Path) -> io::Result<u64> {
    let existing = folder.ancestors().find(|folder| folder.is_dir());
    fs4::available_space(existing.unwrap_or_else(|| Path::new(".")))
}

/// Of this process's own prover, which uses only what is installed.
fn judge_here(mode: ProofMode, missing: Option<String>) -> Finding {
    match missing {
        None => Finding::passed(WHAT, format!("{mode}: circuit files and gnark are installed")),
        Some(reason) => Finding::failed(
            WHAT,
            format!("{mode} is not offered: {reason}; install it, or leave {mode} out of `modes`"),
        ),
    }
}

/// Of a server whose circuit files are fetched when they are needed.
fn judge_fetched(
    mode: ProofMode,
    folder: &Path,
    are_complete: bool,
    free: io::Result<u64>,
) -> Finding {
    let folder = folder.display();
    if are_complete {
        return Finding::passed(WHAT, format!("{mode}: the circuit files are in {folder}"));
    }
    let least = FETCH_BYTES >> 30;
    if let Some(free) = free.ok().filter(|free| *free < FETCH_BYTES) {
        return Finding::failed(
            WHAT,
            format!(
                "{mode}: the circuit files are missing in {folder}, and {} GiB are free: expected at least {least} \
                 to fetch them; make room, or leave {mode} out of `modes`",
                free >> 30
            ),
        );
    }
    Finding::warning(
        WHAT,
        format!(
            "{mode}: the circuit files, several gigabytes, are missing in {folder}: they are fetched when they are \
             first needed, which takes minutes"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Verdict;

    #[test]
    fn files_that_will_be_fetched_cost_time_unless_there_is_no_room_for_them() {
        let of = |are_complete, free| {
            judge_fetched(ProofMode::Plonk, Path::new("/home"), are_complete, Ok(free))
        };
        assert_eq!(of(true, 0).verdict, Verdict::Passed);
        assert_eq!(of(false, FETCH_BYTES).verdict, Verdict::Warning);
        let full = of(false, 3 << 30);
        assert_eq!(full.verdict, Verdict::Failed);
        assert!(full.text.contains("3 GiB are free: expected at least 16"), "{full:?}");
    }

    #[test]
    fn a_prover_of_this_process_needs_them_installed() {
        assert_eq!(judge_here(ProofMode::Groth16, None).verdict, Verdict::Passed);
        let found = judge_here(ProofMode::Groth16, Some("gnark is missing".to_owned()));
        assert_eq!(found.verdict, Verdict::Failed);
        for words in ["groth16 is not offered: gnark is missing", "leave groth16 out of `modes`"] {
            assert!(found.text.contains(words), "{found:?}");
        }
    }

    #[test]
    fn only_modes_with_circuits_on_backends_that_use_them_are_checked() {
        let found = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::for_test("ws://127.0.0.1:1/ws", "/data");
            config.modes = Some(ProofMode::ALL.to_vec());
            change(&mut config);
            look(&config).len()
        };
        assert_eq!(found(&|_| {}), 0, "a mock proof needs no circuit");
        assert_eq!(found(&|config| config.backend = BackendChoice::Cpu), 2);
        assert_eq!(found(&|config| config.backend = BackendChoice::Cuda), 2);
        assert_eq!(
            found(&|config| {
                config.backend = BackendChoice::Cuda;
                config.prover_endpoint = Some("unix:///run/server.sock".to_owned());
            }),
            0
        );
        assert_eq!(
            found(&|config| {
                config.backend = BackendChoice::Cpu;
                config.modes = Some(vec![ProofMode::Core]);
            }),
            0
        );
    }
}
