//! Decisions about workers, without clock or I/O: admission, liveness, removal.

mod commands;
mod contest;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use hierophant_model::commands::{Subject, with_reason};
use hierophant_model::records::{Millis, Prover};
use hierophant_model::sanitize;
use network_lib::handshake::{
    Backend, Capabilities, GpuLoad, Hello, ProtocolRange, Refusal, RefusalCode,
};
use network_lib::ids::{TokenId, WorkerId};

use super::{Credential, KnownWorker, RemovedWorker};
use crate::SessionId;
use commands::Mark;
use contest::Contests;

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
    contests: Contests,
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
            contests: Contests::new(),
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
        if hello.worker_id == Prover::FLEET {
            let message = "`worker_id` is reserved: expected the random id of a data folder";
            return Err(refuse(RefusalCode::Malformed, message.into()));
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
        let most = sanitize::max_held(sanitize::places(&hello.capabilities));
        if hello.held.len() > most {
            let message = format!(
                "the handshake lists {} attempts: expected at most {most} of a worker with {} slot(s)",
                hello.held.len(),
                hello.capabilities.slots
            );
            return Err(refuse(RefusalCode::Malformed, message));
        }
        if let Some(other) = known.filter(|known| known.disconnected.is_none())
            && self.contests.is_contested(now, hello.worker_id)
        {
            let message = format!(
                "two machines use this worker's id in turn, at {} and {from}: expected a data folder \
                 of its own for each",
                other.ip.to_canonical()
            );
            return Err(refuse(RefusalCode::Taken, message));
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
        if let Some(sharding) = &mut capabilities.sharding {
            sharding.prove_slots = sharding.prove_slots.min(self.rules.max_slots);
        }
        let claimed = capabilities.slots;
        if claimed <= self.rules.max_slots {
            return None;
        }
        capabilities.slots = self.rules.max_slots;
        capabilities.prefetch = capabilities.prefetch.min(capabilities.slots);
        Some(claimed)
    }

    /// Records that a worker was heard at `at`, unless it was heard later.
    pub fn heard(&mut self, at: Millis, worker: WorkerId, session: SessionId) {
        if let Some(known) = self.connected(worker, session) {
            known.heard_at = at.max(known.heard_at);
        }
    }

    /// Does not count `by` milliseconds as silence, during which this program was not running: what workers said
    /// meanwhile, and their connections, are not handled yet.
    pub fn excuse(&mut self, now: Millis, by: i64) {
        for known in self.workers.values_mut() {
            known.heard_at.shift(by);
            known.heard_at = now.min(known.heard_at);
        }
    }

    /// Records the load of a worker's GPUs. Returns whether it has changed.
    pub fn gpu_loads(
        &mut self,
        worker: WorkerId,
        session: SessionId,
        mut loads: Vec<GpuLoad>,
    ) -> bool {
        sanitize::gpu_loads(&mut loads);
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
        self.contests.clock_set(by);
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
mod tests;
