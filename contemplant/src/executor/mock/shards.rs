//! Pseudo shards: bytes in place of SP1's records, events and proofs, with sizes that are configured.
//!
//! All bytes follow from the program, the input and the settings. So two executions announce the same shards, and a
//! shard's task can check that it got exactly the bytes that the execution announced.

use network_lib::ids::Sha256Digest;
use network_lib::job::ProofMode;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shard_plan::{Key, ShardBoundary, ShardKind, ShardRange, Slice};

use crate::config::MockShards;

/// Name of the software that makes these records.
pub(super) const ENGINE: &str = "mock 2";

/// Events of a core shard that has any.
const EVENTS: u64 = 64;

/// Clock ticks of a core shard.
const TICKS: u64 = 1_000;

/// Number of the system call of all events.
const CODE: u32 = 1;

/// How many shards of each kind a proof has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) core: u32,
    pub(super) memory: u32,
    pub(super) precompile: u32,
}

impl Layout {
    /// A memory shard from two shards on, a precompile shard from three on, two from eight on.
    pub(super) const fn of(count: u32) -> Self {
        let memory = if count >= 2 { 1 } else { 0 };
        let precompile = match count {
            0..=2 => 0,
            3..=7 => 1,
            _ => 2,
        };
        Self { core: count - memory - precompile, memory, precompile }
    }
}

/// What the shards of one proof have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statement {
    program: Sha256Digest,
    seed: [u8; 32],
}

impl Statement {
    /// The statement about a program and its input.
    pub(super) fn new(program: Sha256Digest, stdin: &[u8], settings: &MockShards) -> Self {
        let seed = Sha256::new()
            .chain_update(program.0)
            .chain_update(Sha256::digest(stdin))
            .chain_update(settings.count.to_be_bytes())
            .chain_update(settings.record_bytes.to_be_bytes())
            .finalize();
        Self { program, seed: seed.into() }
    }

    /// Bytes that differ for each label and number.
    fn bytes(&self, label: &str, number: u32, size: u64) -> Vec<u8> {
        let hash = Sha256::new()
            .chain_update(self.program.0)
            .chain_update(self.seed)
            .chain_update(label)
            .chain_update(number.to_be_bytes())
            .finalize();
        let mut state =
            hash.iter().fold(0_u64, |state, byte| state.rotate_left(8) ^ u64::from(*byte));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            // SplitMix64: the record need not be secret, but must be made fast and must not compress.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }
}

/// What takes the place of SP1's `CommonProverInput`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Common {
    /// The statement.
    pub(super) statement: Statement,
    /// Kind of proof.
    pub(super) mode: ProofMode,
    /// The finished mock proof, as the last task returns it.
    pub(super) proof: Vec<u8>,
}

impl Common {
    /// Its encoding.
    pub(super) fn encode(&self) -> Vec<u8> {
        // None of its fields can fail to be encoded.
        bincode::serialize(self).unwrap_or_default()
    }

    /// Decodes it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        bincode::deserialize(bytes)
            .map_err(|error| format!("the common input cannot be decoded: {error}"))
    }

    /// Checks that it is that of this statement, program and kind of proof.
    pub(super) fn check(
        &self,
        statement: Statement,
        program: Sha256Digest,
        mode: ProofMode,
    ) -> Result<(), String> {
        if self.statement != statement || statement.program != program || self.mode != mode {
            return Err("the record belongs to another program, input or kind of proof".to_owned());
        }
        Ok(())
    }
}

/// Events that a precompile shard takes from one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Id of the blob.
    pub(super) id: String,
    /// Its digest.
    pub(super) sha256: Sha256Digest,
    /// First event.
    start: u64,
    /// Event after the last one.
    end: u64,
}

/// A pseudo shard; its encoding is the head of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shard {
    pub(super) statement: Statement,
    pub(super) kind: ShardKind,
    /// Number among the shards of its kind.
    pub(super) number: u32,
    /// Clock at which the execution ends, of a memory shard.
    last_clock: u64,
    /// Number of proofs in the input.
    deferred: u32,
    /// Size of the record, if its head is not larger.
    record_bytes: u64,
    pub(super) taken: Vec<Taken>,
}

impl Shard {
    /// Core shards, memory shards, and one for each of the `deferred` proofs of the input, in the order in which they are
    /// announced.
    pub(super) fn first(statement: Statement, settings: &MockShards, deferred: u32) -> Vec<Self> {
        let layout = Layout::of(settings.count);
        let shard = |kind, number| Self {
            statement,
            kind,
            number,
            last_clock: clock(layout.core),
            deferred,
            record_bytes: settings.record_bytes,
            taken: Vec::new(),
        };
        let core = (0..layout.core).map(|number| shard(ShardKind::Core, number));
        let memory = (0..layout.memory).map(|number| shard(ShardKind::Memory, number));
        let deferred = (0..deferred).map(|number| shard(ShardKind::Deferred, number));
        core.chain(memory).chain(deferred).collect()
    }

