//! Uploads as a Contemplant unpacks them.

use std::io::Cursor;

use network_lib::upload::{DecodeError, elf_of, unpack};

/// The most that an upload may become.
const LIMIT: u64 = 1 << 20;

/// Whether it is a program. What is not says why; nothing becomes more than allowed.
pub(crate) fn program(bytes: &[u8]) -> bool {
    let unpacked = match unpack(Cursor::new(bytes), LIMIT) {
        Ok(unpacked) => unpacked,
        Err(error) => {
            assert!(!matches!(error, DecodeError::File(_)), "memory is always readable: {error}");
            return false;
        }
    };
    let length = unpacked.len();
    assert!(length as u64 <= LIMIT);
    elf_of(unpacked).is_ok_and(|elf| {
        assert!(elf.len() + 8 <= length);
        true
    })
}
