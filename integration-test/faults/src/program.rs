//! The program that clients ask about: `examples/fibonacci`, registered by hand as the SDK would.

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use network_lib::job::ProofMode;
use prost::Message as _;
use sha2::{Digest, Sha256};
use test_peers::{Ask, Client, program_body, stdin_of_u32, unix_now};

/// Its id: the digest of its verifying key as the SDK computes it.
pub(crate) const VK_HASH: [u8; 32] = fibonacci::VK_HASH;

/// Limits far above what any case needs.
const UNLIMITED: u64 = 1_000_000_000;

/// Registers the program; a second time changes nothing.
pub(crate) async fn register(client: &mut Client) {
    let program_uri = client.upload(ArtifactType::Program, &program_body(fibonacci::ELF)).await;
    let vk = fibonacci::VERIFYING_KEY.to_vec();
    let body = pb::CreateProgramBody { nonce: 0, vk_hash: VK_HASH.to_vec(), vk, program_uri };
    let envelope = client.envelope(body.encode_to_vec());
    client.network.create_program(envelope).await.expect("the program can be registered");
}

/// A request for a proof of input `n`, with a new upload; ready to be changed before it is sent.
pub(crate) async fn ask(client: &mut Client, n: u32, mode: ProofMode) -> Ask {
    Ask {
        vk_hash: VK_HASH.to_vec(),
        version: "sp1-v6.1.0".into(),
        mode: mode as i32 + 1,
        strategy: pb::FulfillmentStrategy::Hosted as i32,
        stdin_uri: client.upload(ArtifactType::Stdin, &stdin_of_u32(n)).await,
        deadline: unix_now() + 4 * 3600,
        cycle_limit: UNLIMITED,
        gas_limit: UNLIMITED,
        nonce: 0,
        mainnet: false,
        public_values_hash: None,
    }
}

/// How a proof of input `n` ends, whatever its kind: public values and circuit version, as bincode.
pub(crate) fn proof_ending(n: u32) -> Vec<u8> {
    let (values, version) = (fibonacci::public_values(n), b"v6.1.0");
    let mut ending = (values.len() as u64).to_le_bytes().to_vec();
    ending.extend(values);
    ending.extend((version.len() as u64).to_le_bytes());
    ending.extend(version);
    ending
}

/// Digest of the public values of input `n`, as every answer about a request must show it.
pub(crate) fn public_values_hash(n: u32) -> Vec<u8> {
    Sha256::digest(fibonacci::public_values(n)).to_vec()
}
