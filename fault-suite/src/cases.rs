//! The cases, by kind of fault.

mod lifecycle;

use crate::case::Case;

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    [lifecycle::cases()].into_iter().flatten().collect()
}
