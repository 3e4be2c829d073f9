//! Keys of clients in ordered tables.

use alloy_primitives::Address;
use sha2::{Digest, Sha256};

use super::Client;

/// Key of a client in ordered tables: copied and compared without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKey {
    /// An address that belongs to no client with a name.
    Address(Address),
    /// First bytes of the SHA-256 digest of a client's name.
    Name([u8; 16]),
}

impl ClientKey {
    /// The smallest key, which is also that of a record whose client is unknown.
    pub const LOWEST: Self = Self::Address(Address::ZERO);
}

impl From<Address> for ClientKey {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl Client {
    /// Key of this client.
    #[must_use]
    pub fn key(&self) -> ClientKey {
        match self {
            Self::Address(address) => ClientKey::Address(*address),
            Self::Named(name) => {
                let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
                let mut first = [0; 16];
                first.copy_from_slice(&digest[..16]);
                ClientKey::Name(first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_the_same_key_exactly_if_they_are_the_same() {
        let named = |name: &str| Client::Named(name.into());
        let clients = [
            named("rollup"),
            named("rollup 2"),
            Client::Address(Address::ZERO),
            Client::Address(Address::repeat_byte(1)),
        ];
        for (number, one) in clients.iter().enumerate() {
            assert_eq!(one.key(), one.clone().key());
            assert!(one.key() >= ClientKey::LOWEST);
            for other in &clients[number + 1..] {
                assert_ne!(one.key(), other.key());
            }
        }
    }
}
