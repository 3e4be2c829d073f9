//! What the ports serve: gRPC for SDK clients, HTTP for artifact data, workers and operators.
//!
//! Converts protobuf, HTTP and JSON to and from [`hierophant_model::records`].

pub mod auth;
pub mod bearer;
mod certificate;
pub mod classify;
pub mod context;
mod deadline;
pub mod grpc;
pub mod http;
mod networks;
mod problem;
pub mod readiness;
pub mod storing;
pub mod uploads;
pub mod urls;

pub use context::{AdminContext, ClientContext, Contexts, Transfers, WorkerContext};
