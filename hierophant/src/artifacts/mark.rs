//! Check at a start that uploads and proofs are those of the database, and are there at all.
//!
//! A folder that is not mounted looks like one whose files are lost, and so does another bucket. Folder and bucket
//! therefore hold a mark, a file with the id of the database. From the start on, a missing blob of a folder counts as
//! lost only while the mark is there.

use std::io;
use std::time::Duration;

use hierophant_model::records::{Change, Millis, Setting, SettingKind};
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::random_bytes;

use super::blobs::Blobs;

/// Number of artifacts that are looked for at a start.
const SAMPLE: u32 = 1000;

/// Number of artifacts below which losses do not prevent the start with the right mark.
const FEW: usize = 100;

/// Time limit for looking for artifacts in a bucket.
const TIME: Duration = Duration::from_secs(2);

/// Why a start with these uploads and proofs is refused.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// Most artifacts are missing, and so is the mark.
    #[error(
        "{location} lacks its file `store-id` and {missing} of {known} looked-for uploads and proofs; mount or restore \
         it, or accept their loss with `storage.accept_loss = true`"
    )]
    Unmarked {
        /// Location of the blobs.
        location: String,
        /// Number of missing artifacts.
        missing: usize,
        /// Number of artifacts that were looked for.
        known: usize,
    },
    /// Most artifacts are missing.
    #[error(
        "{location} lacks {missing} of {known} looked-for uploads and proofs; restore it, or accept their loss with \
         `storage.accept_loss = true`"
    )]
    MostMissing {
        /// Location of the blobs.
        location: String,
        /// Number of missing artifacts.
        missing: usize,
        /// Number of artifacts that were looked for.
        known: usize,
    },
    /// The mark of another database.
    #[error(
        "{location} belongs to another database, as its file `store-id` says; correct `data_dir`, `artifacts_url` or \
         `database_url`"
    )]
    OfAnotherStore {
        /// Location of the blobs.
        location: String,
    },
    /// The store does not answer.
    #[error("cannot read or store which artifacts belong to the database")]
    Store(#[from] StoreError),
    /// Folder or bucket do not answer.
    #[error("cannot read or write the file `store-id` of {location}")]
    Blobs {
        /// Location of the blobs.
        location: String,
        /// Error of the disk or of the bucket.
        #[source]
        source: io::Error,
    },
}

/// Checks that blobs belong to the store and that most of them are there, and marks them. With `accept_loss`, missing
/// ones count as lost; the mark of another store is refused nevertheless.
///
/// # Errors
///
/// [`MarkError`]; nothing has changed then.
pub async fn check(
    blobs: &Blobs,
    store: &dyn JobStore,
    accept_loss: bool,
) -> Result<(), MarkError> {
    let location = blobs.location();
    let failed = |source| MarkError::Blobs { location: location.clone(), source };
    let expected = store
        .settings()
        .await?
        .into_iter()
        .find_map(|setting| (setting.kind == SettingKind::Artifacts).then_some(setting.reason));
    let found = blobs.read_mark().await.map_err(failed)?;
    let (known, missing) = sample(blobs, store).await?;
    if let Err(fault) = judge(expected.as_deref(), found.as_deref(), known, missing) {
        if !accept_loss || fault == Fault::OfAnotherStore {
            return Err(fault.at(location, known, missing));
        }
        let reason = fault.at(location.clone(), known, missing).to_string();
        tracing::error!(
            reason,
            "`storage.accept_loss` is set: missing uploads and proofs count as lost; remove the key after this start"
        );
    }
    let mark = match (&expected, &found) {
        (Some(mark), _) | (None, Some(mark)) => mark.clone(),
        (None, None) => hex::encode(random_bytes::<16>()),
    };
    if found.as_ref() != Some(&mark) {
        blobs.write_mark(&mark).await.map_err(failed)?;
    }
    if expected.as_ref() != Some(&mark) {
        let setting = Setting {
            kind: SettingKind::Artifacts,
            subject: String::new(),
            reason: mark.clone(),
            since: Millis::now(),
        };
        store.commit(&[Change::Set(setting)]).await?;
    }
    blobs.require_mark(&mark);
    Ok(())
}

/// Numbers of artifacts that were looked for, and of those that are certainly missing.
async fn sample(blobs: &Blobs, store: &dyn JobStore) -> Result<(usize, usize), StoreError> {
    let artifacts = store.some_artifacts(SAMPLE).await?;
    let ids = artifacts.iter().map(|artifact| artifact.id).collect();
    let sizes = blobs.sizes(ids, TIME).await;
    let known = sizes.values().filter(|size| size.is_ok()).count();
    let missing = sizes.values().filter(|size| matches!(size, Ok(None))).count();
    Ok((known, missing))
}

/// Fault of the blobs, without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Unmarked,
    MostMissing,
    OfAnotherStore,
}

impl Fault {
    const fn at(self, location: String, known: usize, missing: usize) -> MarkError {
        match self {
            Self::Unmarked => MarkError::Unmarked { location, missing, known },
            Self::MostMissing => MarkError::MostMissing { location, missing, known },
            Self::OfAnotherStore => MarkError::OfAnotherStore { location },
        }
    }
}

/// Judges the mark that the store expects, the one that was found, and a sample of artifacts. Without a mark, blobs are
/// the right ones if most are there: they are of an earlier version, or were copied without it.
fn judge(
    expected: Option<&str>,
    found: Option<&str>,
    known: usize,
    missing: usize,
) -> Result<(), Fault> {
    let most_are_missing = missing > known / 2;
    match (expected, found) {
        (Some(expected), Some(found)) if expected != found => Err(Fault::OfAnotherStore),
        (_, None) if most_are_missing => Err(Fault::Unmarked),
        _ if most_are_missing && known >= FEW => Err(Fault::MostMissing),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_mark_counts_only_if_most_artifacts_are_missing_too() {
        let (ours, other) = (Some("a"), Some("b"));
        assert_eq!(judge(None, None, 0, 0), Ok(()), "a new folder");
        assert_eq!(judge(None, None, 10, 5), Ok(()), "an upgrade");
        assert_eq!(judge(ours, None, 10, 0), Ok(()), "copied without the mark");
        for expected in [None, ours] {
            assert_eq!(judge(expected, None, 10, 6), Err(Fault::Unmarked));
            assert_eq!(judge(expected, None, 1, 1), Err(Fault::Unmarked));
        }
        assert_eq!(judge(ours, ours, 99, 99), Ok(()), "a few losses");
        assert_eq!(judge(ours, ours, 100, 50), Ok(()));
        assert_eq!(judge(ours, ours, 100, 51), Err(Fault::MostMissing));
        assert_eq!(judge(ours, other, 100, 0), Err(Fault::OfAnotherStore));
        assert_eq!(judge(None, other, 3, 0), Ok(()), "the records are of an earlier backup");
    }
}
