//! Settings of operators.

use network_lib::named_enum;

use super::Millis;

named_enum! {
    /// Kind of a setting that survives restarts.
    SettingKind {
        /// Dispatch is paused; without a subject.
        Paused = "paused",
        /// A worker, by its id or address, is refused.
        Blocked = "blocked",
        /// A worker, by its id, receives no jobs and leaves once its attempts have ended.
        Drained = "drained",
        /// The id that marks folder or bucket of the artifacts, as the reason; without a subject.
        Artifacts = "artifacts",
    }
}

/// Setting of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Kind.
    pub kind: SettingKind,
    /// Subject; empty if the setting is global.
    pub subject: String,
    /// Operator's reason.
    pub reason: String,
    /// Start.
    pub since: Millis,
}
