//! Peers of Hierophant that tests drive: a client that signs and speaks the wire protocol itself, and a worker that
//! follows a script. Neither needs a prover. In addition, a Postgres server, a bucket, a link that can break, a collector
//! of traces, and whole networks to look at.
//!
//! Most methods panic when something fails that the test did not ask for.

pub mod certificates;
mod client;
pub mod collector;
pub mod fleet;
mod payload;
pub mod postgres;
pub mod queries;
pub mod relay;
pub mod s3;
pub mod task_worker;
mod worker;

use std::net::SocketAddr;
use std::time::Duration;

pub use client::{Ask, Client};
pub use payload::{
    PUBLIC_VALUES, blob, compressed, core_proof, core_proof_with, execution, execution_with,
    program_body, program_upload, stdin_of_u32, unix_now,
};
pub use worker::{Closed, Job, Worker, hello};

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
