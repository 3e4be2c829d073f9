//! How many connections may come, and how long they may stay.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hierophant::config::{Config, LimitsConfig};
use hierophant_proto::artifact::ArtifactType;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::FromWorker;
use test_peers::certificates::Leaf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;

use crate::support::raw::{HTTP2_START, ask, connect_from, frames, read_to_end};
use crate::support::tls::Secure;
use crate::support::{Client, LIMIT, Network, Worker, eventually, hello};

/// A refusal comes at once: much earlier than anything that was left to time out.
const AT_ONCE: Duration = Duration::from_secs(3);

/// No connection is closed by a time limit.
fn patient(limits: &mut LimitsConfig) {
    limits.head_time = LIMIT * 10;
    limits.handshake_time = LIMIT * 10;
}

async fn is_refused(mut stream: TcpStream) -> bool {
    let begun = Instant::now();
    let answer = read_to_end(&mut stream, LIMIT).await;
    answer.is_empty() && begun.elapsed() < AT_ONCE
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_until_others_leave() {
    let network = Network::start_with(|config| {
        patient(&mut config.limits);
        config.limits.max_connections = 4.try_into().expect("not zero");
    })
    .await;
    eventually("the port is free", async || network.figure("hierophant_connections").await <= 1.0)
        .await;
    let mut open = Vec::new();
    for (last, port) in [(2, network.grpc), (3, network.http), (4, network.grpc)] {
        open.push(connect_from(last, port).await);
    }
    let mut last = connect_from(5, network.http).await;
    assert_eq!(ask(&mut last, "/health").await, "HTTP/1.1 200 OK");
    for port in [network.grpc, network.http] {
        assert!(is_refused(connect_from(6, port).await).await, "the fifth connection");
    }
    // Who is in is served on.
    assert_eq!(ask(&mut last, "/health").await, "HTTP/1.1 200 OK");
    drop((open, last));
    eventually("others may come", async || {
        let mut stream = connect_from(6, network.http).await;
        ask(&mut stream, "/health").await == "HTTP/1.1 200 OK"
    })
    .await;
    let refused = r#"hierophant_connections_refused_total{reason="connections"}"#;
    assert!(network.figure(refused).await >= 2.0);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let network = Network::start_with(|config| {
        patient(&mut config.limits);
        config.limits.max_connections_per_address = 2;
    })
    .await;
    let _open = [connect_from(2, network.grpc).await, connect_from(2, network.http).await];
    assert!(is_refused(connect_from(2, network.http).await).await, "the third connection");
    let mut other = connect_from(3, network.http).await;
    assert_eq!(ask(&mut other, "/health").await, "HTTP/1.1 200 OK");
    let refused = r#"hierophant_connections_refused_total{reason="address"}"#;
    assert!(network.figure(refused).await >= 1.0);
}

/// A call of each address at once, and then five a second.
fn slow(config: &mut Config) {
    (config.calls.per_ip_per_second, config.calls.per_ip_burst) = (5, 1000);
}

/// More requests for a page than its address may make at once, over one connection, all of them answered.
async fn flood(last: u8, to: SocketAddr) -> TcpStream {
    let mut stream = connect_from(last, to).await;
    let head = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(head.repeat(150).as_bytes()).await.expect("sends");
    let (mut answers, mut part) = (String::new(), [0; 4096]);
    while answers.matches("HTTP/1.1 200 OK").count() < 150 {
        let count = stream.read(&mut part).await.expect("answers");
        assert!(count > 0, "the connection ended after {answers}");
        answers.push_str(&String::from_utf8_lossy(&part[..count]));
    }
    stream
}

#[tokio::test]
async fn an_address_beyond_its_rate_is_read_later_and_others_at_once() {
    let network = Network::start_with(|config| {
        slow(config);
        // It does not run while the connection is not read.
        config.limits.head_time = Duration::from_secs(2);
    })
    .await;
    let _flood = flood(7, network.http).await;
    let mut same = connect_from(7, network.http).await;
    let (begun, same_address) = (Instant::now(), ask(&mut same, "/health"));
    let mut other = connect_from(8, network.http).await;
    assert_eq!(ask(&mut other, "/health").await, "HTTP/1.1 200 OK");
    let at_once = begun.elapsed();
    assert_eq!(same_address.await, "HTTP/1.1 200 OK", "it is served, but later");
    let later = begun.elapsed();
    assert!(later > Duration::from_secs(1) && later > at_once * 2, "{at_once:?}, {later:?}");
    assert!(network.figure(r#"hierophant_reads_paused_total{port="http"}"#).await >= 1.0);
    let mut client = Client::connect(&network).await;
    client.ticket(ArtifactType::Stdin).await;
}

#[tokio::test]
async fn uploads_and_workers_of_an_address_beyond_its_rate_are_read_at_once() {
    const HALF: usize = 1 << 20;
    let network = Network::start_with(slow).await;
    let mut worker = Worker::join(&network, hello()).await;
    let mut client = Client::connect(&network).await;
    let request = client.ready_to_ask(b"input").await;
    client.ask(&request).await.expect("accepted");
    let (lease, _) = worker.leased().await;
    let url = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let path = &url[url.rfind("/artifacts").expect("a path")..];
    let mut upload = connect_from(1, network.http).await;
    let head =
        format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 2 * HALF);
    upload.write_all(head.as_bytes()).await.expect("sends");
    upload.write_all(&[7; HALF]).await.expect("sends");
    let parts = network.config.data_dir.join("artifacts/tmp");
    eventually("the upload has begun", async || {
        std::fs::read_dir(&parts).expect("readable").next().is_some()
    })
    .await;

    let _flood = flood(1, network.http).await;
    let mut page = connect_from(1, network.http).await;
    let begun = Instant::now();
    let page = ask(&mut page, "/health");
    let busy = async {
        upload.write_all(&[7; HALF]).await.expect("sends");
        let mut line = [0; 15];
        upload.read_exact(&mut line).await.expect("an answer");
        assert_eq!(&line, b"HTTP/1.1 200 OK");
        let failure = Failure::new(FailureClass::Infrastructure, "disk full");
        worker.say(FromWorker::Failed { lease_id: lease, failure }).await;
        worker.settled(lease).await.expect("is heard");
        begun.elapsed()
    };
    let (busy, page) = tokio::join!(busy, async {
        assert_eq!(page.await, "HTTP/1.1 200 OK");
        begun.elapsed()
    });
    assert!(page > Duration::from_secs(1) && busy < page, "{busy:?}, {page:?}");
}

#[tokio::test]
async fn the_handshake_of_an_address_beyond_its_rate_begins_later_and_succeeds() {
    let short = Duration::from_secs(2);
    let secure = Secure::start_with(&Leaf::default(), |config| {
        slow(config);
        (config.limits.handshake_time, config.limits.head_time) = (short, short);
    })
    .await;
    let (page, client) = (secure.network.url("/health"), secure.trust.http());
    let calls = stream::iter(0..150).map(|_| client.get(&page).send());
    let flood = calls.buffer_unordered(30);
    let answered: Vec<_> = flood.take(110).collect().await;
    assert!(answered.iter().all(Result::is_ok));
    let begun = Instant::now();
    let answer = secure.trust.http().get(&page).send().await.expect("is served");
    assert_eq!(answer.status(), 200);
    assert!(begun.elapsed() > short, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_channel_connects_again() {
    let short = Duration::from_millis(500);
    let network = Network::start_with(|config| config.limits.idle_time = short).await;
    let mut kept = TcpStream::connect(network.http).await.expect("connects");
    assert_eq!(ask(&mut kept, "/health").await, "HTTP/1.1 200 OK");
    let begun = Instant::now();
    read_to_end(&mut kept, LIMIT).await;
    assert!(begun.elapsed() < short * 10, "{:?}", begun.elapsed());
    let mut client = Client::connect(&network).await;
    client.ticket(ArtifactType::Stdin).await;
    eventually("the channel's connection has ended", async || {
        network.figure("hierophant_connections").await <= 1.0
    })
    .await;
    client.ticket(ArtifactType::Stdin).await;
    assert!(network.figure(r#"hierophant_connections_cut_total{reason="idle"}"#).await >= 2.0);
}

#[tokio::test]
async fn a_contemplant_that_is_connected_is_not_idle() {
    let short = Duration::from_millis(500);
    let network = Network::start_with(|config| {
        (config.limits.idle_time, config.limits.head_time) = (short, short);
    })
    .await;
    let mut worker = Worker::join(&network, hello()).await;
    tokio::time::sleep(short * 4).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    worker.leased().await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_an_answer_is_cut() {
    const SIZE: usize = 64 << 20;
    let short = Duration::from_millis(500);
    let network = Network::start_with(|config| config.limits.stall_time = short).await;
    let mut client = Client::connect(&network).await;
    let uri = client.upload(ArtifactType::Stdin, &vec![7; SIZE]).await;
    let path = uri.rsplit_once("/artifacts").expect("a path").1;
    let mut stream = TcpStream::connect(network.http).await.expect("connects");
    let head = format!("GET /artifacts{path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    tokio::time::sleep(short * 6).await;
    let got = read_to_end(&mut stream, LIMIT).await.len();
    assert!(got < SIZE, "all of it came");
}

#[tokio::test]
async fn a_peer_that_opens_no_window_for_an_answer_is_cut() {
    let short = Duration::from_millis(500);
    let network = Network::start_with(|config| config.limits.stall_time = short).await;
    let mut stream = TcpStream::connect(network.http).await.expect("connects");
    // SETTINGS with INITIAL_WINDOW_SIZE 0, then GET / over http.
    let mut bytes = HTTP2_START[..24].to_vec();
    bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    bytes.extend([0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84]);
    stream.write_all(&bytes).await.expect("sends");
    let answer = read_to_end(&mut stream, LIMIT).await;
    let kinds: Vec<u8> = frames(&answer).into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&1), "no head of an answer: {kinds:?}");
    assert!(!kinds.contains(&0), "bytes without a window: {kinds:?}");
    let cut = r#"hierophant_connections_cut_total{reason="stalled"}"#;
    assert!(network.figure(cut).await >= 1.0);
}

#[tokio::test]
async fn tls_handshakes_in_flight_are_bounded_and_end_in_time() {
    let short = Duration::from_secs(2);
    let secure = Secure::start_with(&Leaf::default(), |config| {
        config.limits.max_handshakes = 2.try_into().expect("not zero");
        config.limits.handshake_time = short;
    })
    .await;
    let network = &secure.network;
    let begun = Instant::now();
    let mut silent = connect_from(2, network.grpc).await;
    let _other = connect_from(3, network.http).await;
    // The first two are in their handshakes once a third is turned away.
    eventually("a third handshake is refused", async || {
        let mut third = connect_from(4, network.http).await;
        let opening = tokio::time::timeout(Duration::from_millis(100), third.read(&mut [0])).await;
        opening.is_ok()
    })
    .await;
    assert!(begun.elapsed() < short, "refused only when the time was over");
    read_to_end(&mut silent, LIMIT).await;
    let trust = &secure.trust;
    eventually("others may come", async || {
        trust.http().get(network.url("/health")).send().await.is_ok()
    })
    .await;
    let refused = r#"hierophant_connections_refused_total{reason="handshakes"}"#;
    assert!(network.figure(refused).await >= 1.0);
    assert!(network.figure(r#"hierophant_connections_cut_total{reason="handshake"}"#).await >= 1.0);
}

#[tokio::test]
async fn one_address_holds_a_quarter_of_the_handshakes_at_most() {
    let secure = Secure::start_with(&Leaf::default(), |config| {
        patient(&mut config.limits);
        config.limits.max_handshakes = 4.try_into().expect("not zero");
    })
    .await;
    let _holding = connect_from(2, secure.network.http).await;
    eventually("its second handshake is refused", async || {
        let mut second = connect_from(2, secure.network.http).await;
        tokio::time::timeout(Duration::from_millis(100), second.read(&mut [0])).await.is_ok()
    })
    .await;
    let answer = secure.trust.http().get(secure.network.url("/health")).send().await;
    assert_eq!(answer.expect("another address is served").status(), 200);
}

#[tokio::test]
async fn websockets_that_do_not_say_who_they_are_are_bounded_and_end_in_time() {
    let short = Duration::from_secs(2);
    let network = Network::start_with(|config| {
        config.limits.max_handshakes = 2.try_into().expect("not zero");
        config.limits.max_connections_per_address = 0;
        config.limits.handshake_time = short;
    })
    .await;
    let (mut silent, speaking) = (Worker::dial(&network).await, Worker::dial(&network).await);
    let url = format!("ws://{}/ws", network.http);
    match tokio_tungstenite::connect_async(&url).await {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("not refused: {other:?}"),
    }
    // Who has said who it is holds nothing any more.
    let _working = speaking.welcome(hello()).await;
    let _third = Worker::dial(&network).await;
    assert_eq!(silent.closing_words().await, "handshake timeout");
    assert!(network.figure(r#"hierophant_connections_cut_total{reason="hello"}"#).await >= 1.0);
}

/// Ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("is running");
        self.0.wait().expect("ends");
    }
}

#[tokio::test]
async fn a_low_limit_of_open_files_is_said_and_lived_with() {
    const FILES: usize = 128;
    let folder = tempfile::tempdir().expect("temp dir");
    let ports: Vec<u16> = (0..2)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect();
    let log_file = folder.path().join("log");
    let log = std::fs::File::create(&log_file).expect("creates");
    let process = Command::new("sh")
        .args(["-c", &format!("ulimit -n {FILES}; exec \"$0\""), env!("CARGO_BIN_EXE_hierophant")])
        .current_dir(folder.path())
        .env("HIEROPHANT_BIND_ADDRESS", "127.0.0.1")
        .env("HIEROPHANT_GRPC_PORT", ports[0].to_string())
        .env("HIEROPHANT_HTTP_PORT", ports[1].to_string())
        .env("HIEROPHANT_STORAGE__MIN_FREE_BYTES", "0")
        .stderr(log)
        .spawn()
        .expect("starts");
    let _process = Process(process);
    let health = format!("http://127.0.0.1:{}/health", ports[1]);
    let is_well = async || reqwest::get(&health).await.is_ok_and(|answer| answer.status() == 200);
    eventually("it is there", is_well).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], ports[1]));
    let mut flood = Vec::new();
    for _ in 0..FILES * 2 {
        flood.push(TcpStream::connect(address).await.expect("connects"));
    }
    assert!(is_refused(flood.pop().expect("the last")).await, "more connections than files");
    drop(flood);
    eventually("it is there again", is_well).await;
    let log = std::fs::read_to_string(log_file).expect("text");
    assert!(!log.contains("Too many open files"), "{log}");
    assert!(
        log.contains("limit of open files is too low") && log.contains("connections=64"),
        "{log}"
    );
}

#[tokio::test]
async fn strangers_on_every_connection_keep_out_neither_workers_nor_operators() {
    let network = Network::start_with(|config| {
        patient(&mut config.limits);
        config.limits.max_connections = 32.try_into().expect("not zero");
    })
    .await;
    eventually("the port is free", async || network.figure("hierophant_connections").await <= 1.0)
        .await;
    // All but the reserve of four.
    let mut open = Vec::new();
    for number in 0..28 {
        let port = if number % 2 == 0 { network.grpc } else { network.http };
        open.push(connect_from(2 + number % 7, port).await);
    }
    eventually("a further call on the gRPC port is refused", async || {
        is_refused(connect_from(20, network.grpc).await).await
    })
    .await;
    // A worker and an operator are served.
    let worker = Worker::join(&network, hello()).await;
    let mut operator = connect_from(21, network.http).await;
    assert_eq!(ask(&mut operator, "/api/v1/workers").await, "HTTP/1.1 200 OK");
    assert_eq!(ask(&mut operator, "/api/v1/overview").await, "HTTP/1.1 200 OK", "for long");
    // Other pages are not, and a call that is not admitted ends its connection.
    for (last, path, answer) in [
        (22, "/ready", "HTTP/1.1 504 Gateway Timeout"),
        (23, "/artifacts/0", "HTTP/1.1 504 Gateway Timeout"),
        (24, "/leases/0/stdin", "HTTP/1.1 401 Unauthorized"),
    ] {
        let mut stranger = connect_from(last, network.http).await;
        assert_eq!(ask(&mut stranger, path).await, answer, "{path}");
        read_to_end(&mut stranger, LIMIT).await;
    }
    drop((worker, open));
}
