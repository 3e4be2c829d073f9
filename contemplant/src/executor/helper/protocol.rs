//! What a Contemplant and its execution process say to each other, over the pipes of standard input and output: an
//! order with a program and its input, then replies.
//!
//! Everything is a part: its length as a 64-bit little-endian number, and its bytes. An order is three parts: JSON, the
//! ELF and the input. A reply is two: JSON and a body.

use std::io::{self, Read, Write};

use network_lib::job::{Execution, Failure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::executor::execute::Settings;

/// Longest part of a reply; public values are far shorter.
const MAX_REPLY: u64 = 1 << 30;

/// An execution to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) settings: Settings,
    /// Whether the program's verifying key is wanted before the execution.
    pub(super) derive_key: bool,
}

/// A reply to an order. [`Reply::Executed`] and [`Reply::Failed`] are the last of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The verifying key; the body is its bincode.
    Key,
    /// The program has been executed; the body is its public values.
    Executed { execution: Execution, clock_ticks: u64 },
    /// The order cannot be carried out.
    Failed(Failure),
}

/// Reads an order, its ELF and its input.
pub(super) fn read_order(from: &mut impl Read) -> io::Result<(Order, Vec<u8>, Vec<u8>)> {
    let order = serde_json::from_slice(&read_part(from)?)?;
    Ok((order, read_part(from)?, read_part(from)?))
}

fn read_part(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut part = Vec::new();
    // Not allocated at once: the length may be false.
    if from.take(length).read_to_end(&mut part)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(part)
}

/// Writes a reply.
pub(super) fn write_reply(to: &mut impl Write, reply: &Reply, body: &[u8]) -> io::Result<()> {
    for part in [&serde_json::to_vec(reply)?, body] {
        to.write_all(&(part.len() as u64).to_le_bytes())?;
        to.write_all(part)?;
    }
    to.flush()
}

/// Sends an order.
pub(super) async fn send_order(
    to: &mut (impl AsyncWrite + Unpin),
    order: &Order,
    elf: &[u8],
    input: &[u8],
) -> io::Result<()> {
    for part in [&serde_json::to_vec(order)?, elf, input] {
        to.write_all(&(part.len() as u64).to_le_bytes()).await?;
        to.write_all(part).await?;
    }
    to.flush().await
}

/// Receives a reply and its body.
pub(super) async fn receive_reply(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Reply, Vec<u8>)> {
    let reply = serde_json::from_slice(&receive_part(from).await?)?;
    Ok((reply, receive_part(from).await?))
}

async fn receive_part(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u64_le().await?;
    if length > MAX_REPLY {
        let message = format!("a reply of {length} bytes: expected at most {MAX_REPLY}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut part = Vec::new();
    if from.take(length).read_to_end(&mut part).await? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(part)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use network_lib::ids::Sha256Digest;
    use network_lib::job::{ExecutionFailureCause, FailureClass};

    use super::*;

    #[tokio::test]
    async fn orders_and_replies_arrive_as_they_were_sent() {
        let settings = Settings { cycle_limit: Some(7), gas_limit: None, accept_mock_proofs: true };
        let order = Order { settings, derive_key: true };
        let mut pipe = Vec::new();
        send_order(&mut pipe, &order, b"elf", b"").await.unwrap();
        let read = read_order(&mut pipe.as_slice()).unwrap();
        assert_eq!(read, (order, b"elf".to_vec(), Vec::new()));
        assert!(read_order(&mut &pipe[..pipe.len() - 1]).is_err());

        let public_values_hash = Sha256Digest([3; 32]);
        let execution = Execution { cycles: u64::MAX, gas: None, public_values_hash };
        let failure = Failure::new(FailureClass::Guest, "ended with exit code 1")
            .caused_by(ExecutionFailureCause::HaltWithNonZeroExitCode);
        for (reply, body) in [
            (Reply::Key, &b"key"[..]),
            (Reply::Executed { execution, clock_ticks: 9 }, b"values"),
            (Reply::Failed(failure), b""),
        ] {
            let mut pipe = Vec::new();
            write_reply(&mut pipe, &reply, body).unwrap();
            let received = receive_reply(&mut pipe.as_slice()).await.unwrap();
            assert_eq!(received, (reply, body.to_vec()));
            assert!(receive_reply(&mut &pipe[..pipe.len() / 2]).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_false_length_costs_no_memory() {
        let pipe = u64::MAX.to_le_bytes();
        assert!(receive_reply(&mut &pipe[..]).await.is_err());
        assert!(read_order(&mut &pipe[..]).is_err());
    }
}
