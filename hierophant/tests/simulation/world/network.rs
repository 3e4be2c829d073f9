//! What connects them, and what breaks.

use hierophant_model::records::Millis;
use rand::Rng;

use super::stalls::PATIENCE;
use super::{Event, MINUTE, SECOND, World};

impl World {
    /// Sends over a connection: in order, unless it is cut.
    pub(super) fn send(&mut self, session: u64, to_worker: bool, event: Event) {
        if self.broken.contains(&session) {
            return;
        }
        let earliest = Millis(self.now.0 + self.rng.random_range(1..100));
        let last = self.arrivals.entry((session, to_worker)).or_default();
        *last = (*last).max(earliest);
        let delay = last.0 - self.now.0;
        self.at(delay, event);
    }

    /// A connection ends for the Contemplant, and for Hierophant unless nothing gets through.
    pub(super) fn closed(&mut self, session: u64) {
        let Some(n) = self.sessions.remove(&session) else { return };
        self.leaves(session, false);
        let worker = &mut self.workers[n];
        if worker.session == Some(session) {
            worker.session = None;
            let life = worker.life;
            let delay = self.rng.random_range(100..30 * SECOND);
            self.at(delay, Event::Connect(n, life));
        }
    }

    /// Hierophant notices that a connection has ended.
    pub(super) fn leaves(&mut self, session: u64, for_good: bool) {
        let found = self.known.iter().find(|(_, known)| **known == session);
        let Some((worker, number)) = found.map(|(key, _)| *key) else { return };
        self.known.remove(&(worker, number));
        let now = self.now;
        let Some(hierophant) = self.hierophant.as_mut() else { return };
        if for_good {
            hierophant.registry.remove(now, worker, number, "dropped");
            self.decide(|proofs, now| ((), proofs.worker_removed(now, worker, number, "dropped")));
        } else if hierophant.registry.disconnected(worker, number, "cut") {
            self.decide(|proofs, now| ((), proofs.worker_away(now, worker, number)));
        }
    }

    pub(super) fn fault(&mut self) {
        if !self.storm {
            return;
        }
        let delay = self.rng.random_range(SECOND..3 * MINUTE);
        self.at(delay, Event::Fault);
        let n = self.rng.random_range(0..self.workers.len());
        match self.rng.random_range(0..8) {
            7 => self.lose_blob(),
            6 => {
                let duration = self.rng.random_range(SECOND..PATIENCE);
                self.stall(duration);
            }
            0 if self.hierophant.is_some() => self.crash(),
            1 | 2 => {
                self.tell(format!("Contemplant {n} dies"));
                let with_disk = self.rng.random_bool(0.3);
                self.workers[n].crash(with_disk);
                for session in self.sessions_of(n) {
                    self.soon(Event::Closed(session));
                }
                let delay = self.rng.random_range(SECOND..5 * MINUTE);
                self.at(delay, Event::WorkerStart(n));
            }
            3 | 4 => {
                self.tell(format!("Contemplant {n} is cut off"));
                self.workers[n].cut_off = true;
                let sessions = self.sessions_of(n);
                self.broken.extend(sessions);
                let delay = self.rng.random_range(SECOND..4 * MINUTE);
                self.at(delay, Event::Reachable(n));
            }
            _ => {
                for session in self.sessions_of(n) {
                    self.soon(Event::Closed(session));
                }
            }
        }
    }

    pub(super) fn sessions_of(&self, n: usize) -> Vec<u64> {
        self.sessions.iter().filter(|(_, of)| **of == n).map(|(session, _)| *session).collect()
    }
}
