//! Whom to believe, and what to show: `[tls]`.

use std::path::PathBuf;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Section `[tls]`. The files are read again for each connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSettings {
    /// PEM file with authorities to believe besides the public ones. Default: none.
    pub ca_certificate: Option<PathBuf>,
    /// PEM file with the certificate to show, followed by those between it and its authority. Default: none.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key. Default: none.
    pub key: Option<PathBuf>,
}

/// Notes what is wrong with the settings.
pub(super) fn validate(tls: &TlsSettings, faults: &mut Faults) {
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => faults.add("tls.key", "is missing; name the certificate's private key"),
        (None, Some(_)) => faults.add("tls.certificate", "is missing; name the certificate"),
        _ => {}
    }
}
