//! The profile: how careful a start is with what it opens to other machines.

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

use super::{AuthMode, Config, ListAccess};

/// Profile of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Every valid configuration starts; weak ones are logged.
    #[default]
    Standard,
    /// A configuration that leaves something open to other machines is refused.
    Production,
}

/// Names every key that leaves something open, in the production profile.
pub(super) fn validate(config: &Config, faults: &mut Faults) {
    if config.profile != Profile::Production {
        return;
    }
    let is_local = config.bind_address.to_canonical().is_loopback();
    if !is_local && !config.tls.is_on() {
        faults.add(
            "tls.certificate",
            "is missing: with `profile = \"production\"` expected a certificate, or `bind_address = \"127.0.0.1\"` \
             behind a proxy that has one",
        );
    }
    if matches!(config.auth, AuthMode::None | AuthMode::Verify) {
        faults.add(
            "auth",
            "admits every caller: with `profile = \"production\"` expected \"allowlist\" or \"token\"",
        );
    }
    if config.operators_on_public_port() && !config.operators.require_token {
        faults.add(
            "operators.require_token",
            "is false, so a proxy or a tunnel on this machine makes every caller an operator: with \
             `profile = \"production\"` expected true, or `on_public_port = false`",
        );
    }
    if let Some(address) = config.operators.admin_address
        && !address.ip().to_canonical().is_loopback()
        && !config.tls.is_on()
    {
        faults.add(
            "operators.admin_address",
            "is reachable from other machines without TLS: expected an address of this machine, or `tls.certificate`",
        );
    }
    if config.mock_mode {
        faults.add("mock_mode", "accepts proofs that prove nothing: expected false");
    }
    if config.calls.lists == ListAccess::Open && config.auth != AuthMode::Token {
        faults.add("calls.lists", "answers every caller: expected \"token\" or \"off\"");
    }
    if config.calls.list_ids {
        faults.add(
            "calls.list_ids",
            "gives callers the ids that open other clients' proofs: expected false",
        );
    }
    for (key, weakness) in config.weaknesses() {
        faults.add(key, weakness);
    }
}

impl Config {
    /// Whether operators are served on the HTTP port, and not only on the admin listeners.
    #[must_use]
    pub fn operators_on_public_port(&self) -> bool {
        self.operators.on_public_port.unwrap_or(self.profile != Profile::Production)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let text = format!("profile = \"production\"\n{text}");
        let mut keys: Vec<String> = match network_lib::config::parse::<Config>(&text, "test", []) {
            Ok(_) => Vec::new(),
            Err(error) => error.faults.into_iter().map(|fault| fault.key).collect(),
        };
        keys.sort_unstable();
        keys
    }

    #[test]
    fn everything_that_is_open_is_named_at_once() {
        assert_eq!(keys(""), ["auth", "tls.certificate"]);
        let open = "worker_token = \"short\"\nmock_mode = true\nauth = \"none\"\n[operators]\non_public_port = true\n\
                    admin_address = \"0.0.0.0:9011\"\n[calls]\nlists = \"open\"\nlist_ids = true\n";
        assert_eq!(
            keys(open),
            [
                "auth",
                "calls.list_ids",
                "calls.lists",
                "mock_mode",
                "operators.admin_address",
                "operators.require_token",
                "tls.certificate",
                "worker_token",
            ]
        );
        let behind_a_proxy = "bind_address = \"127.0.0.1\"\nauth = \"token\"\n";
        assert_eq!(keys(behind_a_proxy), [""; 0]);
        let with_tls = "auth = \"token\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
        assert_eq!(keys(with_tls), [""; 0]);
    }

    #[test]
    fn operators_leave_the_public_port_in_production_unless_configured() {
        let of = |text: &str| {
            let config: Config = network_lib::config::parse(text, "test", []).expect("valid");
            config.operators_on_public_port()
        };
        assert!(of(""));
        assert!(!of("[operators]\non_public_port = false\n"));
        assert!(!of("profile = \"production\"\nauth = \"token\"\nbind_address = \"127.0.0.1\"\n"));
    }
}
