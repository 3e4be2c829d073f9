//! The meter of a phase's transfers: their bytes are the steps of that phase.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use network_lib::job::Phase;

use crate::executor::EventSink;

/// Bytes of one or more transfers, which are reported as they pass. Clones share the count. Bytes of repeated transfers
/// count too: a proof that is handed in again and again has not been forgotten.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    events: EventSink,
    phase: Phase,
    bytes: Arc<AtomicU64>,
}

impl Meter {
    /// A meter at zero, which reports the start of the phase.
    pub(super) fn start(events: &EventSink, phase: Phase) -> Self {
        events.phase(phase);
        Self { events: events.clone(), phase, bytes: Arc::default() }
    }

    /// Counts bytes.
    pub(super) fn add(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.events.steps(self.phase, before + bytes);
    }
}
