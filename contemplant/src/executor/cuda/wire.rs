//! Messages of SP1's GPU server: four bytes of length, little-endian, then bincode.
//!
//! The types are SP1's (`sp1_cuda::api`), the client is not: SP1's client always starts its own server, uses a fixed
//! path, and allocates as much memory as a length prefix claims.

use std::io;

use bincode::Options;
use sp1_core_machine::io::SP1Stdin;
use sp1_cuda::api::{Request, Response};
use sp1_prover_types::network_base_types::ProofMode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Size limit of an answer without a proof: a verifying key, an error's text.
pub(super) const SHORT: u32 = 16 << 20;

/// Size limit of an answer with a proof, 2 GiB: a proof of about 10^11 cycles.
pub(super) const PROOF: u32 = 2 << 30;

/// Why the exchange failed. The connection is unusable.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The server has closed the connection, or has ended.
    #[error("the prover server has closed the connection")]
    Closed,
    /// An error of the operating system.
    #[error("the connection to the prover server is broken: {0}")]
    Broken(io::Error),
    /// A length beyond the limit.
    #[error(
        "the prover server announces an answer of {announced} bytes: expected at most {limit}, by the protocol \
         of sp1-gpu-server"
    )]
    TooLong {
        /// The announced length.
        announced: u32,
        /// The limit.
        limit: u32,
    },
    /// Bytes that do not decode as an answer.
    #[error(
        "the prover server's answer cannot be decoded ({0}): expected the protocol of sp1-gpu-server, of the \
         same SP1 version"
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

/// The bytes of a request, prefix included. None if its length exceeds the prefix.
pub(super) fn encode(request: &Request) -> Option<Vec<u8>> {
    let length = u32::try_from(bincode::serialized_size(request).ok()?).ok()?;
    let mut bytes = Vec::with_capacity(length as usize + 4);
    bytes.extend_from_slice(&length.to_le_bytes());
    bincode::serialize_into(&mut bytes, request).ok()?;
    Some(bytes)
}

/// What precedes and follows the input in the bytes of a request for a proof, prefix included. None if the length
/// exceeds the prefix.
pub(super) fn around_input(
    mode: ProofMode,
    key: [u8; 32],
    input: usize,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let (stdin, proof_nonce) = (SP1Stdin::new(), [0_u32; 4]);
    let no_input = bincode::serialized_size(&stdin).ok()?;
    let tail = bincode::serialize(&proof_nonce).ok()?;
    let request = Request::ProveWithMode { mode, key, stdin, proof_nonce };
    let request = bincode::serialize(&request).ok()?;
    let head = request.len().checked_sub(usize::try_from(no_input).ok()? + tail.len())?;
    let length = u32::try_from((head + tail.len()).checked_add(input)?).ok()?;
    let head = [&length.to_le_bytes()[..], request.get(..head)?].concat();
    Some((head, tail))
}

/// Sends an encoded request, or a part of one.
pub(super) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    request: &[u8],
) -> Result<(), WireError> {
    Ok(stream.write_all(request).await?)
}

/// Receives an answer of at most `limit` bytes. Memory grows with the received bytes, not with the announced length.
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
    // Decoding a large proof takes a while, and a panic of the decoder counts as garbage.
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

    #[test]
    fn a_request_around_an_input_is_the_same_as_a_whole_one() {
        let mut stdin = SP1Stdin::new();
        stdin.write(&7_u32);
        stdin.write_vec(vec![9; 300]);
        let input = bincode::serialize(&stdin).unwrap();
        for mode in [ProofMode::Core, ProofMode::Groth16] {
            let key = [5; 32];
            let (head, tail) = around_input(mode, key, input.len()).unwrap();
            let stdin = stdin.clone();
            let whole = Request::ProveWithMode { mode, key, stdin, proof_nonce: [0; 4] };
            assert_eq!([head, input.clone(), tail].concat(), encode(&whole).unwrap());
        }
        assert!(around_input(ProofMode::Core, [5; 32], u32::MAX as usize).is_none());
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
