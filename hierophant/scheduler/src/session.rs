//! Identity of a worker's connection.

use std::fmt;

/// Number of a worker's connection. Each reconnect gets a new number, which distinguishes late messages of the old
/// connection from messages of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
