//! A Hierophant in this process, beside the client and the Contemplant of `test-peers`: enough to see
//! every answer without a prover.

pub mod proofs;
pub mod raw;
pub mod tasks;
pub mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::serve::Listener;
use hierophant::artifacts::blobs::Blobs;
use hierophant::config::Config;
use hierophant::metrics::Metrics;
use hierophant::{Listeners, Tcp, run, run_on};
use tempfile::TempDir;
pub use test_peers::{
    Ask, Client, LIMIT, PUBLIC_VALUES, Reach, Worker, blob, core_proof, core_proof_with, execution,
    execution_with, hello, postgres, program_upload, unix_now,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// A running Hierophant.
pub struct Network {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The admin listener, if there is one.
    pub admin: Option<SocketAddr>,
    pub config: Config,
    folder: TempDir,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Network {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let mut config = Config::for_test(folder.path().join("data"));
        config.mock_mode = true;
        config.check_program = Some(env!("CARGO_BIN_EXE_hierophant").into());
        change(&mut config);
        Self::start_in(folder, config).await
    }

    pub async fn start_in(folder: TempDir, config: Config) -> Self {
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let grpc = listeners.grpc.local_addr().expect("bound");
        let http = listeners.http.local_addr().expect("bound");
        let admin = listeners.admin.as_ref().map(|admin| admin.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let running =
            network_lib::task::spawn("hierophant", run(config.clone(), listeners, stop.clone()));
        let network = Self { grpc, http, admin, config, folder, stop, running };
        network.until_ready().await;
        network
    }

    /// Callers from 127.0.0.x are seen as if they came from 10.0.0.x, but for 127.0.0.1.
    pub async fn start_with_strangers(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let mut config = Config::for_test(folder.path().join("data"));
        config.mock_mode = true;
        config.check_program = Some(env!("CARGO_BIN_EXE_hierophant").into());
        change(&mut config);
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let listeners = Listeners::public(Far(listeners.grpc), Far(listeners.http));
        let grpc = listeners.grpc.local_addr().expect("bound");
        let http = listeners.http.local_addr().expect("bound");
        std::fs::create_dir_all(&config.data_dir).expect("creates");
        let metrics = Metrics::new();
        let store =
            hierophant_store::sqlite::open(&config.data_dir.join("hierophant.db"), metrics.clone())
                .await
                .expect("opens");
        let blobs = Blobs::open(&config.data_dir.join("artifacts")).expect("opens");
        let stop = CancellationToken::new();
        let running = run_on(store, blobs, metrics, config.clone(), listeners, stop.clone());
        let running = network_lib::task::spawn("hierophant", running);
        let network = Self { grpc, http, admin: None, config, folder, stop, running };
        network.until_ready().await;
        network
    }

    async fn until_ready(&self) {
        // Whose certificate it is does not matter here.
        let anybody = reqwest::Client::builder().danger_accept_invalid_certs(true).build();
        let anybody = anybody.expect("a client");
        let ready = self.url("/ready");
        eventually("Hierophant is ready", async || {
            anybody.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.config.tls.is_on() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.http)
    }

    pub fn data(&self) -> &std::path::Path {
        &self.config.data_dir
    }

    pub async fn stop(self) -> (TempDir, Config) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LIMIT, self.running).await.expect("stops in time");
        ended.expect("does not panic").expect("stops without error");
        (self.folder, self.config)
    }

    /// Stops and starts again on the same data, on new ports.
    pub async fn restart(self) -> Self {
        let (folder, config) = self.stop().await;
        Self::start_in(folder, config).await
    }

    pub async fn json(&self, path: &str) -> serde_json::Value {
        let answer = reqwest::get(self.url(path)).await.expect("answers");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("JSON")
    }

    /// How many artifact files there are, half-written ones included.
    pub fn files(&self) -> usize {
        fn below(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).expect("readable");
            let paths = entries.map(|entry| entry.expect("entry").path());
            let artifacts = paths.filter(|path| !path.ends_with("artifacts/store-id"));
            artifacts.map(|path| if path.is_dir() { below(&path) } else { 1 }).sum()
        }
        below(&self.data().join("artifacts"))
    }
}

/// A port whose callers seem to come from elsewhere.
struct Far(Tcp);

impl Listener for Far {
    type Io = <Tcp as Listener>::Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (io, mut peer) = self.0.accept().await;
        if let IpAddr::V4(address) = peer.ip()
            && address != Ipv4Addr::LOCALHOST
        {
            let [_, b, c, d] = address.octets();
            peer.set_ip(IpAddr::V4(Ipv4Addr::new(10, b, c, d)));
        }
        (io, peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Gives a Contemplant up after a second of silence, so that a test need not wait.
pub fn impatient(config: &mut Config) {
    config.worker_registry.heartbeat_interval = Duration::from_millis(200);
    config.worker_registry.silence_limit = Duration::from_secs(1);
}

impl Reach for Network {
    fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    fn http(&self) -> SocketAddr {
        self.http
    }
}

/// Waits until a condition holds; fails the test after [`LIMIT`].
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[track_caller]
pub fn assert_code<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("must be refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(text), "{:?} does not say {text:?}", status.message());
}
