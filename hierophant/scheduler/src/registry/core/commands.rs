//! Operator commands on workers.
//!
//! Decision and application are two steps, because what must survive a restart is stored in between: a failing
//! store leaves everything unchanged.

use std::net::IpAddr;

use hierophant_model::commands::{
    Blocked, CommandError, CommandOutcome, Subject, WorkerCommand, with_reason,
};
use hierophant_model::records::{Change, Millis, Setting, SettingKind};
use network_lib::ids::WorkerId;

use super::RegistryCore;
use crate::SessionId;

/// Mark on a worker or an address: reason and start.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) reason: String,
    since: Millis,
}

/// Decision about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Answer, once the command is applied.
    pub outcome: CommandOutcome,
    /// Change to store first.
    pub save: Option<Change>,
    /// Connections to close, each with the reason.
    pub dropped: Vec<(WorkerId, SessionId, String)>,
    /// Worker whose drain changes: the reason, or `None` if the drain ends.
    pub drained: Option<(WorkerId, SessionId, Option<String>)>,
}

impl Decision {
    const fn only(outcome: CommandOutcome) -> Self {
        Self { outcome, save: None, dropped: Vec::new(), drained: None }
    }
}

impl RegistryCore {
    /// Restores the settings of operators after a start.
    pub fn restore(&mut self, settings: &[Setting]) {
        for setting in settings {
            let mark = Mark { reason: setting.reason.clone(), since: setting.since };
            if setting.kind == SettingKind::Drained
                && let Ok(worker) = setting.subject.parse()
            {
                self.drained.insert(worker, mark);
            } else if setting.kind == SettingKind::Blocked
                && let Ok(subject) = setting.subject.parse()
            {
                self.blocked.insert(subject, mark);
            }
        }
    }

    /// Decides a command without applying it.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if the command cannot be executed.
    pub fn decide(&self, now: Millis, command: &WorkerCommand) -> Result<Decision, CommandError> {
        match command {
            WorkerCommand::Drain(id, reason) => self.drain(now, *id, reason),
            WorkerCommand::Undrain(id) => self.undrain(*id),
            WorkerCommand::Drop(id, reason) => {
                let known = self.workers.get(id).ok_or_else(not_connected)?;
                let words = with_reason("dropped by the operator", reason);
                let outcome = CommandOutcome::changed(format!(
                    "{} is dropped; its jobs are queued again",
                    known.name
                ));
                let dropped = vec![(*id, known.session, words)];
                Ok(Decision { dropped, ..Decision::only(outcome) })
            }
            WorkerCommand::Block(subject, reason) => Ok(self.block(now, *subject, reason)),
            WorkerCommand::Unblock(subject) => self.unblock(*subject),
        }
    }

    /// Applies a decided and stored command.
    pub fn apply(&mut self, now: Millis, command: &WorkerCommand) {
        let mark = |reason: &String| Mark { reason: reason.clone(), since: now };
        match command {
            WorkerCommand::Drain(id, reason) => self.set_drained(*id, Some(mark(reason))),
            WorkerCommand::Undrain(id) => self.set_drained(*id, None),
            WorkerCommand::Block(subject, reason) => {
                self.blocked.insert(*subject, mark(reason));
            }
            WorkerCommand::Unblock(subject) => drop(self.blocked.remove(subject)),
            WorkerCommand::Drop(..) => {}
        }
    }

    /// Ends the drain of a worker that has left. Returns whether it was drained.
    pub fn clear_drained(&mut self, worker: WorkerId) -> bool {
        self.drained.remove(&worker).is_some()
    }

    /// Blocked workers and addresses: those of the configuration first, then those of operators.
    #[must_use]
    pub fn blocked(&self) -> Vec<Blocked> {
        let configured = self.rules.blocked.iter().map(|subject| Blocked {
            subject: subject.clone(),
            reason: "`worker_registry.blocked` of hierophant.toml".to_owned(),
            since: None,
        });
        let marked = self.blocked.iter().map(|(subject, mark)| Blocked {
            subject: subject.to_string(),
            reason: mark.reason.clone(),
            since: Some(mark.since),
        });
        configured.chain(marked).collect()
    }

    pub(super) fn block_of(&self, worker: WorkerId, ip: IpAddr) -> Option<&Mark> {
        let by_id = self.blocked.get(&Subject::Worker(worker));
        by_id.or_else(|| self.blocked.get(&Subject::address(ip)))
    }

