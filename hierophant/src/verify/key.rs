//! The verifying key that a client registered: bytes from a stranger until it hashes to the program's id.
//!
//! Decoding and hashing one takes some ten microseconds, so nothing is kept.

use bincode::Options;
use network_lib::ids::VkHash;
use sp1_hypercube::{HashableKey, SP1VerifyingKey};

/// Why a registered verifying key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a key of this SP1 version.
    #[error("its {length} bytes are not a verifying key of SP1 {version}: {reason}", version = super::CIRCUIT_VERSION)]
    Undecodable {
        /// How many bytes there are.
        length: usize,
        /// What is wrong with them.
        reason: String,
    },
    /// It is a key, but another program's.
    #[error("it is the key of program {found}, and was registered for {registered}")]
    OtherProgram {
        /// Whose key it is.
        found: VkHash,
        /// What it was registered as.
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
    // SP1 trusts the numbers in a key; a stranger's must not end the task that looks at them.
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
