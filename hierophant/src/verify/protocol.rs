//! Messages between Hierophant and its checking processes, over the pipes of standard input and output.
//!
//! Each message is JSON after its length as a 32-bit little-endian number. An order names a proof file, which is not
//! part of it. The replies say how far the process has come, and end with the verdict. All are bounded, whatever the
//! other end says.

use std::io::{self, Read, Write};

use hierophant_model::records::Claim;
use hierophant_scheduler::proofs::PartKind;
use network_lib::handshake::Backend;
use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, ProofMode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Maximum size of an order in bytes: a verifying key is shorter than 64 KiB, and twice as long in hexadecimal.
const MAX_ORDER: u32 = 1 << 20;

/// Maximum size of a reply in bytes.
const MAX_REPLY: u32 = 16 << 10;

/// Verdict on a proof.
pub(super) type Verdict = Result<(), Failure>;

/// What a checking process reports about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It has the order, and nothing of the proof yet.
    Began,
    /// It has read the proof, and decodes and verifies it now.
    Read,
    /// It has ended the check.
    Verdict(Verdict),
}

/// A proof to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Path of the proof file, as bytes: a path need not be UTF-8.
    #[serde(with = "hex")]
    pub(super) path: Vec<u8>,
    /// Registered program.
    pub(super) vk_hash: VkHash,
    /// Requested kind of proof.
    pub(super) mode: ProofMode,
    /// Requested circuit version.
    pub(super) circuit_version: String,
    /// Digest of the public values that the attempt reported.
    pub(super) public_values_hash: Sha256Digest,
    /// Backend that made the proof.
    pub(super) backend: Backend,
    /// The program's registered verifying key.
    #[serde(with = "hex")]
    pub(super) vk: Vec<u8>,
    /// Whether mock proofs are allowed.
    pub(super) mock_mode: bool,
    /// Memory in bytes that the process may use.
    pub(super) memory: u64,
    /// What the file proves, if it is a part of such a proof.
    #[serde(default)]
    pub(super) part: Option<PartKind>,
}

impl Order {
    /// The claim that the proof must satisfy.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            vk_hash: self.vk_hash,
            mode: self.mode,
            circuit_version: self.circuit_version.clone(),
            public_values_hash: self.public_values_hash,
            backend: self.backend,
        }
    }
}

/// Reads an order; `None` at the end of the input.
pub(super) fn read_order(from: &mut impl Read) -> io::Result<Option<Order>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = within(u32::from_le_bytes(length), MAX_ORDER)?;
    let mut text = Vec::new();
    from.take(length.into()).read_to_end(&mut text)?;
    parsed(&text).map(Some)
}

/// Writes a reply. A longer message than fits is cut.
pub(super) fn write_reply(to: &mut impl Write, mut reply: Reply) -> io::Result<()> {
    if let Reply::Verdict(Err(failure)) = &mut reply {
        failure.message = failure.message.chars().take(1000).collect();
    }
    to.write_all(&framed(&reply, MAX_REPLY)?)?;
    to.flush()
}

/// Sends an order.
pub(super) async fn send_order(
    to: &mut (impl AsyncWrite + Unpin),
    order: &Order,
) -> io::Result<()> {
    to.write_all(&framed(order, MAX_ORDER)?).await?;
    to.flush().await
}

/// Receives a reply.
pub(super) async fn receive_reply(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Reply> {
    let length = within(from.read_u32_le().await?, MAX_REPLY)?;
    let mut text = Vec::new();
    from.take(length.into()).read_to_end(&mut text).await?;
    parsed(&text)
}

fn framed(message: &impl Serialize, most: u32) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    let length = within(u32::try_from(text.len()).unwrap_or(u32::MAX), most)?;
    Ok([&length.to_le_bytes()[..], &text].concat())
}

fn within(length: u32, most: u32) -> io::Result<u32> {
    if length > most {
        let message = format!("a message of {length} bytes: expected at most {most}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(length)
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use network_lib::job::FailureClass;

    use super::*;

    fn order() -> Order {
        Order {
            path: b"/a/\xff".to_vec(),
            vk_hash: VkHash([1; 32]),
            mode: ProofMode::Plonk,
            circuit_version: "v6.1.0".into(),
            public_values_hash: Sha256Digest([2; 32]),
            backend: Backend::Cuda,
            vk: vec![0xff; 64 << 10],
            mock_mode: true,
            memory: u64::MAX,
            part: Some(PartKind::Recursive(shard_plan::ShardRange::PRECOMPILE)),
        }
    }

    #[tokio::test]
    async fn orders_and_replies_arrive_as_they_were_sent() {
        let mut pipe = Vec::new();
        send_order(&mut pipe, &order()).await.expect("sends");
        assert_eq!(read_order(&mut pipe.as_slice()).expect("reads"), Some(order()));
        assert!(read_order(&mut &pipe[..pipe.len() - 1]).is_err());
        assert_eq!(read_order(&mut &[][..]).expect("reads"), None);

        let failure = |length| Failure::new(FailureClass::Worker, "ß".repeat(length));
        let replies = [
            (Reply::Began, Reply::Began),
            (Reply::Read, Reply::Read),
            (Reply::Verdict(Ok(())), Reply::Verdict(Ok(()))),
            (Reply::Verdict(Err(failure(5000))), Reply::Verdict(Err(failure(1000)))),
        ];
        for (sent, expected) in replies {
            let mut pipe = Vec::new();
            write_reply(&mut pipe, sent).expect("writes");
            assert_eq!(receive_reply(&mut pipe.as_slice()).await.expect("receives"), expected);
            assert!(receive_reply(&mut &pipe[..pipe.len() / 2]).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_false_length_costs_no_memory() {
        let pipe = u32::MAX.to_le_bytes();
        assert!(receive_reply(&mut &pipe[..]).await.is_err());
        assert!(read_order(&mut &pipe[..]).is_err());
    }
}
