//! Faults of workers, connections and bytes.

use network_lib::job::ProofMode;

use super::{Fault, NOW, World};

impl World {
    /// One fault, now and then.
    pub(super) fn disturb(&mut self) -> Fault {
        let worker = self.dice.below(self.fleet.len());
        match self.dice.below(160) {
            0 | 3.. if self.only_cuts => {}
            0 => {
                self.tally.crashes += 1;
                self.fleet[worker].is_connected = false;
                self.fleet[worker].restart();
                if self.dice.one_in(2) {
                    let id = self.fleet[worker].id;
                    let effects = self.job.worker_lost(NOW, id);
                    self.apply(effects)?;
                }
            }
            1 | 2 => {
                self.tally.cuts += 1;
                self.fleet[worker].is_connected = false;
                self.fleet[worker].outbox.clear();
            }
            3 => {
                let (id, is_away) = (self.fleet[worker].id, !self.fleet[worker].is_connected);
                if is_away {
                    let effects = self.job.worker_lost(NOW, id);
                    self.apply(effects)?;
                }
            }
            4 => self.restart()?,
            5 if !self.blobs.is_empty() => {
                let lost = *self.blobs.iter().nth(self.dice.below(self.blobs.len())).expect("one");
                // Public values are read by the check of the proof alone.
                if lost.0[31] != b'p' {
                    self.tally.lost_blobs += 1;
                    self.blobs.remove(&lost);
                    // Hierophant notices it before the assembly at the latest.
                    if self.mode == ProofMode::Core || self.dice.one_in(2) {
                        let effects = self.job.blob_lost(NOW, lost);
                        self.apply(effects)?;
                    }
                }
            }
            6 => {
                let depot = &mut self.fleet[worker].depot;
                if let Some(lost) = depot.iter().next().copied() {
                    self.tally.lost_blobs += 1;
                    depot.remove(&lost);
                }
            }
            7 => {
                let effects = self.job.all_returned(NOW);
                self.apply(effects)?;
            }
            8 if !self.echoes.is_empty() => {
                self.tally.late += 1;
                let at = self.dice.below(self.echoes.len());
                let (worker, word) = self.echoes.swap_remove(at);
                self.hear(worker, word)?;
            }
            _ => {}
        }
        Ok(())
    }
}
