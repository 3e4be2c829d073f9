//! Programs and inputs as a prover needs them: fetched, checked and unpacked.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{BlobInfo, Failure, FailureClass};
use network_lib::upload::{self, DecodeError};
use network_lib::wire;
use tempfile::NamedTempFile;

use super::Stop;
use super::meter::Meter;
use super::transfer::Transfer;

/// Programs that are kept for further tasks: all shards of a proof have the same.
const KEPT_PROGRAMS: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

/// The receiver of programs and inputs.
pub(super) struct Inputs {
    transfer: Arc<Transfer>,
    downloads: PathBuf,
    max_decompressed_bytes: u64,
    programs: Mutex<LruCache<Sha256Digest, Arc<Vec<u8>>>>,
}

impl Inputs {
    /// Downloads by `transfer` into the folder `downloads`; what is larger than `max_decompressed_bytes` when unpacked is
    /// rejected.
    pub(super) fn new(
        transfer: Arc<Transfer>,
        downloads: PathBuf,
        max_decompressed_bytes: u64,
    ) -> Self {
        let programs = Mutex::new(LruCache::new(KEPT_PROGRAMS));
        Self { transfer, downloads, max_decompressed_bytes, programs }
    }

    /// The ELF and the input of an attempt.
    pub(super) async fn both(
        &self,
        lease: LeaseId,
        (program, stdin): (BlobInfo, BlobInfo),
        meter: &Meter,
    ) -> Result<(Arc<Vec<u8>>, Vec<u8>), Stop> {
        let (program_path, stdin_path) = (wire::program_path(lease), wire::stdin_path(lease));
        let (program_file, stdin_file) = tokio::try_join!(
            self.transfer.fetch(&program_path, program, &self.downloads, meter),
            self.transfer.fetch(&stdin_path, stdin, &self.downloads, meter),
        )?;
        let limit = self.max_decompressed_bytes;
        let unpacked = tokio::task::spawn_blocking(move || {
            let elf = elf(program_file, limit)?;
            let stdin = unpack(stdin_file, limit).map_err(|error| unusable("input", error))?;
            Ok::<_, Failure>((elf, stdin))
        });
        let (elf, stdin) = unpacked.await.map_err(not_unpacked)??;
        Ok((Arc::new(elf), stdin))
    }

    /// The ELF of a task, which is kept for the next one.
    pub(super) async fn program(
        &self,
        lease: LeaseId,
        program: BlobInfo,
        meter: &Meter,
    ) -> Result<Arc<Vec<u8>>, Stop> {
        if let Some(kept) = self.programs().get(&program.sha256) {
            return Ok(Arc::clone(kept));
        }
        let path = wire::program_path(lease);
        let file = self.transfer.fetch(&path, program, &self.downloads, meter).await?;
        let limit = self.max_decompressed_bytes;
        let unpacked = tokio::task::spawn_blocking(move || elf(file, limit));
        let elf = Arc::new(unpacked.await.map_err(not_unpacked)??);
        self.programs().put(program.sha256, Arc::clone(&elf));
        Ok(elf)
    }

    fn programs(&self) -> MutexGuard<'_, LruCache<Sha256Digest, Arc<Vec<u8>>>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elf(program: NamedTempFile, limit: u64) -> Result<Vec<u8>, Failure> {
    unpack(program, limit).and_then(upload::elf_of).map_err(|error| unusable("program", error))
}

fn unpack(file: NamedTempFile, limit: u64) -> Result<Vec<u8>, DecodeError> {
    let opened = File::open(file.path()).map_err(DecodeError::File)?;
    upload::unpack(opened, limit)
}

fn not_unpacked(error: tokio::task::JoinError) -> Failure {
    Failure::new(FailureClass::Worker, format!("unpacking failed: {error}"))
}

fn unusable(what: &str, error: DecodeError) -> Failure {
    match error {
        DecodeError::File(error) => Failure::new(
            FailureClass::Infrastructure,
            format!("the downloaded {what} cannot be read: {error}"),
        ),
        error => Failure::new(FailureClass::Request, format!("the {what} cannot be used: {error}")),
    }
}
