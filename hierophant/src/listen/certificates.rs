//! TLS certificates, reloaded when their files change. Invalid files leave the old certificates in use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use hierophant_model::records::Millis;
use network_lib::task;
use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Port;
use super::x509::{self, Facts};
use crate::config::{PeerCertificates, TlsConfig};
use crate::metrics::Metrics;

/// Interval of reading the files. Comparing contents detects any way of replacing them.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Time before expiry at which warnings start.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Interval of warnings about expiry.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The certificates in use. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Certificates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: TlsConfig,
    metrics: Metrics,
    used: Mutex<Arc<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    digest: [u8; 32],
    facts: Facts,
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// The files' contents.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Unusable contents, and whether they were reported.
#[derive(Default)]
struct Broken {
    digest: Option<[u8; 32]>,
    reported: bool,
}

impl Certificates {
    /// Loads the configured certificates; `None` if TLS is off.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or certificate and key do not match.
    pub(super) async fn open(
        settings: &TlsConfig,
        metrics: Metrics,
    ) -> anyhow::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let loaded = load(settings, &read(settings).await?)?;
        report_loaded(&loaded, &metrics);
        let used = Mutex::new(Arc::new(loaded));
        Ok(Some(Self(Arc::new(Shared { settings: settings.clone(), metrics, used }))))
    }

    /// TLS configuration for new connections on a port.
    pub(super) fn for_port(&self, port: Port) -> Arc<ServerConfig> {
        let used = self.used();
        match port {
            Port::Grpc => Arc::clone(&used.grpc),
            Port::Http | Port::Local => Arc::clone(&used.http),
        }
    }

    /// Reloads the files on changes and on SIGHUP, until `stop`.
    ///
    /// # Errors
    ///
    /// If the signal handler cannot be installed.
    pub(super) fn watch(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let this = self.clone();
        task::spawn("certificates", async move {
            let mut poll = tokio::time::interval(POLL_INTERVAL);
            let mut warn = tokio::time::interval_at(Instant::now() + WARN_INTERVAL, WARN_INTERVAL);
            let mut broken = Broken::default();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = poll.tick() => this.reload(&mut broken, false).await,
                    _ = hangup.recv() => this.reload(&mut broken, true).await,
                    _ = warn.tick() => warn_of_end(&this.used().facts),
                }
            }
        });
        Ok(())
    }

    /// Reloads the files if they have changed. Files are replaced one after the other, so a mismatch is reported
    /// only if it persists at the next poll, or on SIGHUP.
    async fn reload(&self, broken: &mut Broken, asked_for: bool) {
        let files = read(&self.0.settings).await;
        let digest = files.as_ref().map_or([0; 32], Files::digest);
        if digest == self.used().digest {
            *broken = Broken::default();
            if asked_for {
                tracing::info!("SIGHUP: the certificates have not changed");
            }
            return;
        }
        match files.and_then(|files| load(&self.0.settings, &files)) {
            Ok(loaded) => {
                *broken = Broken::default();
                report_loaded(&loaded, &self.0.metrics);
                self.0.metrics.certificates_read(true);
                *self.0.used.lock() = Arc::new(loaded);
            }
            Err(error) => {
                let again = broken.digest == Some(digest);
                if !again {
                    *broken = Broken { digest: Some(digest), reported: false };
                }
                if (again || asked_for) && !broken.reported {
                    broken.reported = true;
                    self.0.metrics.certificates_read(false);
                    tracing::error!(
                        reason = format!("{error:#}"),
                        "cannot use the changed certificates; the old ones stay in use"
                    );
                }
            }
        }
    }

    fn used(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.used.lock())
    }
}

/// Host name that matches a certificate file, for programs on the same machine.
///
/// # Errors
///
/// A message, if the file is not a certificate.
pub fn name_in(certificate: &Path) -> Result<String, String> {
    let place = certificate.display();
    let pem = std::fs::read(certificate)
        .map_err(|error| format!("cannot read {place} (`tls.certificate`): {error}"))?;
    let leaf = CertificateDer::from_pem_slice(&pem)
        .map_err(|error| format!("{place} is not a PEM certificate: {error}"))?;
    let name = x509::facts(&leaf).map_err(|reason| format!("{place}: {reason}"))?.name;
    let first = name.split(", ").next().filter(|name| !name.is_empty()).unwrap_or("localhost");
    // A wildcard certificate matches any name in its domain.
    Ok(first.replace('*', "hierophant"))
}

impl Files {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()] {
            let part = part.map_or(&[][..], Vec::as_slice);
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

async fn read(settings: &TlsConfig) -> anyhow::Result<Files> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        bail!("expected both `tls.certificate` and `tls.key`");
    };
    let client_ca = match &settings.client_ca {
        Some(path) => Some(bytes("tls.client_ca", path).await?),
        None => None,
    };
    let certificate = bytes("tls.certificate", certificate).await?;
    Ok(Files { certificate, key: bytes("tls.key", key).await?, client_ca })
}

async fn bytes(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = tokio::fs::read(path).await;
    read.with_context(|| format!("cannot read {} (`{key}`)", path.display()))
}

fn load(settings: &TlsConfig, files: &Files) -> anyhow::Result<Loaded> {
    let chain = certificates("tls.certificate", &files.certificate)?;
    let leaf = chain.first().ok_or_else(|| anyhow!("`tls.certificate` contains no certificate"))?;
    let facts = x509::facts(leaf).map_err(|reason| anyhow!("`tls.certificate`: {reason}"))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|error| anyhow!("`tls.key` is not a PEM private key ({error})"))?;
    let roots = match &files.client_ca {
        Some(bytes) => Some(Arc::new(authorities(bytes)?)),
        None => None,
    };
    let config = |wanted: PeerCertificates, protocols: &[&[u8]]| -> anyhow::Result<_> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &roots {
            Some(roots) if wanted == PeerCertificates::Required => {
                // A route that requires a certificate answers its absence with a message.
                let roots = Arc::clone(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .context("`tls.client_ca`")?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain.clone(), key.clone_key())
            .context("`tls.certificate` and `tls.key` do not match")?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    };
    Ok(Loaded {
        digest: files.digest(),
        facts,
        grpc: config(settings.client_certificates, &[b"h2"])?,
        http: config(settings.worker_certificates, &[b"h2", b"http/1.1"])?,
    })
}

fn certificates(key: &str, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| anyhow!("`{key}` is not valid PEM ({error})"))
}

fn authorities(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", pem)? {
        roots.add(certificate).context("`tls.client_ca`")?;
    }
    if roots.is_empty() {
        bail!("`tls.client_ca` contains no certificate");
    }
    Ok(roots)
}

fn report_loaded(loaded: &Loaded, metrics: &Metrics) {
    let Facts { not_after, serial, name } = &loaded.facts;
    metrics.certificate_ends(*not_after);
    let ends = time(*not_after);
    tracing::info!(serial, name, ends, "the TLS certificate is in use");
    warn_of_end(&loaded.facts);
}

fn warn_of_end(facts: &Facts) {
    let left = Millis(facts.not_after.saturating_mul(1000)).since(Millis::now());
    let Facts { not_after, serial, .. } = facts;
    if Duration::from_millis(left) < WARN_BEFORE {
        let (ends, days) = (time(*not_after), left / (24 * 3600 * 1000));
        tracing::warn!(
            serial,
            ends,
            days,
            "the TLS certificate expires soon or has expired: renew it"
        );
    }
}

fn time(unix_seconds: i64) -> String {
    let seconds = u64::try_from(unix_seconds).unwrap_or_default();
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string())
}
