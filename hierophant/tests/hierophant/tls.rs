//! Both ports under TLS, and who does not go along with it.

use hierophant::config::{Config, TlsConfig};
use hierophant_proto::network as pb;
use pb::FulfillmentStatus;
use test_peers::certificates::{Authority, Leaf, Trust};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::raw::{HTTP2_START, ask, read_to_end};
use crate::support::tls::Secure;
use crate::support::{Client, LIMIT, Network, Worker, core_proof, hello};

#[tokio::test]
async fn a_client_and_a_contemplant_work_under_tls_from_request_to_proof() {
    let secure = Secure::start().await;
    let network = &secure.network;
    let mut client = Client::under_tls(network, &secure.trust).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let worker = Worker::dial_under_tls(network, &secure.trust).await.expect("connects");
    let mut worker = worker.welcome(hello()).await;
    let proof = core_proof();
    worker.prove_next(&proof).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let page = client.http.get(network.url("/health")).send().await.expect("answers");
    assert_eq!(page.headers()["strict-transport-security"], "max-age=86400");
    let uri = status.proof_uri.expect("a proof");
    assert!(uri.starts_with(&format!("https://127.0.0.1:{}/", network.http.port())), "{uri}");
    let got = client.http.get(uri).send().await.expect("answers").bytes().await.expect("bytes");
    assert!(got == proof);
}

#[tokio::test]
async fn who_speaks_without_tls_is_told_so_and_gets_nothing() {
    let secure = Secure::start().await;
    let network = &secure.network;
    let mut plain = TcpStream::connect(network.http).await.expect("connects");
    assert_eq!(ask(&mut plain, "/health").await, "HTTP/1.1 400 Bad Request");
    let said = reqwest::get(format!("http://{}/health", network.http)).await.expect("answers");
    assert_eq!(said.status(), 400);
    assert!(said.text().await.expect("text").contains("this port speaks TLS: use https://"));
    let mut plain = TcpStream::connect(network.grpc).await.expect("connects");
    plain.write_all(HTTP2_START).await.expect("sends");
    let said = read_to_end(&mut plain, LIMIT).await;
    assert!(String::from_utf8_lossy(&said).contains("this port speaks TLS: use https://"));
    let url = format!("http://{}", network.grpc);
    let channel = tonic::transport::Channel::from_shared(url).expect("URL").connect_lazy();
    let request = hierophant_proto::artifact::CreateArtifactRequest::default();
    let refused = Client::over(channel, 7).artifacts.create_artifact(request).await;
    let refused = refused.expect_err("no TLS, no answer");
    assert!(format!("{refused:?}").contains("INADEQUATE_SECURITY"), "{refused:?}");
}

#[tokio::test]
async fn clients_and_contemplants_refuse_an_authority_that_they_do_not_know() {
    let secure = Secure::start().await;
    let network = &secure.network;
    let stranger = Trust::in_authority(&Authority::new("another authority"));
    assert!(stranger.channel(network.grpc).await.is_err());
    let refused = stranger.http().get(network.url("/health")).send().await;
    assert!(format!("{:?}", refused.expect_err("unknown")).contains("UnknownIssuer"));
    assert!(Worker::dial_under_tls(network, &stranger).await.is_err());
}

#[tokio::test]
async fn clients_and_contemplants_refuse_an_expired_certificate() {
    let expired = Leaf { until: 2020, ..Leaf::default() };
    let secure = Secure::start_with(&expired, |_| {}).await;
    let network = &secure.network;
    assert!(secure.trust.channel(network.grpc).await.is_err());
    let refused = secure.trust.http().get(network.url("/health")).send().await;
    assert!(format!("{:?}", refused.expect_err("expired")).contains("Expired"));
    assert!(Worker::dial_under_tls(network, &secure.trust).await.is_err());
    assert_eq!(network.figure("hierophant_tls_certificate_end_seconds").await, 1_577_836_800.0);
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named_at_the_start() {
    let folder = tempfile::tempdir().expect("temp dir");
    let authority = Authority::new("an authority of this test");
    let (certificate, key) = authority.issue(&Leaf::default()).write(folder.path(), "one");
    let (_, other) = authority.issue(&Leaf::default()).write(folder.path(), "other");
    let tls = |certificate, key| TlsConfig { certificate, key, ..TlsConfig::default() };
    let refusal = async |tls| {
        let mut config = Config::for_test(folder.path().join("data"));
        config.tls = tls;
        let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
        let outcome = hierophant::run(config, listeners, Default::default()).await;
        format!("{:#}", outcome.expect_err("must be refused"))
    };
    let error = refusal(tls(Some(certificate.clone()), Some(other))).await;
    assert!(error.contains("do not match"), "{error}");
    let error = refusal(tls(Some(certificate.clone()), Some(folder.path().join("none")))).await;
    assert!(error.contains("`tls.key`") && error.contains("none"), "{error}");
    let error = refusal(tls(Some(key.clone()), Some(key))).await;
    assert!(error.contains("`tls.certificate` contains no certificate"), "{error}");
    let rubbish = folder.path().join("rubbish");
    test_peers::certificates::replace(&rubbish, "rubbish");
    let error = refusal(tls(Some(certificate), Some(rubbish))).await;
    assert!(error.contains("`tls.key` is not a PEM private key"), "{error}");
}

#[tokio::test]
async fn the_command_line_finds_a_hierophant_under_tls_on_its_own_machine() {
    let names = &["prover.example.org", "localhost", "127.0.0.1"];
    let secure = Secure::start_with(&Leaf { names, ..Leaf::default() }, |_| {}).await;
    let folder = tempfile::tempdir().expect("temp dir");
    let (config, ca) = (folder.path().join("hierophant.toml"), folder.path().join("ca.pem"));
    test_peers::certificates::replace(&ca, &secure.authority.pem());
    let text = format!(
        "http_port = {}\ndata_dir = {:?}\n[tls]\ncertificate = {:?}\nkey = {:?}\n",
        secure.network.http.port(),
        folder.path(),
        secure.certificate,
        secure.key
    );
    test_peers::certificates::replace(&config, &text);
    let run = async |arguments: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hierophant"));
        command.arg("status").args(arguments).current_dir(folder.path()).env_clear();
        tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("starts")
    };
    let found = run(&["--ca".as_ref(), ca.as_ref()]).await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    // By an address of one's own choice, likewise.
    let url = secure.network.url("");
    let found = run(&["--url".as_ref(), url.as_ref(), "--ca".as_ref(), ca.as_ref()]).await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let refused = run(&[]).await;
    assert_eq!(refused.status.code(), Some(3), "an unknown authority");
}

#[tokio::test]
async fn without_tls_nothing_changes() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let uri = client.upload(hierophant_proto::artifact::ArtifactType::Stdin, b"input").await;
    assert!(uri.starts_with("http://"), "{uri}");
    assert_eq!(network.figure("hierophant_tls_certificate_end_seconds").await, 0.0);
}
