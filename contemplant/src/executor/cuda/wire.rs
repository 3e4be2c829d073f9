//! Messages of SP1's GPU server: four bytes of length, little-endian, then bincode.
//!
//! The types are SP1's own (`sp1_cuda::api`), the client is not: SP1's starts servers by itself, knows
//! one path, and takes as much memory as a length prefix asks for.

use std::io;

use bincode::Options;
use sp1_cuda::api::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest answer without a proof: a verifying key, an error's text.
pub(super) const SHORT: u32 = 16 << 20;

/// The longest answer with a proof, 2 GiB: what a proof of some hundred thousand million cycles takes.
pub(super) const PROOF: u32 = 2 << 30;

/// Why nothing could be said or heard. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The server is gone, or has had enough.
    #[error("the prover server has closed the connection")]
    Closed,
    /// The operating system's word.
    #[error("the connection to the prover server is broken: {0}")]
    Broken(io::Error),
    /// A length that no answer has.
    #[error(
        "the prover server announces an answer of {announced} bytes, more than the {limit} that one may \
         have: it does not speak the protocol of sp1-gpu-server"
    )]
    TooLong {
        /// What the prefix says.
        announced: u32,
        /// What is taken.
        limit: u32,
    },
    /// Bytes that are no answer.
    #[error(
        "the prover server's answer cannot be read ({0}): it does not speak the protocol of \
         sp1-gpu-server, or is of another SP1 version"
    )]
    Garbage(String),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::UnexpectedEof | Kind::BrokenPipe | Kind::ConnectionReset => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

/// The bytes of a request, prefix included. None if it is longer than a prefix can say.
pub(super) fn encode(request: &Request) -> Option<Vec<u8>> {
    let length = u32::try_from(bincode::serialized_size(request).ok()?).ok()?;
    let mut bytes = Vec::with_capacity(length as usize + 4);
    bytes.extend_from_slice(&length.to_le_bytes());
    bincode::serialize_into(&mut bytes, request).ok()?;
    Some(bytes)
}

/// Says a request that is encoded.
pub(super) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    request: &[u8],
) -> Result<(), WireError> {
    Ok(stream.write_all(request).await?)
}

/// Hears an answer of at most `limit` bytes. Memory grows with what arrives, not with what is announced.
pub(super) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    limit: u32,
) -> Result<Response, WireError> {
    let announced = stream.read_u32_le().await?;
    if announced > limit {
        return Err(WireError::TooLong { announced, limit });
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(announced)).read_to_end(&mut bytes).await?;
    if bytes.len() < announced as usize {
        return Err(WireError::Closed);
    }
    // A large proof takes a while, and a panic of a decoder is garbage like any other.
    tokio::task::spawn_blocking(move || decode(&bytes))
        .await
        .map_err(|error| WireError::Garbage(error.to_string()))?
        .map_err(|error| WireError::Garbage(error.to_string()))
}

fn decode(bytes: &[u8]) -> bincode::Result<Response> {
    // As `bincode::deserialize`, but lengths inside are bounded by what there is.
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn heard(bytes: &[u8]) -> Result<Response, WireError> {
        receive(&mut &bytes[..], SHORT).await
    }

    #[tokio::test]
    async fn an_answer_survives() {
        let answer = bincode::serialize(&Response::ProverError("no".to_owned())).unwrap();
        let framed = [&(answer.len() as u32).to_le_bytes()[..], &answer].concat();
        let heard_answer = heard(&framed).await.unwrap();
        assert!(matches!(heard_answer, Response::ProverError(text) if text == "no"));
        assert!(matches!(heard(&framed[..framed.len() - 1]).await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_takes_no_memory() {
        let four_gib = [0xff; 12];
        assert!(matches!(heard(&four_gib).await, Err(WireError::TooLong { .. })));
        let announced_only = (SHORT).to_le_bytes();
        assert!(matches!(heard(&announced_only).await, Err(WireError::Closed)));
        let unknown_kind = [4, 0, 0, 0, 99, 0, 0, 0];
        assert!(matches!(heard(&unknown_kind).await, Err(WireError::Garbage(_))));
        // A text that claims to be longer than the answer.
        let mut lies = vec![12, 0, 0, 0, 3, 0, 0, 0];
        lies.extend([0xff; 8]);
        assert!(matches!(heard(&lies).await, Err(WireError::Garbage(_))));
        let mut trailing = vec![8, 0, 0, 0];
        trailing.extend([0; 8]);
        assert!(matches!(heard(&trailing).await, Err(WireError::Garbage(_))));
        assert!(matches!(heard(&[]).await, Err(WireError::Closed)));
    }
}
