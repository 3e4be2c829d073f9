//! Inputs of tasks, from their sources in order.

use network_lib::job::{Failure, FailureClass};
use network_lib::shard::{Blob, Source, blob_path};

use super::TaskRunner;
use super::attempt::Attempt;
use super::stop::TaskStop;
use crate::runner::meter::Meter;
use crate::runner::transfer::TransferError;

impl TaskRunner {
    /// A blob, from the first of its sources that has it. A downloaded one is not kept.
    pub(super) async fn fetch(
        &self,
        attempt: &Attempt,
        what: &str,
        blob: &Blob,
        meter: &Meter,
    ) -> Result<Vec<u8>, TaskStop> {
        for source in &blob.from {
            let found = match source {
                Source::Own => self.read(attempt, blob).await?,
                Source::Hierophant => self.download(attempt, blob, meter).await?,
                // This version takes nothing from other workers directly; Hierophant relays.
                Source::Peer { .. } => None,
            };
            if let Some(bytes) = found {
                return Ok(bytes);
            }
        }
        Err(TaskStop::lost(what, blob.info.sha256))
    }

    /// A record of this worker's depot. If it is lost, Hierophant gets the list of the others.
    async fn read(&self, attempt: &Attempt, blob: &Blob) -> Result<Option<Vec<u8>>, TaskStop> {
        let (depot, job, info) = (self.depot.clone(), attempt.job, blob.info);
        let read = tokio::task::spawn_blocking(move || depot.read(job, info.sha256)).await;
        let read = read.map_err(|error| {
            let message = format!("a record could not be read: {error}");
            Failure::new(FailureClass::Worker, message)
        })?;
        let found = read.filter(|bytes| bytes.len() as u64 == info.size);
        if found.is_none() {
            self.list_depot(job);
        }
        Ok(found)
    }

    async fn download(
        &self,
        attempt: &Attempt,
        blob: &Blob,
        meter: &Meter,
    ) -> Result<Option<Vec<u8>>, TaskStop> {
        let path = blob_path(attempt.lease, blob.info.sha256);
        let fetch = || self.transfer.fetch_blob(&path, blob.info, meter);
        match self.confirmed(fetch).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error @ (TransferError::Missing | TransferError::Differs(_))) => {
                tracing::warn!(%error, blob = blob.info.sha256.hint(), "an input is not available");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
