//! Test doubles of Hierophant's peers: a client that signs and encodes its own calls, and a worker that is controlled
//! by the test. Neither needs a prover. Also a Postgres server, a trace collector, and whole fleets.
//!
//! Whatever a test does not ask for must work, so these peers panic when it does not.

pub mod certificates;
mod client;
pub mod collector;
mod contemplant;
pub mod fleet;
mod payload;
pub mod postgres;
pub mod queries;
pub mod s3;

use std::net::SocketAddr;
use std::time::Duration;

pub use client::{Ask, Client};
pub use contemplant::{Worker, hello};
pub use payload::{
    PUBLIC_VALUES, blob, compressed, core_proof, core_proof_with, execution, execution_with,
    program_body, program_upload, stdin_of_u32, unix_now,
};

/// Longest wait for anything that must happen.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Where a Hierophant is reached.
pub trait Reach {
    /// Address of its gRPC port.
    fn grpc(&self) -> SocketAddr;
    /// Address of its HTTP port.
    fn http(&self) -> SocketAddr;
}

impl Reach for test_harness::Hierophant {
    fn grpc(&self) -> SocketAddr {
        self.grpc()
    }

    fn http(&self) -> SocketAddr {
        self.http()
    }
}

/// A Hierophant known by its two addresses, of which either may be a relay's.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Address of the gRPC port.
    pub grpc: SocketAddr,
    /// Address of the HTTP port.
    pub http: SocketAddr,
}

impl Reach for Addresses {
    fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    fn http(&self) -> SocketAddr {
        self.http
    }
}
