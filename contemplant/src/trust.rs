//! TLS: trusted authorities and the client certificate. The files are read for each connection, so that changed
//! files need no restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use crate::config::TlsSettings;

/// TLS configuration made from the files in the settings.
#[derive(Debug)]
pub struct Trust {
    settings: TlsSettings,
    /// The last configuration, with the digest of its files.
    made: Mutex<Option<([u8; 32], Arc<ClientConfig>)>>,
}

/// The contents of the configured files.
struct Files {
    authorities: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Trust {
    /// A configuration from these settings.
    #[must_use]
    pub fn new(settings: TlsSettings) -> Self {
        Self { settings, made: Mutex::default() }
    }

    /// The configuration for a new connection: the last one, unless the files have changed.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or the key does not belong to the certificate.
    pub async fn config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let files = Files {
            authorities: read("tls.ca_certificate", self.settings.ca_certificate.as_ref()).await?,
            certificate: read("tls.certificate", self.settings.certificate.as_ref()).await?,
            key: read("tls.key", self.settings.key.as_ref()).await?,
        };
        let digest = files.digest();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = &*made
            && *of == digest
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(files.config()?);
        *made = Some((digest, Arc::clone(&config)));
        Ok(config)
    }
}

impl Files {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [&self.authorities, &self.certificate, &self.key] {
            let part = part.as_deref().unwrap_or_default();
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = &self.authorities {
            let authorities = certificates("tls.ca_certificate", pem)?;
            for authority in authorities {
                roots.add(authority).context("`tls.ca_certificate`")?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates("tls.certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| anyhow!("`tls.key` is not a private key in PEM ({error})"))?;
        builder
            .with_client_auth_cert(chain, key)
            .context("`tls.certificate` and `tls.key` do not match")
    }
}

async fn read(key: &str, path: Option<&PathBuf>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = path.map(PathBuf::as_path) else { return Ok(None) };
    let show = |path: &Path| format!("cannot read {} (`{key}`)", path.display());
    tokio::fs::read(path).await.map(Some).with_context(|| show(path))
}

fn certificates(key: &str, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| anyhow!("`{key}` cannot be read as PEM ({error})"))?;
    if all.is_empty() {
        return Err(anyhow!("`{key}` contains no certificate"));
    }
    Ok(all)
}
