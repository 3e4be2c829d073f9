//! Authentication of operators: programs on Hierophant's machine, and holders of a token of role read, act or admin, which
//! is presented with each call or once for a session.
//!
//! `api::http::v1::guard` authorizes calls on this basis.

pub mod sessions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::records::{AuditRecord, Change, Millis};
use hierophant_model::subscriber::subscriber;
use hierophant_model::text::error_chain;
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::TokenId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Config;
use crate::rate_limit::KeyedRateLimiter;
use crate::tokens::{Bearer, Role, Tokens};
use sessions::{SessionKey, Sessions};

/// Maximum wrong tokens from an address at once.
pub const MAX_WRONG_TOKENS: u32 = 10;

/// Time after which an address may present one more wrong token.
pub const WRONG_TOKEN_PERIOD: Duration = Duration::from_secs(6);

/// Maximum number of addresses and tokens that are tracked.
const MAX_ADDRESSES: usize = 10_000;

/// Maximum refused calls of a token that are recorded at once; further ones are only counted.
const MAX_REFUSALS: u32 = 10;

/// Time after which one more refused call is recorded.
const REFUSAL_PERIOD: Duration = Duration::from_secs(60);

/// Maximum failed sign-ins of an address that are recorded at once; then one for each [`REFUSAL_PERIOD`].
const MAX_FAILURES: u32 = 3;

/// Maximum failed sign-ins of all addresses that are recorded at once.
const MAX_ALL_FAILURES: u32 = 20;

/// Time after which one more failed sign-in of any address is recorded: 53,000 a year.
const FAILURE_PERIOD: Duration = Duration::from_secs(600);

/// Time for expired audit entries to be archived.
const ARCHIVING: Duration = Duration::from_secs(24 * 3600);

/// Maximum distance, in milliseconds, of audit entries whose order is preserved.
const CLOSE_MS: i64 = 1000;

/// Operator that makes an authenticated call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Presented token; `None` for a program on this machine.
    pub by: Option<Bearer>,
    /// Session, if the token was not presented with the call.
    pub session: Option<SessionKey>,
}

impl Operator {
    /// Whether commands are allowed, and not only reading.
    #[must_use]
    pub fn may_act(&self) -> bool {
        self.by.as_ref().is_none_or(|bearer| bearer.role.may_act())
    }

    /// Whether tokens of this role may be created: those of roles act and admin only with role admin, or by a program
    /// on this machine, so that a token of role act cannot outlive its revocation by making another one.
    #[must_use]
    pub fn may_create(&self, role: Role) -> bool {
        self.may_act() && (!role.may_act() || self.is_admin())
    }

    /// Whether tokens of this role may be revoked: those of role admin only by role admin, or by a program on this
    /// machine.
    #[must_use]
    pub fn may_revoke(&self, role: Role) -> bool {
        self.may_act() && (role != Role::Admin || self.is_admin())
    }

    fn is_admin(&self) -> bool {
        self.by.as_ref().is_none_or(|bearer| bearer.role == Role::Admin)
    }

    /// Name of the token, or `this machine`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.by.as_ref().map_or("this machine", |bearer| bearer.name.as_str())
    }
}

/// Reason why a token is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum BearerError {
    /// It is unknown, revoked or expired.
    Wrong,
    /// The address has presented too many wrong tokens and must wait for this time.
    Later(Duration),
}

/// Tokens, sessions and the audit log.
#[derive(Debug)]
pub struct Operators {
    /// Sessions of browsers.
    pub sessions: Sessions,
    /// Whether programs on this machine need a token too.
    pub require_token: bool,
    tokens: Tokens,
    guesses: KeyedRateLimiter<IpAddr>,
    refusals: KeyedRateLimiter<TokenId>,
    failures: KeyedRateLimiter<IpAddr>,
    all_failures: KeyedRateLimiter<()>,
    store: Arc<dyn JobStore>,
    /// Retention of the audit log in milliseconds.
    keep: i64,
    /// Time of its latest entry in milliseconds.
    latest: Mutex<i64>,
}

