//! Webhook notices.

use network_lib::ids::{RequestId, Sha256Digest};
use sha2::{Digest, Sha256};

use super::{Millis, RequestRecord, RequestState};

/// Undelivered webhook notice about the end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// Id, the same in every delivery attempt, by which receivers recognize duplicates.
    pub id: NoticeId,
    /// Receiver, as the digest of its URL.
    pub receiver: Sha256Digest,
    /// Request.
    pub request: RequestId,
    /// Final state of the request.
    pub state: RequestState,
    /// End of the request.
    pub ended_at: Millis,
    /// Number of delivery attempts.
    pub attempts: u32,
    /// Time of the next delivery attempt.
    pub next_at: Millis,
}

impl NoticeRecord {
    /// A notice about this end of a request, not tried yet.
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

/// Id of a [`NoticeRecord`].
pub type NoticeId = [u8; 16];
