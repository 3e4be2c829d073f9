//! A server that is never started, because its GPU cannot prove.

use async_trait::async_trait;

use super::server::{ProverServer, RunningServer, Unavailable};

/// The server of a GPU that is too small or too old.
#[derive(Debug)]
pub(super) struct UnfitServer {
    gpu: u32,
    reason: String,
}

impl UnfitServer {
    /// The server of `gpu`, which cannot prove for `reason`.
    #[must_use]
    pub(super) const fn new(gpu: u32, reason: String) -> Self {
        Self { gpu, reason }
    }
}

#[async_trait]
impl ProverServer for UnfitServer {
    fn describe(&self) -> String {
        format!("no server on GPU {}", self.gpu)
    }

    fn is_ours(&self) -> bool {
        true
    }

    async fn start(&self) -> Result<Box<dyn RunningServer>, Unavailable> {
        Err(Unavailable(format!("GPU {}: {}", self.gpu, self.reason)))
    }
}
