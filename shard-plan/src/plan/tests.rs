//! The planner against a model: which leaves each proof covers, in random orders of events.

mod model;

use arbtest::arbtest;

use super::*;
use model::{Dice, Order, Shape, core, leaves_of, play};

/// Number of random orders that are played; `SHARD_PLAN_ORDERS` sets another one.
fn orders() -> u64 {
    let orders = std::env::var("SHARD_PLAN_ORDERS");
    orders.map_or(100_000, |text| text.parse().expect("SHARD_PLAN_ORDERS is a number"))
}

#[test]
fn every_order_of_events_ends_in_one_complete_proof_over_all_leaves() {
    for seed in 0..orders() {
        let mut dice = Dice::new(seed);
        let shape = Shape::random(&mut dice);
        let order = Order { reopens: seed % 4 == 0, restores: seed % 16 == 0 };
        play(shape, order, &mut dice).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
}

#[test]
fn a_large_proof_is_planned_too() {
    let mut dice = Dice::new(1);
    let shape = Shape { precompiles: 120, deferred: 3, cores: 800, memories: 77 };
    let order = Order { reopens: true, restores: false };
    play(shape, order, &mut dice).expect("ends in a complete proof");
}

/// The shortest tree: groups of four of equal height, if all leaves are finished at once.
#[test]
fn sixty_four_leaves_take_three_levels() {
    let mut plan = Plan::default();
    for leaf in 0..64u32 {
        plan.announce(leaf, ShardKind::Core, core(leaf)).expect("fits");
    }
    plan.execute_ended().expect("no gap");
    (0..64).for_each(|leaf| plan.done(leaf).expect("known"));
    let (mut next, mut levels) = (64u32, 0);
    while plan.finished().is_none() {
        let mut level = Vec::new();
        while let Some(reduce) = plan.next() {
            plan.begin(next, &reduce).expect("planned");
            level.push(next);
            next += 1;
        }
        assert!(!level.is_empty(), "no reduce can be started");
        level.into_iter().for_each(|node| plan.done(node).expect("known"));
        levels += 1;
    }
    assert_eq!((levels, next), (3, 64 + 21));
}

/// The first four shards are finished while the execution goes on: only with a fifth one they become one proof.
#[test]
fn the_whole_is_not_reduced_before_it_is_known_to_be_the_whole() {
    let mut plan = Plan::default();
    for leaf in 0..4u32 {
        plan.announce(leaf, ShardKind::Core, core(leaf)).expect("fits");
        plan.done(leaf).expect("known");
    }
    assert_eq!(plan.next(), None);
    let mut longer = plan.clone();
    plan.execute_ended().expect("no gap");
    assert_eq!(plan.next().map(|reduce| reduce.complete), Some(true));
    longer.announce(4, ShardKind::Core, core(4)).expect("fits");
    let reduce = longer.next().expect("four follow each other");
    assert_eq!((reduce.complete, reduce.children), (false, vec![0, 1, 2, 3]));
}

#[test]
fn a_single_leaf_becomes_a_complete_proof() {
    let mut plan = Plan::default();
    plan.announce(7u32, ShardKind::Core, core(0)).expect("fits");
    plan.done(7).expect("known");
    plan.execute_ended().expect("no gap");
    let reduce = plan.next().expect("the last one");
    assert_eq!((reduce.children.as_slice(), reduce.complete), ([7].as_slice(), true));
    plan.begin(8, &reduce).expect("planned");
    assert_eq!((plan.next(), plan.finished()), (None, None));
    plan.done(8).expect("known");
    assert_eq!(plan.finished(), Some(8));
}

#[test]
fn leaves_that_cannot_be_those_of_one_proof_are_refused() {
    let mut plan = Plan::default();
    plan.announce(1u32, ShardKind::Core, core(0)).expect("fits");
    plan.announce(1, ShardKind::Core, core(0)).expect("a repetition");
    assert_eq!(plan.announce(1, ShardKind::Core, core(1)), Err(PlanError::Renamed));
    let overlap = plan.announce(2, ShardKind::Core, core(0));
    assert!(matches!(overlap, Err(PlanError::Range(RangeError::Overlap { .. }))), "{overlap:?}");
    let empty = plan.announce(2, ShardKind::Core, ShardRange::PRECOMPILE);
    assert!(matches!(empty, Err(PlanError::Range(RangeError::Kind { .. }))), "{empty:?}");
    plan.announce(3, ShardKind::Core, core(2)).expect("fits");
    let gap = plan.execute_ended();
    assert!(matches!(gap, Err(PlanError::Range(RangeError::Gap { .. }))), "{gap:?}");
    plan.announce(2, ShardKind::Core, core(1)).expect("closes the gap");
    plan.execute_ended().expect("no gap");
    assert_eq!(plan.announce(4, ShardKind::Core, core(3)), Err(PlanError::Late));
    assert_eq!(plan.done(9), Err(PlanError::Unknown));
}

#[test]
fn an_execution_that_does_not_begin_at_the_beginning_is_refused() {
    let mut plan = Plan::default();
    plan.announce(1u32, ShardKind::Core, core(1)).expect("fits");
    assert!(matches!(plan.execute_ended(), Err(PlanError::Range(RangeError::Gap { at: 1 }))));
}

#[test]
fn a_reduce_of_anything_else_than_planned_is_refused() {
    let mut plan = Plan::default();
    for leaf in 0..6u32 {
        plan.announce(leaf, ShardKind::Core, core(leaf)).expect("fits");
    }
    (0..5).for_each(|leaf| plan.done(leaf).expect("known"));
    let planned = plan.next().expect("four follow each other");
    let with = |children: &[u32]| Reduce { children: children.to_vec(), ..planned.clone() };
    for children in
        [&[0, 1, 2][..], &[0, 1, 3, 2], &[0, 1, 2, 9], &[0, 0, 1, 2], &[], &[2, 3, 4, 5]]
    {
        assert_eq!(plan.begin(8, &with(children)), Err(PlanError::Children), "{children:?}");
    }
    assert_eq!(plan.begin(5, &planned), Err(PlanError::Renamed));
    plan.begin(8, &planned).expect("planned");
    assert_eq!(plan.begin(9, &planned), Err(PlanError::Children), "its children are taken");
}

#[test]
fn rows_that_are_not_those_of_one_plan_are_refused() {
    let leaf =
        |node, at| StoredLeaf { node, kind: ShardKind::Core, range: core(at), is_done: true };
    let leaves: Vec<_> = (0..8u32).map(|at| leaf(at, at)).collect();
    let reduce = |node, children: [u32; 4], last| StoredReduce {
        node,
        reduce: Reduce {
            children: children.to_vec(),
            range: ShardRange::between(core(children[0]).start(), core(last).end()),
            complete: false,
        },
        is_done: false,
    };
    let good = reduce(8, [0, 1, 2, 3], 3);
    assert!(Plan::restore(&leaves, std::slice::from_ref(&good), true).is_ok());
    for bad in [reduce(9, [3, 4, 5, 6], 6), reduce(9, [4, 5, 6, 8], 7), reduce(9, [9, 5, 6, 7], 7)]
    {
        let restored = Plan::restore(&leaves, &[good.clone(), bad], true);
        assert_eq!(restored, Err(PlanError::Children));
    }
    let missing = Plan::restore(&leaves[1..], &[], true);
    assert!(matches!(missing, Err(PlanError::Range(RangeError::Gap { .. }))), "{missing:?}");
}

/// The same with arbtest, which finds a short order for a fault.
#[test]
fn no_short_order_breaks_the_plan() {
    arbtest(|input| {
        let shape = Shape {
            precompiles: input.int_in_range(0..=5)?,
            deferred: input.int_in_range(0..=2)?,
            cores: input.int_in_range(1..=8)?,
            memories: input.int_in_range(0..=3)?,
        };
        let order = Order { reopens: input.arbitrary()?, restores: true };
        let mut dice = Dice::new(input.arbitrary()?);
        play(shape, order, &mut dice).expect("ends in a complete proof");
        Ok(())
    });
}

#[test]
fn the_model_sees_leaves_of_every_kind() {
    let leaves = leaves_of(Shape { precompiles: 2, deferred: 1, cores: 2, memories: 1 });
    let kinds: Vec<_> = leaves.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["precompile", "precompile", "deferred", "core", "core", "memory"]);
}
