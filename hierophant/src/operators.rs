//! Who operates this Hierophant: programs on its machine, and whoever presents a token of role read or act,
//! with each call or once for a session.
//!
//! What a call may do is decided by `api::http::v1::guard`; here is what it is decided from.

pub mod sessions;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hierophant_model::records::{AuditRecord, Change, Millis};
use hierophant_model::subscriber::subscriber;
use hierophant_model::text::error_chain;
use network_lib::ids::TokenId;
use tokio::time::Instant;

use crate::config::Config;
use crate::rate_limit::KeyedRateLimiter;
use crate::tokens::{Bearer, Role, Tokens};
use hierophant_store::JobStore;
use sessions::{SessionKey, Sessions};

/// Wrong tokens that an address may present at once.
pub const MAX_WRONG_TOKENS: u32 = 10;

/// After this time it may present one more.
pub const WRONG_TOKEN_PERIOD: Duration = Duration::from_secs(6);

/// Addresses of which is known that they presented wrong tokens.
const MAX_ADDRESSES: usize = 10_000;

/// Refused calls of one token that are written down at once; the others are only counted.
const MAX_REFUSALS: u32 = 10;

/// After this time one more is written down.
const REFUSAL_PERIOD: Duration = Duration::from_secs(60);

/// Records of the audit log this close to each other are kept in their order, in milliseconds.
const CLOSE_MS: i64 = 1000;

/// Who makes a call, once it is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The token that was presented; none by a program on this machine.
    pub by: Option<Bearer>,
    /// The session by which it was presented, if not with the call.
    pub session: Option<SessionKey>,
}

impl Operator {
    /// Whether more than looking is allowed.
    #[must_use]
    pub fn may_act(&self) -> bool {
        self.by.as_ref().is_none_or(|bearer| bearer.role == Role::Act)
    }

    /// The token's name, or what stands for it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.by.as_ref().map_or("this machine", |bearer| bearer.name.as_str())
    }
}

/// Why a token does not tell who calls.
#[derive(Debug, PartialEq, Eq)]
pub enum BearerError {
    /// Nobody has it, or it was revoked.
    Wrong,
    /// Too many wrong ones came from that address; after this time it is looked at again.
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
    /// For how long the audit log is kept, in milliseconds.
    keep: i64,
    /// The time of its latest record, in milliseconds.
    latest: Mutex<i64>,
}

impl Operators {
    /// Those that the configuration and the store know of.
    #[must_use]
    pub fn new(config: &Config, tokens: Tokens, store: Arc<dyn JobStore>) -> Self {
        let require_token = config.operators.require_token;
        if require_token && !tokens.any(Role::Act) {
            tracing::warn!(
                "nobody can operate: `operators.require_token` is set, and there is no token of role \
                 act; start once without it and make one by `hierophant token create`"
            );
        }
        Self {
            sessions: Sessions::default(),
            require_token,
            tokens,
            guesses: KeyedRateLimiter::new(MAX_WRONG_TOKENS, WRONG_TOKEN_PERIOD, MAX_ADDRESSES),
            refusals: KeyedRateLimiter::new(MAX_REFUSALS, REFUSAL_PERIOD, MAX_ADDRESSES),
            store,
            keep: Millis::from(config.retention.audit).0,
            latest: Mutex::new(0),
        }
    }

    /// Whose token this is.
    ///
    /// # Errors
    ///
    /// [`BearerError`]. While an address has to wait, its tokens are not looked at, not even a right one.
    pub fn bearer(&self, peer: IpAddr, secret: &str) -> Result<Bearer, BearerError> {
        let (now, place) = (Instant::now(), subscriber(peer));
        self.guesses.check(&place, now).map_err(BearerError::Later)?;
        self.tokens.bearer(secret).ok_or_else(|| {
            self.guesses.spend(place, now);
            BearerError::Wrong
        })
    }

    /// Who has this session, if it has not ended; with the revocation of its token it has.
    pub fn in_session(&self, secret: &str) -> Option<Operator> {
        let (session, bearer) = self.sessions.find(secret, Instant::now())?;
        if !self.tokens.is_valid(bearer.id) {
            self.sessions.end(&session);
            return None;
        }
        Some(Operator { by: Some(bearer), session: Some(session) })
    }

    /// Whether somebody who was let in would be let in again: the token is not revoked, the session has not
    /// ended.
    #[must_use]
    pub fn is_still_in(&self, operator: &Operator) -> bool {
        let session = operator.session.as_ref();
        operator.by.as_ref().is_none_or(|bearer| self.tokens.is_valid(bearer.id))
            && session.is_none_or(|session| self.sessions.lives(session, Instant::now()))
    }

    /// Writes down what was done, and forgets what was done long ago. If the store does not take it, the log
    /// says so.
    pub async fn record(&self, mut record: AuditRecord) {
        record.at = self.in_order(record.at);
        let forgotten = Millis(Millis::now().0.saturating_sub(self.keep));
        let changes = [Change::Audited(record), Change::AuditForgotten(forgotten)];
        if let Err(error) = self.store.commit(&changes).await {
            tracing::error!(error = %error_chain(&error), "the audit log has a gap: an action could not be written down");
        }
    }

    /// This time, or a millisecond after the latest record's where that is as late: the list goes by time, and
    /// keeps the order of what was done in the same millisecond. A clock that was set back is believed.
    fn in_order(&self, at: Millis) -> Millis {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = match latest.saturating_sub(at.0) {
            0..CLOSE_MS => latest.saturating_add(1),
            _ => at.0,
        };
        Millis(*latest)
    }

    /// Whether what the bearer of this token was refused is to be written down: not if there was much of it
    /// lately, because who may only look must not be able to fill store and log.
    #[must_use]
    pub fn should_record_refusal(&self, by: TokenId) -> bool {
        self.refusals.try_spend(by, Instant::now()).is_ok()
    }
}
