//! A quick check of uploaded programs.
//!
//! A program is bincode of a byte string, an 8-byte little-endian length and the ELF; SDK 6 wraps that in a zstd
//! frame (contract, section 4.1). Only the first bytes are checked, which detects an upload of something else at
//! once. Whether the program loads is found out by the worker.

use std::io::Read;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ELF_MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];

/// Maximum decompression window, as a power of two (8 MiB; the SDK's level 3 uses 2).
const MAX_WINDOW_LOG: u32 = 23;

/// Checks the beginning of an upload.
///
/// # Errors
///
/// What is wrong with the upload.
pub fn looks_like_program(beginning: &[u8]) -> Result<(), String> {
    let mut head = [0; 12];
    if beginning.starts_with(&ZSTD_MAGIC) {
        let decoder = zstd::stream::read::Decoder::new(beginning).and_then(|mut decoder| {
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            decoder.read_exact(&mut head)
        });
        decoder.map_err(|error| format!("invalid zstd frame in the upload: {error}"))?;
    } else {
        let raw = beginning.first_chunk::<12>();
        head = *raw.ok_or("the upload is too short for a program")?;
    }
    if head[8..] == ELF_MAGIC {
        Ok(())
    } else {
        Err("the upload is not an ELF: expected bincode of the ELF's bytes, zstd-compressed or not"
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(elf: &[u8]) -> Vec<u8> {
        [&(elf.len() as u64).to_le_bytes(), elf].concat()
    }

    #[test]
    fn both_sdk_forms_are_recognized() {
        let plain = wrapped(b"\x7fELF and so on");
        assert_eq!(looks_like_program(&plain), Ok(()));
        let compressed = zstd::encode_all(plain.as_slice(), 3).expect("compresses");
        assert_eq!(looks_like_program(&compressed), Ok(()));
    }

    #[test]
    fn anything_else_is_told_apart() {
        for upload in [b"".as_slice(), b"\x7fELF", &wrapped(b"MZ no ELF here"), b"just some text!"]
        {
            assert!(looks_like_program(upload).is_err(), "{upload:?}");
        }
        let broken = [ZSTD_MAGIC.as_slice(), &[0xff; 20]].concat();
        let error = looks_like_program(&broken).expect_err("refused");
        assert!(error.contains("zstd"), "{error}");
    }
}