    fn drain(&self, now: Millis, id: WorkerId, reason: &str) -> Result<Decision, CommandError> {
        let known = self.workers.get(&id).ok_or_else(not_connected)?;
        let name = &known.name;
        if known.draining {
            return Ok(Decision::only(CommandOutcome::unchanged(format!(
                "{name} is already leaving"
            ))));
        }
        if known.drained.as_deref() == Some(reason) {
            return Ok(Decision::only(CommandOutcome::unchanged(format!(
                "{name} is already drained"
            ))));
        }
        let (kind, subject, reason) = (SettingKind::Drained, id.to_string(), reason.to_owned());
        let drained = Some((id, known.session, Some(reason.clone())));
        let save = Some(Change::Set(Setting { kind, subject, reason, since: now }));
        let outcome =
            CommandOutcome::changed(format!("{name} is drained: it finishes its jobs and leaves"));
        Ok(Decision { save, drained, ..Decision::only(outcome) })
    }

    fn undrain(&self, id: WorkerId) -> Result<Decision, CommandError> {
        let save = Some(Change::Unset(SettingKind::Drained, id.to_string()));
        let Some(known) = self.workers.get(&id) else {
            if self.drained.contains_key(&id) {
                let outcome =
                    CommandOutcome::changed("the worker is not connected; its drain has ended");
                return Ok(Decision { save, ..Decision::only(outcome) });
            }
            return Err(not_connected());
        };
        let name = &known.name;
        if known.draining {
            return Err(CommandError::Conflict(format!(
                "{name} is already leaving; start it again once it has left"
            )));
        }
        if known.drained.is_none() {
            return Ok(Decision::only(CommandOutcome::unchanged(format!("{name} is not drained"))));
        }
        let outcome = CommandOutcome::changed(format!("{name} accepts jobs again"));
        let drained = Some((id, known.session, None));
        Ok(Decision { save, drained, ..Decision::only(outcome) })
    }

    fn block(&self, now: Millis, subject: Subject, reason: &str) -> Decision {
        let meant = self.workers.values().filter(|known| match subject {
            Subject::Worker(id) => known.worker == id,
            Subject::Address(_) => Subject::address(known.ip) == subject,
        });
        let words = with_reason("blocked by the operator", reason);
        let dropped: Vec<_> =
            meant.map(|known| (known.worker, known.session, words.clone())).collect();
        let same = self.blocked.get(&subject).is_some_and(|mark| mark.reason == reason);
        if same && dropped.is_empty() {
            return Decision::only(CommandOutcome::unchanged(format!(
                "{subject} is already blocked"
            )));
        }
        let outcome = CommandOutcome::changed(format!(
            "{subject} is blocked; connected workers dropped: {}",
            dropped.len()
        ));
        let (kind, text, reason) = (SettingKind::Blocked, subject.to_string(), reason.to_owned());
        let save = Some(Change::Set(Setting { kind, subject: text, reason, since: now }));
        Decision { save, dropped, ..Decision::only(outcome) }
    }

    fn unblock(&self, subject: Subject) -> Result<Decision, CommandError> {
        let text = subject.to_string();
        if self.rules.blocked.contains(&text) {
            return Err(CommandError::Conflict(format!(
                "{text} is in `worker_registry.blocked` of hierophant.toml; remove it there and \
                                        restart Hierophant"
            )));
        }
        if !self.blocked.contains_key(&subject) {
            return Ok(Decision::only(CommandOutcome::unchanged(format!("{text} is not blocked"))));
        }
        let outcome = CommandOutcome::changed(format!("{text} is no longer blocked"));
        let save = Some(Change::Unset(SettingKind::Blocked, text));
        Ok(Decision { save, ..Decision::only(outcome) })
    }

    fn set_drained(&mut self, id: WorkerId, mark: Option<Mark>) {
        if let Some(known) = self.workers.get_mut(&id) {
            known.drained = mark.as_ref().map(|mark| mark.reason.clone());
        }
        match mark {
            Some(mark) => drop(self.drained.insert(id, mark)),
            None => drop(self.drained.remove(&id)),
        }
    }
}

fn not_connected() -> CommandError {
    CommandError::NotFound("no such worker is connected; /api/v1/workers lists the ids".to_owned())
}

#[cfg(test)]
mod tests {
    use hierophant_model::records::WorkerState;
    use network_lib::handshake::RefusalCode;

    use super::super::tests::{HERE, THERE, hello, here, rules};
    use super::super::{RegistryCore, Rules};
    use super::*;

    const ID: WorkerId = WorkerId([1; 16]);

    /// A registry in which worker 1 is connected.
    fn core() -> RegistryCore {
        let mut core = RegistryCore::new(rules());
        core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted");
        core
    }

