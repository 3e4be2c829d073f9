//! Identity of a worker's connection.

use std::fmt;

/// Number of a worker's connection. A worker that connects again gets another one, so that a late message of the
/// old connection is told from one of the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
