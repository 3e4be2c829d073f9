//! The reduce planner: which finished proofs become one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::ShardKind;
use crate::range::{RangeError, ShardBoundary, ShardRange, chain};

/// Greatest number of proofs that one reduce takes (SP1's arity).
pub const ARITY: usize = 4;

/// Tree of reduces above the leaves of one proof, as far as it is planned.
///
/// The leaves are ordered by their ranges: precompile shards, which are interchangeable, deferred ones, core shards,
/// memory shards. *Free* nodes are finished and not part of a reduce. The rules, by SP1's `CompressTree`
/// (sp1-prover, `worker/controller/compress.rs`):
///
/// - Four free nodes that follow each other become a reduce, if anything else is left: another free node, a leaf that
///   is announced, a reduce that runs. Of several groups the first one in the order of ranges is taken.
/// - When the execution has ended, all leaves are finished and no reduce runs, up to four free nodes become the last
///   reduce, which is *complete*.
///
/// So the whole is never reduced to one proof that is not complete, which could not be finished. `n` leaves take
/// exactly ⌈(n−1)/3⌉ reduces (one, if there is a single leaf), in whatever order they are finished.
///
/// Decisions depend on the nodes alone, not on the order of events. A plan that is restored from stored nodes
/// therefore goes on as the one that stored them would have.
///
/// `N` is the caller's name for a node, such as a task's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<N> {
    nodes: BTreeMap<N, Node<N>>,
    /// Free nodes, in the order of their ranges.
    free: BTreeSet<(ShardBoundary, ShardBoundary, N)>,
    /// Beginnings of all leaves that have a range of their own, with their ends.
    covered: BTreeMap<ShardBoundary, ShardBoundary>,
    /// Number of nodes that are neither finished nor part of a reduce.
    open: usize,
    /// Whether all leaves are announced.
    executed: bool,
    /// The complete reduce, once it is planned.
    root: Option<N>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node<N> {
    range: ShardRange,
    /// In the order of ranges; empty for a leaf.
    children: Vec<N>,
    is_done: bool,
    /// Whether a reduce has it as a child.
    is_taken: bool,
}

/// Reduce that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce<N> {
    /// Nodes whose proofs it takes, in their order.
    pub children: Vec<N>,
    /// Range of all of them.
    pub range: ShardRange,
    /// Whether its result is the whole proof.
    pub complete: bool,
}

/// Leaf as it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLeaf<N> {
    /// Its name.
    pub node: N,
    /// Its kind.
    pub kind: ShardKind,
    /// Its range.
    pub range: ShardRange,
    /// Whether its proof is finished.
    pub is_done: bool,
}

/// Reduce as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReduce<N> {
    /// Its name.
    pub node: N,
    /// What it takes.
    pub reduce: Reduce<N>,
    /// Whether its proof is finished.
    pub is_done: bool,
}

/// Why a node does not fit the plan. The plan has not changed then, except in [`Plan::restore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The leaf's range is impossible, or its ranges and those of others are not those of one proof.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A node of this name has another range or other children.
    #[error("another node has the same name: expected the same range and children")]
    Renamed,
    /// A leaf that is announced after the end of the execution.
    #[error("a shard after the end of the execution: expected all shards before it")]
    Late,
    /// A reduce of nodes that are not free, do not follow each other, or are too many.
    #[error("a reduce of other proofs than planned: expected up to four that follow each other")]
    Children,
    /// There is no node of this name.
    #[error("unknown node: expected an announced shard or a planned reduce")]
    Unknown,
}

impl<N> Default for Plan<N> {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            free: BTreeSet::new(),
            covered: BTreeMap::new(),
            open: 0,
            executed: false,
            root: None,
        }
    }
}