    /// Decides and applies a command; returns the decision.
    fn act(core: &mut RegistryCore, command: &WorkerCommand) -> Decision {
        let decision = core.decide(Millis(5), command).expect("can be executed");
        core.apply(Millis(5), command);
        decision
    }

    /// Settings that a start would read after these changes.
    fn settings(changes: &[Option<Change>]) -> Vec<Setting> {
        let set = changes.iter().filter_map(|change| match change {
            Some(Change::Set(setting)) => Some(setting.clone()),
            _ => None,
        });
        set.collect()
    }

    #[test]
    fn a_drained_worker_stays_drained_over_a_restart_until_it_has_left() {
        let mut core = core();
        let drain = WorkerCommand::Drain(ID, "kernel".into());
        let decision = act(&mut core, &drain);
        assert_eq!(decision.drained, Some((ID, SessionId(1), Some("kernel".into()))));
        assert_eq!(core.workers()[0].state(), WorkerState::Draining);
        assert!(!core.decide(Millis(6), &drain).expect("fine").outcome.changed, "twice is once");

        let mut next = RegistryCore::new(rules());
        next.restore(&settings(&[decision.save]));
        let session = next.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
        assert_eq!(next.drained(ID).as_deref(), Some("kernel"));
        next.draining(ID, session);
        let undrain = next.decide(Millis(5), &WorkerCommand::Undrain(ID));
        assert!(matches!(undrain, Err(CommandError::Conflict(words)) if words.contains("leaving")));
        assert!(next.remove(Millis(6), ID, session, "left") && next.clear_drained(ID));
        next.admit(Millis(7), &hello(1), HERE, here()).expect("admitted");
        assert_eq!(next.drained(ID), None);
    }

    #[test]
    fn an_undrained_worker_is_as_it_was() {
        let mut core = core();
        act(&mut core, &WorkerCommand::Drain(ID, String::new()));
        let decision = act(&mut core, &WorkerCommand::Undrain(ID));
        assert_eq!(decision.drained, Some((ID, SessionId(1), None)));
        assert_eq!(core.workers()[0].state(), WorkerState::Ready);
        assert!(!act(&mut core, &WorkerCommand::Undrain(ID)).outcome.changed);
    }

    #[test]
    fn a_blocked_worker_is_dropped_and_refused_until_unblocked() {
        for subject in [Subject::Worker(ID), Subject::address(HERE)] {
            let mut core = core();
            let block = WorkerCommand::Block(subject, "lies".into());
            let decision = act(&mut core, &block);
            assert_eq!(
                decision.dropped,
                [(ID, SessionId(1), "blocked by the operator: lies".to_owned())]
            );
            assert!(core.remove(Millis(5), ID, SessionId(1), "blocked"));
            assert!(!core.decide(Millis(6), &block).expect("fine").outcome.changed);

            let mut next = RegistryCore::new(rules());
            next.restore(&settings(&[decision.save]));
            let refusal = next.admit(Millis(0), &hello(1), HERE, here()).expect_err("turned away");
            assert_eq!(refusal.code, RefusalCode::Blocked);
            assert_eq!(refusal.message, "blocked by the operator: lies");
            assert_eq!(next.blocked()[0].subject, subject.to_string());
            assert!(act(&mut next, &WorkerCommand::Unblock(subject)).outcome.changed);
            next.admit(Millis(0), &hello(1), HERE, here()).expect("admitted");
            assert!(!act(&mut next, &WorkerCommand::Unblock(subject)).outcome.changed);
        }
    }

    #[test]
    fn what_the_configuration_blocks_only_the_configuration_unblocks() {
        let blocked = vec![THERE.to_string()];
        let core = RegistryCore::new(Rules { blocked, ..rules() });
        let unblock = WorkerCommand::Unblock(Subject::address(THERE));
        let refused = core.decide(Millis(0), &unblock).expect_err("refused");
        assert!(
            matches!(refused, CommandError::Conflict(words) if words.contains("hierophant.toml"))
        );
        assert_eq!(core.blocked()[0].since, None);
    }

    #[test]
    fn an_absent_worker_can_be_blocked_but_neither_dropped_nor_drained() {
        let core = core();
        let absent = WorkerId([9; 16]);
        for command in [
            WorkerCommand::Drain(absent, String::new()),
            WorkerCommand::Undrain(absent),
            WorkerCommand::Drop(absent, String::new()),
        ] {
            assert!(matches!(core.decide(Millis(0), &command), Err(CommandError::NotFound(_))));
        }
        let block = WorkerCommand::Block(Subject::Worker(absent), String::new());
        assert!(core.decide(Millis(0), &block).expect("fine").outcome.changed);
    }
}
