//! Client-facing gRPC contract: generated code, and the codec it is wired to.
//!
//! The schemas are `proto/artifact.proto` and `proto/network.proto`; they explain themselves.

pub mod codec;

/// Package `artifact`: upload tickets.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod artifact {
    tonic::include_proto!("artifact");
}

/// Package `network`: programs, proof requests, accounts.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod network {
    tonic::include_proto!("network");
}

/// Encoded descriptors of both packages, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
