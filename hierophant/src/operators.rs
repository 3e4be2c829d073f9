//! Authentication of operators: programs on Hierophant's machine, and holders of a token of role read or act, which
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
use hierophant_store::JobStore;
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
        self.by.as_ref().is_none_or(|bearer| bearer.role == Role::Act)
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
    /// It is unknown or revoked.
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
        if require_token && !tokens.any(Role::Act) {
            tracing::warn!(
                "no operator has access: `operators.require_token` is set, but there is no \
                token of role act; start once without it and create one with `hierophant token \
                create`"
            );
        }
        Self {
            sessions: Sessions::default(),
            require_token,
            tokens,
            guesses: KeyedRateLimiter::new(MAX_WRONG_TOKENS, WRONG_TOKEN_PERIOD, MAX_ADDRESSES),
            refusals: KeyedRateLimiter::new(MAX_REFUSALS, REFUSAL_PERIOD, MAX_ADDRESSES),
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
    /// [`BearerError`]. While an address must wait, its tokens are not checked, not even valid ones.
    pub fn bearer(&self, peer: IpAddr, secret: &str) -> Result<Bearer, BearerError> {
        let (now, place) = (Instant::now(), subscriber(peer));
        self.guesses.check(&place, now).map_err(BearerError::Later)?;
        self.tokens.bearer(secret).ok_or_else(|| {
            self.guesses.spend(place, now);
            BearerError::Wrong
        })
    }

    /// Operator of a session, if the session has not ended. Revoking its token ends it.
    pub fn in_session(&self, secret: &str) -> Option<Operator> {
        let (session, bearer) = self.sessions.find(secret, Instant::now())?;
        if !self.tokens.is_valid(bearer.id) {
            self.sessions.end(&session);
            return None;
        }
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

    /// Adds an entry to the audit log and removes expired ones. A failure is logged.
    pub async fn record(&self, mut record: AuditRecord) {
        record.at = self.in_order(record.at);
        let forgotten = Millis(Millis::now().0.saturating_sub(self.keep));
        let changes = [Change::Audited(record), Change::AuditForgotten(forgotten)];
        if let Err(error) = self.store.commit(&changes).await {
            tracing::error!(error = %error_chain(&error), "audit entry not stored: the audit \
                                        log has a gap");
        }
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
}
