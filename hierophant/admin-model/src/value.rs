//! Enums in JSON: strings from a fixed set, which OpenAPI lists.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use hierophant_model::records;
use network_lib::{handshake, job, shard};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// An enum whose values have fixed names in text.
pub trait Named: Copy + Eq + 'static {
    /// Name of the enum in OpenAPI.
    const NAME: &'static str;
    /// Description of the enum in OpenAPI.
    const DESCRIPTION: &'static str;
    /// Every value.
    const VALUES: &'static [Self];

    /// Name of this value.
    fn name(self) -> &'static str;
}

/// Value of an enum in JSON. A program that is older than its peer may meet a value that it does not know;
/// it keeps the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<T> {
    /// A value that this version knows.
    Known(T),
    /// The name of a value that it does not know.
    Unknown(String),
}

impl<T: Named> Value<T> {
    /// The value of this name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        match T::VALUES.iter().find(|value| value.name() == name) {
            Some(value) => Self::Known(*value),
            None => Self::Unknown(name),
        }
    }

    /// The name of the value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.name(),
            Self::Unknown(name) => name,
        }
    }

    /// The value, if this version knows it.
    #[must_use]
    pub const fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T: Named> From<T> for Value<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Named> PartialEq<T> for Value<T> {
    fn eq(&self, other: &T) -> bool {
        self.known() == Some(*other)
    }
}

/// By name, so that maps with such keys are written in alphabetical order.
impl<T: Named> Ord for Value<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl<T: Named> PartialOrd for Value<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> fmt::Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Named> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Named> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::named)
    }
}

impl<T: Named> PartialSchema for Value<T> {
    fn schema() -> RefOr<Schema> {
        let names = T::VALUES.iter().map(|value| value.name());
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(T::DESCRIPTION))
            .enum_values(Some(names))
            .into()
    }
}

impl<T: Named> ToSchema for Value<T> {
    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }
}

/// Describes the enums of the job model for JSON.
macro_rules! values {
    ($($(#[doc = $doc:literal])+ $name:ident = $of:path;)+) => {$(
        $(#[doc = $doc])+
        pub type $name = Value<$of>;

        impl Named for $of {
            const NAME: &'static str = stringify!($name);
            const DESCRIPTION: &'static str = concat!($($doc),+).trim_ascii();
            const VALUES: &'static [Self] = &<$of>::ALL;

            fn name(self) -> &'static str {
                self.as_str()
            }
        }
    )+};
}

values! {
    /// State of a request.
    RequestState = records::RequestState;
    /// State of a job.
    JobState = records::JobState;
    /// Scheduling class of a job.
    Priority = records::Priority;
    /// Network variant that the client speaks.
    NetworkMode = records::NetworkMode;
    /// Outcome of an attempt.
    AttemptOutcome = records::AttemptOutcome;
    /// What is known about the upload of a program.
    ProgramState = records::ProgramState;
    /// Content of an artifact.
    ArtifactKind = records::ArtifactKind;
    /// Role of a token.
    Role = records::Role;
    /// Kind of proof.
    ProofMode = job::ProofMode;
    /// Step of an attempt.
    Phase = job::Phase;
    /// Cause of a failed attempt.
    FailureClass = job::FailureClass;
    /// Prover of a worker.
    Backend = handshake::Backend;
    /// Kind of a task of a job that several workers prove.
    TaskKind = shard::TaskKind;
    /// State of a task.
    TaskState = records::TaskState;
    /// What a task waits for: `worker` a free place, `record` its record, which another worker hands in, `events`
    /// precompile events of other shards, `results` other tasks, `execution` that the program is executed again.
    TaskWait = records::TaskWait;
    /// Kind of a shard.
    ShardKind = shard_plan::ShardKind;
    /// State of a worker: `ready`, `draining` when it accepts no more jobs, or `away` while its connection is
    /// broken and it may reconnect.
    WorkerState = records::WorkerState;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_their_names_in_json() {
        let known = Value::Known(job::Phase::SettingUp);
        assert_eq!(serde_json::to_string(&known).expect("JSON"), "\"setting_up\"");
        assert_eq!(serde_json::from_str::<Phase>("\"setting_up\"").expect("JSON"), known);
    }

    #[test]
    fn a_value_of_a_newer_version_keeps_its_name() {
        let read: JobState = serde_json::from_str("\"paused\"").expect("JSON");
        assert_eq!((read.known(), read.to_string()), (None, "paused".to_owned()));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), "\"paused\"");
    }
}
