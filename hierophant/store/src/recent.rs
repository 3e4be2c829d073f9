//! Records that were written a moment ago, kept in memory for the look-ups that follow.
//!
//! A client opens a ticket, uploads to it and requests a proof: four look-ups of an artifact that was written just
//! before, and one of a program that rarely changes. The store is the only writer of the database, so what it has
//! committed is what a look-up would find. A record is remembered only after its commit, and forgotten before any
//! other change of the same row is written.

use std::collections::{HashMap, VecDeque};

use hierophant_model::records::{ArtifactRecord, Change, HistoryRow, ProgramRecord};
use network_lib::ids::{ArtifactId, VkHash};
use parking_lot::Mutex;

/// Number of artifacts that are remembered.
const ARTIFACTS: usize = 8192;

/// Number of programs that are remembered. A program's key has at most 64 KiB, usually 130 bytes.
const PROGRAMS: usize = 256;

/// Recently committed artifacts and programs.
#[derive(Debug)]
pub(crate) struct Recent {
    artifacts: Mutex<Rows<ArtifactId, ArtifactRecord>>,
    programs: Mutex<Rows<VkHash, ProgramRecord>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            artifacts: Mutex::new(Rows::new(ARTIFACTS)),
            programs: Mutex::new(Rows::new(PROGRAMS)),
        }
    }
}

/// A commit in progress, and the numbers under which its records are announced.
#[derive(Debug)]
pub(crate) struct Announced(u64);

impl Recent {
    /// An artifact, if it was written recently.
    pub(crate) fn artifact(&self, id: ArtifactId) -> Option<ArtifactRecord> {
        self.artifacts.lock().get(&id)
    }

    /// A program, if it was read or written recently.
    pub(crate) fn program(&self, vk_hash: VkHash) -> Option<ProgramRecord> {
        self.programs.lock().get(&vk_hash)
    }

    /// Announces a look-up of a program.
    pub(crate) fn looking(&self, vk_hash: VkHash) -> Announced {
        Announced(self.programs.lock().announce(vk_hash))
    }

    /// Remembers the program that the announced look-up found, unless it was written meanwhile.
    pub(crate) fn found(&self, Announced(number): &Announced, program: &ProgramRecord) {
        self.programs.lock().keep(program.vk_hash, *number, program.clone());
    }

    /// Announces changes before they are committed: what is known of their rows is forgotten.
    pub(crate) fn writing(&self, changes: &[Change]) -> Announced {
        let mut artifacts = self.artifacts.lock();
        let number = artifacts.next_number();
        for change in changes {
            match touched(change) {
                Some(Touched::Artifact(id, written)) => {
                    artifacts.forget(&id);
                    if written.is_some() {
                        artifacts.announce_as(id, number);
                    }
                }
                Some(Touched::Program(vk_hash)) => self.programs.lock().forget(&vk_hash),
                None => {}
            }
        }
        Announced(number)
    }

    /// Remembers the announced changes, after they were committed. Records that another commit has changed in
    /// between are left out.
    pub(crate) fn written(&self, Announced(number): &Announced, changes: &[Change]) {
        let mut artifacts = self.artifacts.lock();
        for change in changes {
            match touched(change) {
                Some(Touched::Artifact(id, Some(record))) => {
                    artifacts.keep(id, *number, record.clone());
                }
                Some(Touched::Artifact(id, None)) => artifacts.forget(&id),
                Some(Touched::Program(vk_hash)) => self.programs.lock().forget(&vk_hash),
                None => {}
            }
        }
    }
}

/// A row that a change writes.
enum Touched<'a> {
    /// An artifact, and its whole record if the change contains it.
    Artifact(ArtifactId, Option<&'a ArtifactRecord>),
    Program(VkHash),
}

