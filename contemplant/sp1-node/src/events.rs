//! Precompile events under the names that all workers of a proof use.
//!
//! SP1's engine invents names for the events that a core shard defers. Those names are unknown elsewhere, and not unique.
//! So events leave a worker under names that its caller has given, and enter it under names of the worker's own depot.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use sp1_prover::worker::{DeferredEvents, TraceData};
use sp1_prover_types::{Artifact, ArtifactId};

use crate::depot::{Depot, Scope};

/// Precompile events that a core shard defers to other shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedEvents {
    /// Bincode of SP1's `DeferredEvents`, which names the blobs.
    pub index: Vec<u8>,
    /// The blobs, by their names.
    pub blobs: Vec<(String, Vec<u8>)>,
}

/// Takes the events of a core shard out of the depot. Their new names are `prefix`, a hyphen and a number; the same
/// shard's events get the same names each time.
pub(crate) fn take(depot: &Depot, index: &Artifact, prefix: &str) -> anyhow::Result<TracedEvents> {
    let mut events: DeferredEvents = bincode::deserialize(&depot.bytes(index)?)?;
    let mut slices: Vec<_> = events.0.iter_mut().collect();
    slices.sort_by_key(|(code, _)| **code as u32);
    let mut blobs = Vec::new();
    for slice in slices.into_iter().flat_map(|(_, slices)| slices) {
        let name = format!("{prefix}-{}", blobs.len());
        let bytes = depot.bytes(&slice.artifact)?;
        depot.free(&slice.artifact);
        slice.artifact = Artifact::from(name.clone());
        blobs.push((name, std::sync::Arc::unwrap_or_clone(bytes)));
    }
    depot.free(index);
    Ok(TracedEvents { index: bincode::serialize(&events)?, blobs })
}

/// Checks that all events of an index are among `known`.
pub(crate) fn check_index<T>(index: &[u8], known: &BTreeMap<String, T>) -> anyhow::Result<()> {
    let events: DeferredEvents =
        bincode::deserialize(index).context("the index of events cannot be decoded")?;
    for slice in events.0.values().flatten() {
        let name = slice.artifact.id().to_owned();
        ensure!(known.contains_key(&name), "the events {name} are missing");
    }
    Ok(())
}

/// Puts the events to which a precompile shard's record refers into the depot. Returns the record with the names that
/// they have there; all other records refer to nothing, and stay as they are.
pub(crate) fn bring(
    depot: &Depot,
    scope: &Scope,
    record: Vec<u8>,
    blobs: Vec<(String, Vec<u8>)>,
) -> anyhow::Result<Vec<u8>> {
    // Number of the variant of SP1's `TraceData`, by bincode.
    if record.get(..4) != Some(&[1, 0, 0, 0]) {
        return Ok(record);
    }
    let mut names = BTreeMap::new();
    for (name, bytes) in blobs {
        let artifact = scope.name();
        depot.put(&artifact, bytes)?;
        names.insert(name, artifact);
    }
    let mut record: TraceData = bincode::deserialize(&record)?;
    if let TraceData::Precompile(slices, _) = &mut record {
        for slice in slices {
            let name = slice.artifact.id().to_owned();
            let artifact = names.get(&name);
            slice.artifact =
                artifact.with_context(|| format!("the events {name} are missing"))?.clone();
        }
    }
    Ok(bincode::serialize(&record)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sp1_core_executor::SyscallCode;
    use sp1_prover::worker::PrecompileArtifactSlice;

    use super::*;

    fn slice(artifact: Artifact) -> PrecompileArtifactSlice {
        PrecompileArtifactSlice { artifact, start_idx: 0, end_idx: 7 }
    }

    #[test]
    fn events_leave_under_given_names_and_come_in_under_own_ones() {
        let depot = Depot::new(1_000);
        let scope = depot.open_for_engine(1);
        let made: Vec<_> = (0..3_u8)
            .map(|content| {
                let artifact = depot.name();
                depot.put(&artifact, vec![content; 10]).unwrap();
                artifact
            })
            .collect();
        let mut events = DeferredEvents::empty();
        let (keccak, uint) = (SyscallCode::KECCAK_PERMUTE, SyscallCode::UINT256_MUL);
        events.0.insert(uint, vec![slice(made[2].clone())]);
        events.0.insert(keccak, vec![slice(made[0].clone()), slice(made[1].clone())]);
        let index = depot.name();
        depot.put(&index, bincode::serialize(&events).unwrap()).unwrap();

        let taken = take(&depot, &index, "lease").unwrap();
        assert_eq!(depot.usage().bytes, 0);
        let first = if (keccak as u32) < uint as u32 { 0 } else { 2 };
        assert_eq!(taken.blobs[0], ("lease-0".to_owned(), vec![first; 10]));
        assert_eq!(taken.blobs.len(), 3);
        let known: BTreeMap<_, _> = taken.blobs.iter().cloned().collect();
        check_index(&taken.index, &known).unwrap();
        let error = check_index(&taken.index, &BTreeMap::from([("lease-1".to_owned(), ())]));
        assert!(error.unwrap_err().to_string().contains("are missing"));

        let slices = vec![slice(Artifact::from("lease-0".to_owned()))];
        let record = bincode::serialize(&TraceData::Precompile(slices, keccak)).unwrap();
        let brought = bring(&depot, &scope, record.clone(), taken.blobs).unwrap();
        let TraceData::Precompile(slices, code) = bincode::deserialize(&brought).unwrap() else {
            panic!("another kind");
        };
        assert_eq!((code, slices[0].end_idx), (keccak, 7));
        assert_eq!(*depot.bytes(&slices[0].artifact).unwrap(), vec![first; 10]);
        assert!(bring(&depot, &scope, record, Vec::new()).is_err());
        drop(scope);
        assert_eq!(depot.usage().bytes, 0);
    }

    #[test]
    fn a_record_without_references_stays_as_it_is() {
        let depot = Depot::new(1_000);
        let scope = depot.open(1);
        let record = bincode::serialize(&TraceData::Core(vec![1, 2, 3])).unwrap();
        assert_eq!(bring(&depot, &scope, record.clone(), Vec::new()).unwrap(), record);
    }
}
