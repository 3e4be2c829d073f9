//! TLS certificates: `[tls]`.

use std::path::PathBuf;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Whether peers must present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerCertificates {
    /// Not required.
    #[default]
    Off,
    /// Peers without a certificate are refused.
    Required,
}

/// Section `[tls]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsConfig {
    /// PEM file with the certificate for both ports, followed by its intermediate certificates. Default none: no TLS.
    /// Reloaded when it changes.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key. Default none.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities that issue certificates of workers and clients. Default none: no certificates are
    /// requested.
    pub client_ca: Option<PathBuf>,
    /// Whether workers must present a certificate of `client_ca`, at `/ws` and below `/leases`. Default `off`.
    pub worker_certificates: PeerCertificates,
    /// Whether gRPC clients must present a certificate of `client_ca`. Default `off`: SDKs before 6.5 have none.
    pub client_certificates: PeerCertificates,
}

impl TlsConfig {
    /// Whether TLS is configured.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    /// Checks the section. The files are read at start-up.
    pub(super) fn validate(&self, faults: &mut Faults) {
        match (&self.certificate, &self.key) {
            (Some(_), None) => faults
                .add("tls.key", "is missing: expected the file of the certificate's private key"),
            (None, Some(_)) => {
                faults.add("tls.certificate", "is missing: expected the file of the certificate");
            }
            _ => {}
        }
        if self.client_ca.is_some() && self.certificate.is_none() {
            faults.add(
                "tls.client_ca",
                "needs `certificate` and `key`, because peers present certificates over TLS only",
            );
        }
        for (key, wanted) in [
            ("tls.worker_certificates", self.worker_certificates),
            ("tls.client_certificates", self.client_certificates),
        ] {
            if wanted == PeerCertificates::Required && self.client_ca.is_none() {
                faults.add(key, "needs `client_ca`: expected the file of the authorities whose certificates are accepted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn half_a_pair_and_demands_without_an_authority_are_faults() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("hierophant.toml");
        let text = format!(
            "data_dir = {:?}\n[limits]\nhead_time = \"0s\"\nmax_head_bytes = 1\n[tls]\nkey = \"key.pem\"\n\
             client_certificates = \"required\"\nworker_certificates = \"required\"\n",
            folder.path()
        );
        std::fs::write(&file, text).expect("writes");
        let error = network_lib::config::load::<Config>(Some(&file), []).expect_err("must fail");
        let mut keys: Vec<&str> = error.faults.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "limits.head_time",
                "limits.max_head_bytes",
                "tls.certificate",
                "tls.client_certificates",
                "tls.worker_certificates"
            ]
        );
    }
}
