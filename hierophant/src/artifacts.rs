//! Artifacts: uploads and proofs, their tickets, sizes and digests. Bytes do not pass through the actor: they
//! stream into a [`blobs::BlobWriter`], and the actor receives the finished file.

pub mod actor;
pub mod audit;
pub mod blobs;
pub mod budget;
pub mod core;
pub mod damage;
pub mod handle;
pub mod mark;
pub mod message;
pub mod program;
mod quota_usage;
pub mod retention;
mod sweep;
pub mod task_blobs;

pub use handle::ArtifactsHandle;
pub use message::UploadError;