impl Operators {
    /// Operators of the configuration and the store.
    #[must_use]
    pub fn new(config: &Config, tokens: Tokens, store: Arc<dyn JobStore>) -> Self {
        let require_token = config.operators.require_token;
        if require_token && tokens.count(Role::may_act) == 0 {
            tracing::warn!(
                "no operator has access: `operators.require_token` is set, but there is no \
                valid token of role act or admin; create one on this machine with `hierophant token \
                create`, as the user that runs Hierophant"
            );
        }
        Self {
            sessions: Sessions::default(),
            require_token,
            tokens,
            guesses: KeyedRateLimiter::new(MAX_WRONG_TOKENS, WRONG_TOKEN_PERIOD, MAX_ADDRESSES),
            refusals: KeyedRateLimiter::new(MAX_REFUSALS, REFUSAL_PERIOD, MAX_ADDRESSES),
            failures: KeyedRateLimiter::new(MAX_FAILURES, REFUSAL_PERIOD, MAX_ADDRESSES),
            all_failures: KeyedRateLimiter::new(MAX_ALL_FAILURES, FAILURE_PERIOD, 1),
            store,
            // `history` archives and deletes expired entries. This limit holds if it cannot.
            keep: Millis::from(config.retention.audit.saturating_add(ARCHIVING)).0,
            latest: Mutex::new(0),
        }
    }

    /// Bearer of a token.
    ///
    /// # Errors
    ///
    /// [`BearerError`]. Only invalid tokens are slowed down: behind a proxy a stranger has the address of all operators,
    /// and would lock them out otherwise. A secret of 32 random bytes needs no other protection from guesses.
    pub fn bearer(&self, peer: IpAddr, secret: &str) -> Result<Bearer, BearerError> {
        if let Some(bearer) = self.tokens.bearer_from(secret, peer) {
            return Ok(bearer);
        }
        let wait = self.guesses.try_spend(subscriber(peer), Instant::now());
        Err(wait.map_or_else(BearerError::Later, |()| BearerError::Wrong))
    }

    /// Operator of a session, if the session has not ended. Revoking its token ends it.
    pub fn in_session(&self, peer: IpAddr, secret: &str) -> Option<Operator> {
        let (session, bearer) = self.sessions.find(secret, Instant::now())?;
        if !self.tokens.is_valid(bearer.id) {
            self.sessions.end(&session);
            return None;
        }
        self.tokens.used(bearer.id, peer);
        Some(Operator { by: Some(bearer), session: Some(session) })
    }

    /// Whether an authenticated operator would be authenticated again: the token is not revoked, and the session
    /// has not ended.
    #[must_use]
    pub fn is_still_in(&self, operator: &Operator) -> bool {
        let session = operator.session.as_ref();
        operator.by.as_ref().is_none_or(|bearer| self.tokens.is_valid(bearer.id))
            && session.is_none_or(|session| self.sessions.lives(session, Instant::now()))
    }

    /// Adds an entry to the audit log, at a time after the latest entry, and removes expired ones.
    ///
    /// # Errors
    ///
    /// If the entry could not be stored, which is logged.
    pub async fn record(&self, record: &mut AuditRecord) -> Result<(), StoreError> {
        record.at = self.in_order(record.at);
        let forgotten = Millis(Millis::now().0.saturating_sub(self.keep));
        let changes = [Change::Audited(record.clone()), Change::AuditForgotten(forgotten)];
        self.store.commit(&changes).await.inspect_err(|error| {
            let AuditRecord { action, peer, .. } = record;
            tracing::error!(error = %error_chain(error), action, peer, "audit entry not stored");
        })
    }

    /// Stores the outcome of an entry.
    ///
    /// # Errors
    ///
    /// If it could not be stored, which is logged; the entry then says that the outcome is unknown.
    pub async fn complete(&self, record: &AuditRecord) -> Result<(), StoreError> {
        let stored = self.store.commit(&[Change::Audited(record.clone())]).await;
        stored.inspect_err(|error| {
            let AuditRecord { id, code, .. } = record;
            tracing::error!(error = %error_chain(error), %id, code, "outcome of an audit entry \
                not stored: the entry says that it is unknown");
        })
    }

    /// `at`, or a millisecond after the latest entry if that is as late: the list is sorted by time and preserves
    /// the order of entries of the same millisecond. A clock that was set back is trusted.
    fn in_order(&self, at: Millis) -> Millis {
        let mut latest = self.latest.lock();
        *latest = match latest.saturating_sub(at.0) {
            0..CLOSE_MS => latest.saturating_add(1),
            _ => at.0,
        };
        Millis(*latest)
    }

    /// Whether a refused call with this token is to be recorded. Their rate is limited, so that a token of role
    /// read cannot fill the store and the log.
    #[must_use]
    pub fn should_record_refusal(&self, by: TokenId) -> bool {
        self.refusals.try_spend(by, Instant::now()).is_ok()
    }

    /// Whether a failed sign-in from this address is to be recorded. Their rate is limited, for each address and for
    /// all together, so that strangers cannot fill the store.
    #[must_use]
    pub fn should_record_failure(&self, peer: IpAddr) -> bool {
        let now = Instant::now();
        self.failures.try_spend(subscriber(peer), now).is_ok()
            && self.all_failures.try_spend((), now).is_ok()
    }
}
