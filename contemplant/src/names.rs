//! Default names of workers: operators talk about machines, and `ezekiel` is easier to say than a worker id.

use network_lib::ids::WorkerId;

const NAMES: &str = include_str!("../old_testament.txt");

/// A name from the Old Testament, chosen by the worker id. The id is random, so names differ between
/// installations and stay the same over restarts.
#[must_use]
pub fn name_for(worker_id: WorkerId) -> &'static str {
    let names: Vec<&str> = NAMES.lines().collect();
    let draw = worker_id
        .as_bytes()
        .iter()
        .fold(0_usize, |sum, byte| (sum * 256 + usize::from(*byte)) % names.len());
    names[draw]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_holds_many_distinct_lower_case_names() {
        let names: BTreeSet<&str> = NAMES.lines().collect();
        assert!(names.len() > 150, "{}", names.len());
        assert_eq!(names.len(), NAMES.lines().count(), "a name occurs twice");
        for name in names {
            assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()), "{name:?}");
        }
    }

    #[test]
    fn a_worker_keeps_its_name_and_others_get_other_names() {
        let worker_id = WorkerId::random();
        assert_eq!(name_for(worker_id), name_for(worker_id));
        let drawn: BTreeSet<&str> = (0..200).map(|_| name_for(WorkerId::random())).collect();
        assert!(drawn.len() > 20, "{drawn:?}");
    }
}
