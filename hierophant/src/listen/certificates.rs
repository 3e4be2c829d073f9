//! The certificates in use. They are read again when their files change; what does not fit together leaves
//! the old ones in use.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use hierophant_model::records::Millis;
use network_lib::task;
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

/// How often the files are looked at. Reading them says whether they have changed, however they were put there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long before its end a certificate is warned of.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);

/// How often it is warned of.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

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

/// Contents that cannot be used, and whether that was said.
#[derive(Default)]
struct Broken {
    digest: Option<[u8; 32]>,
    said: bool,
}

impl Certificates {
    /// Reads the configured certificates; none if TLS is off.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or they do not fit together.
    pub(super) async fn open(
        settings: &TlsConfig,
        metrics: Metrics,
    ) -> anyhow::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let loaded = load(settings, &read(settings).await?)?;
        say_loaded(&loaded, &metrics);
        let used = Mutex::new(Arc::new(loaded));
        Ok(Some(Self(Arc::new(Shared { settings: settings.clone(), metrics, used }))))
    }

    /// What a new connection on this port is to be served with.
    pub(super) fn for_port(&self, port: Port) -> Arc<ServerConfig> {
        let used = self.used();
        match port {
            Port::Grpc => Arc::clone(&used.grpc),
            Port::Http => Arc::clone(&used.http),
        }
    }

    /// Reads the files again whenever they change, and on SIGHUP, until `stop`.
    ///
    /// # Errors
    ///
    /// When the signal cannot be listened for.
    pub(super) fn watch(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let this = self.clone();
        task::spawn("certificates", async move {
            let mut look = tokio::time::interval(LOOK_EVERY);
            let mut warn = tokio::time::interval_at(Instant::now() + WARN_EVERY, WARN_EVERY);
            let mut broken = Broken::default();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = look.tick() => this.look(&mut broken, false).await,
                    _ = hangup.recv() => this.look(&mut broken, true).await,
                    _ = warn.tick() => warn_of_end(&this.used().facts),
                }
            }
        });
        Ok(())
    }

    /// Reads the files again. Whoever replaces them does so one after the other, so what does not fit is
    /// reported only when it is still there at the next look, or somebody asked for it.
    async fn look(&self, broken: &mut Broken, asked_for: bool) {
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
                say_loaded(&loaded, &self.0.metrics);
                self.0.metrics.certificates_read(true);
                *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
            }
            Err(error) => {
                let again = broken.digest == Some(digest);
                if !again {
                    *broken = Broken { digest: Some(digest), said: false };
                }
                if (again || asked_for) && !broken.said {
                    broken.said = true;
                    self.0.metrics.certificates_read(false);
                    tracing::error!(
                        reason = format!("{error:#}"),
                        "the changed certificates cannot be used; the old ones stay in use"
                    );
                }
            }
        }
    }

    fn used(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The name by which the Hierophant with this certificate can be called, for programs on its machine.
///
/// # Errors
///
/// In words, when the file is no certificate.
pub fn name_in(certificate: &Path) -> Result<String, String> {
    let place = certificate.display();
    let pem = std::fs::read(certificate)
        .map_err(|error| format!("{place} (`tls.certificate`) cannot be read: {error}"))?;
    let leaf = CertificateDer::from_pem_slice(&pem)
        .map_err(|error| format!("{place} holds no certificate in PEM: {error}"))?;
    let name = x509::facts(&leaf).map_err(|reason| format!("{place}: {reason}"))?.name;
    let first = name.split(", ").next().filter(|name| !name.is_empty()).unwrap_or("localhost");
    // A certificate for a whole domain fits any name in it.
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
        bail!("`tls.certificate` and `tls.key` are needed both");
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
    let leaf = chain.first().ok_or_else(|| anyhow!("`tls.certificate` holds no certificate"))?;
    let facts = x509::facts(leaf).map_err(|reason| anyhow!("`tls.certificate`: {reason}"))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|error| anyhow!("`tls.key` holds no private key in PEM ({error})"))?;
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
                // Who shows none is told so by the route that demands one, in words.
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
            .context("`tls.certificate` and `tls.key` do not fit together")?;
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
    all.map_err(|error| anyhow!("`{key}` cannot be read as PEM ({error})"))
}

fn authorities(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", pem)? {
        roots.add(certificate).context("`tls.client_ca`")?;
    }
    if roots.is_empty() {
        bail!("`tls.client_ca` holds no certificate");
    }
    Ok(roots)
}

fn say_loaded(loaded: &Loaded, metrics: &Metrics) {
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
        tracing::warn!(serial, ends, days, "the TLS certificate ends soon, or has ended: renew it");
    }
}

fn time(unix_seconds: i64) -> String {
    let seconds = u64::try_from(unix_seconds).unwrap_or_default();
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string())
}
