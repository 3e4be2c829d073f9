//! Decoding of untrusted proof files, with memory bounded by the size of the file.

use std::io::{self, BufReader, Read, Seek};

use bincode::{ErrorKind, Options};
use network_lib::job::ProofMode;
use sp1_verifier::ProofFromNetwork;

use super::rejection::Rejection;

/// Size of a read in bytes.
const BUFFER: usize = 256 << 10;

/// Decodes a file of `size` bytes with a proof of mode `wanted`.
pub(super) fn decode(
    file: impl Read + Seek,
    size: u64,
    wanted: ProofMode,
) -> Result<ProofFromNetwork, Rejection> {
    if size == 0 {
        return Err(Rejection::Empty);
    }
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut tag = [0; 4];
    reader.read_exact(&mut tag).map_err(|error| unreadable(error, size))?;
    let number = u32::from_le_bytes(tag);
    let Some(&found) = usize::try_from(number).ok().and_then(|number| ProofMode::ALL.get(number))
    else {
        return Err(Rejection::Undecodable(format!("unknown proof mode {number}")));
    };
    if found != wanted {
        return Err(Rejection::WrongMode { found, wanted });
    }
    reader.seek_relative(-4).map_err(Rejection::Unreadable)?;

    // The limit makes bincode refuse a length beyond the file's size before it allocates.
    let options = bincode::options().with_fixint_encoding().with_limit(size);
    let proof = options.deserialize_from(&mut reader).map_err(|error| match *error {
        ErrorKind::Io(error) => unreadable(error, size),
        ErrorKind::SizeLimit => Rejection::Truncated { size },
        other => Rejection::Undecodable(other.to_string()),
    })?;
    check_end(reader)?;
    Ok(proof)
}

fn unreadable(error: io::Error, size: u64) -> Rejection {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Rejection::Truncated { size },
        _ => Rejection::Unreadable(error),
    }
}

/// Checks the end of the file: only the zero byte that closes SP1's own files may follow.
fn check_end(mut reader: impl Read) -> Result<(), Rejection> {
    let mut first = [0; 1];
    let read = reader.read(&mut first).map_err(Rejection::Unreadable)?;
    let rest = io::copy(&mut reader, &mut io::sink()).map_err(Rejection::Unreadable)?;
    if read == 0 || (rest == 0 && first == [0]) {
        return Ok(());
    }
    Err(Rejection::Trailing(rest + 1))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn decoded(bytes: &[u8], wanted: ProofMode) -> Result<ProofFromNetwork, Rejection> {
        decode(Cursor::new(bytes), bytes.len() as u64, wanted)
    }

    #[test]
    fn lengths_that_the_file_cannot_hold_take_no_memory() {
        for tag in 0..4_u32 {
            let mode = ProofMode::ALL[tag as usize];
            for length in [u64::MAX, 1 << 62, 1 << 40, 1_000_000] {
                let mut bytes = tag.to_le_bytes().to_vec();
                for _ in 0..64 {
                    bytes.extend(length.to_le_bytes());
                }
                let rejection = decoded(&bytes, mode).expect_err("no proof");
                assert!(
                    matches!(rejection, Rejection::Truncated { .. } | Rejection::Undecodable(_)),
                    "{rejection}"
                );
            }
        }
    }

    #[test]
    fn the_closing_byte_of_sp1s_own_files_is_allowed_and_nothing_else() {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        // A Core proof without shards: kind, number of shards, public values, version.
        let whole = [&[0; 4], [0; 8].as_slice(), &text("values"), &text("v6.1.0")].concat();
        let proof = decoded(&whole, ProofMode::Core).expect("decodes");
        assert_eq!(proof.public_values.as_slice(), b"values");
        assert!(decoded(&[&whole[..], &[0]].concat(), ProofMode::Core).is_ok());
        for rest in [&[1][..], &[0, 0], &[7; 1000]] {
            let rejection = decoded(&[&whole[..], rest].concat(), ProofMode::Core);
            let Err(Rejection::Trailing(length)) = rejection else {
                panic!("{rest:?} was allowed")
            };
            assert_eq!(length, rest.len() as u64);
        }
        for end in 0..whole.len() {
            assert!(decoded(&whole[..end], ProofMode::Core).is_err(), "cut at {end}");
        }
    }
}
