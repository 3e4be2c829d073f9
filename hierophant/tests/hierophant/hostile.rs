//! Attacks by name, each on the real program: while it goes on and afterwards an honest call is answered, and
//! memory stays within a bound.

mod bombs;
mod frames;
mod json;
mod logs;
mod paths;
mod senders;
mod smuggling;
mod streams;
mod unread;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hierophant_proto::network as pb;
use pb::FulfillmentStatus;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{Client, LIMIT, Reach, Worker, core_proof, eventually, hello};

/// Most MiB by which the peak of resident memory may rise over what was resident before an attack. Idle it
/// is some 40 MiB; what is bounded by design (frames of 256 KiB, calls of 4 MiB, write buffers) is far below.
const MAX_GROWTH: u64 = 64;

/// Longest time for an honest call during an attack. The machine runs other tests at the same time.
const HONEST_LIMIT: Duration = Duration::from_secs(5);

/// Contemplants need it.
const TOKEN: &str = "token-of-the-hostile-tests";

/// A Hierophant as a separate process, so that its memory can be measured.
struct Fortress {
    grpc: SocketAddr,
    http: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Drop for Fortress {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reach for Fortress {
    fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    fn http(&self) -> SocketAddr {
        self.http
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("bound")
}

impl Fortress {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One with these additional variables.
    async fn start_with(variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let (grpc, http) = (free_address(), free_address());
        let log = File::create(folder.path().join("log")).expect("creates");
        let child = Command::new(env!("CARGO_BIN_EXE_hierophant"))
            .current_dir(&folder)
            .env("HIEROPHANT_BIND_ADDRESS", "127.0.0.1")
            .env("HIEROPHANT_GRPC_PORT", grpc.port().to_string())
            .env("HIEROPHANT_HTTP_PORT", http.port().to_string())
            .env("HIEROPHANT_MOCK_MODE", "true")
            .env("HIEROPHANT_WORKER_TOKEN", TOKEN)
            .env("HIEROPHANT_STORAGE__MIN_FREE_BYTES", "0")
            .envs(variables.iter().copied())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let fortress = Self { grpc, http, folder, child };
        eventually("Hierophant is ready", async || {
            reqwest::get(fortress.url("/ready")).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        fortress
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The folder around the data folder.
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).expect("a log")
    }

    /// Files that are being uploaded.
    fn half_written(&self) -> usize {
        let folder = self.folder().join("hierophant-data/artifacts/tmp");
        std::fs::read_dir(folder).expect("readable").count()
    }

    /// Every file but those of the database, its log and what was uploaded.
    fn other_files(&self) -> Vec<PathBuf> {
        fn below(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).expect("readable") {
                let path = entry.expect("entry").path();
                match path.file_name().and_then(|name| name.to_str()) {
                    Some("artifacts") => {}
                    _ if path.is_dir() => below(&path, found),
                    Some(name) if name.starts_with("hierophant.db") => {}
                    _ => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        below(self.folder(), &mut found);
        found.sort();
        found
    }

    /// A figure of the process in MiB, as Linux counts it.
    fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it is alive");
        let line = status.lines().find(|line| line.starts_with(figure)).expect("a figure");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") / 1024
    }

    /// A client that has its own connections.
    async fn client(&self) -> Client {
        Client::connect(self).await
    }

    /// A Contemplant that is welcome.
    async fn contemplant(&self) -> Worker {
        let mut hello = hello();
        hello.token = Some(TOKEN.into());
        Worker::join(self, hello).await
    }

    /// A proof from the request to the download.
    async fn proves(&self) {
        let mut client = self.client().await;
        // Of an input of its own, so that it is made and not found.
        let ask = client.ready_to_ask(&rand::random::<[u8; 16]>()).await;
        let id = client.ask(&ask).await.expect("accepted");
        let mut worker = self.contemplant().await;
        worker.prove_next(&core_proof()).await;
        let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
        let proof = client.http.get(status.proof_uri.expect("URI")).send().await.expect("answers");
        assert_eq!(proof.bytes().await.expect("bytes"), core_proof());
    }

    /// A call to each port over new connections.
    async fn answers(&self) {
        let calls = async {
            let answer = reqwest::get(self.url("/ready")).await.expect("answers");
            assert_eq!(answer.status(), 200);
            let mut client = self.client().await;
            let request = pb::GetNonceRequest { address: client.address().to_vec() };
            client.network.get_nonce(request).await.expect("a nonce");
        };
        timeout(HONEST_LIMIT, calls).await.expect("an honest call is answered in time");
    }

    /// Lets an attack go on, with honest calls during it and a proof after it.
    async fn besieged<T>(&self, attack: impl Future<Output = T>) -> T {
        self.besieged_within(MAX_GROWTH, attack).await
    }

    /// The same, with this many MiB as the most by which the peak of resident memory may rise.
    async fn besieged_within<T>(&self, most: u64, attack: impl Future<Output = T>) -> T {
        self.proves().await;
        let before = self.memory("VmRSS");
        let honest = AtomicU32::new(0);
        let calls = async {
            loop {
                self.answers().await;
                honest.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
        };
        let result = tokio::select! {
            result = attack => result,
            () = calls => unreachable!("it never ends"),
        };
        self.answers().await;
        self.proves().await;
        let growth = self.memory("VmHWM").saturating_sub(before);
        println!("{before} MiB before, {growth} more at most; {honest:?} honest calls meanwhile");
        assert!(growth <= most, "memory grew by {growth} MiB over {before}");
        result
    }

    /// Sends bytes to the HTTP port and returns what comes back until it closes the connection, or is silent
    /// for a second.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.http).await.expect("connects");
        // It may close before it has read everything.
        let _ = timeout(LIMIT, socket.write_all(bytes)).await.expect("is read or closed");
        let mut answer = Vec::new();
        let mut part = vec![0; 64 * 1024];
        while let Ok(Ok(length @ 1..)) =
            timeout(Duration::from_secs(1), socket.read(&mut part)).await
        {
            answer.extend_from_slice(&part[..length]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The status codes of all answers in what came over a connection.
fn codes(answer: &str) -> Vec<u16> {
    let lines = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    lines.filter_map(|line| line.get(..3)?.parse().ok()).collect()
}
