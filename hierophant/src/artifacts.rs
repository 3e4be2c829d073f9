//! Owner of tickets, sizes and digests of everything that is uploaded. Bytes stream past the actor,
//! into a [`blobs::BlobWriter`], and only the finished file is handed to it.

pub mod actor;
pub mod audit;
pub mod blobs;
pub mod budget;
pub mod core;
pub mod damage;
pub mod handle;
mod held;
pub mod message;
pub mod program;
pub mod retention;
mod sweep;

pub use handle::ArtifactsHandle;
pub use message::UploadError;
