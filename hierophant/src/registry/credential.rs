//! Authorization of workers: by their own token, by the configuration's `worker_token`, or by the proof that they run
//! on this machine.

use hierophant_scheduler::registry::Credential;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::PrivateInputs;
use crate::tokens::{Bearer, Role, Tokens};

/// Whether a worker runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locality {
    /// It has presented the secret of the data folder over a connection from this machine.
    Proved,
    /// It has not, for this reason.
    Unproved(String),
}

/// Authorizes a worker that presents `secret`. `shared` is the token of the configuration.
///
/// # Errors
///
/// The reason, for display.
pub fn authorize(
    shared: Option<&str>,
    tokens: &Tokens,
    secret: Option<&str>,
    locality: &Locality,
) -> Result<Credential, String> {
    let needed = shared.is_some() || tokens.any(Role::is_of_worker);
    if let Some(secret) = secret {
        if shared.is_some_and(|shared| same_secret(shared, secret)) {
            return Ok(Credential::Shared);
        }
        match tokens.bearer(secret) {
            Some(Bearer { id, name, role, .. }) if role.is_of_worker() => {
                return Ok(Credential::Own(id, name));
            }
            Some(Bearer { name, role, .. }) => {
                return Err(format!(
                    "token {name} has role {role}: expected a token of role worker or private-worker"
                ));
            }
            None => {}
        }
        if let Some(name) = tokens.revoked_name(secret) {
            return Err(revoked(&name));
        }
        if let Some(name) = tokens.expired_name(secret) {
            return Err(expired(&name));
        }
    }
    if !needed {
        return match locality {
            Locality::Proved => Ok(Credential::ThisMachine),
            Locality::Unproved(reason) => Err(format!(
                "token required: without one only workers on the same machine are admitted, and {reason}; \
                 otherwise create a token with `hierophant token create`, or set `worker_token` in \
                 hierophant.toml, and set it as `token` in contemplant.toml"
            )),
        };
    }
    match secret {
        Some(_) => {
            Err("unknown token: `token` in contemplant.toml must come from `hierophant token \
                 create`, or equal `worker_token` in hierophant.toml"
                .into())
        }
        None => Err("token required: set `token` in contemplant.toml".into()),
    }
}

/// Whether a worker with this credential has the right to private inputs, by the configuration and the role of its token.
#[must_use]
pub fn has_private_inputs(policy: PrivateInputs, credential: &Credential, tokens: &Tokens) -> bool {
    match (policy, credential) {
        (PrivateInputs::AllWorkers, _) => true,
        (PrivateInputs::PrivateWorkers, Credential::Own(token, _)) => {
            tokens.role(*token) == Some(Role::PrivateWorker)
        }
        (PrivateInputs::PrivateWorkers, Credential::Shared | Credential::ThisMachine) => false,
    }
}

/// Refusal of a worker whose token was revoked.
#[must_use]
pub fn revoked(name: &str) -> String {
    format!("the token {name} was revoked")
}

/// Refusal of a worker whose token has expired.
#[must_use]
pub fn expired(name: &str) -> String {
    format!("the token {name} has expired")
}