impl<N: Copy + Ord> Plan<N> {
    /// A plan with the nodes that were stored, in any order.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if the nodes are not those of one plan.
    pub fn restore(
        leaves: &[StoredLeaf<N>],
        reduces: &[StoredReduce<N>],
        executed: bool,
    ) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for leaf in leaves {
            plan.announce(leaf.node, leaf.kind, leaf.range)?;
        }
        let mut waiting: Vec<_> = reduces.iter().collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|stored| {
                let is_known = |child| plan.nodes.contains_key(child);
                let is_ready = stored.reduce.children.iter().all(is_known);
                // What does not fit stays, and is found below.
                !(is_ready && plan.insert(stored.node, &stored.reduce).is_ok())
            });
            if waiting.len() == before {
                return Err(PlanError::Children);
            }
        }
        let done = leaves.iter().filter(|leaf| leaf.is_done).map(|leaf| leaf.node);
        for node in done.chain(reduces.iter().filter(|node| node.is_done).map(|node| node.node)) {
            plan.done(node)?;
        }
        if executed {
            plan.execute_ended()?;
        }
        Ok(plan)
    }

    /// Adds a leaf. A repeated announcement has no effect.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if its range is impossible, another leaf covers a part of it, or the execution has ended.
    pub fn announce(
        &mut self,
        leaf: N,
        kind: ShardKind,
        range: ShardRange,
    ) -> Result<(), PlanError> {
        range.check(kind)?;
        if let Some(known) = self.nodes.get(&leaf) {
            let is_same = known.children.is_empty() && known.range == range;
            return if is_same { Ok(()) } else { Err(PlanError::Renamed) };
        }
        if self.executed {
            return Err(PlanError::Late);
        }
        let (start, end) = (range.start(), range.end());
        if start != end {
            let before = self.covered.range(..=start).next_back();
            let after = self.covered.range(start..).next();
            let overlaps = before.is_some_and(|(_, known_end)| start < *known_end)
                || after.is_some_and(|(known_start, _)| *known_start < end);
            if overlaps {
                return Err(RangeError::Overlap { at: start.timestamp }.into());
            }
            self.covered.insert(start, end);
        }
        self.nodes
            .insert(leaf, Node { range, children: Vec::new(), is_done: false, is_taken: false });
        self.open += 1;
        Ok(())
    }

    /// All leaves are announced.
    ///
    /// # Errors
    ///
    /// [`PlanError::Range`] if they do not cover the execution from its beginning without a gap.
    pub fn execute_ended(&mut self) -> Result<(), PlanError> {
        let leaves = self.nodes.values().filter(|node| node.children.is_empty());
        let whole = chain(leaves.map(|leaf| leaf.range))?;
        if whole.start() != ShardBoundary::INITIAL {
            return Err(RangeError::Gap { at: ShardBoundary::INITIAL.timestamp }.into());
        }
        self.executed = true;
        Ok(())
    }

    /// The proof of a node is finished. A repeated message has no effect.
    ///
    /// # Errors
    ///
    /// [`PlanError::Unknown`]
    pub fn done(&mut self, node: N) -> Result<(), PlanError> {
        let known = self.nodes.get_mut(&node).ok_or(PlanError::Unknown)?;
        if !known.is_done {
            known.is_done = true;
            if !known.is_taken {
                self.open -= 1;
                self.free.insert((known.range.start(), known.range.end(), node));
            }
        }
        Ok(())
    }

    /// The proof of a node is lost or false: it is to be made again. A reduce that takes it keeps it as a child, and can
    /// run only when it is finished again.
    ///
    /// # Errors
    ///
    /// [`PlanError::Unknown`]
    pub fn reopen(&mut self, node: N) -> Result<(), PlanError> {
        let known = self.nodes.get_mut(&node).ok_or(PlanError::Unknown)?;
        if known.is_done {
            known.is_done = false;
            if !known.is_taken {
                self.open += 1;
                self.free.remove(&(known.range.start(), known.range.end(), node));
            }
        }
        Ok(())
    }

    /// Next reduce that can be started; [`Plan::begin`] starts it.
    #[must_use]
    pub fn next(&self) -> Option<Reduce<N>> {
        let is_last = self.executed && self.open == 0 && self.root.is_none();
        if is_last && self.free.len() <= ARITY {
            let all: Vec<_> = self.free.iter().collect();
            return reduce_of(&all, true);
        }
        // The whole must not become one proof that is not complete.
        if self.open == 0 && self.free.len() <= ARITY {
            return None;
        }
        let mut run: Vec<&(ShardBoundary, ShardBoundary, N)> = Vec::with_capacity(ARITY);
        for node in &self.free {
            if run.last().is_some_and(|(_, end, _)| *end != node.0) {
                run.clear();
            }
            run.push(node);
            if run.len() == ARITY {
                return reduce_of(&run, false);
            }
        }
        None
    }

    /// Starts a reduce under a new name.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if it is not one of [`Plan::next`].
    pub fn begin(&mut self, node: N, reduce: &Reduce<N>) -> Result<(), PlanError> {
        let is_done = |child| self.nodes.get(child).is_some_and(|known| known.is_done);
        if !reduce.children.iter().all(is_done) {
            return Err(PlanError::Children);
        }
        self.insert(node, reduce)
    }

    /// The complete proof's node, once it is finished.
    #[must_use]
    pub fn finished(&self) -> Option<N> {
        self.root.filter(|root| self.nodes.get(root).is_some_and(|node| node.is_done))
    }

    /// Children of a reduce, in their order; none of a leaf or an unknown node.
    #[must_use]
    pub fn children(&self, node: N) -> &[N] {
        self.nodes.get(&node).map_or(&[], |node| &node.children)
    }

    /// Range of a leaf or a reduce.
    #[must_use]
    pub fn range(&self, node: N) -> Option<ShardRange> {
        self.nodes.get(&node).map(|node| node.range)
    }

    /// Number of leaves that are announced.
    #[must_use]
    pub fn leaves(&self) -> usize {
        self.nodes.values().filter(|node| node.children.is_empty()).count()
    }

    /// Whether all leaves are announced.
    #[must_use]
    pub const fn is_executed(&self) -> bool {
        self.executed
    }

    /// Adds a reduce, whether its children are finished or were reopened.
    fn insert(&mut self, node: N, reduce: &Reduce<N>) -> Result<(), PlanError> {
        if self.nodes.contains_key(&node) {
            return Err(PlanError::Renamed);
        }
        let mut joined: Option<ShardRange> = None;
        let mut seen = BTreeSet::new();
        for child in &reduce.children {
            let known = self.nodes.get(child).ok_or(PlanError::Children)?;
            let next = joined.map_or(Some(known.range), |before| before.joined(&known.range));
            joined = Some(next.ok_or(PlanError::Children)?);
            if known.is_taken || !seen.insert(*child) {
                return Err(PlanError::Children);
            }
        }
        let is_one_too_many =
            reduce.children.len() > ARITY || (reduce.complete && self.root.is_some());
        if is_one_too_many || joined != Some(reduce.range) {
            return Err(PlanError::Children);
        }
        for child in &reduce.children {
            if let Some(known) = self.nodes.get_mut(child) {
                known.is_taken = true;
                self.open -= usize::from(!known.is_done);
                self.free.remove(&(known.range.start(), known.range.end(), *child));
            }
        }
        let (range, children) = (reduce.range, reduce.children.clone());
        // The complete proof is nothing that a reduce could take.
        let is_taken = reduce.complete;
        self.nodes.insert(node, Node { range, children, is_done: false, is_taken });
        self.open += usize::from(!is_taken);
        if reduce.complete {
            self.root = Some(node);
        }
        Ok(())
    }
}

/// Reduce of nodes that follow each other.
fn reduce_of<N: Copy>(
    nodes: &[&(ShardBoundary, ShardBoundary, N)],
    complete: bool,
) -> Option<Reduce<N>> {
    let (first, last) = (nodes.first()?, nodes.last()?);
    let children = nodes.iter().map(|(_, _, node)| *node).collect();
    Some(Reduce { children, range: ShardRange::between(first.0, last.1), complete })
}

#[cfg(test)]
mod tests;
