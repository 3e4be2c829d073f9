//! The proof that a worker runs on this machine: it can read a file in the data folder.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::HeaderValue;
use network_lib::local_secret;
use network_lib::secret::Secret;

use super::credential::{Locality, same_secret};

/// The secret of the data folder, made at each start. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalSecret(Arc<Written>);

#[derive(Debug)]
struct Written {
    path: PathBuf,
    secret: Secret,
}

impl LocalSecret {
    /// Writes a new secret into `folder`.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let (path, secret) = local_secret::write(folder)?;
        Ok(Self(Arc::new(Written { path, secret })))
    }

    /// Path of the file, as the value of a header; none if a header cannot hold it.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.0.path.as_os_str().as_bytes()).ok()
    }

    /// Whether a worker that connects from this machine and presents `secret` runs on it.
    #[must_use]
    pub fn locality(&self, secret: Option<&str>) -> Locality {
        match secret {
            Some(secret) if same_secret(self.0.secret.reveal(), secret) => Locality::Proved,
            _ => Locality::Unproved(format!(
                "this one does not present the secret in {}: it must be able to read that file, and have Hierophant's \
                 version",
                self.0.path.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_read_the_file_proves_to_be_here() {
        let folder = tempfile::tempdir().expect("temp dir");
        let local = LocalSecret::create(folder.path()).expect("writes");
        let path = local.header().expect("a path");
        let secret = local_secret::read(Path::new(path.to_str().expect("text"))).expect("reads");
        assert_eq!(local.locality(Some(secret.reveal())), Locality::Proved);
        for wrong in [None, Some(""), Some(&secret.reveal()[1..])] {
            let Locality::Unproved(why) = local.locality(wrong) else { panic!("{wrong:?}") };
            assert!(why.contains(local_secret::FILE_NAME), "{why}");
        }
        let next = LocalSecret::create(folder.path()).expect("writes");
        assert_ne!(next.locality(Some(secret.reveal())), Locality::Proved, "of an earlier start");
    }
}
