//! Access tokens, created and revoked by operators.
//!
//! `uses` notes when and from where each was last used, and announces those that expire. All tokens are in memory; a
//! change is stored before it takes effect. Only the SHA-256 of a secret is stored. Salt and slow hash are
//! unnecessary: they protect passwords chosen by people, whereas a secret is 32 random bytes.

mod uses;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hierophant_model::clients::ClientName;
use hierophant_model::records::{Change, Millis};
use network_lib::ids::{Sha256Digest, TokenId, random_bytes};
use network_lib::task;
use parking_lot::{RwLock, RwLockReadGuard};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, broadcast};

use hierophant_store::{JobStore, StoreError};

pub use hierophant_model::records::{Role, TokenRecord, TokenUse};
use uses::Uses;

/// Maximum number of valid tokens.
const MAX_VALID: usize = 10_000;

/// Maximum length of a name in characters.
const MAX_NAME: usize = 64;

/// Longest time for which a token can be made to be valid: ten years.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Number of revocations that a listener may lag behind before it has to check all its tokens again.
const REVOCATIONS_KEPT: usize = 1024;

/// The bearer of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Id of the token.
    pub id: TokenId,
    /// Name of the token.
    pub name: String,
    /// Role of the token.
    pub role: Role,
    /// Client to which the token is bound.
    pub client: Option<ClientName>,
}

/// Error of creating a token.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Invalid name.
    #[error(
        "invalid name: expected 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or a digit"
    )]
    Name,
    /// A token of another role is to be bound to a client.
    #[error("invalid client: expected it only with role client")]
    NotAClient,
    /// Invalid time of validity.
    #[error("invalid time of validity: expected 1 second to 10 years, or none")]
    Lifetime,
    /// A valid token has this name.
    #[error("a valid token has this name; choose another name, or revoke that token first")]
    NameTaken,
    /// The maximum number of valid tokens exists.
    #[error("10000 tokens are valid, which is the maximum; revoke some first")]
    TooMany,
    /// The store did not accept the token.
    #[error("the token could not be stored; try again later")]
    Store(#[source] StoreError),
    /// Hierophant is stopping, or the task panicked.
    #[error("interrupted; check `hierophant token list`")]
    Interrupted,
}

/// Error of revoking a token.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// No token ever had this name.
    #[error("no token has this name")]
    Missing,
    /// The store did not accept the revocation; the token is still valid.
    #[error("the revocation could not be stored; try again later")]
    Store(#[source] StoreError),
    /// Hierophant is stopping, or the task panicked.
    #[error("interrupted; check `hierophant token list`")]
    Interrupted,
}

/// All tokens. Clones share them.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn JobStore>,
    index: RwLock<Index>,
    /// Held during a change.
    changing: Mutex<()>,
    uses: Uses,
    revocations: broadcast::Sender<TokenId>,
}

/// Index of all tokens by digest and by id, including revoked ones.
///
/// The time of a look-up by digest depends on the SHA-256 of what was presented. A caller cannot choose secrets
/// whose digests approach a stored one, so that time says nothing about a secret.
#[derive(Debug, Default)]
struct Index {
    /// Oldest first.
    records: Vec<TokenRecord>,
    by_digest: BTreeMap<Sha256Digest, usize>,
    by_id: BTreeMap<TokenId, usize>,
}

impl Index {
    /// Inserts a token, or replaces the one with its id.
    fn put(&mut self, record: TokenRecord) {
        let place = self.by_id.get(&record.id).copied().unwrap_or(self.records.len());
        self.by_id.insert(record.id, place);
        self.by_digest.insert(record.digest, place);
        match self.records.get_mut(place) {
            Some(known) => *known = record,
            None => self.records.push(record),
        }
    }

    fn by_secret(&self, secret: &str) -> Option<&TokenRecord> {
        self.records.get(*self.by_digest.get(&digest(secret))?)
    }

    fn by_id(&self, id: TokenId) -> Option<&TokenRecord> {
        self.records.get(*self.by_id.get(&id)?)
    }
}

