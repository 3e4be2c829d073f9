//! The section `[tls]`: trusted authorities and the client certificate.

use std::path::PathBuf;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// The section `[tls]`. The files are read again for each connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSettings {
    /// PEM file with authorities to trust in addition to the public ones. Default: none.
    pub ca_certificate: Option<PathBuf>,
    /// PEM file with the client certificate, followed by its intermediate certificates. Default: none.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key. Default: none.
    pub key: Option<PathBuf>,
}

/// Adds the faults of the settings.
pub(super) fn validate(tls: &TlsSettings, faults: &mut Faults) {
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => faults.add("tls.key", "is missing; name the certificate's private key"),
        (None, Some(_)) => faults.add("tls.certificate", "is missing; name the certificate"),
        _ => {}
    }
}