/// Compares in constant time, which reveals neither common prefixes nor lengths.
#[must_use]
pub fn same_secret(expected: &str, given: &str) -> bool {
    Sha256::digest(expected).ct_eq(&Sha256::digest(given)).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use hierophant_store::{JobStore, sqlite};

    const HERE: Locality = Locality::Proved;

    fn there() -> Locality {
        Locality::Unproved("this one connects from another machine".into())
    }

    async fn tokens() -> (tempfile::TempDir, Tokens) {
        let folder = tempfile::tempdir().expect("temp dir");
        let store: Arc<dyn JobStore> =
            sqlite::open(&folder.path().join("db"), ()).await.expect("opens");
        (folder, Tokens::open(&store).await.expect("reads"))
    }

    #[tokio::test]
    async fn without_any_token_only_this_machine_is_admitted() {
        let (_folder, tokens) = tokens().await;
        assert_eq!(authorize(None, &tokens, None, &HERE), Ok(Credential::ThisMachine));
        assert_eq!(authorize(None, &tokens, Some("x"), &HERE), Ok(Credential::ThisMachine));
        for secret in [None, Some("x")] {
            let why = authorize(None, &tokens, secret, &there()).expect_err("refused");
            assert!(why.contains("on the same machine"), "{why}");
            assert!(why.contains("this one connects from another machine"), "{why}");
        }
        tokens.create("rollup", Role::Client, None).await.expect("made");
        assert!(authorize(None, &tokens, None, &HERE).is_ok(), "not a worker's token");
    }

    #[tokio::test]
    async fn with_any_token_all_need_one() {
        let (_folder, tokens) = tokens().await;
        let (own, record) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
        let by_own = Ok(Credential::Own(record.id, "rig-7".into()));
        for shared in [None, Some("s3cret")] {
            for place in [HERE, there()] {
                assert_eq!(authorize(shared, &tokens, Some(&own), &place), by_own);
                for secret in [None, Some(""), Some("guess"), Some("s3cre")] {
                    let why = authorize(shared, &tokens, secret, &place).expect_err("refused");
                    assert!(why.contains("token"), "{why}");
                }
            }
        }
        let shared = authorize(Some("s3cret"), &tokens, Some("s3cret"), &there());
        assert_eq!(shared, Ok(Credential::Shared));
    }

    #[tokio::test]
    async fn a_private_workers_token_admits_and_gives_the_right_that_the_configuration_keeps_to_it()
    {
        let (_folder, tokens) = tokens().await;
        let (private, record) =
            tokens.create("vault-1", Role::PrivateWorker, None).await.expect("made");
        assert_eq!(tokens.role(record.id), Some(Role::PrivateWorker));
        let admit = |secret: Option<&str>, place| authorize(Some("s3cret"), &tokens, secret, place);
        let private = admit(Some(&private), &there()).expect("admitted");
        assert_eq!(private, Credential::Own(record.id, "vault-1".into()));
        let why = authorize(None, &tokens, None, &HERE).expect_err("it needs a token now");
        assert!(why.contains("token required"), "{why}");
        let (ordinary, _) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
        let ordinary = authorize(None, &tokens, Some(&ordinary), &HERE).expect("admitted");
        let shared = authorize(Some("s3cret"), &tokens, Some("s3cret"), &HERE).expect("admitted");
        assert_eq!(shared, Credential::Shared);
        let all = [private, ordinary, shared, Credential::ThisMachine];
        let rights = |policy| {
            all.each_ref().map(|credential| has_private_inputs(policy, credential, &tokens))
        };
        assert_eq!(rights(PrivateInputs::AllWorkers), [true; 4]);
        assert_eq!(rights(PrivateInputs::PrivateWorkers), [true, false, false, false]);
        tokens.revoke("vault-1").await.expect("revoked");
        let unknown = Credential::Own(network_lib::ids::TokenId([7; 16]), "vault-1".into());
        assert!(!has_private_inputs(PrivateInputs::PrivateWorkers, &unknown, &tokens));
    }

    #[tokio::test]
    async fn a_token_of_another_role_or_a_revoked_one_admits_nobody() {
        let (_folder, tokens) = tokens().await;
        for (name, role) in [("a", Role::Client), ("b", Role::Read), ("c", Role::Act)] {
            let (secret, _) = tokens.create(name, role, None).await.expect("made");
            let why = authorize(None, &tokens, Some(&secret), &HERE).expect_err("refused");
            assert!(why.contains("expected a token of role worker"), "{why}");
        }
        let (secret, _) = tokens.create("rig-7", Role::Worker, None).await.expect("made");
        tokens.revoke("rig-7").await.expect("revoked");
        let why = authorize(None, &tokens, Some(&secret), &HERE).expect_err("refused");
        assert_eq!(why, "the token rig-7 was revoked");
    }
}
