//! Secrets of the configuration: values of examples, short ones, addresses whose keys are public, and files that other
//! users can read.

use std::path::Path;

use alloy_primitives::{Address, address};
use network_lib::config::Faults;
use network_lib::secret::Secret;

use super::Config;

/// Values of the documentation and of the Standard Webhooks specification.
const EXAMPLES: [&str; 4] =
    ["change me", "changeme", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a secret of your own"];

/// Minimum length of a shared secret in bytes.
const MIN_LENGTH: usize = 24;

/// Addresses whose private keys are public: those of Anvil and Hardhat, and that of the key 1.
const PUBLIC_KEYS: [Address; 11] = [
    address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    address!("90F79bf6EB2c4f870365E785982E1f101E93b906"),
    address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
    address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
    address!("976EA74026E726554dB657fA54763abd0C3a0aa9"),
    address!("14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
    address!("23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
    address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"),
    address!("7E5F4552091A69125d5DfCb7b8C2659029395Bdf"),
];

/// Refuses the values of examples, which everyone knows.
pub(super) fn validate(config: &Config, faults: &mut Faults) {
    for (key, secret) in secrets(config) {
        if EXAMPLES.contains(&secret.reveal()) {
            faults.add(
                key,
                "is the value of an example, which everyone knows: expected a secret of your own, such as one made by \
                 `openssl rand -hex 32`",
            );
        }
    }
}

impl Config {
    /// Weak values: their keys, and what is wrong. In the production profile they are faults.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let token = self.worker_token.as_ref().map(|token| token.reveal().len());
        if let Some(length) = token.filter(|length| *length < MIN_LENGTH) {
            let text = format!(
                "has {length} characters and can be guessed: expected at least {MIN_LENGTH}, such as those of \
                 `openssl rand -hex 32`"
            );
            found.push(("worker_token".to_owned(), text));
        }
        let clients = self.clients.iter().enumerate();
        let clients = clients.flat_map(|(number, client)| {
            client
                .all_addresses()
                .map(move |address| (format!("clients[{number}].address"), address))
        });
        let listed = self.allowlist.iter().map(|address| ("allowlist".to_owned(), *address));
        for (key, address) in listed.chain(clients) {
            if PUBLIC_KEYS.contains(&address) {
                let text = format!(
                    "{address} is an address of examples whose private key is public, so everyone can sign as this \
                     client: expected an address of your own"
                );
                found.push((key, text));
            }
        }
        found
    }

    /// Whether a configuration file that other users can read holds secrets.
    #[must_use]
    pub fn exposes_secrets(&self, file: &Path) -> bool {
        if !crate::private_files::is_open(file) {
            return false;
        }
        let text = std::fs::read_to_string(file).unwrap_or_default();
        secrets(self).iter().any(|(_, secret)| text.contains(secret.reveal()))
    }
}

/// Every secret with its key.
fn secrets(config: &Config) -> Vec<(String, &Secret)> {
    let single = [
        ("worker_token", &config.worker_token),
        ("database_url", &config.database_url),
        ("storage.s3_secret_access_key", &config.storage.s3_secret_access_key),
    ];
    let single =
        single.into_iter().filter_map(|(key, secret)| Some((key.to_owned(), secret.as_ref()?)));
    let webhooks = config.webhooks.iter().enumerate();
    let webhooks = webhooks.map(|(number, it)| (format!("webhooks[{number}].secret"), &it.secret));
    single.chain(webhooks).filter(|(_, secret)| !secret.reveal().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keys(text: &str) -> Vec<String> {
        match network_lib::config::parse::<Config>(text, "test", []) {
            Ok(_) => Vec::new(),
            Err(error) => error.faults.into_iter().map(|fault| fault.key).collect(),
        }
    }

    #[test]
    fn values_of_examples_are_refused() {
        let text = "worker_token = \"change me\"\n[storage]\nartifacts_url = \"s3://b/c\"\n\
                    s3_access_key_id = \"id\"\ns3_secret_access_key = \"change me\"\n[[webhooks]]\n\
                    url = \"https://example.org\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";
        assert_eq!(
            keys(text),
            ["worker_token", "storage.s3_secret_access_key", "webhooks[0].secret"]
        );
        assert_eq!(keys("worker_token = \"short\"\n"), [""; 0]);
    }

    #[test]
    fn short_secrets_and_public_keys_are_weak() {
        let weak = |text: &str| {
            let config: Config = network_lib::config::parse(text, "test", []).expect("valid");
            config.weaknesses().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let public = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        let own = "0x1a642f0e3c3af545e7acbd38b07251b3990914f1";
        assert_eq!(weak("worker_token = \"23 characters, not more\"\n"), ["worker_token"]);
        assert_eq!(weak("worker_token = \"24 characters and enough\"\n"), [""; 0]);
        assert_eq!(weak(&format!("allowlist = [\"{own}\", \"{public}\"]\n")), ["allowlist"]);
        let client = format!("[[clients]]\naddress = \"{public}\"\nname = \"rollup\"\n");
        assert_eq!(weak(&client), ["clients[0].address"]);
    }

    #[test]
    fn a_file_with_secrets_that_others_can_read_is_found() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("hierophant.toml");
        let exposes = |text: &str, mode: u32| {
            std::fs::write(&file, text).expect("writes");
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).expect("sets");
            let config: Config = network_lib::config::load(Some(&file), []).expect("valid");
            config.exposes_secrets(&file)
        };
        let secret = "worker_token = \"24 characters and enough\"\n";
        assert!(exposes(secret, 0o644) && exposes(secret, 0o640));
        assert!(!exposes(secret, 0o600) && !exposes("grpc_port = 9000\n", 0o644));
    }
}
