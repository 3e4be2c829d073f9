//! The cases, by kind of fault.

mod bookkeeping;
mod contention;
mod eligibility;
mod lifecycle;
mod network;
mod restart;
mod steps;
mod storage;

use crate::case::Case;

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    [
        lifecycle::cases(),
        restart::cases(),
        bookkeeping::cases(),
        eligibility::cases(),
        contention::cases(),
        network::cases(),
        storage::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
