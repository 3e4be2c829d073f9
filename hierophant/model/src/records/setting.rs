//! What operators have set.

use network_lib::named_enum;

use super::Millis;

named_enum! {
    /// What an operator can set for longer than Hierophant runs.
    SettingKind {
        /// Nothing is given out; without a subject.
        Paused = "paused",
        /// A Contemplant is turned away, by its id or its address.
        Blocked = "blocked",
        /// A Contemplant, by its id, finishes what it holds and leaves.
        Drained = "drained",
    }
}

/// What an operator has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is about.
    pub kind: SettingKind,
    /// Whom or what it holds for; empty if for everything.
    pub subject: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when.
    pub since: Millis,
}
