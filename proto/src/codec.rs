//! The protobuf codec of both services.
//!
//! It differs from tonic's own in one point: undecodable bytes are answered with
//! `InvalidArgument`, not `Internal`. The SDK retries `Internal` for two minutes, so a client with a
//! deterministic fault would hang instead of failing.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Protobuf on the wire; `E` is sent, `D` is received.
#[derive(Debug, Clone)]
pub struct ContractCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for ContractCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for ContractCodec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = ContractEncoder<E>;
    type Decoder = ContractDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ContractEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ContractDecoder(PhantomData)
    }
}

/// Writes messages.
#[derive(Debug, Clone)]
pub struct ContractEncoder<E>(PhantomData<E>);

impl<E: Message> Encoder for ContractEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// Reads messages.
#[derive(Debug, Clone)]
pub struct ContractDecoder<D>(PhantomData<D>);

impl<D: Message + Default> Decoder for ContractDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        D::decode(buffer).map(Some).map_err(|error| {
            Status::invalid_argument(format!(
                "request is not a valid message of this call: {error}"
            ))
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
