//! Sessions of browsers, in memory only: a restart ends them.

use std::collections::BTreeMap;

use std::time::Duration;

use network_lib::ids::{Sha256Digest, random_bytes};
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::tokens::Bearer;

/// Lifetime of a session.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Maximum number of sessions of a token; beyond it the oldest ends.
pub const MAX_PER_TOKEN: usize = 32;

/// Key of a session: the digest of its secret.
pub type SessionKey = Sha256Digest;

#[derive(Debug)]
struct Session {
    bearer: Bearer,
    ends: Instant,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<BTreeMap<SessionKey, Session>>);

impl Sessions {
    /// Starts a session and returns its secret, which is not stored.
    #[must_use]
    pub fn begin(&self, bearer: Bearer, now: Instant) -> String {
        let secret = hex::encode(random_bytes::<32>());
        let mut sessions = self.all();
        sessions.retain(|_, session| session.ends > now);
        let same = sessions.iter().filter(|(_, session)| session.bearer.id == bearer.id);
        let mut same: Vec<_> = same.map(|(key, session)| (session.ends, *key)).collect();
        same.sort_unstable();
        let too_many = (same.len() + 1).saturating_sub(MAX_PER_TOKEN);
        for (_, key) in same.into_iter().take(too_many) {
            sessions.remove(&key);
        }
        sessions.insert(key(&secret), Session { bearer, ends: now + LIFETIME });
        secret
    }

    /// Session with this secret and its bearer, unless it has ended.
    #[must_use]
    pub fn find(&self, secret: &str, now: Instant) -> Option<(SessionKey, Bearer)> {
        let key = key(secret);
        let sessions = self.all();
        let session = sessions.get(&key).filter(|session| session.ends > now)?;
        Some((key, session.bearer.clone()))
    }

    /// Whether this session has not ended.
    #[must_use]
    pub fn lives(&self, key: &SessionKey, now: Instant) -> bool {
        self.all().get(key).is_some_and(|session| session.ends > now)
    }

    /// Ends a session.
    pub fn end(&self, key: &SessionKey) {
        self.all().remove(key);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SessionKey, Session>> {
        self.0.lock()
    }
}

/// Sessions are looked up by digest, so that the time of a look-up reveals nothing about a secret.
fn key(secret: &str) -> SessionKey {
    Sha256Digest(Sha256::digest(secret).into())
}

#[cfg(test)]
mod tests {
    use network_lib::ids::TokenId;

    use super::*;
    use crate::tokens::Role;

    fn bearer(number: u8) -> Bearer {
        Bearer {
            id: TokenId([number; 16]),
            name: format!("token-{number}"),
            role: Role::Read,
            client: None,
        }
    }

    #[test]
    fn a_session_lasts_twelve_hours_unless_it_is_ended() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (first, second) = (sessions.begin(bearer(1), now), sessions.begin(bearer(1), now));
        assert_ne!(first, second);
        let (key, found) = sessions.find(&first, now).expect("there");
        assert_eq!(found, bearer(1));
        assert!(sessions.find(&first, now + LIFETIME).is_none());
        assert!(sessions.find("another", now).is_none());
        sessions.end(&key);
        assert!(sessions.find(&first, now).is_none() && !sessions.lives(&key, now));
        assert!(sessions.find(&second, now).is_some());
    }

    #[test]
    fn sessions_of_a_token_are_bounded_and_the_oldest_ends_first() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let other = sessions.begin(bearer(2), now);
        let second = |number| now + Duration::from_secs(number);
        let secrets: Vec<String> = (0..40).map(|n| sessions.begin(bearer(1), second(n))).collect();
        assert_eq!(sessions.all().len(), MAX_PER_TOKEN + 1);
        let alive = |secret: &str| sessions.find(secret, second(40)).is_some();
        assert!(alive(&other));
        let ended = secrets.iter().position(|secret| alive(secret));
        assert_eq!(ended, Some(40 - MAX_PER_TOKEN));
        let _ = sessions.begin(bearer(1), now + LIFETIME + Duration::from_secs(60));
        assert_eq!(sessions.all().len(), 1, "what is over is forgotten");
    }
}
