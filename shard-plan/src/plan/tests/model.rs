//! The model: leaves are numbers, and a proof is the set of leaves that it covers.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{ARITY, Plan, StoredLeaf, StoredReduce};
use crate::{ShardKind, ShardRange};

/// Random numbers from a seed (SplitMix64), the same on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % (bound as u64)).expect("below a usize")
    }
}

/// How many leaves of each kind a proof has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) precompiles: usize,
    pub(super) deferred: usize,
    pub(super) cores: usize,
    pub(super) memories: usize,
}

impl Shape {
    /// Mostly small, so that many orders can be played.
    pub(super) fn random(dice: &mut Dice) -> Self {
        let most = [4, 8, 24][dice.below(3)];
        Self {
            precompiles: dice.below(most),
            deferred: dice.below(3),
            cores: 1 + dice.below(most),
            memories: dice.below(4),
        }
    }
}

/// What may happen on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// Whether finished proofs get lost.
    pub(super) reopens: bool,
    /// Whether the plan is restored from its nodes after each event, and compared.
    pub(super) restores: bool,
}

/// The core shard with this number.
pub(super) fn core(number: u32) -> ShardRange {
    let from = 1 + u64::from(number) * 10;
    ShardRange { timestamp_range: (from, from + 10), ..ShardRange::PRECOMPILE }
}

/// All leaves in the order of their ranges.
pub(super) fn leaves_of(shape: Shape) -> Vec<(ShardKind, ShardRange)> {
    let deferred = shape.deferred as u64;
    let mut leaves = vec![(ShardKind::Precompile, ShardRange::PRECOMPILE); shape.precompiles];
    leaves.extend((0..deferred).map(|at| (ShardKind::Deferred, ShardRange::deferred(at, at + 1))));
    let mut clock = 1;
    for number in 0..shape.cores {
        let range = core(u32::try_from(number).expect("few leaves"));
        clock = range.timestamp_range.1;
        leaves.push((
            ShardKind::Core,
            ShardRange { deferred_proof_range: (deferred, deferred), ..range },
        ));
    }
    for at in 0..shape.memories as u64 {
        let range = ShardRange {
            timestamp_range: (clock, clock),
            initialized_address_range: (at * 5, at * 5 + 5),
            finalized_address_range: (at * 7, at * 7 + 7),
            deferred_proof_range: (deferred, deferred),
            ..ShardRange::PRECOMPILE
        };
        leaves.push((ShardKind::Memory, range));
    }
    leaves
}

/// One proof of the model.
struct Proof {
    covers: BTreeSet<usize>,
    stored: Option<StoredReduce<usize>>,
}

/// A game: random events until nothing is left to happen.
struct Game<'a> {
    shape: Shape,
    leaves: &'a [(ShardKind, ShardRange)],
    plan: Plan<usize>,
    proofs: BTreeMap<usize, Proof>,
    /// Nodes that are announced or started, and not finished.
    open: Vec<usize>,
    done: BTreeSet<usize>,
    /// Nodes that a reduce takes.
    taken: BTreeSet<usize>,
    executed: bool,
}

/// Plays one random order.
pub(super) fn play(shape: Shape, order: Order, dice: &mut Dice) -> Result<(), String> {
    let leaves = leaves_of(shape);
    let mut game = Game {
        shape,
        leaves: &leaves,
        plan: Plan::default(),
        proofs: BTreeMap::new(),
        open: Vec::new(),
        done: BTreeSet::new(),
        taken: BTreeSet::new(),
        executed: false,
    };
    let mut unannounced: Vec<usize> = (0..leaves.len()).collect();
    let mut losses = if order.reopens { leaves.len() / 2 } else { 0 };
    while game.plan.finished().is_none() {
        let announces = unannounced.len();
        let ends = usize::from(announces == 0 && !game.executed);
        let loses = usize::from(losses > 0 && !game.done.is_empty());
        let events = announces + ends + game.open.len();
        if events == 0 {
            return Err(format!("nothing can happen, of {shape:?}"));
        }
        let event = dice.below(events + loses);
        if event < announces {
            game.announce(unannounced.swap_remove(event))?;
        } else if event < announces + ends {
            game.plan.execute_ended().map_err(|error| error.to_string())?;
            game.executed = true;
        } else if event < events {
            game.finish(event - announces - ends)?;
        } else {
            losses -= 1;
            let lost = *game.done.iter().nth(dice.below(game.done.len())).expect("not empty");
            game.lose(lost)?;
        }
        game.start_all()?;
        if order.restores {
            game.compare_restored()?;
        }
    }
    game.judge()
}

