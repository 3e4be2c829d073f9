//! The downloaded archive, of which one file is unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path};

use flate2::read::MultiGzDecoder;
use tar::Archive;

use super::program;

/// Most bytes that an archive may have when it is unpacked.
const MAX_UNPACKED: u64 = 8 << 30;

/// Size of the buffer between archive and file.
const BUFFER: usize = 256 * 1024;

/// Why the program was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// The archive is damaged, or not the expected one.
    #[error("{0}")]
    Archive(String),
    /// The program's file cannot be written.
    #[error("the program cannot be written")]
    Write(#[source] io::Error),
}

/// Unpacks the program from `archive` into `to`. Other members are skipped, wherever they claim to belong: the only name
/// that is written is the caller's.
///
/// # Errors
///
/// When the archive does not have exactly one such file, or the file cannot be written.
pub(super) fn unpack(archive: &Path, to: &mut File) -> Result<(), UnpackError> {
    let damaged =
        |error: io::Error| UnpackError::Archive(format!("it cannot be unpacked: {error}"));
    let file = BufReader::new(File::open(archive).map_err(damaged)?);
    let mut archive = Archive::new(MultiGzDecoder::new(file).take(MAX_UNPACKED));
    let mut is_unpacked = false;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !is_program(&entry.path().map_err(damaged)?) {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(UnpackError::Archive(format!("its {} is not a plain file", program::NAME)));
        }
        if is_unpacked {
            return Err(UnpackError::Archive(format!("it has two files {}", program::NAME)));
        }
        copy(&mut entry, to)?;
        is_unpacked = true;
    }
    match is_unpacked {
        true => Ok(()),
        false => Err(UnpackError::Archive(format!("it has no file {}", program::NAME))),
    }
}

/// Whether a member's path is the program's name, at the top level.
fn is_program(path: &Path) -> bool {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    parts.next() == Some(Component::Normal(program::NAME.as_ref())) && parts.next().is_none()
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<(), UnpackError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer);
        let read =
            read.map_err(|error| UnpackError::Archive(format!("it cannot be unpacked: {error}")))?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).map_err(UnpackError::Write)?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Seek;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{EntryType, Header};

    use super::*;

    /// An archive of these members, whose names are taken as they are.
    fn packed(members: &[(&str, EntryType, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let gzip = GzEncoder::new(file.reopen().unwrap(), Compression::fast());
        let mut archive = tar::Builder::new(gzip);
        for (name, kind, contents) in members {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, *contents).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap();
        file
    }

    fn unpacked(members: &[(&str, EntryType, &[u8])]) -> Result<Vec<u8>, UnpackError> {
        let mut to = tempfile::tempfile().unwrap();
        unpack(packed(members).path(), &mut to)?;
        let mut contents = Vec::new();
        to.rewind().unwrap();
        to.read_to_end(&mut contents).unwrap();
        Ok(contents)
    }

    #[test]
    fn only_the_program_is_taken_from_an_archive() {
        let members: [(&str, EntryType, &[u8]); 6] = [
            ("./", EntryType::Directory, b""),
            ("LICENSE", EntryType::Regular, b"text"),
            ("../sp1-gpu-server", EntryType::Regular, b"outside"),
            ("/tmp/sp1-gpu-server", EntryType::Regular, b"elsewhere"),
            ("./sp1-gpu-server", EntryType::Regular, b"program"),
            ("lib/sp1-gpu-server", EntryType::Regular, b"below"),
        ];
        assert_eq!(unpacked(&members).unwrap(), b"program");
    }

    #[test]
    fn an_archive_without_exactly_one_program_is_refused() {
        let reason =
            |members: &[(&str, EntryType, &[u8])]| unpacked(members).unwrap_err().to_string();
        let other: (&str, EntryType, &[u8]) = ("README", EntryType::Regular, b"text");
        assert!(reason(&[other]).contains("has no file sp1-gpu-server"));
        let program: (&str, EntryType, &[u8]) = ("sp1-gpu-server", EntryType::Regular, b"x");
        assert!(reason(&[program, program]).contains("two files"));
        let link: (&str, EntryType, &[u8]) = ("sp1-gpu-server", EntryType::Symlink, b"");
        assert!(reason(&[link]).contains("not a plain file"));
    }

    #[test]
    fn a_disk_that_is_full_while_unpacking_is_recognised() {
        let archive = packed(&[("sp1-gpu-server", EntryType::Regular, b"program")]);
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        match unpack(archive.path(), &mut full).unwrap_err() {
            UnpackError::Write(error) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            error @ UnpackError::Archive(_) => panic!("{error}"),
        }
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let contents = vec![7; 100_000];
        let file = packed(&[("sp1-gpu-server", EntryType::Regular, &contents)]);
        let length = file.as_file().metadata().unwrap().len();
        file.as_file().set_len(length / 2).unwrap();
        let error = unpack(file.path(), &mut tempfile::tempfile().unwrap()).unwrap_err();
        assert!(error.to_string().contains("cannot be unpacked"), "{error}");
    }
}
