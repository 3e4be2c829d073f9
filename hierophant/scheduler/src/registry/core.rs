//! Decisions about workers, without clock or I/O: admission, liveness, removal.

mod commands;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use hierophant_model::commands::{Subject, with_reason};
use hierophant_model::records::Millis;
use hierophant_model::sanitize::{self, MAX_GPUS};
use network_lib::handshake::{
    Backend, Capabilities, GpuLoad, Hello, ProtocolRange, Refusal, RefusalCode,
};
use network_lib::ids::{TokenId, WorkerId};

use super::{Credential, KnownWorker, RemovedWorker};
use crate::SessionId;
use commands::Mark;

pub use commands::Decision;

/// Maximum number of removed workers that are kept.
const MAX_REMOVED: usize = 1000;

/// Rules for admission and liveness.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Maximum number of connected workers.
    pub max_workers: usize,
    /// Maximum number of workers that are connected, or may return, by the same own token; 0 = no limit.
    pub max_workers_per_token: usize,
    /// Maximum number of slots of a worker; further ones do not count.
    pub max_slots: u32,
    /// Time without messages, in milliseconds, after which a worker is removed.
    pub silence_limit_ms: u64,
    /// Whether workers that make mock proofs are admitted.
    pub mock_mode: bool,
    /// Worker ids and IP addresses that are refused.
    pub blocked: Vec<String>,
}

/// Admission of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Number of the new connection.
    pub session: SessionId,
    /// Protocol version to speak.
    pub protocol: u16,
    /// Number of an older connection of the same worker, which this one replaces.
    pub replaces: Option<SessionId>,
    /// Address at which this worker, or the one that had its token before, was last seen, if it was another.
    pub moved_from: Option<IpAddr>,
}

/// Connected and removed workers.
#[derive(Debug)]
pub struct RegistryCore {
    rules: Rules,
    workers: BTreeMap<WorkerId, KnownWorker>,
    removed: VecDeque<RemovedWorker>,
    next_session: SessionId,
    blocked: BTreeMap<Subject, Mark>,
    drained: BTreeMap<WorkerId, Mark>,
}

