//! Clients: each requests one proof, retries until it gets an answer, and polls.

use alloy_primitives::Address;
use hierophant_model::records::{Millis, NetworkMode, RequestState};
use hierophant_scheduler::proofs::NewRequest;
use network_lib::ids::{ArtifactId, RequestId, Sha256Digest, VkHash};
use network_lib::job::{BlobInfo, JobSpec, ProofMode};
use rand::Rng;
use rand::rngs::StdRng;

/// Number of the first input whose execution fails.
pub const FIRST_FAILING: u8 = 18;

#[derive(Debug)]
pub struct Client {
    pub requester: Address,
    pub content: u8,
    pub guest_fails: bool,
    /// Cancels its request some time after it was accepted.
    pub cancels: bool,
    /// Has a deadline that may pass.
    pub impatient: bool,
    pub deadline: Option<u64>,
    pub accepted: Option<RequestId>,
    pub seen: Option<RequestState>,
}

impl Client {
    pub fn draw(rng: &mut StdRng) -> Self {
        let content = rng.random_range(0..20);
        Self {
            requester: Address::repeat_byte(rng.random_range(1..4)),
            content,
            guest_fails: content >= FIRST_FAILING,
            cancels: rng.random_bool(0.1),
            impatient: rng.random_bool(0.1),
            deadline: None,
            accepted: None,
            seen: None,
        }
    }

    /// The call. Retries differ only in the id that Hierophant draws.
    pub fn call(&mut self, now: Millis, number: usize, id: RequestId) -> NewRequest {
        let patience = if self.impatient { 300 } else { 40 * 3600 };
        let deadline = *self.deadline.get_or_insert(now.seconds() + patience);
        let blob = |n| BlobInfo { size: 10, sha256: Sha256Digest([n; 32]) };
        NewRequest {
            id,
            requester: self.requester,
            client: None,
            token: None,
            stated_digest: None,
            spec: JobSpec {
                vk_hash: VkHash([7; 32]),
                circuit_version: "v6.1.0".into(),
                mode: match self.content {
                    content if content.is_multiple_of(5) => ProofMode::Plonk,
                    content if content.is_multiple_of(2) => ProofMode::Core,
                    _ => ProofMode::Compressed,
                },
                cycle_limit: u64::MAX,
                gas_limit: 0,
            },
            program: ArtifactId([0xfe; 16]),
            program_blob: blob(0xfe),
            program_confirmed: false,
            stdin: ArtifactId([self.content; 16]),
            stdin_blob: blob(self.content),
            network_mode: NetworkMode::Reserved,
            strategy: 1,
            version: "sp1-v6.1.0".into(),
            stdin_uri: format!("http://h/artifacts/{number}"),
            // Some of those that request this content: the others' jobs become private by them.
            stdin_private: (self.content + self.requester.0[0]).is_multiple_of(5),
            deadline,
            min_auction_period: 0,
            whitelist: vec![],
        }
    }

    /// Checks the answer to a poll: a reported end never changes.
    pub fn look(&mut self, state: RequestState) {
        if let Some(seen) = self.seen {
            assert!(!seen.is_terminal() || seen == state, "the client saw {seen}, then {state}");
        }
        self.seen = Some(state);
    }
}