/// Every kind of change is named here: a new one must say whether it writes an artifact or a program.
const fn touched(change: &Change) -> Option<Touched<'_>> {
    match change {
        Change::Artifact(record) => Some(Touched::Artifact(record.id, Some(record))),
        Change::Delivered(id, _)
        | Change::Rescheduled { id, .. }
        | Change::Expired(id, _)
        | Change::Removed(id, _)
        | Change::Forgotten(id) => Some(Touched::Artifact(*id, None)),
        Change::HistoryDeleted(HistoryRow::Artifact(id)) => Some(Touched::Artifact(*id, None)),
        Change::Program(program) => Some(Touched::Program(program.vk_hash)),
        Change::ProgramState(vk_hash, ..)
        | Change::ProgramOwner(vk_hash, _)
        | Change::ProgramRemoved(vk_hash) => Some(Touched::Program(*vk_hash)),
        Change::Job(_)
        | Change::Request(..)
        | Change::Attempt(_)
        | Change::Sharding(_)
        | Change::ShardingEnded(..)
        | Change::ShardingRemoved(_)
        | Change::Task(_)
        | Change::TasksRemoved(_)
        | Change::CountNonce(_)
        | Change::Set(_)
        | Change::Unset(..)
        | Change::Audited(_)
        | Change::AuditForgotten(_)
        | Change::Token(_)
        | Change::TokenUsed(..)
        | Change::Notice(_)
        | Change::NoticeSettled(_)
        | Change::NoticesMoved(..)
        | Change::ReceiverForgotten(_)
        | Change::HistoryDeleted(
            HistoryRow::Job(_)
            | HistoryRow::Request(_)
            | HistoryRow::Attempt(_)
            | HistoryRow::Audit(_),
        ) => None,
    }
}

/// A bounded number of rows, the oldest removed first.
#[derive(Debug)]
struct Rows<K, V> {
    /// Each row with the number of its announcement; `None` until it is certain.
    rows: HashMap<K, (u64, Option<V>)>,
    order: VecDeque<(K, u64)>,
    number: u64,
    most: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V: Clone> Rows<K, V> {
    fn new(most: usize) -> Self {
        Self { rows: HashMap::new(), order: VecDeque::new(), number: 0, most }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.rows.get(key)?.1.clone()
    }

    const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn announce(&mut self, key: K) -> u64 {
        let number = self.next_number();
        self.announce_as(key, number);
        number
    }

    fn announce_as(&mut self, key: K, number: u64) {
        self.rows.insert(key, (number, None));
        self.order.push_back((key, number));
        while self.order.len() > self.most {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            // A later announcement of the same row has an entry of its own.
            if self.rows.get(&oldest).is_some_and(|(latest, _)| *latest == number) {
                self.rows.remove(&oldest);
            }
        }
    }

    /// Keeps an announced row, unless it was announced again or forgotten since.
    fn keep(&mut self, key: K, number: u64, value: V) {
        if let Some((announced, kept)) = self.rows.get_mut(&key)
            && *announced == number
        {
            *kept = Some(value);
        }
    }

    fn forget(&mut self, key: &K) {
        self.rows.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use hierophant_model::records::{ArtifactKind, Millis};

    use super::*;

    const ID: ArtifactId = ArtifactId([1; 16]);

    fn ticket(id: ArtifactId) -> ArtifactRecord {
        ArtifactRecord::ticket(id, ArtifactKind::Stdin, Address::ZERO, Millis(1))
    }

    #[test]
    fn a_record_is_known_after_its_commit_until_the_row_changes() {
        let recent = Recent::default();
        let opened = [Change::Artifact(ticket(ID))];
        let announced = recent.writing(&opened);
        assert_eq!(recent.artifact(ID), None, "not committed yet");
        recent.written(&announced, &opened);
        assert_eq!(recent.artifact(ID), Some(ticket(ID)));
        let expired = [Change::Expired(ID, Some(Millis(2)))];
        let announced = recent.writing(&expired);
        assert_eq!(recent.artifact(ID), None);
        recent.written(&announced, &expired);
        assert_eq!(recent.artifact(ID), None);
    }

    #[test]
    fn a_record_that_another_commit_changed_meanwhile_is_not_kept() {
        let recent = Recent::default();
        let (opened, expired) =
            ([Change::Artifact(ticket(ID))], [Change::Expired(ID, Some(Millis(2)))]);
        let first = recent.writing(&opened);
        let second = recent.writing(&expired);
        recent.written(&second, &expired);
        recent.written(&first, &opened);
        assert_eq!(recent.artifact(ID), None, "its expiry may have been written after it");
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let recent = Recent::default();
        let number = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            ArtifactId(id)
        };
        for place in 0..=ARTIFACTS {
            let opened = [Change::Artifact(ticket(number(place)))];
            recent.written(&recent.writing(&opened), &opened);
        }
        assert_eq!(recent.artifact(number(0)), None);
        assert!(recent.artifact(number(1)).is_some());
        assert!(recent.artifacts.lock().order.len() <= ARTIFACTS);
    }
}
