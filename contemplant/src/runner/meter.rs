//! The meter of a phase's transfers: their bytes are the steps of that phase.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use network_lib::job::Phase;

use crate::executor::EventSink;

/// Bytes of one or more transfers, which are reported as they pass. Clones share the count. Bytes of repeated transfers
/// count too: a proof that is handed in again and again has not been forgotten.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    /// Where the bytes are reported, and as steps of which phase.
    reported: Option<(EventSink, Phase)>,
    bytes: Arc<AtomicU64>,
}

impl Meter {
    /// A meter at zero, which reports the start of the phase.
    pub(super) fn start(events: &EventSink, phase: Phase) -> Self {
        events.phase(phase);
        Self { reported: Some((events.clone(), phase)), bytes: Arc::default() }
    }

    /// A meter at zero that reports nothing, for transfers beside the work of an attempt.
    pub(super) fn silent() -> Self {
        Self { reported: None, bytes: Arc::default() }
    }

    /// Counts bytes.
    pub(super) fn add(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some((events, phase)) = &self.reported {
            events.steps(*phase, before + bytes);
        }
    }

    /// The counted bytes.
    pub(super) fn total(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
