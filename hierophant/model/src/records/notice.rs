//! Notices for receivers of webhooks.

use network_lib::ids::{RequestId, Sha256Digest};
use sha2::{Digest, Sha256};

use super::{Millis, RequestRecord, RequestState};

/// A request's end of which a receiver of webhooks is still to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// The same in every try: by it a receiver tells what it has got already.
    pub id: NoticeId,
    /// Whom to tell: the digest of its URL.
    pub receiver: Sha256Digest,
    /// The request.
    pub request: RequestId,
    /// How it ended.
    pub state: RequestState,
    /// When it ended.
    pub ended_at: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Millis,
}

impl NoticeRecord {
    /// The first notice of this end of a request.
    #[must_use]
    pub fn of(receiver: Sha256Digest, request: &RequestRecord) -> Self {
        let (state, ended_at) = (request.state, request.updated_at);
        let mut hasher = Sha256::new();
        hasher.update(receiver.as_bytes());
        hasher.update(request.id.as_bytes());
        hasher.update(ended_at.0.to_be_bytes());
        hasher.update(state.as_str());
        let digest: [u8; 32] = hasher.finalize().into();
        let mut id = NoticeId::default();
        id.copy_from_slice(&digest[..16]);
        let request = request.id;
        Self { id, receiver, request, state, ended_at, attempts: 0, next_at: ended_at }
    }
}

/// Names a [`NoticeRecord`].
pub type NoticeId = [u8; 16];
