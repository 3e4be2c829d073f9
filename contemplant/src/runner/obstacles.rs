//! Obstacles to handing in: while a finished proof cannot be handed in, another one would only wait beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The current obstacles. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Obstacles(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The reasons, by the number of their obstacle.
    reasons: Mutex<BTreeMap<u64, String>>,
    /// All reasons in one text.
    text: watch::Sender<Option<String>>,
}

/// An obstacle, which is removed on drop.
#[derive(Debug)]
pub(super) struct Obstacle {
    number: u64,
    obstacles: Obstacles,
}

impl Obstacles {
    /// Adds an obstacle for this reason, for people.
    pub(super) fn raise(&self, reason: String) -> Obstacle {
        let mut reasons = self.reasons();
        let number = reasons.last_key_value().map_or(0, |(last, _)| last + 1);
        reasons.insert(number, reason);
        self.publish(&reasons);
        Obstacle { number, obstacles: self.clone() }
    }

    /// All reasons in one text; none if there is no obstacle.
    pub(super) fn text(&self) -> watch::Receiver<Option<String>> {
        self.0.text.subscribe()
    }

    fn publish(&self, reasons: &BTreeMap<u64, String>) {
        let mut texts: Vec<&str> = Vec::new();
        for reason in reasons.values() {
            if !texts.contains(&reason.as_str()) {
                texts.push(reason);
            }
        }
        let text = (!texts.is_empty()).then(|| texts.join("; "));
        self.0.text.send_if_modified(|known| {
            let changed = *known != text;
            *known = text;
            changed
        });
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        let mut reasons = self.obstacles.reasons();
        reasons.remove(&self.number);
        self.obstacles.publish(&reasons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_given_once_until_the_last_of_its_obstacles_is_gone() {
        let obstacles = Obstacles::default();
        let text = obstacles.text();
        let is = |expected: Option<&str>| assert_eq!(text.borrow().as_deref(), expected);
        is(None);
        let first = obstacles.raise("413".to_owned());
        is(Some("413"));
        let (second, other) =
            (obstacles.raise("413".to_owned()), obstacles.raise("405".to_owned()));
        is(Some("413; 405"));
        drop(first);
        is(Some("413; 405"));
        drop(second);
        is(Some("405"));
        drop(other);
        is(None);
    }
}
