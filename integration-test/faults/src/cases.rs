//! The cases, by kind of fault.

mod ahead;
mod bookkeeping;
mod clock;
mod contention;
mod dear_calls;
mod eligibility;
mod flood;
mod gpu;
mod install;
mod lifecycle;
mod machine;
mod network;
mod postgres;
mod restart;
mod s3;
mod steps;
mod storage;
mod tasks;

use crate::case::Case;

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    [
        lifecycle::cases(),
        machine::cases(),
        restart::cases(),
        bookkeeping::cases(),
        tasks::cases(),
        eligibility::cases(),
        contention::cases(),
        network::cases(),
        gpu::cases(),
        ahead::cases(),
        install::cases(),
        storage::cases(),
        postgres::cases(),
        s3::cases(),
        clock::cases(),
        flood::cases(),
        dear_calls::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_is_documented() {
        let docs = include_str!("../../../docs/faults.md");
        let mut names = BTreeSet::new();
        for case in all() {
            assert!(names.insert(case.name), "{} is there twice", case.name);
            let line = format!("| `{}` | {} |", case.name, case.about);
            assert!(docs.contains(&line), "docs/faults.md lacks\n{line}");
        }
        let listed = docs.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(listed, names.len(), "docs/faults.md lists cases that are not there");
    }
}
