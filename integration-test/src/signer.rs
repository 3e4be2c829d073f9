//! A private key that remembers when it was used.
//!
//! The SDK uploads the input and sends the request in one call, without a word in between. It signs
//! the request once the upload is complete, though, so the moment of that signature is what a
//! timeline can show as "uploaded". Custom signers are an offer of the SDK; nothing of it is changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use alloy_primitives::{Address, B256, ChainId, Signature};
use alloy_signer::{Result, Signer};
use async_trait::async_trait;

/// What the SDK signs to ask for an upload ticket, the same for every upload.
const TICKET_MESSAGE: &[u8] = b"create_artifact";

/// When the key was last used for a request, a registration or a cancellation.
#[derive(Debug, Clone, Default)]
pub struct SigningLog(Arc<Mutex<Option<Instant>>>);

impl SigningLog {
    /// Moment of the last signature that asked for more than an upload ticket.
    #[must_use]
    pub fn last_body_signed(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, message: &[u8]) {
        if message != TICKET_MESSAGE {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// Signs with another signer and notes it down.
#[derive(Debug, Clone)]
pub struct LoggingSigner<S> {
    inner: S,
    log: SigningLog,
}

impl<S> LoggingSigner<S> {
    /// Signs with `inner` and notes it down in `log`.
    pub const fn new(inner: S, log: SigningLog) -> Self {
        Self { inner, log }
    }
}

#[async_trait]
impl<S: Signer + Send + Sync> Signer for LoggingSigner<S> {
    async fn sign_hash(&self, hash: &B256) -> Result<Signature> {
        self.inner.sign_hash(hash).await
    }

    async fn sign_message(&self, message: &[u8]) -> Result<Signature> {
        self.log.note(message);
        self.inner.sign_message(message).await
    }

    fn address(&self) -> Address {
        self.inner.address()
    }

    fn chain_id(&self) -> Option<ChainId> {
        self.inner.chain_id()
    }

    fn set_chain_id(&mut self, chain_id: Option<ChainId>) {
        self.inner.set_chain_id(chain_id);
    }
}
