//! Check of the whole file after an unclean stop, in the background.
//!
//! SQLite survives crashes, but disks and copies made of a running database may not. `PRAGMA quick_check` reads every
//! page, which takes minutes for a year's records: a start does not wait for it, and does without it after an orderly
//! stop. That leaves a mark beside the file, with the file's size and time, and the next start removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Instant, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};
use tokio::sync::Notify;

use super::opening::damaged;
use crate::StoreError;

/// The check of an open file.
#[derive(Debug)]
pub(super) struct Integrity {
    file: PathBuf,
    state: Arc<State>,
    running: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// Whether the file is known to be intact.
    sound: AtomicBool,
    /// What is wrong with it.
    fault: OnceLock<String>,
    found: Notify,
    interrupt: OnceLock<InterruptHandle>,
    stopping: AtomicBool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("sound", &self.sound).field("fault", &self.fault).finish()
    }
}

impl Integrity {
    /// Nothing is to be checked: the file is new or was closed in order.
    pub(super) fn known(file: &Path) -> Self {
        let state = Arc::<State>::default();
        state.sound.store(true, Ordering::Release);
        Self { file: file.to_owned(), state, running: Mutex::default() }
    }

    /// Starts to check the file on a thread of its own, over a connection of its own.
    pub(super) fn check(file: &Path) -> Self {
        let state = Arc::<State>::default();
        let (path, checking) = (file.to_owned(), Arc::clone(&state));
        let thread = std::thread::Builder::new().name("check database".into());
        let running = thread.spawn(move || checking.check(&path));
        if let Err(error) = &running {
            tracing::warn!(%error, "the database is not checked");
        }
        Self { file: file.to_owned(), state, running: Mutex::new(running.ok()) }
    }

    /// Waits until the file is found to be damaged.
    pub(super) async fn damaged(&self) -> StoreError {
        loop {
            let found = self.state.found.notified();
            if let Some(reason) = self.state.fault.get() {
                let location = self.file.display().to_string();
                return StoreError::Unusable { location, reason: reason.clone() };
            }
            found.await;
        }
    }

    /// Ends the check, so that the file can be closed. Blocks for a moment.
    pub(super) fn stop(&self) {
        self.state.stopping.store(true, Ordering::Release);
        if let Some(interrupt) = self.state.interrupt.get() {
            interrupt.interrupt();
        }
        if let Some(running) = self.running.lock().take()
            && running.join().is_err()
        {
            tracing::warn!("the check of the database has panicked");
        }
    }

    /// Leaves the mark of an orderly stop, if the file is known to be intact. All connections are closed.
    pub(super) fn leave_mark(&self) {
        if !self.state.sound.load(Ordering::Acquire) {
            return;
        }
        let writing = fingerprint(&self.file).and_then(|text| {
            fs::write(mark(&self.file), text)?;
            File::open(mark(&self.file))?.sync_all()
        });
        if let Err(error) = writing {
            tracing::debug!(%error, "no mark of an orderly stop; the next start checks the database");
        }
    }
}

impl State {
    fn check(&self, file: &Path) {
        let began = Instant::now();
        let found = self.quick_check(file);
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        match found {
            Ok(None) => {
                self.sound.store(true, Ordering::Release);
                tracing::info!(took = ?began.elapsed(), "the database is intact");
            }
            Ok(Some(reason)) => {
                let _ = self.fault.set(reason);
                self.found.notify_waiters();
            }
            Err(error) => tracing::warn!(%error, "the database could not be checked"),
        }
    }

    /// What is wrong with the file, if anything.
    fn quick_check(&self, file: &Path) -> rusqlite::Result<Option<String>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        let _ = self.interrupt.set(connection.get_interrupt_handle());
        if self.stopping.load(Ordering::Acquire) {
            return Ok(None);
        }
        match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
            Ok(found) => Ok((found != "ok").then(|| damaged(&found))),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Ok(Some(damaged(&error.to_string())))
                }
                _ => Err(error),
            },
        }
    }
}

/// Whether the file was closed in order and has not changed since. Removes the mark.
pub(super) fn take_mark(file: &Path) -> bool {
    let left = fs::read_to_string(mark(file)).ok();
    if left.is_some() && fs::remove_file(mark(file)).and_then(|()| sync_folder(file)).is_err() {
        // A mark that stays would hide the next crash.
        return false;
    }
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let is_log_empty = fs::metadata(log).map_or(true, |log| log.len() == 0);
    is_log_empty && left.is_some() && left == fingerprint(file).ok()
}

fn mark(file: &Path) -> PathBuf {
    let mut mark = file.as_os_str().to_owned();
    mark.push("-clean");
    mark.into()
}

/// Size and time of the file.
fn fingerprint(file: &Path) -> io::Result<String> {
    let found = fs::metadata(file)?;
    let changed = found.modified()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(format!("{} {}", found.len(), changed.as_nanos()))
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_once_and_for_the_file_that_it_was_left_for() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("db");
        fs::write(&file, "one").expect("writes");
        assert!(!take_mark(&file), "no mark");
        let integrity = Integrity::known(&file);
        integrity.leave_mark();
        assert!(take_mark(&file));
        assert!(!take_mark(&file), "a second start after a crash");
        integrity.leave_mark();
        fs::write(&file, "another").expect("writes");
        assert!(!take_mark(&file), "another file");
        integrity.leave_mark();
        fs::write(folder.path().join("db-wal"), "log").expect("writes");
        assert!(!take_mark(&file), "what a crash left in the log");
    }
}
