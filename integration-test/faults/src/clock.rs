//! A clock that a case sets under a running Hierophant.
//!
//! Debian's `libfaketime` stands between the program and the C library, and reads the error of the wall
//! clock from a file. The monotonic clock and the times of files stay true, as they do
//! when an administrator sets a machine's clock.

use std::path::{Path, PathBuf};

use crate::stage::{STEP, Stage};

/// The wall clock of one Hierophant.
#[derive(Debug)]
pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Restarts the case's Hierophant under a clock that is right until it is set.
    pub(crate) async fn under(stage: &mut Stage) -> Self {
        let library = library();
        let library = library.expect("needs libfaketime; run `cargo xtask setup --tests`");
        let clock = Self { file: stage.folder().join("clock") };
        clock.set(0);
        let status = stage.hierophant.process.terminate(STEP).await.expect("stops");
        assert!(status.success(), "{status}");
        stage.hierophant.process.set_variables(&[
            ("LD_PRELOAD", library.into()),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]);
        stage.hierophant.launch().await.expect("starts under a clock of its own");
        clock
    }

    /// Sets it, in seconds ahead of the right time; below 0, behind it.
    pub(crate) fn set(&self, seconds_ahead: i64) {
        // Written whole or not at all: it is read all the time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds_ahead:+}\n")).expect("written");
        std::fs::rename(new, &self.file).expect("set");
    }
}

/// Where Debian puts the library, for whichever kind of machine.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders
        .chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")])
        .map(|folder| folder.join(Path::new("faketime/libfaketimeMT.so.1")))
        .find(|library| library.is_file())
}
