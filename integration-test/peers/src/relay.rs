//! A link that can break: a relay on loopback, to a TCP port or a Unix socket, whose two directions can be cut, swallowed,
//! delayed and slowed one by one.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use network_lib::task;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;

/// Most pieces that are under way in a direction that is late and not narrow: further ones wait at the sender.
const UNDER_WAY: usize = 256;

/// What one direction of the link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Direction {
    /// Nothing passes and nothing is refused: the sender learns nothing.
    pub black_hole: bool,
    /// How much later everything arrives.
    pub delay: Duration,
    /// Most bytes a second, if there is a limit.
    pub bytes_per_second: Option<u32>,
}

/// State of the whole link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Link {
    to_server: Direction,
    to_client: Direction,
    /// Connections end at once, and new ones too.
    cut: bool,
}

/// What a relay stands in front of.
#[derive(Debug, Clone)]
pub enum Server {
    /// A TCP port.
    Port(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Two halves of a connection.
type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl Server {
    async fn dial(&self) -> io::Result<Halves> {
        Ok(match self {
            Self::Port(address) => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                let (read, write) = socket.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Socket(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                (Box::new(read), Box::new(write))
            }
        })
    }
}

/// A relay in front of one server. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where to connect instead.
    pub address: SocketAddr,
    link: Arc<watch::Sender<Link>>,
    _stop: DropGuard,
}

impl Relay {
    /// A relay to `server`, which passes everything on.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        Self::before(Server::Port(server)).await
    }

    /// A relay in front of any server, which passes everything on.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn before(server: Server) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let link = Arc::new(watch::Sender::new(Link::default()));
        let stop = CancellationToken::new();
        let accepting = accept(listener, server, Arc::clone(&link), stop.clone());
        task::spawn("relay", stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, link, _stop: stop.drop_guard() })
    }

    /// Changes what passes from the peer that dials to the server behind.
    pub fn to_server(&self, direction: Direction) {
        self.link.send_modify(|link| link.to_server = direction);
    }

    /// Changes what passes from the server behind to the peer that dialled.
    pub fn to_client(&self, direction: Direction) {
        self.link.send_modify(|link| link.to_client = direction);
    }

    /// Ends every connection, and each new one too.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.cut = true);
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.link.send_replace(Link::default());
    }
}

impl Direction {
    /// Swallows everything.
    pub const BLACK_HOLE: Self =
        Self { black_hole: true, delay: Duration::ZERO, bytes_per_second: None };

    /// Late, and as wide as the machine allows.
    #[must_use]
    pub const fn late(delay: Duration) -> Self {
        Self { black_hole: false, delay, bytes_per_second: None }
    }

    /// Late and narrow.
    #[must_use]
    pub const fn slow(delay: Duration, bytes_per_second: u32) -> Self {
        Self { black_hole: false, delay, bytes_per_second: Some(bytes_per_second) }
    }
}

async fn accept(
    listener: TcpListener,
    server: Server,
    link: Arc<watch::Sender<Link>>,
    stop: CancellationToken,
) {
    while let Ok((near, _)) = listener.accept().await {
        let relayed = relay(near, server.clone(), link.subscribe());
        task::spawn("relayed", stop.clone().run_until_cancelled_owned(relayed));
    }
}

async fn relay(near: TcpStream, server: Server, link: watch::Receiver<Link>) {
    if link.borrow().cut {
        return;
    }
    // A client of a server that is down sees its own connection end.
    let Ok((far_read, far_write)) = server.dial().await else { return };
    // Only a matter of speed.
    let _ = near.set_nodelay(true);
    let (near_read, near_write) = near.into_split();
    let mut cut = link.clone();
    tokio::select! {
        () = pass(near_read, far_write, link.clone(), |link| link.to_server) => {}
        () = pass(far_read, near_write, link, |link| link.to_client) => {}
        _ = cut.wait_for(|link| link.cut) => {}
    }
}

/// Passes bytes on until either end is gone. Each piece arrives its delay after it was sent, whatever is under way before
/// it; a narrow direction carries one piece at a time. Within a black hole nothing is read either, so that after it the
/// stream goes on where it stopped, as TCP's own repetition would have it.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
    direction: fn(&Link) -> Direction,
) {
    let mut buffer = vec![0; CHUNK];
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut is_open = true;
    while is_open || !under_way.is_empty() {
        let Some(state) = passable(&mut link, direction).await else { return };
        let room = if state.bytes_per_second.is_some() { 1 } else { UNDER_WAY };
        let next = under_way.front().map(|(arrival, _)| *arrival);
        let arrived = tokio::select! {
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                under_way.pop_front().map(|(_, piece)| piece)
            }
            read = from.read(&mut buffer), if is_open && under_way.len() < room => match read {
                Ok(0) | Err(_) => {
                    is_open = false;
                    None
                }
                Ok(read) if state.delay.is_zero() && under_way.is_empty() => Some(buffer[..read].to_vec()),
                Ok(read) => {
                    under_way.push_back((Instant::now() + state.delay, buffer[..read].to_vec()));
                    None
                }
            },
        };
        if let Some(piece) = arrived
            && !deliver(&piece, &mut to, &mut link, direction).await
        {
            return;
        }
    }
}

