//! The times of proofs, for a measurement of how long the server was idle between them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// The time of one proof, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// When its request had arrived.
    pub begin: u64,
    /// When it was answered.
    pub end: u64,
}

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "times of several processes are compared")]
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Appends a proof to a file.
pub(crate) fn append(file: &Path, Proof { begin, end }: Proof) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    Ok(writeln!(file, "{begin} {end}")?)
}

/// Reads the proofs in a file, in the order of their ends; none if the file does not exist yet.
///
/// # Errors
///
/// When a line is not two numbers.
pub fn read(file: &Path) -> anyhow::Result<Vec<Proof>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let proof = |line: &str| {
        let (begin, end) = line.split_once(' ')?;
        Some(Proof { begin: begin.parse().ok()?, end: end.parse().ok()? })
    };
    let parse =
        |line: &str| proof(line).with_context(|| format!("not the times of a proof: {line}"));
    text.lines().map(parse).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_read() {
        let file = std::env::temp_dir().join(format!("gpu-stand-in-times-{}", std::process::id()));
        assert_eq!(read(&file).unwrap(), []);
        let proofs = [Proof { begin: 1, end: 20 }, Proof { begin: 21, end: now() }];
        for proof in proofs {
            append(&file, proof).unwrap();
        }
        assert_eq!(read(&file).unwrap(), proofs);
        std::fs::write(&file, "1 x\n").unwrap();
        assert!(read(&file).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
