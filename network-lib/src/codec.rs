//! Frame to message and back, with a size cap.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest text frame that either side accepts, in bytes. Control messages are a few hundred bytes;
/// a longer frame is a fault or an attack.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// Why a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The frame exceeds [`MAX_FRAME_BYTES`].
    #[error("frame of {actual} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// Length of the frame in bytes.
        actual: usize,
    },
    /// The frame is not JSON, or not a known message.
    #[error("frame is not a known message: {reason}")]
    Malformed {
        /// What the parser found, without the frame's content.
        reason: String,
    },
}

/// Writes a message as one text frame.
///
/// # Panics
///
/// Never for the messages of [`crate::wire`]: they hold only what JSON can express.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).expect("wire messages are plain data and always serialize")
}

/// Reads one text frame.
///
/// # Errors
///
/// [`DecodeError`] when the frame is too long or not a known message. Never panics, whatever the
/// bytes are.
pub fn decode<T: DeserializeOwned>(frame: &str) -> Result<T, DecodeError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(DecodeError::TooLong { actual: frame.len() });
    }
    serde_json::from_str(frame)
        .map_err(|error| DecodeError::Malformed { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use arbtest::arbtest;

    use super::*;
    use crate::wire::{FromWorker, ToWorker};

    #[test]
    fn an_overlong_frame_is_refused_before_it_is_parsed() {
        let frame = format!("\"{}\"", "a".repeat(MAX_FRAME_BYTES));
        assert!(matches!(decode::<FromWorker>(&frame), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn arbitrary_text_never_panics() {
        arbtest(|input| {
            let frame: String = input.arbitrary()?;
            let _ = decode::<FromWorker>(&frame);
            let _ = decode::<ToWorker>(&frame);
            Ok(())
        });
    }
}
