//! A Contemplant under TLS. A relay that ends it stands before the Hierophant that the test plays.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use contemplant::config::Config;
use network_lib::task;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use test_peers::certificates::{Authority, Leaf, replace};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::fake_executor::proved;
use crate::setup::Setup;
use crate::waiting::PATIENCE;

/// How each handshake went: the certificate that the Contemplant showed, if any, or why there was none.
type Handshakes = mpsc::UnboundedReceiver<Result<Option<CertificateDer<'static>>, String>>;

/// Certificates of one test.
struct Certified {
    authority: Authority,
    folder: TempDir,
}

impl Certified {
    fn new() -> Self {
        Self {
            authority: Authority::new("an authority of this test"),
            folder: TempDir::new().unwrap(),
        }
    }

    fn authority_file(&self) -> PathBuf {
        let file = self.folder.path().join("authority.pem");
        replace(&file, &self.authority.pem());
        file
    }

    /// Puts a relay under TLS before the configured Hierophant.
    fn relay(&self, config: &mut Config) -> Handshakes {
        let server = self.authority.issue(&Leaf::default());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = verifier.allow_unauthenticated().build().unwrap();
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![server.der()],
                PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = &config.hierophant_ws_address;
        let to: SocketAddr =
            address.trim_start_matches("ws://").trim_end_matches("/ws").parse().unwrap();
        config.hierophant_ws_address = format!("wss://localhost:{port}/ws");
        let (told, handshakes) = mpsc::unbounded_channel();
        task::spawn("relay", async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), told.clone());
                task::spawn("relayed", async move {
                    let mut stream = match acceptor.accept(stream).await {
                        Ok(stream) => stream,
                        Err(error) => return drop(told.send(Err(error.to_string()))),
                    };
                    let shown = stream.get_ref().1.peer_certificates();
                    drop(told.send(Ok(shown.map(|chain| chain[0].clone().into_owned()))));
                    let mut plain = TcpStream::connect(to).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut plain).await);
                });
            }
        });
        handshakes
    }
}

async fn next(handshakes: &mut Handshakes) -> Result<Option<CertificateDer<'static>>, String> {
    timeout(PATIENCE, handshakes.recv()).await.expect("a connection").unwrap()
}

#[tokio::test]
async fn a_proof_is_made_under_tls_with_an_authority_of_one_s_own() {
    let certified = Certified::new();
    let mut handshakes = None;
    let mut setup = Setup::start_with(|config| {
        handshakes = Some(certified.relay(config));
        config.tls.ca_certificate = Some(certified.authority_file());
    })
    .await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    connection.expect_end(lease).await;
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
    // The socket, and what was fetched and handed in, all came under TLS: there is no other way.
    let mut handshakes = handshakes.unwrap();
    for _ in 0..2 {
        assert_eq!(next(&mut handshakes).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_authority_that_is_not_known_is_refused() {
    let certified = Certified::new();
    let mut handshakes = None;
    let setup = Setup::start_with(|config| handshakes = Some(certified.relay(config))).await;
    let mut handshakes = handshakes.unwrap();
    for _ in 0..2 {
        let refused = next(&mut handshakes).await.unwrap_err();
        assert!(refused.contains("UnknownCA"), "{refused}");
    }
    assert!(!setup.contemplant.is_finished(), "it goes on trying");
}

#[tokio::test]
async fn the_certificate_is_shown_and_a_changed_one_at_the_next_connection() {
    let certified = Certified::new();
    let leaf = |serial| Leaf { names: &["rig-7"], serial, ..Leaf::default() };
    let first = certified.authority.issue(&leaf(1));
    let folder = certified.folder.path();
    let (certificate, key) = first.write(folder, "rig");
    let mut handshakes = None;
    let mut setup = Setup::start_with(|config| {
        handshakes = Some(certified.relay(config));
        config.tls.ca_certificate = Some(certified.authority_file());
        (config.tls.certificate, config.tls.key) = (Some(certificate), Some(key));
    })
    .await;
    let mut handshakes = handshakes.unwrap();
    let connection = setup.hierophant.welcome(&[]).await;
    assert_eq!(next(&mut handshakes).await.unwrap(), Some(first.der()));
    let second = certified.authority.issue(&leaf(2));
    let _ = second.write(folder, "rig");
    drop(connection);
    let connection = setup.hierophant.welcome(&[]).await;
    assert_eq!(next(&mut handshakes).await.unwrap(), Some(second.der()));
    // Transfers too.
    let (_, call) = setup.begin(&connection).await;
    assert_eq!(next(&mut handshakes).await.unwrap(), Some(second.der()));
    call.finish(proved());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named_at_the_start() {
    let certified = Certified::new();
    let one = certified.authority.issue(&Leaf::default());
    let other = certified.authority.issue(&Leaf::default());
    let folder = certified.folder.path();
    let ((certificate, _), (_, key)) = (one.write(folder, "one"), other.write(folder, "other"));
    let setup = Setup::start_with(|config| {
        (config.tls.certificate, config.tls.key) = (Some(certificate), Some(key));
    })
    .await;
    let error = format!("{:#}", setup.contemplant.await.unwrap().unwrap_err());
    assert!(error.contains("do not match"), "{error}");
}
