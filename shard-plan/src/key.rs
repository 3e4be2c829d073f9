//! Keys: names of tasks by their content.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::ShardKind;

/// Text with which the bytes of every key begin. Another definition of keys needs another one.
const DOMAIN: &[u8] = b"hierophant task key 1";

/// Key of a task: SHA-256 of all that decides its result.
///
/// An execution that is repeated, on the same or on another machine, announces the same shards under the same keys, so
/// results that are there already are used. A key is unique within one job, which fixes program and input.
///
/// The hashed bytes are, in this order (numbers are big-endian):
///
/// ```text
/// "hierophant task key 1"                         21 bytes, ASCII
/// length of the engine's name, the name           u32, UTF-8
/// length of the label, the label                  u32, ASCII
/// body                                            by label:
///   "core"        SHA-256 of the record           32 bytes
///   "memory"      SHA-256 of the record           32 bytes
///   "precompile"  code of the system call         u32
///                 number of slices                u32
///                 each: SHA-256 of the events,    32 bytes
///                       first event, end          u64, u64
///   "deferred"    first proof of the input, end   u64, u64
///   "reduce"      1 if complete, else 0           u8
///                 number of children              u32
///                 each: the child's key           32 bytes
///   the name of a single task (see Single)        nothing
/// ```
///
/// - The *engine* names the software that makes and reads records, such as `sp1-6.10.0 native`. Two engines may
///   cut or encode the same execution differently; their keys never meet.
/// - A *record* of a core or memory shard is hashed as it is stored: the bincode of SP1's `TraceData`. It holds
///   registers, program counter, clock and values of memory, and is the same in every execution.
/// - A precompile shard's `TraceData` holds random names of artifacts. Its key is therefore made of the contents: the
///   digest of each artifact of events, with the range of events that the shard takes from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

/// Part of one artifact of precompile events that a shard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slice {
    /// SHA-256 of the artifact.
    pub events: [u8; 32],
    /// Index of the first event.
    pub start: u64,
    /// Index after the last event.
    pub end: u64,
}

/// A task that a job has at most once, so that its name is sufficient as its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Single {
    /// Execution that announces the shards.
    Execute,
    /// Execution that counts cycles and gas.
    Measure,
    /// Shrinks and wraps the complete proof.
    ShrinkWrap,
    /// Makes the PLONK proof.
    Plonk,
    /// Makes the Groth16 proof.
    Groth16,
}

impl Single {
    /// Label of its key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Measure => "measure",
            Self::ShrinkWrap => "shrink_wrap",
            Self::Plonk => "plonk",
            Self::Groth16 => "groth16",
        }
    }
}

impl Key {
    /// Key of a core shard, by the digest of its record.
    #[must_use]
    pub fn core(engine: &str, record: [u8; 32]) -> Self {
        Self(begun(engine, ShardKind::Core.as_str()).chain_update(record).finalize().into())
    }

    /// Key of a memory shard, by the digest of its record.
    #[must_use]
    pub fn memory(engine: &str, record: [u8; 32]) -> Self {
        Self(begun(engine, ShardKind::Memory.as_str()).chain_update(record).finalize().into())
    }

    /// Key of a precompile shard, by the code of its system call and its events in their order.
    #[must_use]
    pub fn precompile(engine: &str, code: u32, slices: &[Slice]) -> Self {
        let mut hasher = begun(engine, ShardKind::Precompile.as_str());
        hasher.update(code.to_be_bytes());
        hasher.update(length(slices.len()));
        for slice in slices {
            hasher.update(slice.events);
            hasher.update(slice.start.to_be_bytes());
            hasher.update(slice.end.to_be_bytes());
        }
        Self(hasher.finalize().into())
    }

    /// Key of a shard that verifies the proofs from `first` up to `end` (excluded) of the input.
    #[must_use]
    pub fn deferred(engine: &str, first: u64, end: u64) -> Self {
        let hasher = begun(engine, ShardKind::Deferred.as_str());
        Self(
            hasher
                .chain_update(first.to_be_bytes())
                .chain_update(end.to_be_bytes())
                .finalize()
                .into(),
        )
    }

    /// Key of a reduce, by the keys of its children in their order.
    #[must_use]
    pub fn reduce(engine: &str, complete: bool, children: &[Self]) -> Self {
        let mut hasher = begun(engine, "reduce");
        hasher.update([u8::from(complete)]);
        hasher.update(length(children.len()));
        children.iter().for_each(|child| hasher.update(child.0));
        Self(hasher.finalize().into())
    }

    /// Key of a task that a job has at most once.
    #[must_use]
    pub fn single(engine: &str, task: Single) -> Self {
        Self(begun(engine, task.as_str()).finalize().into())
    }
}

