//! The last step of an installation: the new program takes the place of the old one.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, anyhow};
use tempfile::TempPath;

use super::{fault, program};

/// Creates the file of a new program in `folder`, which is removed unless it is placed. It replaces one that a killed
/// process has left.
pub(super) fn temporary(folder: &Path) -> anyhow::Result<(File, TempPath)> {
    let path = folder.join(format!(".{}.new", program::NAME));
    let create = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok((File::create_new(&path)?, TempPath::try_from_path(&path)?))
    };
    create().map_err(|error| fault::write(error, folder))
}

/// Makes the file `new` the program `target` in the same folder, once it has reported the right version.
///
/// # Errors
///
/// When it cannot be run or is of another version, or the folder cannot be written. Then `target` is unchanged.
pub(super) async fn place(new: TempPath, target: &Path) -> anyhow::Result<()> {
    let folder = target.parent().context("the program has no folder")?;
    let runnable = || {
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        // Its contents reach the disk before its name does.
        File::open(&new)?.sync_all()
    };
    runnable().map_err(|error| fault::write(error, folder))?;
    program::check_version(&new).await.map_err(|reason| {
        anyhow!(
            "{reason}; nothing was installed. If it cannot be run, its folder may be mounted noexec (choose another \
             with --to), or a library of CUDA's runtime may be missing (docs/gpu.md)"
        )
    })?;
    new.persist(target).map_err(|error| fault::write(error.error, folder))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| fault::write(error, folder))
}
