//! Certificates that are replaced while Hierophant runs.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::stream;
use hierophant_proto::artifact::ArtifactType;
use test_peers::certificates::{Leaf, Trust, replace};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::support::tls::Secure;
use crate::support::{Client, Worker, core_proof, eventually, hello};

/// The certificate that a new connection is shown.
async fn shown(trust: &Trust, port: SocketAddr) -> Vec<u8> {
    let stream = TcpStream::connect(port).await.expect("connects");
    let name = "localhost".try_into().expect("a name");
    let stream = TlsConnector::from(trust.config()).connect(name, stream).await;
    let stream = stream.expect("shakes hands");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

/// Makes calls one after the other until it is stopped, none of which may fail.
struct Steady {
    calls: Arc<AtomicU64>,
    running: Vec<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Steady {
    fn new() -> Self {
        Self { calls: Arc::default(), running: Vec::new(), stop: CancellationToken::new() }
    }

    fn add<F>(&mut self, mut call: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (calls, stop) = (Arc::clone(&self.calls), self.stop.clone());
        self.running.push(network_lib::task::spawn("steady calls", async move {
            while !stop.is_cancelled() {
                call().await;
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }));
    }

    async fn go_on_for(&self, more: u64) {
        let goal = self.calls.load(Ordering::Relaxed) + more;
        eventually("more calls", async || self.calls.load(Ordering::Relaxed) >= goal).await;
    }

    async fn end(self) {
        self.stop.cancel();
        for running in self.running {
            running.await.expect("no call has failed");
        }
    }
}

#[tokio::test]
async fn certificates_swapped_on_disk_are_in_use_within_a_minute_without_a_dropped_request() {
    let secure = Secure::start().await;
    let network = &secure.network;
    let trust = secure.trust.clone();
    let mut client = Client::under_tls(network, &trust).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let worker = Worker::dial_under_tls(network, &trust).await.expect("connects");
    let mut worker = worker.welcome(hello()).await;

    let mut steady = Steady::new();
    // One connection for all calls.
    let (long, asked) = (client.clone(), id.clone());
    steady.add(move || {
        let (mut client, id) = (long.clone(), asked.clone());
        async move { drop(client.status(&id).await) }
    });
    // A connection for each call, as SDKs up to 6.2.1 do it.
    let (grpc, http, own, asked) = (network.grpc, network.http, trust.clone(), id.clone());
    steady.add(move || {
        let (trust, id) = (own.clone(), asked.clone());
        async move {
            let mut client = Client::under_tls(&test_peers::Addresses { grpc, http }, &trust).await;
            client.status(&id).await;
        }
    });
    let (own, url) = (trust.clone(), network.url("/contemplants"));
    steady.add(move || {
        let call = own.http().get(&url).send();
        async move { assert_eq!(call.await.expect("answers").status(), 200) }
    });
    // An upload that begins before and ends after.
    let ticket = client.ticket(ArtifactType::Stdin).await;
    let swapped = CancellationToken::new();
    let until = swapped.clone();
    let chunks = stream::unfold(false, move |ended| {
        let until = until.clone();
        async move {
            let piece = Ok::<_, std::io::Error>(Bytes::from_static(b"piece"));
            tokio::time::sleep(Duration::from_millis(20)).await;
            (!ended).then_some((piece, until.is_cancelled()))
        }
    });
    let body = reqwest::Body::wrap_stream(chunks);
    let upload = trust.http().put(&ticket.artifact_presigned_url).body(body).send();
    let upload = network_lib::task::spawn("upload", upload);
    steady.go_on_for(50).await;

    let next = secure.authority.issue(&Leaf { serial: 2, until: 2199, ..Leaf::default() });
    assert!(shown(&trust, network.grpc).await != next.der().to_vec());
    secure.replace(&next);
    let begun = Instant::now();
    for port in [network.grpc, network.http] {
        eventually("the new certificate is shown", async || {
            shown(&trust, port).await == next.der().to_vec()
        })
        .await;
    }
    println!("the new certificate was in use after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(60));
    steady.go_on_for(50).await;
    swapped.cancel();
    println!("{} calls, none of which failed", steady.calls.load(Ordering::Relaxed));
    steady.end().await;
    assert_eq!(upload.await.expect("no panic").expect("answers").status(), 200);
    // The Contemplant's connection is still the first one.
    worker.prove_next(&core_proof()).await;
    let read = r#"hierophant_tls_certificates_read_total{outcome="used"}"#;
    assert_eq!(network.figure(read).await, 1.0);
    let ends = network.figure("hierophant_tls_certificate_end_seconds").await;
    assert_eq!(ends, 7_226_582_400.0);
}

#[tokio::test]
async fn a_link_that_is_turned_to_other_files_is_noticed() {
    let secure = Secure::start().await;
    let network = &secure.network;
    let folder = tempfile::tempdir().expect("temp dir");
    let next = secure.authority.issue(&Leaf { serial: 2, ..Leaf::default() });
    let (certificate, key) = next.write(folder.path(), "next");
    for (link, file) in [(&secure.certificate, &certificate), (&secure.key, &key)] {
        let beside = link.with_extension("link");
        std::os::unix::fs::symlink(file, &beside).expect("links");
        std::fs::rename(beside, link).expect("renames");
    }
    eventually("the new certificate is shown", async || {
        shown(&secure.trust, network.http).await == next.der().to_vec()
    })
    .await;
}

#[tokio::test]
async fn certificates_that_do_not_fit_together_leave_the_old_ones_in_use() {
    let secure = Secure::start().await;
    let network = &secure.network;
    let first = shown(&secure.trust, network.http).await;
    let next = secure.authority.issue(&Leaf { serial: 2, ..Leaf::default() });
    let refused = r#"hierophant_tls_certificates_read_total{outcome="refused"}"#;
    assert_eq!(network.figure(refused).await, 0.0);
    // Only half of the pair.
    replace(&secure.certificate, &next.certificate);
    eventually("it is refused", async || network.figure(refused).await >= 1.0).await;
    assert!(shown(&secure.trust, network.http).await == first);
    assert!(shown(&secure.trust, network.grpc).await == first);
    replace(&secure.certificate, "rubbish");
    eventually("that too", async || network.figure(refused).await >= 2.0).await;
    assert!(shown(&secure.trust, network.http).await == first);
    secure.replace(&next);
    eventually("the new certificate is shown", async || {
        shown(&secure.trust, network.http).await == next.der().to_vec()
    })
    .await;
}

#[tokio::test]
async fn a_hangup_signal_has_the_certificates_read_at_once() {
    let secure = Secure::start().await;
    let network = &secure.network;
    // Behind a look, so that the next one is seconds away.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let next = secure.authority.issue(&Leaf { serial: 2, ..Leaf::default() });
    secure.replace(&next);
    let id = std::process::id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().expect("runs").success());
    let begun = Instant::now();
    eventually("the new certificate is shown", async || {
        shown(&secure.trust, network.http).await == next.der().to_vec()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