impl Tokens {
    /// Reads the tokens from the store.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn open(store: &Arc<dyn JobStore>) -> Result<Self, StoreError> {
        let mut index = Index::default();
        for record in store.tokens().await? {
            index.put(record);
        }
        let index = RwLock::new(index);
        let (revocations, _) = broadcast::channel(REVOCATIONS_KEPT);
        let (store, changing) = (Arc::clone(store), Mutex::new(()));
        Ok(Self(Arc::new(Inner { store, index, changing, uses: Uses::default(), revocations })))
    }

    /// The bearer of a secret, if it belongs to a valid token. The duration does not depend on the secret.
    #[must_use]
    pub fn bearer(&self, secret: &str) -> Option<Bearer> {
        let index = self.index();
        let record = index.by_secret(secret).filter(|record| record.is_valid(Millis::now()))?;
        let (name, client) = (record.name.clone(), record.client.clone());
        Some(Bearer { id: record.id, name, role: record.role, client })
    }

    /// [`Tokens::bearer`] of a call from this address, noted as a use of the token.
    #[must_use]
    pub fn bearer_from(&self, secret: &str, from: IpAddr) -> Option<Bearer> {
        let bearer = self.bearer(secret)?;
        self.used(bearer.id, from);
        Some(bearer)
    }

    /// Notes a use of a token from this address.
    pub fn used(&self, id: TokenId, from: IpAddr) {
        self.0.uses.note(id, TokenUse { at: Millis::now(), from: from.to_canonical() });
    }

    /// Whether a token exists that is not revoked and whose role meets a condition, also an expired one: where tokens are
    /// required, they still are when the last one has expired.
    #[must_use]
    pub fn any(&self, holds: impl Fn(Role) -> bool) -> bool {
        self.find(|record| record.revoked_at.is_none() && holds(record.role)).is_some()
    }

    /// Number of valid tokens for which a condition holds.
    #[must_use]
    pub fn count(&self, holds: impl Fn(Role) -> bool) -> usize {
        let now = Millis::now();
        let index = self.index();
        index.records.iter().filter(|record| record.is_valid(now) && holds(record.role)).count()
    }

    /// Whether a token exists, and is neither revoked nor expired.
    #[must_use]
    pub fn is_valid(&self, id: TokenId) -> bool {
        self.index().by_id(id).is_some_and(|record| record.is_valid(Millis::now()))
    }

    /// Role of a token.
    #[must_use]
    pub fn role(&self, id: TokenId) -> Option<Role> {
        self.index().by_id(id).map(|record| record.role)
    }

    /// Name of the expired token with a secret, if there is one.
    #[must_use]
    pub fn expired_name(&self, secret: &str) -> Option<String> {
        let index = self.index();
        index.by_secret(secret).filter(|record| has_expired(record)).map(|it| it.name.clone())
    }

    /// Whether the latest token of this name has expired.
    #[must_use]
    pub fn has_expired(&self, name: &str) -> bool {
        self.find(|record| record.name == name).is_some_and(|record| has_expired(&record))
    }

    /// The latest token of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<TokenRecord> {
        self.find(|record| record.name == name)
    }

    /// Name of the revoked token with a secret, if there is one.
    #[must_use]
    pub fn revoked_name(&self, secret: &str) -> Option<String> {
        let index = self.index();
        let record = index.by_secret(secret).filter(|record| record.revoked_at.is_some())?;
        Some(record.name.clone())
    }

    /// Waits until a token is revoked or expires.
    pub async fn revoked(&self, id: TokenId) {
        // Subscribes before the first check, so that no revocation is missed.
        let mut revocations = self.revocations();
        while self.is_valid(id) {
            // The next check finds a missed revocation. The channel cannot close: the sender is ours.
            let _ = revocations.recv().await;
        }
    }

    /// Creates a token that is bound to no client, valid for this time or until it is revoked. This is the only time its
    /// secret is returned.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; no token is created.
    pub async fn create(
        &self,
        name: &str,
        role: Role,
        lifetime: Option<Duration>,
    ) -> Result<(String, TokenRecord), CreateError> {
        self.create_for(name, role, lifetime, None).await
    }

    /// Creates a token, bound to this client and valid for this time. This is the only time its secret is returned.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; no token is created.
    pub async fn create_for(
        &self,
        name: &str,
        role: Role,
        lifetime: Option<Duration>,
        client: Option<ClientName>,
    ) -> Result<(String, TokenRecord), CreateError> {
        if client.is_some() && role != Role::Client {
            return Err(CreateError::NotAClient);
        }
        if !is_name(name) {
            return Err(CreateError::Name);
        }
        if lifetime.is_some_and(|time| time < Duration::from_secs(1) || time > MAX_LIFETIME) {
            return Err(CreateError::Lifetime);
        }
        let (tokens, name) = (self.clone(), name.to_owned());
        // In its own task, so that a cancelled call does not separate store and memory.
        let making = task::spawn("create a token", async move {
            let _alone = tokens.0.changing.lock().await;
            let now = Millis::now();
            if tokens.find(|record| record.name == name && record.is_valid(now)).is_some() {
                return Err(CreateError::NameTaken);
            }
            if tokens.count(|_| true) >= MAX_VALID {
                return Err(CreateError::TooMany);
            }
            // An expired token of this name makes room for the new one.
            let expired = tokens.find(|it| it.name == name && it.revoked_at.is_none());
            let expired = expired.map(|it| TokenRecord { revoked_at: Some(now), ..it });
            let secret = format!("hpt_{role}_{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
            let record = TokenRecord {
                id: TokenId::random(),
                name,
                role,
                client,
                digest: digest(&secret),
                created_at: now,
                revoked_at: None,
                expires_at: lifetime
                    .map(|lifetime| Millis(now.0.saturating_add(Millis::from(lifetime).0))),
                used: None,
            };
            let records: Vec<_> = expired.into_iter().chain([record.clone()]).collect();
            let changes: Vec<_> = records.iter().cloned().map(Change::Token).collect();
            tokens.0.store.commit(&changes).await.map_err(CreateError::Store)?;
            records.into_iter().for_each(|record| tokens.put(record));
            tracing::info!(token = record.name, %role, client = record.client.as_deref(), "token created");
            Ok((secret, record))
        });
        making.await.unwrap_or(Err(CreateError::Interrupted))
    }

    /// Revokes a token and notifies [`Tokens::revocations`]. A token that is already revoked is returned unchanged.
    ///
    /// # Errors
    ///
    /// [`RevokeError`]; nothing is changed.
    pub async fn revoke(&self, name: &str) -> Result<TokenRecord, RevokeError> {
        let (tokens, name) = (self.clone(), name.to_owned());
        let revoking = task::spawn("revoke a token", async move {
            let _alone = tokens.0.changing.lock().await;
            let matches_name = |record: &TokenRecord| record.name == name;
            let valid = tokens.find(|it| matches_name(it) && it.revoked_at.is_none());
            let Some(record) = valid else {
                return tokens.find(matches_name).ok_or(RevokeError::Missing);
            };
            let revoked = TokenRecord { revoked_at: Some(Millis::now()), ..record };
            let change = Change::Token(revoked.clone());
            tokens.0.store.commit(&[change]).await.map_err(RevokeError::Store)?;
            tokens.put(revoked.clone());
            // There may be no listener.
            let _ = tokens.0.revocations.send(revoked.id);
            tracing::info!(token = revoked.name, role = %revoked.role, "token revoked");
            Ok(revoked)
        });
        revoking.await.unwrap_or(Err(RevokeError::Interrupted))
    }

    /// All tokens including revoked ones, oldest first, with their last use.
    #[must_use]
    pub fn list(&self) -> Vec<TokenRecord> {
        let mut records = self.index().records.clone();
        for record in &mut records {
            record.used = self.0.uses.latest(record.id).or(record.used);
        }
        records
    }

    /// Ids of tokens revoked or expired from now on. A listener that lags behind must check its tokens by [`Tokens::is_valid`].
    #[must_use]
    pub fn revocations(&self) -> broadcast::Receiver<TokenId> {
        self.0.revocations.subscribe()
    }

    /// The latest token that matches a condition.
    fn find(&self, holds: impl Fn(&TokenRecord) -> bool) -> Option<TokenRecord> {
        self.index().records.iter().rev().find(|record| holds(record)).cloned()
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read()
    }

    fn put(&self, record: TokenRecord) {
        self.0.index.write().put(record);
    }
}

/// Whether a token is no longer valid because of its age.
fn has_expired(record: &TokenRecord) -> bool {
    record.revoked_at.is_none() && !record.is_valid(Millis::now())
}

fn digest(secret: &str) -> Sha256Digest {
    Sha256Digest(Sha256::digest(secret).into())
}

/// Whether a name is valid: names occur in URL paths, on command lines and in logs.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests;