/// Waits until a direction is not a black hole; what it is then. `None` when the relay has ended.
async fn passable(
    link: &mut watch::Receiver<Link>,
    direction: fn(&Link) -> Direction,
) -> Option<Direction> {
    let link = link.wait_for(|link| !direction(link).black_hole).await.ok()?;
    Some(direction(&link))
}

/// Writes a piece at the pace of its direction; returns whether it was taken. What was read when a hole opened waits until
/// it closes.
async fn deliver(
    piece: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    link: &mut watch::Receiver<Link>,
    direction: fn(&Link) -> Direction,
) -> bool {
    let Some(state) = passable(link, direction).await else { return false };
    let rate = state.bytes_per_second.unwrap_or(u32::MAX).max(1);
    // Tenths of a second make a narrow link rather than a stuttering one.
    let step = usize::try_from(rate / 10).unwrap_or(CHUNK).clamp(1, CHUNK);
    for part in piece.chunks(step) {
        if to.write_all(part).await.is_err() {
            return false;
        }
        if state.bytes_per_second.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn echo_server() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        let address = listener.local_addr().expect("bound");
        task::spawn("echo", async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                task::spawn("echoed", async move {
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn echoed(socket: &mut TcpStream, text: &[u8]) -> Option<Vec<u8>> {
        socket.write_all(text).await.ok()?;
        let mut answer = vec![0; text.len()];
        let read = tokio::time::timeout(Duration::from_millis(300), socket.read_exact(&mut answer));
        read.await.ok()?.ok()?;
        Some(answer)
    }

    #[tokio::test]
    async fn a_black_hole_swallows_one_direction_and_nothing_is_lost_after_it() {
        let relay = Relay::to(echo_server().await).await.expect("relays");
        let mut socket = TcpStream::connect(relay.address).await.expect("connects");
        assert_eq!(echoed(&mut socket, b"one").await.as_deref(), Some(b"one".as_slice()));
        relay.to_client(Direction::BLACK_HOLE);
        assert_eq!(echoed(&mut socket, b"two").await, None);
        relay.heal();
        let mut answer = [0; 3];
        tokio::time::timeout(LIMIT, socket.read_exact(&mut answer)).await.expect("in time").ok();
        assert_eq!(&answer, b"two");
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_healing_lets_new_ones_in() {
        let relay = Relay::to(echo_server().await).await.expect("relays");
        let mut socket = TcpStream::connect(relay.address).await.expect("connects");
        assert!(echoed(&mut socket, b"one").await.is_some());
        relay.cut();
        assert_eq!(
            tokio::time::timeout(LIMIT, socket.read(&mut [0])).await.expect("ends").ok(),
            Some(0)
        );
        relay.heal();
        let mut again = TcpStream::connect(relay.address).await.expect("connects");
        assert!(echoed(&mut again, b"two").await.is_some());
    }

    #[tokio::test]
    async fn a_narrow_link_takes_its_time() {
        let relay = Relay::to(echo_server().await).await.expect("relays");
        relay.to_server(Direction::slow(Duration::ZERO, 100));
        let mut socket = TcpStream::connect(relay.address).await.expect("connects");
        let start = tokio::time::Instant::now();
        socket.write_all(&[7; 50]).await.expect("writes");
        let mut answer = [0; 50];
        tokio::time::timeout(LIMIT, socket.read_exact(&mut answer)).await.expect("in time").ok();
        assert!(start.elapsed() > Duration::from_millis(300), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_late_link_delays_everything_once() {
        const SIZE: usize = 64 * CHUNK;
        let delay = Duration::from_millis(50);
        let relay = Relay::to(echo_server().await).await.expect("relays");
        relay.to_server(Direction::late(delay));
        relay.to_client(Direction::late(delay));
        let socket = TcpStream::connect(relay.address).await.expect("connects");
        let (mut read, mut write) = socket.into_split();
        let start = Instant::now();
        let sending = task::spawn("sender", async move {
            write.write_all(&vec![7; SIZE]).await.expect("writes");
            write
        });
        let mut answer = vec![0; SIZE];
        let first = read.read(&mut answer).await.expect("an echo");
        assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
        let rest = tokio::time::timeout(LIMIT, read.read_exact(&mut answer[first..])).await;
        rest.expect("in time").expect("an echo");
        // One piece after the other would take 64 delays.
        assert!(start.elapsed() < 32 * delay, "{:?}", start.elapsed());
        drop(sending.await);
    }

    #[tokio::test]
    async fn what_was_sent_before_the_end_arrives_late_as_well() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        let server = listener.local_addr().expect("bound");
        task::spawn("farewell", async move {
            let (mut socket, _) = listener.accept().await.expect("accepts");
            socket.write_all(b"last words").await.expect("writes");
        });
        let relay = Relay::to(server).await.expect("relays");
        relay.to_client(Direction::late(Duration::from_millis(100)));
        let mut socket = TcpStream::connect(relay.address).await.expect("connects");
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await;
        reading.expect("in time").expect("the end");
        assert_eq!(answer, b"last words");
    }
}
