//! Tickets to which an upload is in progress: one upload of a ticket at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use network_lib::ids::ArtifactId;
use parking_lot::Mutex;

/// Tickets to which an upload is in progress. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tickets(Arc<Mutex<BTreeSet<ArtifactId>>>);

/// The upload to a ticket, until this is dropped.
#[derive(Debug)]
pub struct TicketTurn {
    tickets: Tickets,
    ticket: ArtifactId,
}

impl Tickets {
    /// Begins the upload to a ticket; `None` while another one is in progress.
    #[must_use]
    pub fn begin(&self, ticket: ArtifactId) -> Option<TicketTurn> {
        self.0.lock().insert(ticket).then(|| TicketTurn { tickets: self.clone(), ticket })
    }
}

impl Drop for TicketTurn {
    fn drop(&mut self) {
        self.tickets.0.lock().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_receives_one_upload_at_a_time() {
        let tickets = Tickets::default();
        let [one, other] = [ArtifactId([1; 16]), ArtifactId([2; 16])];
        let turn = tickets.begin(one).expect("free");
        assert!(tickets.begin(one).is_none());
        let _other = tickets.begin(other).expect("another ticket");
        drop(turn);
        assert!(tickets.begin(one).is_some());
    }
}
