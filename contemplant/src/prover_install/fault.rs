//! Texts for faults of the folder that the program is installed in.

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::anyhow;

/// Explains a failed write in `folder`, with the remedy.
pub(super) fn write(error: io::Error, folder: &Path) -> anyhow::Error {
    let shown = folder.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => anyhow!(
            "{shown} is full ({error}): make room, or choose a folder on a larger disk with --to"
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => anyhow!(
            "{shown} is not writable ({error}): choose another folder with --to, or run this command as its owner"
        ),
        _ => anyhow!("cannot write to {shown} ({error}): choose another folder with --to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_remedy() {
        let text = |kind| write(io::Error::from(kind), Path::new("/srv/bin")).to_string();
        assert!(text(ErrorKind::StorageFull).contains("/srv/bin is full"));
        assert!(text(ErrorKind::StorageFull).contains("make room"));
        assert!(text(ErrorKind::PermissionDenied).contains("/srv/bin is not writable"));
        assert!(text(ErrorKind::ReadOnlyFilesystem).contains("another folder with --to"));
        assert!(text(ErrorKind::NotADirectory).contains("cannot write to /srv/bin"));
    }
}
