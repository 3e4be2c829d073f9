//! Certificates made during a test, and peers that trust only those.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

/// An authority that no public list knows.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

/// What is to be certified.
pub struct Leaf<'a> {
    /// DNS names, or IP addresses.
    pub names: &'a [&'a str],
    /// Serial number.
    pub serial: u64,
    /// Year at whose beginning it ends.
    pub until: i32,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self { names: &["localhost", "127.0.0.1"], serial: 1, until: 2200 }
    }
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// Makes one with this common name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { params, key, certificate }
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its own certificate.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// Certifies for servers and clients.
    #[must_use]
    pub fn issue(&self, leaf: &Leaf<'_>) -> Issued {
        let names = leaf.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names");
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(leaf.until, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let issued = params.signed_by(&key, &issuer).expect("a certificate");
        Issued { certificate: issued.pem(), key: key.serialize_pem(), der: issued.der().clone() }
    }
}

impl Issued {
    /// The certificate.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// Writes both into `folder`, each file whole at once, and returns the paths of certificate and key.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) =
            (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        replace(&certificate, &self.certificate);
        replace(&key, &self.key);
        (certificate, key)
    }
}

/// Puts a file in the place of another.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("writes");
    std::fs::rename(beside, path).expect("renames");
}

/// Trust settings of a TLS peer.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The one authority that it trusts, in PEM.
    pub authority: String,
    /// The certificate that it shows, if any.
    pub identity: Option<Issued>,
}

impl Trust {
    /// Trust in this authority, without a certificate of one's own.
    #[must_use]
    pub fn in_authority(authority: &Authority) -> Self {
        Self { authority: authority.pem(), identity: None }
    }

    /// The same with a certificate of one's own.
    #[must_use]
    pub fn with(&self, identity: Issued) -> Self {
        Self { identity: Some(identity), ..self.clone() }
    }

    /// A gRPC channel, made as the SDK makes it.
    ///
    /// # Errors
    ///
    /// When there is no connection.
    pub async fn channel(&self, grpc: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority));
        if let Some(identity) = &self.identity {
            tls = tls.identity(Identity::from_pem(&identity.certificate, &identity.key));
        }
        let endpoint = Channel::from_shared(format!("https://{grpc}")).expect("URL");
        endpoint.tls_config(tls)?.connect().await
    }

    /// An HTTP client that opens a connection for each call, as the SDK does.
    #[must_use]
    pub fn http(&self) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.authority.as_bytes()).expect("PEM");
        let mut client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .tls_built_in_root_certs(false)
            .add_root_certificate(authority);
        if let Some(Issued { certificate, key, .. }) = &self.identity {
            let both = format!("{certificate}{key}");
            client = client.identity(reqwest::Identity::from_pem(both.as_bytes()).expect("PEM"));
        }
        client.build().expect("a client")
    }

    /// For connections of any other kind.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes()).expect("PEM");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![identity.der()], key).expect("fits together")
            }
        })
    }
}
