//! Folders: their free space, and whether programs in them can be run.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempPath;

use super::{Finding, size};

/// Least free space for programs that are written to be run: SP1's runner takes a tenth of it.
const LEAST_FOR_PROGRAMS: u64 = 128 << 20;

/// Least free space for downloads and proofs, and what leaves room for many of them.
const LEAST_FOR_DATA: u64 = 2 << 30;
const AMPLE_FOR_DATA: u64 = 10 << 30;

/// The smallest program.
const SCRIPT: &[u8] = b"#!/bin/sh\nexit 0\n";

/// Number of attempts to run a file that another thread's child still has open for writing.
const RUNS: u32 = 10;

/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether there is room in the folder of data, which may not exist yet.
pub(super) fn judge_space(data_dir: &Path) -> Finding {
    judge_free_space(data_dir, fs4::available_space(existing(data_dir)))
}

fn judge_free_space(data_dir: &Path, free: io::Result<u64>) -> Finding {
    let (what, folder) = ("disk", data_dir.display());
    let remedy = "make room, or set `data_dir` to a larger disk";
    match free {
        Err(error) => Finding::failed(what, format!("{folder} cannot be examined: {error}")),
        Ok(free @ ..LEAST_FOR_DATA) => Finding::failed(
            what,
            format!(
                "{} are free for {folder}: expected at least {}; {remedy}",
                size(free),
                size(LEAST_FOR_DATA)
            ),
        ),
        Ok(free @ ..AMPLE_FOR_DATA) => {
            Finding::warning(what, format!("{} are free for {folder}; {remedy}", size(free)))
        }
        Ok(free) => Finding::passed(what, format!("{} are free for {folder}", size(free))),
    }
}

/// Whether programs can be written to the folder and run, and there is room for them.
pub(super) fn judge_programs(data_dir: &Path) -> Finding {
    let folder = existing(data_dir);
    let ran = write_script(&folder).map(|script| run(&script));
    judge_trial(&folder, fs4::available_space(&folder), ran)
}

/// Judges the free space, and a script that was written (outside) and run (inside).
fn judge_trial(folder: &Path, free: io::Result<u64>, ran: io::Result<io::Result<()>>) -> Finding {
    let (what, name) = ("temp", folder.display());
    let remedy = "or set `data_dir` to another folder";
    let least = size(LEAST_FOR_PROGRAMS);
    match (free, ran) {
        (Ok(free @ ..LEAST_FOR_PROGRAMS), _) => Finding::failed(
            what,
            format!(
                "{name} is full, {} are free: expected at least {least}; make room, {remedy}",
                size(free)
            ),
        ),
        (_, Err(error)) => Finding::failed(
            what,
            format!("{name} cannot be written ({error}): let this user write there, {remedy}"),
        ),
        (_, Ok(Err(error))) if error.kind() == ErrorKind::PermissionDenied => Finding::failed(
            what,
            format!(
                "{name} does not allow programs to be run, and SP1 runs one from there: mount it without \
                 noexec, {remedy}"
            ),
        ),
        // Without a shell the trial says nothing about the folder.
        (_, Ok(Err(error))) if error.kind() != ErrorKind::NotFound => Finding::failed(
            what,
            format!(
                "no program can be run in {name} ({error}): expected a folder that allows it, {remedy}"
            ),
        ),
        _ => Finding::passed(what, format!("programs can be run in {name}")),
    }
}

/// The folder, or the closest one above it that exists.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let found = absolute.ancestors().find(|folder| folder.is_dir());
    found.map_or_else(|| "/".into(), ToOwned::to_owned)
}

/// Writes a script that can be run. It is removed when the path is dropped.
fn write_script(folder: &Path) -> io::Result<TempPath> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(SCRIPT)?;
    file.as_file().set_permissions(Permissions::from_mode(0o700))?;
    // Closed, because a file that is open for writing cannot be run.
    Ok(file.into_temp_path())
}

/// Runs a program to its end. Its exit code does not matter.
fn run(program: &Path) -> io::Result<()> {
    for _ in 1..RUNS {
        match run_once(program) {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
    run_once(program)
}

fn run_once(program: &Path) -> io::Result<()> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machine::Verdict;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_folder_that_runs_programs_passes_and_nothing_is_left_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = judge_programs(folder.path());
        assert_eq!(found.verdict, Verdict::Passed, "{found:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_program_that_may_not_be_run_is_a_folder_s_fault() {
        let folder = tempfile::tempdir().unwrap();
        // The kernel gives the same error for a file without the right as for a file system without it.
        let script = write_script(folder.path()).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o600)).unwrap();
        let refused = run(&script);
        assert_eq!(refused.as_ref().unwrap_err().kind(), ErrorKind::PermissionDenied);
        let found = judge_trial(folder.path(), Ok(GIB), Ok(refused));
        assert_eq!(found.verdict, Verdict::Failed);
        for words in ["does not allow programs to be run", "without noexec", "set `data_dir`"] {
            assert!(found.text.contains(words), "{}", found.text);
        }
    }

    #[test]
    fn full_and_unwritable_folders_are_named_with_the_remedy() {
        let folder = Path::new("/tmp");
        let full = judge_trial(folder, Ok(1 << 20), Err(ErrorKind::StorageFull.into()));
        assert_eq!(full.verdict, Verdict::Failed);
        assert!(full.text.contains("/tmp is full, 1 MiB are free"), "{}", full.text);
        assert!(full.text.contains("set `data_dir`"), "{}", full.text);

        let file = tempfile::NamedTempFile::new().unwrap();
        let unwritable = write_script(file.path()).map(|script| run(&script));
        let found = judge_trial(folder, Ok(GIB), unwritable);
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(found.text.contains("/tmp cannot be written"), "{}", found.text);
    }

    #[test]
    fn a_machine_without_a_shell_is_not_blamed() {
        let absent = run(Path::new("/no/such/program"));
        assert_eq!(absent.as_ref().unwrap_err().kind(), ErrorKind::NotFound);
        let found = judge_trial(Path::new("/tmp"), Ok(GIB), Ok(absent));
        assert_eq!(found.verdict, Verdict::Passed);
        let other = judge_trial(Path::new("/tmp"), Ok(GIB), Ok(Err(ErrorKind::OutOfMemory.into())));
        assert_eq!(other.verdict, Verdict::Failed);
    }

    #[test]
    fn little_space_for_data_is_an_obstacle_before_there_is_none() {
        let of = |free| judge_free_space(Path::new("/data"), Ok(free));
        assert_eq!(of(2 * GIB - 1).verdict, Verdict::Failed);
        assert!(of(2 * GIB - 1).text.contains("set `data_dir` to a larger disk"));
        assert_eq!(of(2 * GIB).verdict, Verdict::Warning);
        assert_eq!(of(10 * GIB).verdict, Verdict::Passed);
        let unknown = judge_free_space(Path::new("/data"), Err(ErrorKind::Other.into()));
        assert_eq!(unknown.verdict, Verdict::Failed);
    }
}
