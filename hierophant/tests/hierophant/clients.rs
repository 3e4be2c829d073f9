//! Who may use a network, and how much of it: signatures, quotas, tokens, limits of single calls.

mod calls;
mod networks;
mod programs;
mod quotas;
mod statements;
mod tenants;
mod tickets;
mod tokens;

use alloy_primitives::Address;
use hierophant::config::ClientConfig;
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

use crate::support::{Client, Network};

/// The address of the client with a key of this seed.
fn address(seed: u8) -> Address {
    Address::from_private_key(&SigningKey::from_slice(&[seed; 32]).expect("key"))
}

/// An entry of `[[clients]]` for the client with a key of this seed, with no quotas of its own.
fn configured(seed: u8, name: &str) -> ClientConfig {
    ClientConfig { address: Some(address(seed)), name: name.to_owned(), ..ClientConfig::default() }
}

/// Makes a client token that is bound to a client; returns its secret.
async fn bound_token(network: &Network, name: &str, client: &str) -> String {
    let wanted = json!({"name": name, "role": "client", "client": client});
    let call = reqwest::Client::new().post(network.url("/api/v1/tokens")).json(&wanted);
    let made: Value = call.send().await.expect("answers").json().await.expect("JSON");
    assert_eq!(made["client"], client, "{made}");
    made["secret"].as_str().expect("a secret").to_owned()
}

/// A client with a key of this seed that presents a token.
async fn tenant(network: &Network, seed: u8, token: &str) -> Client {
    Client { token: Some(token.to_owned()), ..Client::with_key(network, seed).await }
}
