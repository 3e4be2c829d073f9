//! The line at the start that says what is open to whom.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::{AuthMode, Config, PeerCertificates, PrivateInputs};
use crate::tokens::{Role, Tokens};

/// Bound addresses.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Port for SDK clients.
    pub grpc: SocketAddr,
    /// Public HTTP port.
    pub http: SocketAddr,
    /// Admin listener.
    pub admin: Option<SocketAddr>,
    /// Unix socket for operators.
    pub socket: Option<&'a Path>,
}

/// What is open to whom, in one line.
#[must_use]
pub fn summary(config: &Config, bound: &Bound<'_>, tokens: &Tokens) -> String {
    let tls = if config.tls.is_on() { "with TLS" } else { "without TLS" };
    let Bound { grpc, http, .. } = bound;
    let mut parts = vec![
        format!("gRPC at {grpc} {tls}: {}", clients(config, tokens)),
        format!(
            "HTTP at {http} {tls}: artifacts by id, {}, {}",
            workers(config, tokens),
            operators(config, tokens)
        ),
    ];
    if let Some(admin) = bound.admin {
        let (tls, who) = match admin.ip().to_canonical().is_loopback() {
            true => ("without TLS", local_operators(config, tokens)),
            false => (tls, by_token(tokens)),
        };
        parts.push(format!("admin listener at {admin} {tls}: {who}"));
    }
    if let Some(socket) = bound.socket {
        parts.push(format!("admin socket {}: this user and root", socket.display()));
    }
    parts.join("; ")
}

fn clients(config: &Config, tokens: &Tokens) -> String {
    let who = match config.auth {
        AuthMode::None => "every request, also unsigned ones".to_owned(),
        AuthMode::Verify => "every request with a valid signature".to_owned(),
        AuthMode::Allowlist => format!("requests of {} listed addresses", config.listed().count()),
        AuthMode::Token => {
            format!(
                "requests with one of {} client tokens",
                tokens.count(|role| role == Role::Client)
            )
        }
    };
    with_certificate(who, config.tls.client_certificates)
}

fn workers(config: &Config, tokens: &Tokens) -> String {
    let own = tokens.count(Role::is_of_worker);
    let mut who = match (config.worker_token.is_some(), tokens.any(Role::is_of_worker)) {
        (true, _) => format!("workers with worker_token or one of {own} tokens"),
        (false, true) => format!("workers with one of {own} tokens"),
        (false, false) => "workers on this machine".to_owned(),
    };
    if config.private_inputs == PrivateInputs::PrivateWorkers {
        let private = tokens.count(|role| role == Role::PrivateWorker);
        who.push_str(&format!(" (private inputs: those with one of {private} tokens)"));
    }
    with_certificate(who, config.tls.worker_certificates)
}

fn with_certificate(who: String, policy: PeerCertificates) -> String {
    match policy {
        PeerCertificates::Off => who,
        PeerCertificates::Required => format!("{who}, and a certificate"),
    }
}

fn operators(config: &Config, tokens: &Tokens) -> String {
    if config.operators_on_public_port() {
        local_operators(config, tokens)
    } else {
        "no operators".to_owned()
    }
}

fn local_operators(config: &Config, tokens: &Tokens) -> String {
    let others = by_token(tokens);
    if config.operators.require_token {
        others
    } else {
        format!("all programs on this machine, other {others}")
    }
}

fn by_token(tokens: &Tokens) -> String {
    let count = tokens.count(|role| role.may_act() || role == Role::Read);
    format!("operators with one of {count} tokens")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hierophant_store::{JobStore, sqlite};

    use super::*;

    #[tokio::test]
    async fn each_listener_is_named_with_those_to_whom_it_is_open() {
        let folder = tempfile::tempdir().expect("temp dir");
        let store: Arc<dyn JobStore> =
            sqlite::open(&folder.path().join("db"), ()).await.expect("opens");
        let tokens = Tokens::open(&store).await.expect("reads");
        let address = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
        let bound = Bound { grpc: address(9000), http: address(9010), admin: None, socket: None };
        let mut config = Config::for_test("data".into());
        assert_eq!(
            summary(&config, &bound, &tokens),
            "gRPC at 0.0.0.0:9000 without TLS: every request with a valid signature; HTTP at 0.0.0.0:9010 \
             without TLS: artifacts by id, workers on this machine, all programs on this machine, other operators \
             with one of 0 tokens"
        );
        config.auth = AuthMode::Token;
        config.operators.on_public_port = Some(false);
        config.operators.require_token = true;
        for (name, role) in [("a", Role::Client), ("b", Role::Worker), ("c", Role::Read)] {
            tokens.create(name, role, None).await.expect("made");
        }
        let admin = Some(SocketAddr::from(([127, 0, 0, 1], 9011)));
        let bound = Bound { admin, socket: Some(Path::new("data/admin.sock")), ..bound };
        assert_eq!(
            summary(&config, &bound, &tokens),
            "gRPC at 0.0.0.0:9000 without TLS: requests with one of 1 client tokens; HTTP at 0.0.0.0:9010 \
             without TLS: artifacts by id, workers with one of 1 tokens, no operators; admin listener at \
             127.0.0.1:9011 without TLS: operators with one of 1 tokens; admin socket data/admin.sock: this user \
             and root"
        );
        config.private_inputs = PrivateInputs::PrivateWorkers;
        tokens.create("d", Role::PrivateWorker, None).await.expect("made");
        let line = summary(&config, &bound, &tokens);
        let who = "workers with one of 2 tokens (private inputs: those with one of 1 tokens), no operators";
        assert!(line.contains(who), "{line}");
    }
}
