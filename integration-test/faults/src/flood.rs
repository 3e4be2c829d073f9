//! Floods, as a process of their own beside the suite: many connections, uploads and calls at once, from many
//! addresses of this machine.

mod dear;
mod http2;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hierophant_proto::network as pb;
use network_lib::task;
use pb::prover_network_client::ProverNetworkClient;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;

/// Connections that send nothing.
pub(crate) const CONNECTIONS: u32 = 10_000;

/// Uploads of a byte a second.
pub(crate) const UPLOADS: u32 = 1000;

/// Calls without a signature.
pub(crate) const CALLS: u32 = 100_000;

/// HTTP/2 connections that ask and read nothing of any answer, and requests over each.
const UNREAD: u32 = 400;
const UNREAD_STREAMS: u32 = 100;

/// Uploads without end to one known id.
const KNOWN: u32 = 200;

/// Addresses that a flood comes from.
const SOURCES: u32 = 20;

/// Connections that carry the calls, and calls at once on each.
const CHANNELS: u32 = 40;
const CALLS_AT_ONCE: u32 = 8;

/// Pause before a refused or closed connection is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum time of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Line printed when it has reached its full force.
pub(crate) const FULL_FORCE: &str = "full force";

/// Beginning of the line with its figures, printed when it is done.
pub(crate) const DONE: &str = "done:";

/// A kind of flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flood {
    /// [`CONNECTIONS`], half on each port, opened again when they are cut.
    Connections,
    /// [`UPLOADS`], to the tickets that standard input names, begun again when they are cut.
    Uploads,
    /// [`CALLS`].
    Calls,
    /// [`UNREAD`] connections, half on each port, which ask for the program that standard input names: its artifact, or
    /// its key. Opened again when they are cut.
    Unread,
    /// [`KNOWN`] uploads to the artifact of the program that standard input names, begun again when they are cut.
    Known,
    /// Lists of requests.
    Lists,
    /// Readiness checks, half of them by callers that hang up.
    Ready,
    /// `HEAD` of the artifact that standard input names.
    Heads,
    /// Calls that are reset at once.
    Resets,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Uploads => "uploads",
            Self::Calls => "calls",
            Self::Unread => "unread",
            Self::Known => "known",
            Self::Lists => "lists",
            Self::Ready => "ready",
            Self::Heads => "heads",
            Self::Resets => "resets",
        })
    }
}

/// Options with which this program becomes a flood.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    #[arg(long, hide = true)]
    pub(crate) flood: Option<Flood>,
    #[arg(long, hide = true, requires = "flood")]
    grpc: Option<SocketAddr>,
    #[arg(long, hide = true, requires = "flood")]
    http: Option<SocketAddr>,
}

/// Floods until it is killed.
pub(crate) async fn run(flood: Flood, target: &Target) -> Result<()> {
    let grpc = target.grpc.context("no gRPC port is named")?;
    let http = target.http.context("no HTTP port is named")?;
    match flood {
        Flood::Connections => connections(grpc, http).await,
        Flood::Uploads => uploads(http).await?,
        Flood::Calls => calls(grpc).await?,
        Flood::Unread => unread(grpc, http).await?,
        Flood::Known => known(http).await?,
        Flood::Lists | Flood::Ready | Flood::Heads | Flood::Resets => {
            dear::begin(flood, grpc, http).await?;
        }
    }
    std::future::pending().await
}

/// Source address of the connection with this number.
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + number % SOURCES)
}

async fn connect(number: u32, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source(number), 0).into())?;
    timeout(ANSWER_LIMIT, socket.connect(to)).await?
}

async fn until_all_were_tried(tried: &AtomicU32, all: u32) {
    while tried.load(Ordering::Relaxed) < all {
        sleep(Duration::from_millis(20)).await;
    }
    println!("{FULL_FORCE}");
}

async fn connections(grpc: SocketAddr, http: SocketAddr) {
    let tried = Arc::new(AtomicU32::new(0));
    for number in 0..CONNECTIONS {
        let tried = Arc::clone(&tried);
        let port = if number % 2 == 0 { grpc } else { http };
        task::spawn("connection", async move {
            loop {
                let connected = connect(number, port).await;
                tried.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut socket) = connected {
                    let mut heard = [0; 512];
                    while let Ok(1..) = socket.read(&mut heard).await {}
                }
                sleep(PAUSE).await;
            }
        });
    }
    until_all_were_tried(&tried, CONNECTIONS).await;
}