impl Game<'_> {
    fn announce(&mut self, leaf: usize) -> Result<(), String> {
        let (kind, range) = self.leaves[leaf];
        for _repeated in 0..2 {
            self.plan.announce(leaf, kind, range).map_err(|error| error.to_string())?;
        }
        self.proofs.insert(leaf, Proof { covers: BTreeSet::from([leaf]), stored: None });
        self.open.push(leaf);
        Ok(())
    }

    fn finish(&mut self, at: usize) -> Result<(), String> {
        let node = self.open.swap_remove(at);
        for _repeated in 0..2 {
            self.plan.done(node).map_err(|error| error.to_string())?;
        }
        self.done.insert(node);
        Ok(())
    }

    fn lose(&mut self, node: usize) -> Result<(), String> {
        self.plan.reopen(node).map_err(|error| error.to_string())?;
        self.done.remove(&node);
        self.open.push(node);
        Ok(())
    }

    fn start_all(&mut self) -> Result<(), String> {
        while let Some(reduce) = self.plan.next() {
            let node = self.leaves.len() + self.proofs.len();
            self.check_children(&reduce.children, reduce.complete)?;
            self.plan.begin(node, &reduce).map_err(|error| error.to_string())?;
            self.taken.extend(reduce.children.iter().copied());
            let covered = reduce.children.iter().flat_map(|child| &self.proofs[child].covers);
            let covers: BTreeSet<_> = covered.copied().collect();
            if !reduce.complete && self.executed && covers.len() == self.leaves.len() {
                return Err("the whole is reduced to a proof that is not complete".to_owned());
            }
            let stored = StoredReduce { node, reduce, is_done: false };
            self.proofs.insert(node, Proof { covers, stored: Some(stored) });
            self.open.push(node);
        }
        Ok(())
    }

    /// Children are finished, taken by no other reduce, and cover leaves that follow each other.
    fn check_children(&self, children: &[usize], complete: bool) -> Result<(), String> {
        let is_free = |child: &usize| self.done.contains(child) && !self.taken.contains(child);
        if !children.iter().all(is_free) {
            return Err(format!("children are not free: {children:?}"));
        }
        if !complete && children.len() != ARITY || children.is_empty() || children.len() > ARITY {
            return Err(format!("{} children, complete: {complete}", children.len()));
        }
        // Precompile shards are interchangeable: only the others have places.
        let mut places = Vec::new();
        for child in children {
            let ordered =
                self.proofs[child].covers.iter().filter(|leaf| **leaf >= self.shape.precompiles);
            let mut ordered: Vec<usize> = ordered.copied().collect();
            ordered.sort_unstable();
            places.extend(ordered);
        }
        let first = places.first().copied().unwrap_or(0);
        if places.iter().enumerate().any(|(at, place)| *place != first + at) {
            return Err(format!("leaves do not follow each other: {places:?}"));
        }
        let covers_precompiles = children.iter().any(|child| {
            self.proofs[child].covers.iter().any(|leaf| *leaf < self.shape.precompiles)
        });
        if covers_precompiles && !places.is_empty() && first != self.shape.precompiles {
            return Err("precompile shards in the middle of the execution".to_owned());
        }
        Ok(())
    }

    fn compare_restored(&self) -> Result<(), String> {
        let leaf = |(node, _): (&usize, &Proof)| {
            let (kind, range) = self.leaves[*node];
            StoredLeaf { node: *node, kind, range, is_done: self.done.contains(node) }
        };
        let is_leaf = |(_, proof): &(&usize, &Proof)| proof.stored.is_none();
        let leaves: Vec<_> = self.proofs.iter().filter(is_leaf).map(leaf).collect();
        let reduces = self.proofs.values().rev().filter_map(|proof| proof.stored.clone());
        let is_done = |node| self.done.contains(&node);
        let reduces: Vec<_> = reduces
            .map(|stored| StoredReduce { is_done: is_done(stored.node), ..stored })
            .collect();
        let restored = Plan::restore(&leaves, &reduces, self.executed);
        if restored.as_ref() == Ok(&self.plan) {
            Ok(())
        } else {
            Err("a restored plan differs".to_owned())
        }
    }

    fn judge(&self) -> Result<(), String> {
        let root = self.plan.finished().ok_or("no complete proof")?;
        let all: BTreeSet<_> = (0..self.leaves.len()).collect();
        if self.proofs[&root].covers != all {
            return Err("the complete proof does not cover all leaves".to_owned());
        }
        let reduces = self.proofs.len() - self.leaves.len();
        let expected = (self.leaves.len() - 1).div_ceil(ARITY - 1).max(1);
        if reduces != expected {
            return Err(format!("{reduces} reduces instead of {expected}, of {:?}", self.shape));
        }
        if self.plan.next().is_some() {
            return Err("a reduce after the complete proof".to_owned());
        }
        Ok(())
    }
}
