//! A Hierophant under TLS.

use std::path::PathBuf;

use hierophant::config::{Config, TlsConfig};
use tempfile::TempDir;
use test_peers::certificates::{Authority, Issued, Leaf, Trust};

use super::Network;

/// A Hierophant with a certificate of an authority that only its own peers trust.
pub struct Secure {
    pub network: Network,
    pub authority: Authority,
    pub trust: Trust,
    pub certificate: PathBuf,
    pub key: PathBuf,
    _folder: TempDir,
}

impl Secure {
    pub async fn start() -> Self {
        Self::start_with(&Leaf::default(), |_| {}).await
    }

    /// Starts with this certificate; `change` may change the rest of the configuration.
    pub async fn start_with(leaf: &Leaf<'_>, change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let authority = Authority::new("an authority of this test");
        let (certificate, key) = authority.issue(leaf).write(folder.path(), "server");
        let authority_file = folder.path().join("authority.pem");
        test_peers::certificates::replace(&authority_file, &authority.pem());
        let network = Network::start_with(|config| {
            config.tls = TlsConfig {
                certificate: Some(certificate.clone()),
                key: Some(key.clone()),
                client_ca: Some(authority_file),
                ..TlsConfig::default()
            };
            change(config);
        })
        .await;
        let trust = Trust::in_authority(&authority);
        Self { network, authority, trust, certificate, key, _folder: folder }
    }

    /// A certificate for a peer of this name.
    pub fn issue_for(&self, name: &str) -> Issued {
        self.authority.issue(&Leaf { names: &[name], ..Leaf::default() })
    }

    /// Puts another certificate in the place of the first.
    pub fn replace(&self, issued: &Issued) {
        test_peers::certificates::replace(&self.certificate, &issued.certificate);
        test_peers::certificates::replace(&self.key, &issued.key);
    }
}
