//! Turns for reading: how many statements of a kind run at once, and how many may wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::StoreError;

/// Number of lists that are read at once.
pub(crate) const LISTS: u32 = 2;

/// Maximum number of lists that wait; further ones are refused.
const MAX_WAITING_LISTS: u32 = 64;

/// Turns for one kind of read. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    number: u32,
    turns: Arc<Semaphore>,
    /// Places of those that read or wait, if their number is bounded.
    places: Option<Arc<Semaphore>>,
}

/// A turn; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Turns of which `number` run at once, while any number waits.
    pub(crate) fn new(number: u32) -> Self {
        Self { number, turns: semaphore(number), places: None }
    }

    /// Turns for lists.
    pub(crate) fn of_lists() -> Self {
        Self { places: Some(semaphore(LISTS + MAX_WAITING_LISTS)), ..Self::new(LISTS) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] if too many wait; [`StoreError::Unavailable`] after closing.
    pub(crate) async fn take(&self, action: &'static str) -> Result<Turn, StoreError> {
        let place = self.places.as_ref().map(|places| Arc::clone(places).try_acquire_owned());
        let place = place.transpose().map_err(|_| StoreError::Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(StoreError::unavailable(action))?;
        Ok(Turn { _turn: turn, _place: place })
    }

    /// Waits until no one has a turn. Dropping what is returned lets others read again.
    pub(crate) async fn all(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_many_owned(self.number).await.ok()
    }

    /// Whether no one has a turn.
    #[cfg(test)]
    pub(crate) fn all_free(&self) -> bool {
        self.turns.available_permits() == self.number as usize
    }

    /// Whether a turn is free.
    #[cfg(test)]
    pub(crate) fn any_free(&self) -> bool {
        self.turns.available_permits() > 0
    }

    /// Refuses all further turns.
    pub(crate) fn close(&self) {
        self.turns.close();
    }
}

fn semaphore(permits: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits as usize))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_list_beyond_those_that_may_wait_is_refused_at_once() {
        let turns = Turns::of_lists();
        let mut reading = Vec::new();
        for _ in 0..LISTS {
            reading.push(turns.take("listing").await.expect("a turn"));
        }
        let mut waiting: Vec<_> =
            (0..MAX_WAITING_LISTS).map(|_| Box::pin(turns.take("listing"))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none(), "it waits");
        }
        let refused = turns.take("listing").now_or_never().expect("answered at once");
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        // A caller that hangs up makes room.
        waiting.pop();
        assert!(turns.take("listing").now_or_never().is_none(), "it waits");
    }
}