/// A hash of the parts that all keys have.
fn begun(engine: &str, label: &str) -> Sha256 {
    Sha256::new()
        .chain_update(DOMAIN)
        .chain_update(length(engine.len()))
        .chain_update(engine)
        .chain_update(length(label.len()))
        .chain_update(label)
}

/// A length as it is hashed. Nothing that is hashed here has 2^32 parts.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a task's key: expected 64 hexadecimal digits")]
pub struct KeyError;

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ENGINE: &str = "sp1-6.10.0 native";
    const RECORD: [u8; 32] = [0xa5; 32];

    fn slice(digit: u8, start: u64, end: u64) -> Slice {
        Slice { events: [digit; 32], start, end }
    }

    /// Keys are stored: another definition would lose every finished task.
    #[test]
    fn keys_are_what_they_were() {
        let core = Key::core(ENGINE, RECORD);
        let memory = Key::memory(ENGINE, RECORD);
        let found = [
            ("core", core),
            ("memory", memory),
            ("precompile", Key::precompile(ENGINE, 9, &[slice(1, 0, 5_220), slice(2, 7, 8)])),
            ("deferred", Key::deferred(ENGINE, 0, 2)),
            ("reduce", Key::reduce(ENGINE, false, &[core, memory])),
            ("complete", Key::reduce(ENGINE, true, &[core, memory])),
            ("execute", Key::single(ENGINE, Single::Execute)),
        ];
        let shown: Vec<_> = found.iter().map(|(name, key)| format!("{name} {key}")).collect();
        assert_eq!(shown, VECTORS);
    }

    /// Computed from the documented bytes with Python's `hashlib` and `struct`.
    const VECTORS: [&str; 7] = [
        "core 66fca74fc18e3b8e466d84270845e5cf344c7cc1ff9a627aa11bbbaa57f7a937",
        "memory 1e7e4a2b6159f5a2c248a9e27052f04911031ce83c19ee31ce658e2330d9851d",
        "precompile 9bf8041364ac3dd818396565f9987155148b70ffd4c6fd7fc2c8bd7a2416442e",
        "deferred 12fc67efa789bf05223791d57f81b9963ab9ee59c07dc63f6a0f6df749caeac9",
        "reduce c1423f472682387e4c8fe4b374e2601f7d17e1a266004dfd0bdd4aa566ea73b1",
        "complete 5167b26a5a712ebaf107ffa5655f7e584a7a75c2df7470f40141569b1c1950e6",
        "execute fb3f04fe6b077a4fbfb5716c6e26d72258ad5550c6e6dd4441572613efee7c48",
    ];

    #[test]
    fn keys_of_different_content_differ() {
        let core = Key::core(ENGINE, RECORD);
        let keys = [
            core,
            Key::core(ENGINE, [0xa6; 32]),
            Key::core("sp1-6.10.0 portable", RECORD),
            Key::memory(ENGINE, RECORD),
            Key::precompile(ENGINE, 1, &[slice(1, 0, 9)]),
            Key::precompile(ENGINE, 2, &[slice(1, 0, 9)]),
            Key::precompile(ENGINE, 1, &[slice(1, 0, 8), slice(1, 8, 9)]),
            Key::precompile(ENGINE, 1, &[]),
            Key::deferred(ENGINE, 0, 1),
            Key::deferred(ENGINE, 1, 2),
            Key::reduce(ENGINE, false, &[core]),
            Key::reduce(ENGINE, true, &[core]),
            Key::reduce(ENGINE, true, &[core, core]),
            Key::single(ENGINE, Single::Execute),
            Key::single(ENGINE, Single::Measure),
            Key::single(ENGINE, Single::ShrinkWrap),
            Key::single(ENGINE, Single::Plonk),
            Key::single(ENGINE, Single::Groth16),
        ];
        assert_eq!(BTreeSet::from(keys).len(), keys.len());
    }

    /// Without lengths in front, the end of an engine's name could be taken for the beginning of a label.
    #[test]
    fn no_engine_has_the_keys_of_another_one() {
        assert_ne!(
            Key::single("engine\0\0\0\x07exe", Single::Execute),
            Key::single("engine", Single::Execute)
        );
    }

    #[test]
    fn text_round_trips() {
        let key = Key::core(ENGINE, RECORD);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("5a".parse::<Key>(), Err(KeyError));
        let json = serde_json::to_string(&key).expect("serializes");
        assert_eq!(json, format!("\"{key}\""));
        assert_eq!(serde_json::from_str::<Key>(&json).expect("parses"), key);
    }
}
