//! Files and folders that only the user that runs Hierophant can read: the data folder holds inputs of clients, and ids
//! that grant access.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a folder.
const FOLDER: u32 = 0o700;

/// Mode of a file.
const FILE: u32 = 0o600;

/// Permissions of other users.
const OTHERS: u32 = 0o077;

/// Hierophant's own files and folders in the data folder, which earlier versions created readable.
const OWN: [(&str, u32); 6] = [
    ("artifacts", FOLDER),
    ("tasks", FOLDER),
    ("hierophant.db", FILE),
    ("hierophant.db-wal", FILE),
    ("hierophant.db-shm", FILE),
    ("lock", FILE),
];

/// Creates a folder and those above it, if they are missing.
///
/// # Errors
///
/// Those of the system.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Options that create a file for this user alone.
#[must_use]
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(FILE);
    options
}

/// Takes the permissions of other users from Hierophant's own files in a data folder. The folder itself may be shared with
/// other programs: if other users can read it, that is only logged.
pub fn protect(data: &Path) {
    for (name, mode) in OWN {
        let path = data.join(name);
        let is_own = path.is_dir() == (mode == FOLDER);
        if is_own
            && is_open(&path)
            && fs::set_permissions(&path, Permissions::from_mode(mode)).is_err()
        {
            tracing::warn!(path = %path.display(), "other users have access, and this user cannot change \
                that: expected mode {mode:o}");
        }
    }
    if is_open(data) {
        tracing::warn!(path = %data.display(), "other users have access to the data folder: expected mode \
            700, set by chmod");
    }
}

/// Whether other users have access to a file that exists.
#[must_use]
pub fn is_open(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink() && found.mode() & OTHERS != 0)
}