    /// Precompile shards of the events of all core shards, each of which takes an equal part.
    pub(super) fn packed(
        statement: Statement,
        settings: &MockShards,
        events: &[(Events, Sha256Digest)],
    ) -> Vec<Self> {
        let layout = Layout::of(settings.count);
        let total: u64 = events.iter().map(|(events, _)| events.count).sum();
        let part = |number: u32| {
            let boundary = |number: u32| total * u64::from(number) / u64::from(layout.precompile);
            let (from, to) = (boundary(number), boundary(number + 1));
            let mut before = 0;
            let mut taken = Vec::new();
            for (events, sha256) in events {
                let start = from.clamp(before, before + events.count) - before;
                let end = to.clamp(before, before + events.count) - before;
                before += events.count;
                if start < end {
                    taken.push(Taken { id: events.id.clone(), sha256: *sha256, start, end });
                }
            }
            Self {
                statement,
                kind: ShardKind::Precompile,
                number,
                last_clock: clock(layout.core),
                deferred: 0,
                record_bytes: settings.record_bytes,
                taken,
            }
        };
        (0..layout.precompile).map(part).collect()
    }

    /// Reads a record and checks that it is exactly that of its shard.
    pub(super) fn read(record: &[u8]) -> Result<Self, String> {
        let shard: Self = bincode::deserialize(record)
            .map_err(|error| format!("the record cannot be decoded: {error}"))?;
        if shard.record_bytes > record.len() as u64 || shard.record() != record {
            return Err("the record's bytes are not those of its shard".to_owned());
        }
        Ok(shard)
    }

    /// The record.
    pub(super) fn record(&self) -> Vec<u8> {
        // Neither of its fields can fail to be encoded.
        let mut record = bincode::serialize(self).unwrap_or_default();
        let rest = self.record_bytes.saturating_sub(record.len() as u64);
        record.extend(self.statement.bytes(self.kind.as_str(), self.number, rest));
        record
    }

    /// Its key.
    pub(super) fn key(&self, record: &[u8]) -> Key {
        let digest = || Sha256::digest(record).into();
        match self.kind {
            ShardKind::Core => Key::core(ENGINE, digest()),
            ShardKind::Memory => Key::memory(ENGINE, digest()),
            ShardKind::Deferred => {
                Key::deferred(ENGINE, u64::from(self.number), u64::from(self.number) + 1)
            }
            ShardKind::Precompile => {
                let slice = |taken: &Taken| Slice {
                    events: taken.sha256.0,
                    start: taken.start,
                    end: taken.end,
                };
                Key::precompile(ENGINE, CODE, &self.taken.iter().map(slice).collect::<Vec<_>>())
            }
        }
    }

    /// The range that it proves.
    pub(super) fn range(&self) -> ShardRange {
        let deferred_proof = u64::from(self.deferred);
        let at = |timestamp| ShardBoundary { timestamp, deferred_proof, ..ShardBoundary::INITIAL };
        match self.kind {
            ShardKind::Core => {
                ShardRange::between(at(clock(self.number)), at(clock(self.number + 1)))
            }
            ShardKind::Deferred => {
                ShardRange::deferred(u64::from(self.number), u64::from(self.number) + 1)
            }
            ShardKind::Memory => {
                let start = at(self.last_clock);
                let end = ShardBoundary { initialized_address: 1, finalized_address: 1, ..start };
                ShardRange::between(start, end)
            }
            ShardKind::Precompile => ShardRange::PRECOMPILE,
        }
    }

    /// The events of a core shard: every second one has some.
    pub(super) fn events(&self) -> Option<Vec<u8>> {
        let has_events = self.kind == ShardKind::Core && self.number.is_multiple_of(2);
        has_events
            .then(|| self.statement.bytes("events", self.number, self.record_bytes.max(EVENTS)))
    }

    /// Its proof in recursive form.
    pub(super) fn piece(&self) -> Piece {
        Piece { statement: self.statement, stage: Stage::Part, range: self.range() }
    }

    /// Its proof in a Core proof.
    pub(super) fn part(&self, size: u64) -> Vec<u8> {
        self.statement.bytes(&format!("part {}", self.kind), self.number, size)
    }
}

/// Stage of a pseudo proof above the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It proves a part of the execution.
    Part,
    /// It proves the whole execution.
    Complete,
    /// It is wrapped.
    Wrapped,
}

/// A pseudo proof in recursive form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) statement: Statement,
    pub(super) stage: Stage,
    pub(super) range: ShardRange,
}

impl Piece {
    /// Its bytes, of this size unless its head is larger.
    pub(super) fn encode(&self, size: u64) -> Vec<u8> {
        // None of its fields can fail to be encoded.
        let mut bytes = bincode::serialize(self).unwrap_or_default();
        let head = Sha256Digest(Sha256::digest(&bytes).into());
        let rest = size.saturating_sub(bytes.len() as u64);
        bytes.extend(self.statement.bytes(&head.to_string(), 0, rest));
        bytes
    }

