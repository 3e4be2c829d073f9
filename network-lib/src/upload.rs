//! What clients upload, unpacked.
//!
//! Clients of SP1 v6 compress their uploads with zstd, older ones do not; both encode with bincode
//! 1.3. The bytes come from strangers: a length that they claim is never believed, and what they
//! unpack to is bounded.

use std::io::{self, Read, Seek, SeekFrom};

/// First bytes of a zstd frame. A plain upload starts with a small 64-bit number instead.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why an upload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It unpacks to more than is allowed.
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge {
        /// The most that is allowed, in bytes.
        limit: u64,
    },
    /// The compression is broken.
    #[error("its zstd compression is broken: {0}")]
    Compression(String),
    /// A program is not wrapped as the SDK wraps it.
    #[error("it is not a bincode byte string: {found} bytes follow a length of {claimed}")]
    Wrapper {
        /// The length that the first eight bytes claim.
        claimed: u64,
        /// How many bytes follow.
        found: u64,
    },
    /// This machine cannot read its own file.
    #[error("the downloaded file cannot be read")]
    File(#[source] io::Error),
}

/// Reads an upload and unpacks it if it is compressed.
///
/// # Errors
///
/// [`DecodeError`] when it is larger than `limit` bytes, or broken.
pub fn unpack(mut file: impl Read + Seek, limit: u64) -> Result<Vec<u8>, DecodeError> {
    let mut magic = Vec::with_capacity(ZSTD_MAGIC.len());
    let head = Read::by_ref(&mut file).take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic);
    head.and_then(|_| file.seek(SeekFrom::Start(0))).map_err(DecodeError::File)?;
    if magic != ZSTD_MAGIC {
        return read_up_to(file, limit).map_err(DecodeError::File)?;
    }
    let broken = |error: io::Error| DecodeError::Compression(error.to_string());
    read_up_to(zstd::Decoder::new(file).map_err(broken)?, limit).map_err(broken)?
}

/// Takes the ELF out of an unpacked program.
///
/// # Errors
///
/// [`DecodeError::Wrapper`] when its length prefix does not fit.
pub fn elf_of(mut program: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    let Some((prefix, rest)) = program.split_first_chunk::<8>() else {
        return Err(DecodeError::Wrapper { claimed: 0, found: 0 });
    };
    let claimed = u64::from_le_bytes(*prefix);
    let found = rest.len() as u64;
    let Some(length) = usize::try_from(claimed).ok().filter(|_| claimed <= found) else {
        return Err(DecodeError::Wrapper { claimed, found });
    };
    program.drain(..8);
    program.truncate(length);
    Ok(program)
}

fn read_up_to(source: impl Read, limit: u64) -> io::Result<Result<Vec<u8>, DecodeError>> {
    let mut bytes = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Ok(Err(DecodeError::TooLarge { limit }));
    }
    Ok(Ok(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn program(elf: &[u8]) -> Vec<u8> {
        bincode::serialize(&elf.to_vec()).unwrap()
    }

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    #[test]
    fn plain_and_compressed_uploads_give_the_same_elf() {
        let upload = program(b"\x7fELF and more");
        for bytes in [upload.clone(), compressed(&upload)] {
            let unpacked = unpack(Cursor::new(bytes), 1 << 20).unwrap();
            assert_eq!(elf_of(unpacked).unwrap(), b"\x7fELF and more");
        }
    }

    #[test]
    fn a_compression_bomb_stops_at_the_limit() {
        let bomb = compressed(&vec![0; 50 << 20]);
        assert!(bomb.len() < 10_000);
        let error = unpack(Cursor::new(bomb), 1 << 20).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { limit: 1_048_576 }), "{error}");
        assert!(unpack(Cursor::new(vec![1; 11]), 10).is_err());
        assert!(unpack(Cursor::new(vec![1; 10]), 10).is_ok());
    }

    #[test]
    fn broken_compression_is_told_apart_from_a_broken_file() {
        let mut cut = compressed(&[7; 1000]);
        cut.truncate(cut.len() - 3);
        let error = unpack(Cursor::new(cut), 1 << 20).unwrap_err();
        assert!(matches!(error, DecodeError::Compression(_)), "{error}");
    }

    #[test]
    fn a_false_length_prefix_is_refused() {
        for bad in [vec![], vec![1, 2, 3], vec![0xff; 40], b"\x7fELF is not wrapped".to_vec()] {
            assert!(matches!(elf_of(bad), Err(DecodeError::Wrapper { .. })));
        }
    }
}
