//! Division of decisions into transactions.

use super::Decision;

/// Number of changes from which on a transaction takes no further decision. A decision has at most some hundred.
const MAX_CHANGES: usize = 1000;

/// Decisions that share a transaction each, so that none has more than some thousand changes.
pub(super) fn transactions(decisions: Vec<Decision>) -> Vec<Vec<Decision>> {
    let (mut all, mut together, mut changes) = (Vec::new(), Vec::new(), 0);
    for decision in decisions {
        changes += decision.changes.len();
        together.push(decision);
        if changes >= MAX_CHANGES {
            all.push(std::mem::take(&mut together));
            changes = 0;
        }
    }
    all.extend((!together.is_empty()).then_some(together));
    all
}

#[cfg(test)]
mod tests {
    use hierophant_model::records::{Change, SettingKind};

    use super::*;

    fn decision(number: u64, changes: usize) -> Decision {
        let change = Change::Unset(SettingKind::Paused, String::new());
        Decision { number, changes: vec![change; changes], side_effects: vec![], answer: None }
    }

    #[test]
    fn a_transaction_takes_decisions_in_order_until_it_has_a_thousand_changes() {
        let sizes = [3, 400, 500, 500, 0, 2, 999, 1, 0];
        let decisions = (0..).zip(sizes).map(|(number, changes)| decision(number, changes));
        let transactions = transactions(decisions.collect());
        let numbers: Vec<Vec<u64>> = transactions
            .iter()
            .map(|together| together.iter().map(|decision| decision.number).collect())
            .collect();
        assert_eq!(numbers, [vec![0, 1, 2, 3], vec![4, 5, 6], vec![7, 8]]);
    }
}