    /// Checks that these are its bytes.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        if self.encode(bytes.len() as u64) == bytes {
            return Ok(());
        }
        Err("its bytes are not those of a pseudo proof of this range".to_owned())
    }
}

/// A blob of events, as the index of a core shard's events names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    /// Its id.
    pub(super) id: String,
    /// How many events it has.
    count: u64,
}

impl Events {
    /// The events of one core shard.
    pub(super) const fn new(id: String) -> Self {
        Self { id, count: EVENTS }
    }

    /// An index, which takes the place of SP1's `DeferredEvents`.
    pub(super) fn encode(index: &[Self]) -> Vec<u8> {
        // Neither of its fields can fail to be encoded.
        bincode::serialize(index).unwrap_or_default()
    }

    /// Decodes an index.
    pub(super) fn decode(index: &[u8]) -> Result<Vec<Self>, String> {
        bincode::deserialize(index)
            .map_err(|error| format!("the index of events cannot be decoded: {error}"))
    }
}

/// Clock at which a core shard begins.
const fn clock(number: u32) -> u64 {
    ShardBoundary::INITIAL.timestamp + number as u64 * TICKS
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use shard_plan::Plan;

    use super::*;

    fn settings(count: u32) -> MockShards {
        MockShards { count, record_bytes: 1_000, ..MockShards::default() }
    }

    fn statement(count: u32) -> Statement {
        Statement::new(Sha256Digest([1; 32]), b"input", &settings(count))
    }

    fn traced(first: &[Shard], prefix: &str) -> Vec<(Events, Sha256Digest)> {
        let made = first.iter().filter_map(|shard| {
            let digest = Sha256Digest(Sha256::digest(shard.events()?).into());
            Some((Events::new(format!("{prefix}-{}", shard.number)), digest))
        });
        made.collect()
    }

    fn all(count: u32, prefix: &str) -> Vec<Shard> {
        let mut shards = Shard::first(statement(count), &settings(count), 2);
        let events = traced(&shards, prefix);
        shards.extend(Shard::packed(statement(count), &settings(count), &events));
        shards
    }

    #[test]
    fn the_shards_of_every_number_make_a_proof() {
        for count in 1..=20 {
            let shards = all(count, "lease");
            assert_eq!(shards.len(), count as usize + 2);
            let mut plan = Plan::default();
            for shard in &shards {
                plan.announce(shard.key(&shard.record()), shard.kind, shard.range()).unwrap();
            }
            plan.execute_ended().unwrap();
            assert_eq!(plan.leaves(), count as usize + 2, "keys differ");
        }
    }

    #[test]
    fn precompile_shards_take_every_event_once() {
        let shards = all(20, "lease");
        let packed: Vec<_> = shards.iter().filter(|shard| !shard.taken.is_empty()).collect();
        assert_eq!(packed.len(), 2);
        let taken: Vec<_> = packed.iter().flat_map(|shard| &shard.taken).collect();
        let events: u64 = taken.iter().map(|taken| taken.end - taken.start).sum();
        // 17 core shards, of which nine have events; the blob in the middle is shared.
        assert_eq!((events, taken.len()), (9 * EVENTS, 10));
    }

    #[test]
    fn keys_do_not_depend_on_the_ids_of_events() {
        let keys = |prefix: &str| -> Vec<_> {
            all(8, prefix).iter().map(|shard| shard.key(&shard.record())).collect()
        };
        assert_eq!(keys("lease"), keys("another"));
        assert_ne!(all(8, "lease")[9].record(), all(8, "another")[9].record());
    }

    #[test]
    fn a_record_has_its_size_and_any_other_byte_is_noticed() {
        for shard in all(8, "lease") {
            let record = shard.record();
            assert_eq!(record.len(), 1_000);
            assert_eq!(Shard::read(&record).unwrap(), shard);
            for position in [0, 40, 500, 999] {
                let mut changed = record.clone();
                changed[position] ^= 1;
                assert!(Shard::read(&changed).is_err(), "byte {position} changed");
            }
            assert!(Shard::read(&record[..999]).is_err());
            assert!(Shard::read(&[record, vec![0]].concat()).is_err());
        }
    }

    #[test]
    fn another_input_has_other_shards() {
        let other = Statement::new(Sha256Digest([1; 32]), b"another", &settings(8));
        let shard = &all(8, "lease")[0];
        let common =
            Common { statement: shard.statement, mode: ProofMode::Plonk, proof: b"done".to_vec() };
        assert_eq!(Common::decode(&common.encode()).unwrap(), common);
        let program = Sha256Digest([1; 32]);
        common.check(shard.statement, program, ProofMode::Plonk).unwrap();
        assert!(common.check(other, program, ProofMode::Plonk).is_err());
        assert!(common.check(shard.statement, Sha256Digest([2; 32]), ProofMode::Plonk).is_err());
        assert!(common.check(shard.statement, program, ProofMode::Core).is_err());
        let theirs = &Shard::first(other, &settings(8), 0)[0];
        assert_ne!(theirs.key(&theirs.record()), shard.key(&shard.record()));
    }
}
