//! Identifiers: fixed-size random or derived bytes, written as lower-case hex everywhere.
//!
//! Each kind is its own type, so a lease can never be passed where a job is meant. Random ids come
//! from the operating system's generator: some of them are capabilities (a
//! [`RequestId`] gives access to its status, an [`ArtifactId`] to its bytes), so they must not be guessable.

use std::fmt;
use std::str::FromStr;

use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text or a byte string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The input has the wrong number of bytes.
    #[error("expected {expected} bytes, got {actual}")]
    Length {
        /// How many bytes this kind of identifier has.
        expected: usize,
        /// How many bytes were given.
        actual: usize,
    },
    /// The text holds something other than hexadecimal digits.
    #[error("not hexadecimal")]
    NotHex,
}

/// `N` bytes from the operating system's random generator.
///
/// # Panics
///
/// When the operating system has no randomness to give: nothing safe can be done without it.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).expect("the operating system's random generator must work");
    bytes
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// How many bytes this identifier has.
            pub const LEN: usize = $len;

            /// A new unguessable identifier.
            #[must_use]
            pub fn random() -> Self {
                Self(random_bytes())
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// First eight hex digits: enough to follow an identifier through logs, too few to use it as
            /// a credential.
            #[must_use]
            pub fn hint(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                let length = IdError::Length { expected: $len, actual: bytes.len() };
                bytes.try_into().map(Self).map_err(|_| length)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = hex::decode(text).map_err(|_| IdError::NotHex)?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

hex_id!(
    /// What a client polls: one proof request. Exactly 32 bytes, because the SDK panics on anything
    /// else. Knowing it is the only credential that a status call carries.
    RequestId,
    32
);
hex_id!(
    /// The work behind one or more requests with the same content.
    JobId,
    16
);
hex_id!(
    /// One attempt: a job leased to one Contemplant, which alone may fetch the attempt's program and
    /// input and hand in its proof, for as long as the lease lives. Not guessable.
    LeaseId,
    16
);
hex_id!(
    /// One task of a job that is proved by many workers. Not a secret.
    TaskId,
    16
);
hex_id!(
    /// One Contemplant installation, the same over reconnects and restarts.
    WorkerId,
    16
);
hex_id!(
    /// A stored byte string: program, input or proof. Unguessable.
    ArtifactId,
    16
);
hex_id!(
    /// A program: the 32-byte hash of its verifying key as the SDK computes it (`hash_bytes`, eight
    /// big-endian words). The network treats it as opaque.
    VkHash,
    32
);
hex_id!(
    /// One line of the audit log. Not a secret.
    AuditId,
    16
);
hex_id!(
    /// Name of an access token in logs and lists. Not a secret.
    TokenId,
    16
);
hex_id!(
    /// SHA-256 of a byte string.
    Sha256Digest,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_text_round_trips() {
        let id = RequestId::random();
        assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        let json = serde_json::to_string(&id).expect("serializes");
        assert_eq!(serde_json::from_str::<RequestId>(&json).expect("parses"), id);
    }

    #[test]
    fn a_hint_is_the_beginning_of_the_text() {
        let id = LeaseId::random();
        assert_eq!(id.hint(), id.to_string()[..8]);
    }

    #[test]
    fn wrong_length_and_wrong_digits_are_told_apart() {
        assert_eq!("ab".parse::<LeaseId>(), Err(IdError::Length { expected: 16, actual: 1 }));
        assert_eq!("zz".parse::<LeaseId>(), Err(IdError::NotHex));
        assert_eq!(
            VkHash::try_from([0u8; 31].as_slice()),
            Err(IdError::Length { expected: 32, actual: 31 })
        );
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(ArtifactId::random(), ArtifactId::random());
    }
}
