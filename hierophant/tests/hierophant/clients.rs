//! Who may use a network, and how much of it: signatures, quotas, tokens, limits of single calls.

mod calls;
mod quotas;
mod tickets;
mod tokens;

use alloy_primitives::Address;
use hierophant::config::ClientConfig;
use k256::ecdsa::SigningKey;

/// The address of the client with a key of this seed.
fn address(seed: u8) -> Address {
    Address::from_private_key(&SigningKey::from_slice(&[seed; 32]).expect("key"))
}

/// An entry of `[[clients]]` for the client with a key of this seed, with no quotas of its own.
fn configured(seed: u8, name: &str) -> ClientConfig {
    ClientConfig {
        address: address(seed),
        name: name.to_owned(),
        requests_per_minute: None,
        open_requests: None,
        cycles_per_day: None,
        stored_bytes: None,
        open_tickets: None,
        programs: None,
    }
}
