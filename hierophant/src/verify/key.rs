//! Registered verifying keys: untrusted bytes until they hash to the program's id.
//!
//! Decoding and hashing a key takes some ten microseconds, so nothing is cached.

use bincode::Options;
use network_lib::ids::VkHash;
use sp1_hypercube::{HashableKey, SP1VerifyingKey};

/// Error of a registered verifying key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a key of this SP1 version.
    #[error("its {length} bytes are not a verifying key of SP1 {version}: {reason}", version = super::CIRCUIT_VERSION)]
    Undecodable {
        /// Number of bytes.
        length: usize,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// The key of another program.
    #[error("key of program {found}, registered for {registered}")]
    OtherProgram {
        /// Program of the key.
        found: VkHash,
        /// Program that it was registered for.
        registered: VkHash,
    },
}

/// Decodes the key registered for `vk_hash`.
///
/// # Errors
///
/// [`KeyError`] when it does not decode, or belongs to another program.
pub(super) fn decode(vk: &[u8], vk_hash: VkHash) -> Result<SP1VerifyingKey, KeyError> {
    let undecodable = |reason: String| KeyError::Undecodable { length: vk.len(), reason };
    // SP1's code may panic on untrusted numbers in a key.
    let decoding = std::panic::catch_unwind(|| {
        let options = bincode::options().with_fixint_encoding().with_limit(vk.len() as u64);
        let key: SP1VerifyingKey = options.deserialize(vk)?;
        let found = VkHash(key.hash_bytes());
        Ok::<_, bincode::Error>((key, found))
    });
    let decoded = decoding.map_err(|_| undecodable("invalid key".into()))?;
    let (key, found) = decoded.map_err(|error| undecodable(error.to_string()))?;
    if found != vk_hash {
        return Err(KeyError::OtherProgram { found, registered: vk_hash });
    }
    Ok(key)
}