impl RegistryCore {
    /// A registry without workers.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            workers: BTreeMap::new(),
            removed: VecDeque::new(),
            next_session: SessionId(1),
            blocked: BTreeMap::new(),
            drained: BTreeMap::new(),
        }
    }

    /// Admits or refuses a worker after its handshake. `authorized` is its credential, or the reason why it has
    /// none.
    ///
    /// # Errors
    ///
    /// [`Refusal`] to send to the worker.
    pub fn admit(
        &mut self,
        now: Millis,
        hello: &Hello,
        ip: IpAddr,
        authorized: Result<Credential, String>,
    ) -> Result<Admission, Refusal> {
        let refuse =
            |code, message: String| Refusal { code, message, protocol: ProtocolRange::OURS };
        let Some(protocol) = ProtocolRange::OURS.common(hello.protocol) else {
            let (ours, theirs) = (ProtocolRange::OURS, hello.protocol);
            return Err(refuse(
                RefusalCode::ProtocolVersion,
                format!(
                    "unsupported worker protocol: Hierophant supports versions {} to {}, this \
                     Contemplant {} to {}; install Contemplant {}",
                    ours.oldest,
                    ours.newest,
                    theirs.oldest,
                    theirs.newest,
                    env!("CARGO_PKG_VERSION")
                ),
            ));
        };
        let credential =
            authorized.map_err(|message| refuse(RefusalCode::Unauthorized, message))?;
        let (id, from) = (hello.worker_id.to_string(), ip.to_canonical().to_string());
        if self.rules.blocked.iter().any(|blocked| *blocked == id || *blocked == from) {
            let message = "this worker is in `worker_registry.blocked` of hierophant.toml";
            return Err(refuse(RefusalCode::Blocked, message.into()));
        }
        if let Some(mark) = self.block_of(hello.worker_id, ip) {
            let message = with_reason("blocked by the operator", &mark.reason);
            return Err(refuse(RefusalCode::Blocked, message));
        }
        if hello.capabilities.backend == Backend::Mock && !self.rules.mock_mode {
            let message = "mock proofs are refused; set `mock_mode = true` in hierophant.toml to \
                                        accept them for trials";
            return Err(refuse(RefusalCode::MockNotAllowed, message.into()));
        }
        let known = self.workers.get(&hello.worker_id);
        // Ids are not secret: taking over a connected one would give access to its attempts.
        if known.is_some_and(|known| known.credential != credential) {
            let message = "a worker with this id is connected with another token, or may \
                           reconnect; the id is available once that worker has left or expired";
            return Err(refuse(RefusalCode::Taken, message.into()));
        }
        let replaces = known.map(|old| old.session);
        if replaces.is_none() && self.workers.len() >= self.rules.max_workers {
            let message = format!(
                "{} workers are connected, the maximum of `worker_registry.max_workers`",
                self.workers.len()
            );
            return Err(refuse(RefusalCode::Full, message));
        }
        if replaces.is_none()
            && let Some(message) = self.in_use(&credential)
        {
            return Err(refuse(RefusalCode::Full, message));
        }
        let moved_from = self.last_address(hello.worker_id, &credential).filter(|last| *last != ip);
        if let Some(session) = replaces {
            self.remove(now, hello.worker_id, session, "replaced by a new connection");
        }
        let session = self.next_session;
        self.next_session.0 += 1;
        let worker = KnownWorker {
            worker: hello.worker_id,
            session,
            name: sanitize::name(&hello.name),
            instance: hello.instance.as_deref().map(sanitize::name),
            ip,
            credential,
            version: sanitize::name(&hello.software_version),
            joined_at: now,
            heard_at: now,
            draining: false,
            drained: self.drained.get(&hello.worker_id).map(|mark| mark.reason.clone()),
            disconnected: None,
            gpus: Vec::new(),
        };
        self.workers.insert(hello.worker_id, worker);
        Ok(Admission { session, protocol, replaces, moved_from })
    }

    /// Why one more worker with this credential is refused: an own token belongs to a limited number of machines, so
    /// that a stolen one cannot be used beside its owner unnoticed.
    fn in_use(&self, credential: &Credential) -> Option<String> {
        let (Credential::Own(_, name), most) = (credential, self.rules.max_workers_per_token)
        else {
            return None;
        };
        let same = |known: &&KnownWorker| known.credential == *credential;
        let mut others = self.workers.values().filter(same).take(most.max(1));
        let first = others.next()?;
        (most > 0 && others.count() + 1 >= most).then(|| {
            format!(
                "the token {name} is in use by {} at {}, and admits {most} \
                 (`worker_registry.max_workers_per_token`): create a token for this machine with \
                 `hierophant token create`, or try again once that worker has left",
                first.name, first.ip
            )
        })
    }

    /// Address at which a worker was last seen, or else the latest worker with the same own token.
    fn last_address(&self, worker: WorkerId, credential: &Credential) -> Option<IpAddr> {
        if let Some(known) = self.workers.get(&worker) {
            return Some(known.ip);
        }
        credential.token()?;
        let gone = |removed: &&RemovedWorker| removed.worker.credential == *credential;
        self.removed.iter().find(gone).map(|removed| removed.worker.ip)
    }

    /// Limits the slots of a worker. Returns the number that it has claimed, if that was more.
    pub fn limit_slots(&self, capabilities: &mut Capabilities) -> Option<u32> {
        let claimed = capabilities.slots;
        if claimed <= self.rules.max_slots {
            return None;
        }
        capabilities.slots = self.rules.max_slots;
        capabilities.prefetch = capabilities.prefetch.min(capabilities.slots);
        Some(claimed)
    }

    /// Records that a worker was heard.
    pub fn heard(&mut self, now: Millis, worker: WorkerId, session: SessionId) {
        if let Some(known) = self.connected(worker, session) {
            known.heard_at = now;
        }
    }

    /// Records the load of a worker's GPUs. Returns whether it has changed.
    pub fn gpu_loads(
        &mut self,
        worker: WorkerId,
        session: SessionId,
        mut loads: Vec<GpuLoad>,
    ) -> bool {
        loads.truncate(MAX_GPUS);
        let Some(known) = self.connected(worker, session) else { return false };
        let news = known.gpus != loads;
        known.gpus = loads;
        news
    }

    /// Whether this is the worker's current connection.
    #[must_use]
    pub fn is_current(&self, worker: WorkerId, session: SessionId) -> bool {
        self.workers.get(&worker).is_some_and(|known| known.session == session)
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds; elapsed times stay the same.
    pub fn clock_set(&mut self, by: i64) {
        for known in self.workers.values_mut() {
            known.joined_at.shift(by);
            known.heard_at.shift(by);
        }
    }

    /// Records that a worker accepts no more jobs. Returns whether the connection is current.
    pub fn draining(&mut self, worker: WorkerId, session: SessionId) -> bool {
        self.connected(worker, session).map(|known| known.draining = true).is_some()
    }

    /// Records a broken connection; the worker may reconnect until it expires. Returns whether the connection was
    /// current.
    pub fn disconnected(&mut self, worker: WorkerId, session: SessionId, reason: &str) -> bool {
        let Some(known) = self.connected(worker, session) else { return false };
        known.disconnected = Some(reason.to_owned());
        // The load is unknown from now on.
        known.gpus.clear();
        true
    }

    /// Removes a worker. Returns whether the connection was current.
    pub fn remove(
        &mut self,
        now: Millis,
        worker: WorkerId,
        session: SessionId,
        reason: &str,
    ) -> bool {
        if !self.is_current(worker, session) {
            return false;
        }
        if let Some(known) = self.workers.remove(&worker) {
            self.removed.push_front(RemovedWorker {
                worker: known,
                removed_at: now,
                reason: reason.to_owned(),
            });
            self.removed.truncate(MAX_REMOVED);
        }
        true
    }

    /// Workers that have exceeded the silence limit, each with the reason of its removal.
    #[must_use]
    pub fn expired(&self, now: Millis) -> Vec<(WorkerId, SessionId, String)> {
        let reason = |known: &KnownWorker| match &known.disconnected {
            None => "silent for too long".to_owned(),
            Some(reason) => format!("{reason}; did not reconnect"),
        };
        self.workers
            .values()
            .filter(|known| now.since(known.heard_at) > self.rules.silence_limit_ms)
            .map(|known| (known.worker, known.session, reason(known)))
            .collect()
    }

    /// Workers whose tokens are no longer valid: id, connection, and name of the token.
    #[must_use]
    pub fn with_invalid_token(
        &self,
        is_valid: impl Fn(TokenId) -> bool,
    ) -> Vec<(WorkerId, SessionId, String)> {
        let invalid = |known: &KnownWorker| match &known.credential {
            Credential::Own(id, name) if !is_valid(*id) => {
                Some((known.worker, known.session, name.clone()))
            }
            _ => None,
        };
        self.workers.values().filter_map(invalid).collect()
    }

    /// Token of a worker, if it was admitted by its own.
    #[must_use]
    pub fn token(&self, worker: WorkerId) -> Option<TokenId> {
        self.workers.get(&worker)?.credential.token()
    }

    /// Whether a worker was admitted because it runs on this machine.
    #[must_use]
    pub fn is_local(&self, worker: WorkerId) -> bool {
        let known = self.workers.get(&worker);
        known.is_some_and(|known| known.credential == Credential::ThisMachine)
    }

    /// Current connection of a worker that is not away.
    #[must_use]
    pub fn session(&self, worker: WorkerId) -> Option<SessionId> {
        self.workers
            .get(&worker)
            .filter(|known| known.disconnected.is_none())
            .map(|known| known.session)
    }

    /// Whether a worker accepts no more jobs.
    #[must_use]
    pub fn is_draining(&self, worker: WorkerId, session: SessionId) -> bool {
        self.workers.get(&worker).is_some_and(|known| known.session == session && known.draining)
    }

    /// Reason of a worker's drain, if an operator has drained it.
    #[must_use]
    pub fn drained(&self, worker: WorkerId) -> Option<String> {
        self.workers.get(&worker)?.drained.clone()
    }

    /// Known workers by id.
    #[must_use]
    pub fn workers(&self) -> Vec<KnownWorker> {
        self.workers.values().cloned().collect()
    }

    /// Removed workers, the latest first.
    #[must_use]
    pub fn removed_workers(&self) -> Vec<RemovedWorker> {
        self.removed.iter().cloned().collect()
    }

    /// Name of a worker, for logs.
    #[must_use]
    pub fn name(&self, worker: WorkerId) -> Option<&str> {
        self.workers.get(&worker).map(|known| known.name.as_str())
    }

    fn connected(&mut self, worker: WorkerId, session: SessionId) -> Option<&mut KnownWorker> {
        self.workers.get_mut(&worker).filter(|known| known.session == session)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    pub(super) const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    pub(super) fn here() -> Result<Credential, String> {
        Ok(Credential::ThisMachine)
    }

    pub(super) fn rules() -> Rules {
        Rules {
            max_workers: 2,
            max_workers_per_token: 0,
            max_slots: 64,
            silence_limit_ms: 1000,
            mock_mode: false,
            blocked: vec![],
        }
    }

    pub(super) fn hello(n: u8) -> Hello {
        Hello {
            protocol: ProtocolRange::OURS,
            software_version: "0.1.0".into(),
            name: "amos".into(),
            worker_id: WorkerId([n; 16]),
            instance: None,
            token: None,
            local_secret: None,
            capabilities: Capabilities {
                vm: "sp1".into(),
                circuit_versions: vec![],
                modes: vec![],
                backend: Backend::Cpu,
                slots: 1,
                prefetch: 0,
                memory_bytes: 0,
                gpus: vec![],
                unavailable_reason: None,
            },
            held: vec![],
        }
    }

    fn code(result: Result<Admission, Refusal>) -> RefusalCode {
        result.expect_err("refused").code
    }

    #[test]
    fn an_unknown_protocol_version_is_refused_with_the_wanted_one() {
        let mut core = RegistryCore::new(rules());
        let mut hello = hello(1);
        hello.protocol = ProtocolRange { oldest: 7, newest: 9 };
        let refusal = core.admit(Millis(0), &hello, HERE, here()).expect_err("refused");
        assert_eq!(refusal.code, RefusalCode::ProtocolVersion);
        assert!(refusal.message.contains("2 to 2") && refusal.message.contains("7 to 9"));
    }

    #[test]
    fn an_unauthorized_worker_is_refused_with_the_reason() {
        let mut core = RegistryCore::new(rules());
        let refusal = core.admit(Millis(0), &hello(1), HERE, Err("unknown token".into()));
        let refusal = refusal.expect_err("refused");
        assert_eq!((refusal.code, &*refusal.message), (RefusalCode::Unauthorized, "unknown token"));
    }

    #[test]
    fn an_id_that_is_connected_is_not_taken_over_by_another_token() {
        let by = |n: u8| Ok(Credential::Own(TokenId([n; 16]), "rig".into()));
        let mut core = RegistryCore::new(rules());
        let session = core.admit(Millis(0), &hello(1), HERE, by(1)).expect("admitted").session;
        let others = [by(2), Ok(Credential::Shared), Ok(Credential::ThisMachine)];
        for other in others.clone() {
            assert_eq!(code(core.admit(Millis(1), &hello(1), HERE, other)), RefusalCode::Taken);
        }
        core.disconnected(WorkerId([1; 16]), session, "reset by peer");
        assert_eq!(code(core.admit(Millis(2), &hello(1), HERE, by(2))), RefusalCode::Taken);
        let again = core.admit(Millis(3), &hello(1), HERE, by(1)).expect("its own");
        core.remove(Millis(4), WorkerId([1; 16]), again.session, "silent");
        assert!(core.admit(Millis(5), &hello(1), HERE, by(2)).is_ok());
    }

    #[test]
    fn mock_workers_need_mock_mode() {
        let mut mock = hello(1);
        mock.capabilities.backend = Backend::Mock;
        let mut core = RegistryCore::new(rules());
        assert_eq!(code(core.admit(Millis(0), &mock, HERE, here())), RefusalCode::MockNotAllowed);
        let mut core = RegistryCore::new(Rules { mock_mode: true, ..rules() });
        assert!(core.admit(Millis(0), &mock, HERE, here()).is_ok());
    }

    #[test]
    fn a_full_house_refuses_but_a_returning_worker_takes_its_own_place() {
        let mut core = RegistryCore::new(rules());
        let first = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted");
        core.admit(Millis(0), &hello(2), HERE, here()).expect("admitted");
        assert_eq!(code(core.admit(Millis(0), &hello(3), HERE, here())), RefusalCode::Full);
        let again = core.admit(Millis(5), &hello(1), HERE, here()).expect("admitted");
        assert_eq!(again.replaces, Some(first.session));
        assert!(!core.remove(Millis(6), WorkerId([1; 16]), first.session, "late word"));
        assert_eq!(core.workers().len(), 2);
        assert_eq!(core.removed_workers()[0].reason, "replaced by a new connection");
    }

    #[test]
    fn an_own_token_admits_a_limited_number_of_workers_and_a_shared_one_any() {
        let own = || Ok(Credential::Own(TokenId([7; 16]), "rig".into()));
        let other = Ok(Credential::Own(TokenId([8; 16]), "rig-2".into()));
        for most in 1..3 {
            let limits = Rules { max_workers: 9, max_workers_per_token: most, ..rules() };
            let mut core = RegistryCore::new(limits);
            for n in 0..most {
                let n = u8::try_from(n).expect("small");
                core.admit(Millis(0), &hello(n), HERE, own()).expect("admitted");
            }
            let refusal = core.admit(Millis(1), &hello(9), THERE, own()).expect_err("refused");
            assert_eq!(refusal.code, RefusalCode::Full);
            let named = "the token rig is in use by amos at 127.0.0.1";
            assert!(refusal.message.starts_with(named), "{}", refusal.message);
            let again = core.admit(Millis(2), &hello(0), HERE, own()).expect("it returns");
            core.admit(Millis(3), &hello(8), THERE, other.clone()).expect("another token");
            for n in 10..12 {
                core.admit(Millis(3), &hello(n), THERE, Ok(Credential::Shared)).expect("shared");
            }
            core.remove(Millis(4), WorkerId([0; 16]), again.session, "left");
            assert!(core.admit(Millis(5), &hello(9), THERE, own()).is_ok(), "its place is free");
        }
    }

    #[test]
    fn a_worker_that_appears_at_another_address_is_noticed() {
        let own = || Ok(Credential::Own(TokenId([7; 16]), "rig".into()));
        let mut core = RegistryCore::new(rules());
        let first = core.admit(Millis(0), &hello(1), HERE, own()).expect("admitted");
        assert_eq!(first.moved_from, None);
        let moved = core.admit(Millis(1), &hello(1), THERE, own()).expect("admitted");
        assert_eq!(moved.moved_from, Some(HERE));
        assert_eq!(core.admit(Millis(2), &hello(1), THERE, own()).expect("in").moved_from, None);
        let session = core.session(WorkerId([1; 16])).expect("connected");
        core.remove(Millis(3), WorkerId([1; 16]), session, "left");
        let next = core.admit(Millis(4), &hello(2), HERE, own()).expect("admitted");
        assert_eq!(next.moved_from, Some(THERE), "another id with the same token");
    }

    #[test]
    fn slots_are_limited() {
        let core = RegistryCore::new(rules());
        let mut capabilities = Capabilities { slots: 65, prefetch: 65, ..hello(1).capabilities };
        assert_eq!(core.limit_slots(&mut capabilities), Some(65));
        assert_eq!((capabilities.slots, capabilities.prefetch), (64, 64));
        assert_eq!(core.limit_slots(&mut capabilities), None);
    }

    #[test]
    fn the_name_of_a_machine_is_displayable_and_bounded() {
        let mut core = RegistryCore::new(rules());
        let instance = Some(format!("pod-7\u{1b}[2J\n{}", "x".repeat(9999)));
        core.admit(Millis(0), &Hello { instance, ..hello(1) }, HERE, here()).expect("admitted");
        let shown = core.workers()[0].instance.clone().expect("known");
        assert!(shown.starts_with("pod-7[2Jxx") && shown.len() == 64, "{shown:?}");
        core.admit(Millis(1), &hello(1), HERE, here()).expect("admitted");
        assert_eq!(core.workers()[0].instance, None, "that of the latest handshake");
    }

    #[test]
    fn blocked_workers_are_turned_away_by_id_and_by_address() {
        let id = WorkerId([1; 16]).to_string();
        for blocked in [id, "127.0.0.1".to_owned()] {
            let mut core = RegistryCore::new(Rules { blocked: vec![blocked], ..rules() });
            assert_eq!(code(core.admit(Millis(0), &hello(1), HERE, here())), RefusalCode::Blocked);
        }
        let other = WorkerId([2; 16]).to_string();
        let mut core = RegistryCore::new(Rules { blocked: vec![other], ..rules() });
        assert!(core.admit(Millis(0), &hello(1), HERE, here()).is_ok());
    }

    #[test]
    fn a_cut_worker_is_gone_only_after_the_silence_limit() {
        let mut core = RegistryCore::new(rules());
        let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
        let id = WorkerId([1; 16]);
        assert!(core.disconnected(id, session, "reset by peer"));
        assert_eq!(core.session(id), None);
        assert!(core.expired(Millis(1000)).is_empty());
        let reason = "reset by peer; did not reconnect".to_owned();
        assert_eq!(core.expired(Millis(1001)), [(id, session, reason)]);
    }

    #[test]
    fn a_clock_that_is_set_silences_nobody_and_hides_no_silence() {
        const HOURS: i64 = 10_000_000;
        let mut core = RegistryCore::new(rules());
        core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted");
        core.clock_set(HOURS);
        assert!(core.expired(Millis(HOURS + 1000)).is_empty());
        core.clock_set(-HOURS);
        assert_eq!(core.expired(Millis(1001)).len(), 1);
    }

    #[test]
    fn loads_are_those_of_the_connection_that_is_there() {
        let mut core = RegistryCore::new(rules());
        let id = WorkerId([1; 16]);
        let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
        let load = GpuLoad { utilisation_percent: Some(97), ..GpuLoad::default() };
        assert!(core.gpu_loads(id, session, vec![load; 1000]));
        assert!(!core.gpu_loads(id, session, vec![load; 1000]), "no news");
        assert_eq!(core.workers()[0].gpus, [load; MAX_GPUS]);
        core.disconnected(id, session, "reset by peer");
        assert!(core.workers()[0].gpus.is_empty(), "it is forgotten");
        core.admit(Millis(1), &hello(1), HERE, here()).expect("admitted");
        assert!(!core.gpu_loads(id, session, vec![load]), "an older connection's word");
        assert!(core.workers()[0].gpus.is_empty());
    }

    #[test]
    fn silence_is_judged_by_the_last_word() {
        let mut core = RegistryCore::new(rules());
        let session = core.admit(Millis(0), &hello(1), HERE, here()).expect("admitted").session;
        let id = WorkerId([1; 16]);
        core.heard(Millis(900), id, session);
        assert!(core.expired(Millis(1900)).is_empty());
        assert_eq!(core.expired(Millis(1901)), [(id, session, "silent for too long".into())]);
        assert!(core.remove(Millis(1901), id, session, "silent"));
        assert!(core.expired(Millis(9999)).is_empty());
    }
}
