//! Results of tasks on disk, until Hierophant has stored them.
//!
//! A task may have taken minutes, and its proof must not be lost with the process. As with finished proofs, results are
//! written before they are handed in. In the folder of its job, each attempt has a folder `results/LEASE` with a file for
//! each blob, and finally the messages that describe them. Without these the attempt has not ended and cannot be
//! continued.
//!
//! `max_depot_bytes` does not limit results. Their number is limited: while a worker has as many undelivered ones as it
//! takes tasks at once, it gets no further tasks.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::shard::{TaskFromWorker, TaskKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ASIDE, Depot, clear, name, sync};
use crate::finished::{Kept, KeptBytes, describe, write_synced};

/// Folder of results in the folder of a job.
const RESULTS: &str = "results";

/// File of the messages.
const MESSAGES_FILE: &str = "messages.json";

/// Bytes to hand in, and the message to send about them afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The bytes.
    pub(crate) blobs: Vec<Kept>,
    /// The message.
    pub(crate) message: TaskFromWorker,
}

/// A finished attempt at a task that Hierophant has not acknowledged.
#[derive(Debug, Clone)]
pub struct TaskResult {
    /// The attempt.
    pub lease_id: LeaseId,
    /// Its job.
    pub job: JobId,
    /// Kind of the task.
    pub kind: TaskKind,
    /// Results to hand in and messages to send, in this order.
    pub(crate) deliveries: Vec<Delivery>,
}

/// The content of [`MESSAGES_FILE`].
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    kind: TaskKind,
    deliveries: Vec<StoredDelivery>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredDelivery {
    blobs: Vec<BlobInfo>,
    message: TaskFromWorker,
}

impl Depot {
    /// Stores a part of an attempt's result: on disk, or in memory if it cannot be written. Blocks while it writes.
    pub(crate) fn keep_result(&self, job: JobId, lease: LeaseId, bytes: Vec<u8>) -> Kept {
        let sha256 = Sha256Digest(Sha256::digest(&bytes).into());
        let info = BlobInfo { size: bytes.len() as u64, sha256 };
        let bytes = match write(&self.result_folder(job, lease), &sha256.to_string(), &bytes) {
            Ok(path) => KeptBytes::File(path),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "a result cannot be written to the data folder; it is kept in memory only"
                );
                KeptBytes::Memory(bytes.into())
            }
        };
        Kept { info, bytes }
    }

    /// Stores the messages of a finished attempt, whose blobs are stored, so that another process can send them. Blocks
    /// while it writes.
    pub(crate) fn finish(&self, result: &TaskResult) {
        let stored = |delivery: &Delivery| StoredDelivery {
            blobs: delivery.blobs.iter().map(|blob| blob.info).collect(),
            message: delivery.message.clone(),
        };
        let stored = Stored {
            kind: result.kind,
            deliveries: result.deliveries.iter().map(stored).collect(),
        };
        let folder = self.result_folder(result.job, result.lease_id);
        let written = serde_json::to_vec(&stored)
            .map_err(io::Error::from)
            .and_then(|text| write(&folder, MESSAGES_FILE, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "a finished task would not survive the end of this process");
        }
    }

    /// Whether an attempt's result is on disk, and so survives a restart.
    #[must_use]
    pub(crate) fn has_result(&self, job: JobId, lease: LeaseId) -> bool {
        self.result_folder(job, lease).join(MESSAGES_FILE).exists()
    }

    /// Removes an attempt's result, if any. Blocks while it deletes files.
    pub(crate) fn remove_result(&self, job: JobId, lease: LeaseId) {
        let folder = self.result_folder(job, lease);
        if folder.exists() {
            clear(&folder);
            // Errors say that the folders still have files.
            let _ = fs::remove_dir(self.job_folder(job).join(RESULTS));
            let _ = fs::remove_dir(self.job_folder(job));
        }
    }

    fn result_folder(&self, job: JobId, lease: LeaseId) -> PathBuf {
        self.job_folder(job).join(RESULTS).join(lease.to_string())
    }
}