async fn uploads(http: SocketAddr) -> Result<()> {
    let mut tickets = BufReader::new(tokio::io::stdin()).lines();
    let tried = Arc::new(AtomicU32::new(0));
    let mut all = 0;
    while let Some(ticket) = tickets.next_line().await? {
        let (tried, number) = (Arc::clone(&tried), all);
        task::spawn("upload", async move {
            loop {
                // However it ends, it begins again.
                let _ = upload(number, http, &ticket, &tried).await;
                tried.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
        });
        all += 1;
    }
    until_all_were_tried(&tried, all).await;
    Ok(())
}

/// One upload, until it is refused or cut.
async fn upload(
    number: u32,
    http: SocketAddr,
    ticket: &str,
    tried: &AtomicU32,
) -> std::io::Result<()> {
    let mut socket = connect(number, http).await?;
    let path = ticket.rfind("/artifacts").map_or("", |at| &ticket[at..]);
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {http}\r\nContent-Length: 1000000\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    tried.fetch_add(1, Ordering::Relaxed);
    let (mut reading, mut writing) = socket.split();
    let mut heard = [0; 512];
    let sending = async {
        loop {
            writing.write_all(b"x").await?;
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        sent = sending => sent,
        heard = reading.read(&mut heard) => heard.map(drop),
    }
}

async fn calls(grpc: SocketAddr) -> Result<()> {
    let made = Arc::new(AtomicU32::new(0));
    let (refused, otherwise) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..CHANNELS {
        let endpoint = Endpoint::from_shared(format!("http://{grpc}"))?;
        let endpoint = endpoint.local_address(Some(IpAddr::V4(source(number))));
        let channel = endpoint.timeout(ANSWER_LIMIT).connect_lazy();
        for _ in 0..CALLS_AT_ONCE {
            let mut client = ProverNetworkClient::new(channel.clone());
            let counts = [Arc::clone(&made), Arc::clone(&refused), Arc::clone(&otherwise)];
            callers.spawn(async move {
                let [made, refused, otherwise] = counts;
                while made.fetch_add(1, Ordering::Relaxed) < CALLS {
                    let unsigned =
                        pb::SignedRequest { format: 1, signature: vec![], body: vec![0; 200] };
                    let answer = client.request_proof(unsigned).await;
                    match answer.map_err(|status| status.code()) {
                        Err(Code::Unauthenticated) => &refused,
                        _ => &otherwise,
                    }
                    .fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    println!("{FULL_FORCE}");
    while callers.join_next().await.is_some() {}
    let seconds = started.elapsed().as_secs_f64();
    println!("{DONE} {refused:?} refused, {otherwise:?} answered otherwise, in {seconds:.1} s");
    Ok(())
}

/// The path of the program's artifact that standard input names, and the program's id.
async fn known_program() -> Result<(String, Vec<u8>)> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let line = lines.next_line().await?.context("no program is named")?;
    let (url, vk_hash) = line.split_once(' ').context("no program is named")?;
    let at = url.rfind("/artifacts").context("no artifact is named")?;
    Ok((url[at..].to_owned(), hex::decode(vk_hash)?))
}

async fn unread(grpc: SocketAddr, http: SocketAddr) -> Result<()> {
    let (path, vk_hash) = known_program().await?;
    let tried = Arc::new(AtomicU32::new(0));
    for number in 0..UNREAD {
        let (tried, path, vk_hash) = (Arc::clone(&tried), path.clone(), vk_hash.clone());
        task::spawn("unread", async move {
            loop {
                // However it ends, it begins again. Some windows are closed, others open by a byte.
                let window = number / 2 % 2;
                let questions: Vec<u8> = if number % 2 == 0 {
                    (0..UNREAD_STREAMS).flat_map(|n| http2::get(2 * n + 1, &path)).collect()
                } else {
                    (0..UNREAD_STREAMS).flat_map(|n| http2::program(2 * n + 1, &vk_hash)).collect()
                };
                let port = if number % 2 == 0 { http } else { grpc };
                let _ = ask(number, port, window, &questions, &tried).await;
                tried.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
        });
    }
    until_all_were_tried(&tried, UNREAD).await;
    Ok(())
}

/// Asks, and reads nothing of what is controlled by a window, until the connection is cut.
async fn ask(
    number: u32,
    to: SocketAddr,
    window: u32,
    questions: &[u8],
    tried: &AtomicU32,
) -> std::io::Result<()> {
    let mut socket = connect(number, to).await?;
    socket.write_all(&http2::greeting(window)).await?;
    socket.write_all(questions).await?;
    tried.fetch_add(1, Ordering::Relaxed);
    let mut heard = [0; 4096];
    while socket.read(&mut heard).await? > 0 {}
    Ok(())
}

async fn known(http: SocketAddr) -> Result<()> {
    let (path, _) = known_program().await?;
    let tried = Arc::new(AtomicU32::new(0));
    for number in 0..KNOWN {
        let (tried, path) = (Arc::clone(&tried), path.clone());
        task::spawn("known", async move {
            loop {
                let _ = send_endlessly(number, http, &path, &tried).await;
                tried.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
        });
    }
    until_all_were_tried(&tried, KNOWN).await;
    Ok(())
}

/// One upload of unknown length, until it is refused or cut.
async fn send_endlessly(
    number: u32,
    http: SocketAddr,
    path: &str,
    tried: &AtomicU32,
) -> std::io::Result<()> {
    let mut socket = connect(number, http).await?;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {http}\r\nTransfer-Encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    tried.fetch_add(1, Ordering::Relaxed);
    let chunk = [b"1000\r\n".as_slice(), &[7; 0x1000], b"\r\n"].concat();
    let (mut reading, mut writing) = socket.split();
    let mut heard = [0; 512];
    let sending = async {
        loop {
            writing.write_all(&chunk).await?;
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        sent = sending => sent,
        heard = reading.read(&mut heard) => heard.map(drop),
    }
}
