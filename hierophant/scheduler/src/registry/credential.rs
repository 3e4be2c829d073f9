//! By what a worker is admitted.

use std::fmt;

use network_lib::ids::TokenId;

/// By what a Contemplant was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// No token is asked for, and it is on this machine.
    ThisMachine,
    /// The `worker_token` of the configuration.
    Shared,
    /// A token of its own, and its name.
    Own(TokenId, String),
}

impl Credential {
    /// The token, unless it is that of the configuration or none.
    #[must_use]
    pub const fn token(&self) -> Option<TokenId> {
        match self {
            Self::Own(id, _) => Some(*id),
            Self::ThisMachine | Self::Shared => None,
        }
    }
}

/// For people: `this machine`, `worker_token`, or `token` and its name.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisMachine => f.write_str("this machine"),
            Self::Shared => f.write_str("worker_token"),
            Self::Own(_, name) => write!(f, "token {name}"),
        }
    }
}
