//! The secret by which a worker proves that it runs on Hierophant's machine: a file that only the coordinator's user can
//! read.
//!
//! Hierophant writes a new one at each start and names the file in its answer to a WebSocket's request
//! ([`crate::wire::LOCAL_SECRET_HEADER`]). A worker that can read the file presents its content. A loopback address
//! proves less: tunnels and proxies on the machine have one too.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// Name of the file. A worker reads no file of another name, whatever a server asks for.
pub const FILE_NAME: &str = "local-worker-secret";

/// First word of the file. A worker presents the content of no other file.
const FIRST_WORD: &str = "hierophant-local-worker";

/// Length of the secret: 32 bytes in hexadecimal digits.
const DIGITS: usize = 64;

/// Writes a new secret into `folder`, readable by its owner alone. Returns the absolute path of the file.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(folder: &Path) -> io::Result<(PathBuf, Secret)> {
    let path = std::path::absolute(folder)?.join(FILE_NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let secret = Secret::random();
    options.open(&path)?.write_all(content(&secret).as_bytes())?;
    Ok((path, secret))
}

/// Reads the secret from the file that a Hierophant names.
///
/// # Errors
///
/// Why it is not presented, for display: what follows "this worker".
pub fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    if path.file_name().is_none_or(|name| name != FILE_NAME) || !path.is_absolute() {
        return Err(format!("does not read {shown}: expected an absolute path to {FILE_NAME}"));
    }
    let unreadable = |error: io::Error| format!("cannot read {shown} ({error})");
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("does not read {shown}: expected a file"));
    }
    let mut text = String::new();
    let most = FIRST_WORD.len() + DIGITS + 3;
    let file = File::open(path).map_err(unreadable)?;
    file.take(most as u64).read_to_string(&mut text).map_err(unreadable)?;
    let secret = text.strip_prefix(FIRST_WORD).map(str::trim);
    let digits = |secret: &&str| {
        secret.len() == DIGITS && secret.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    secret
        .filter(digits)
        .map(Secret::from)
        .ok_or_else(|| format!("does not present {shown}: expected a secret of Hierophant in it"))
}

/// Reads the secret from the file that the value of the header [`crate::wire::LOCAL_SECRET_HEADER`] names.
///
/// # Errors
///
/// Those of [`read`].
pub fn read_offered(header: &[u8]) -> Result<Secret, String> {
    read(Path::new(OsStr::from_bytes(header)))
}

fn content(secret: &Secret) -> String {
    format!("{FIRST_WORD} {}\n", secret.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_written_and_replaced_by_the_next() {
        let folder = tempfile::tempdir().expect("temp dir");
        let (path, first) = write(folder.path()).expect("writes");
        assert_eq!(read(&path), Ok(first.clone()));
        assert_eq!(read_offered(path.as_os_str().as_bytes()), Ok(first.clone()));
        let (again, second) = write(folder.path()).expect("writes");
        assert_eq!((again, read(&path)), (path, Ok(second.clone())));
        assert_ne!(first, second);
    }

    #[test]
    fn only_the_owner_can_read_it_even_if_the_file_was_open_to_all_before() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temp dir");
        let old = folder.path().join(FILE_NAME);
        fs::write(&old, "old").expect("writes");
        fs::set_permissions(&old, fs::Permissions::from_mode(0o666)).expect("opens");
        let (path, _) = write(folder.path()).expect("writes");
        let mode = fs::metadata(path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_other_file_is_presented() {
        let folder = tempfile::tempdir().expect("temp dir");
        let other = folder.path().join("id_ed25519");
        fs::write(&other, content(&Secret::random())).expect("writes");
        assert!(read(&other).is_err(), "another name");
        let path = folder.path().join(FILE_NAME);
        assert!(read(&path).expect_err("missing").starts_with("cannot read"));
        let (long, short) = ("a".repeat(DIGITS + 1), "a".repeat(DIGITS - 1));
        for text in ["", "secret", "hierophant-local-worker ", &long, &short] {
            fs::write(&path, format!("{FIRST_WORD} {text}\n")).expect("writes");
            assert!(read(&path).is_err(), "{text:?}");
        }
        fs::write(&path, "x".repeat(DIGITS)).expect("writes");
        assert!(read(&path).is_err(), "without the first word");
        assert!(read(Path::new(FILE_NAME)).is_err(), "not absolute");
    }
}