/// The finished results in a job's folder. Others are removed.
pub(super) fn found(job_folder: &Path, job: JobId) -> io::Result<Vec<TaskResult>> {
    let folder = job_folder.join(RESULTS);
    let mut results = Vec::new();
    if !folder.exists() {
        return Ok(results);
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let result = name(&path).parse().ok().and_then(|lease| read(&path, job, lease));
        match result {
            Some(result) => results.push(result),
            None => clear(&path),
        }
    }
    if results.is_empty() {
        // An error says that it has foreign files.
        let _ = fs::remove_dir(folder);
    }
    Ok(results)
}

/// A finished result; none if it is incomplete or damaged.
fn read(folder: &Path, job: JobId, lease_id: LeaseId) -> Option<TaskResult> {
    let stored = fs::read(folder.join(MESSAGES_FILE)).ok()?;
    let Stored { kind, deliveries } = serde_json::from_slice(&stored).ok()?;
    let kept = |info: BlobInfo| {
        let path = folder.join(info.sha256.to_string());
        let is_intact = describe(&path).is_ok_and(|found| found == info);
        is_intact.then_some(Kept { info, bytes: KeptBytes::File(path) })
    };
    let delivery = |stored: StoredDelivery| {
        let blobs = stored.blobs.into_iter().map(kept).collect::<Option<_>>()?;
        Some(Delivery { blobs, message: stored.message })
    };
    let deliveries = deliveries.into_iter().map(delivery).collect::<Option<_>>()?;
    Some(TaskResult { lease_id, job, kind, deliveries })
}

/// Writes a file under a temporary name and renames it.
fn write(folder: &Path, file: &str, content: &[u8]) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (aside, path) = (folder.join(format!("{ASIDE}{file}")), folder.join(file));
    // The same blob may occur twice in one result.
    if !path.exists() {
        clear(&aside);
        write_synced(&aside, content)?;
        fs::rename(&aside, &path)?;
        sync(folder)?;
    }
    Ok(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use network_lib::shard::TaskUsage;

    use super::*;

    const JOB: JobId = JobId([1; 16]);

    fn done(depot: &Depot, lease_id: LeaseId) -> TaskResult {
        let proof = depot.keep_result(JOB, lease_id, b"a proof".to_vec());
        let used = TaskUsage::default();
        let message = TaskFromWorker::TaskDone { lease_id, output: proof.info, used };
        let deliveries = vec![Delivery { blobs: vec![proof], message }];
        TaskResult { lease_id, job: JOB, kind: TaskKind::ProveShard, deliveries }
    }

    #[test]
    fn a_finished_result_is_found_again_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (depot, _) = Depot::open(folder.path(), 100).unwrap();
        let [finished, unfinished, damaged] = [(); 3].map(|()| LeaseId::random());
        let result = done(&depot, finished);
        depot.finish(&result);
        done(&depot, unfinished);
        let broken = done(&depot, damaged);
        depot.finish(&broken);
        let KeptBytes::File(path) = &broken.deliveries[0].blobs[0].bytes else { panic!() };
        fs::write(path, b"A proof").unwrap();

        let (depot, found) = Depot::open(folder.path(), 100).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lease_id, finished);
        assert_eq!(found[0].deliveries[0].message, result.deliveries[0].message);
        assert!(depot.has_result(JOB, finished));
        assert!(!depot.has_result(JOB, unfinished) && !depot.has_result(JOB, damaged));
        assert_eq!(depot.usage(), (0, 100), "results take no room of records");
        depot.remove_result(JOB, finished);
        assert!(!folder.path().join(JOB.to_string()).exists());
        assert!(Depot::open(folder.path(), 100).unwrap().1.is_empty());
    }

    #[test]
    fn a_job_that_is_forgotten_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (depot, _) = Depot::open(folder.path(), 100).unwrap();
        depot.finish(&done(&depot, LeaseId::random()));
        depot.remove_job(JOB);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
