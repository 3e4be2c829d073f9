//! Credentials of workers.

use std::fmt;

use network_lib::ids::TokenId;

/// Credential by which a worker was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// None: no token is required, and the worker runs on this machine.
    ThisMachine,
    /// The `worker_token` of the configuration.
    Shared,
    /// The worker's own token, and its name.
    Own(TokenId, String),
}

impl Credential {
    /// Id of the worker's own token, if it has one.
    #[must_use]
    pub const fn token(&self) -> Option<TokenId> {
        match self {
            Self::Own(id, _) => Some(*id),
            Self::ThisMachine | Self::Shared => None,
        }
    }
}

/// Display text: `this machine`, `worker_token`, or `token` and its name.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisMachine => f.write_str("this machine"),
            Self::Shared => f.write_str("worker_token"),
            Self::Own(_, name) => write!(f, "token {name}"),
        }
    }
}
