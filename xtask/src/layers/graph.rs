//! Arrows between named things, and the circles that they close.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Arrows, from the name that imports to the name that is imported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    arrows: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Adds a name, and nothing if it is there.
    pub(crate) fn add(&mut self, name: &str) {
        self.arrows.entry(name.to_owned()).or_default();
    }

    /// Adds an arrow, and its names.
    pub(crate) fn point(&mut self, from: &str, to: &str) {
        self.add(to);
        self.arrows.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    /// Where the arrows of a name lead.
    pub(crate) fn targets(&self, name: &str) -> impl Iterator<Item = &str> {
        self.arrows.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Circles, each as the names on it, until none is left without one of its arrows. A circle that shares all
    /// arrows with others may be left out: mending those mends it.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let mut left = self.clone();
        let mut circles = Vec::new();
        // The shortest first: they are the easiest to understand.
        while let Some(circle) = left.shortest_circle() {
            for (index, from) in circle.iter().enumerate() {
                let to = &circle[(index + 1) % circle.len()];
                if let Some(targets) = left.arrows.get_mut(from) {
                    targets.remove(to);
                }
            }
            circles.push(circle);
        }
        circles
    }

    fn shortest_circle(&self) -> Option<Vec<String>> {
        let circles = self.arrows.keys().filter_map(|start| self.circle_through(start));
        circles.min_by_key(Vec::len)
    }

    fn circle_through(&self, start: &str) -> Option<Vec<String>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(name) = next.pop_front() {
            for target in self.targets(name) {
                if target == start {
                    let mut circle = vec![name.to_owned()];
                    let mut at = name;
                    while at != start {
                        at = came_from[at];
                        circle.push(at.to_owned());
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(target) {
                    came_from.insert(target, name);
                    next.push_back(target);
                }
            }
        }
        None
    }

    /// How high each name stands: above everything that it imports. Names on a circle have no rank.
    pub(crate) fn ranks(&self) -> BTreeMap<String, usize> {
        let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let before = ranks.len();
            for name in self.arrows.keys() {
                let below: Option<Vec<usize>> =
                    self.targets(name).map(|target| ranks.get(target).copied()).collect();
                if let Some(below) = below
                    && !ranks.contains_key(name)
                {
                    let rank = below.into_iter().max().unwrap_or(0) + 1;
                    ranks.insert(name.clone(), rank);
                }
            }
            if ranks.len() == before {
                return ranks;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_shortest_first_and_the_rest_is_ranked() {
        let mut graph = Graph::default();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "c"), ("e", "f")] {
            graph.point(from, to);
        }
        assert_eq!(graph.circles(), [vec!["c", "d"], vec!["a", "b", "c"]]);
        let ranks = graph.ranks();
        assert_eq!(ranks.into_iter().collect::<Vec<_>>(), [("e".into(), 2), ("f".into(), 1)]);
    }
}
