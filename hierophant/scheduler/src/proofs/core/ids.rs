//! Source of the core's ids.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Generator of ids. It is the core's only source of randomness, so that tests can replace it. Clones draw from the same
/// sequence.
#[derive(Clone)]
pub struct IdSource(Arc<Mutex<dyn FnMut() -> [u8; 16] + Send>>);

impl IdSource {
    /// Unguessable ids.
    #[must_use]
    pub fn random() -> Self {
        Self::from_fn(network_lib::ids::random_bytes)
    }

    /// Ids from `draw`, for simulations.
    #[must_use]
    pub fn from_fn(draw: impl FnMut() -> [u8; 16] + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(draw)))
    }

    /// The ids 1, 2, 3, … for tests.
    #[must_use]
    pub fn counting() -> Self {
        Self::counting_from(0)
    }

    /// The ids that follow `last`, for tests.
    #[must_use]
    pub fn counting_from(last: u128) -> Self {
        let mut next = last;
        Self::from_fn(move || {
            next += 1;
            next.to_be_bytes()
        })
    }

    pub(in crate::proofs) fn draw(&mut self) -> [u8; 16] {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner))()
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSource")
    }
}
