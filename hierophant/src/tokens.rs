//! Who has a token: made and revoked by operators, told apart by their secrets.
//!
//! All tokens are in memory; what is made or revoked is in the store before it counts. Of a secret only the
//! SHA-256 is kept. It needs neither salt nor a slow hash: those are for what people make up, and
//! nobody finds 32 random bytes by trying.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hierophant_model::records::{Change, Millis};
use network_lib::ids::{Sha256Digest, TokenId, random_bytes};
use network_lib::task;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, broadcast};

use hierophant_store::{JobStore, StoreError};

pub use hierophant_model::records::{Role, TokenRecord};

/// Most tokens that are valid at once: each is looked at for each secret that is presented.
const MAX_VALID: usize = 10_000;

/// Longest name in characters.
const MAX_NAME: usize = 64;

/// Revocations that a listener may be behind before it has to look at all tokens anew.
const REVOCATIONS_KEPT: usize = 1024;

/// Somebody who has presented the secret of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The token.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// What the bearer may do.
    pub role: Role,
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name cannot be used.
    #[error(
        "a name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with a letter or a digit"
    )]
    Name,
    /// A valid token has this name.
    #[error("there is a token of this name; choose another, or revoke that one first")]
    NameTaken,
    /// There are as many valid tokens as there may be.
    #[error("10000 tokens are valid, which is as many as there may be; revoke some first")]
    TooMany,
    /// The store has not taken it.
    #[error("the token could not be stored; try again later")]
    Store(#[source] StoreError),
    /// Hierophant is stopping, or has a fault.
    #[error("interrupted; whether the token was made is seen in the list of tokens")]
    Interrupted,
}

/// Why a token was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// No token ever had this name.
    #[error("there is no token of this name")]
    Missing,
    /// The store has not taken it; the token is still valid.
    #[error("the revocation could not be stored; try again later")]
    Store(#[source] StoreError),
    /// Hierophant is stopping, or has a fault.
    #[error("interrupted; whether the token is revoked is seen in the list of tokens")]
    Interrupted,
}

/// All tokens. Clones share them.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn JobStore>,
    index: RwLock<Index>,
    /// Held by whoever changes something.
    changing: Mutex<()>,
    revocations: broadcast::Sender<TokenId>,
}

/// All tokens, also revoked ones, found by digest and by id.
///
/// The time of a look-up by digest depends on the SHA-256 of what was presented. Nobody can choose secrets
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
    /// The tokens of this store.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn open(store: &Arc<dyn JobStore>) -> Result<Self, StoreError> {
        let mut index = Index::default();
        for record in store.tokens().await? {
            index.put(record);
        }
        let index = RwLock::new(index);
        let (revocations, _) = broadcast::channel(REVOCATIONS_KEPT);
        let store = Arc::clone(store);
        Ok(Self(Arc::new(Inner { store, index, changing: Mutex::new(()), revocations })))
    }

    /// Whose secret this is; none if it is nobody's, or that of a revoked token. The time it takes does not
    /// depend on the secret.
    #[must_use]
    pub fn bearer(&self, secret: &str) -> Option<Bearer> {
        let index = self.index();
        let record = index.by_secret(secret).filter(|record| record.revoked_at.is_none())?;
        Some(Bearer { id: record.id, name: record.name.clone(), role: record.role })
    }

    /// Whether any valid token has this role.
    #[must_use]
    pub fn any(&self, role: Role) -> bool {
        self.find(|record| record.revoked_at.is_none() && record.role == role).is_some()
    }

    /// Whether this token was made and has not been revoked.
    #[must_use]
    pub fn is_valid(&self, id: TokenId) -> bool {
        self.index().by_id(id).is_some_and(|record| record.revoked_at.is_none())
    }

    /// The name of the revoked token whose secret this is, if it is one.
    #[must_use]
    pub fn revoked_name(&self, secret: &str) -> Option<String> {
        let index = self.index();
        let record = index.by_secret(secret).filter(|record| record.revoked_at.is_some())?;
        Some(record.name.clone())
    }

    /// Returns when this token is not valid any more.
    pub async fn revoked(&self, id: TokenId) {
        // From before the look, so that no revocation comes in between.
        let mut revocations = self.revocations();
        while self.is_valid(id) {
            // What was missed is found by the next look, and it cannot close: the sender is ours.
            let _ = revocations.recv().await;
        }
    }

    /// Makes a token. Its secret is returned here and never again.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; there is no such token then.
    pub async fn create(
        &self,
        name: &str,
        role: Role,
    ) -> Result<(String, TokenRecord), CreateError> {
        if !is_name(name) {
            return Err(CreateError::Name);
        }
        let (tokens, name) = (self.clone(), name.to_owned());
        // To its end, also if nobody waits for it any more: store and memory must not part.
        let making = task::spawn("make a token", async move {
            let _alone = tokens.0.changing.lock().await;
            let valid = tokens.list().into_iter().filter(|record| record.revoked_at.is_none());
            let names: Vec<_> = valid.map(|record| record.name).collect();
            if names.contains(&name) {
                return Err(CreateError::NameTaken);
            }
            if names.len() >= MAX_VALID {
                return Err(CreateError::TooMany);
            }
            let secret = format!("hpt_{role}_{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
            let record = TokenRecord {
                id: TokenId::random(),
                name,
                role,
                digest: digest(&secret),
                created_at: Millis::now(),
                revoked_at: None,
            };
            let change = Change::Token(record.clone());
            tokens.0.store.commit(&[change]).await.map_err(CreateError::Store)?;
            tokens.put(record.clone());
            tracing::info!(token = record.name, %role, "token made");
            Ok((secret, record))
        });
        making.await.unwrap_or(Err(CreateError::Interrupted))
    }

    /// Takes the validity from a token; everybody who listens to [`Tokens::revocations`] hears of it. A
    /// token that was revoked before is returned as it is.
    ///
    /// # Errors
    ///
    /// [`RevokeError`]; nothing has changed then.
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
            // Nobody may be listening.
            let _ = tokens.0.revocations.send(revoked.id);
            tracing::info!(token = revoked.name, role = %revoked.role, "token revoked");
            Ok(revoked)
        });
        revoking.await.unwrap_or(Err(RevokeError::Interrupted))
    }

    /// All tokens, also those that were revoked, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<TokenRecord> {
        self.index().records.clone()
    }

    /// The tokens that are revoked from now on. Whoever lags behind must ask [`Tokens::is_valid`] of each
    /// token that concerns it.
    #[must_use]
    pub fn revocations(&self) -> broadcast::Receiver<TokenId> {
        self.0.revocations.subscribe()
    }

    /// The latest token of which this holds.
    fn find(&self, holds: impl Fn(&TokenRecord) -> bool) -> Option<TokenRecord> {
        self.index().records.iter().rev().find(|record| holds(record)).cloned()
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, record: TokenRecord) {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner).put(record);
    }
}

fn digest(secret: &str) -> Sha256Digest {
    Sha256Digest(Sha256::digest(secret).into())
}

/// Names stand in paths of URLs, on command lines and in logs.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests;
