//! A reverse proxy in front of Hierophant's HTTP port, with refusals of its own for finished proofs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use network_lib::task;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Limit on the head of a request.
const MAX_HEAD: u64 = 64 * 1024;

/// How long the rest of a refused upload is read, so that its sender receives the answer instead of a reset.
const LINGER: Duration = Duration::from_secs(5);

/// A proxy that passes everything on except uploads of proofs while it has refusals left. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where to connect instead.
    pub(crate) address: SocketAddr,
    refusals: Arc<Mutex<Refusals>>,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
struct Refusals {
    /// Status codes of the next answers, the next one last.
    left: Vec<u16>,
    /// Status codes of all answers so far.
    given: Vec<u16>,
}

impl Proxy {
    /// A proxy of `server`, which answers the next uploads of proofs with these status codes.
    pub(crate) async fn to(server: SocketAddr, refusals: &[u16]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let left = refusals.iter().rev().copied().collect();
        let refusals = Arc::new(Mutex::new(Refusals { left, given: Vec::new() }));
        let stop = CancellationToken::new();
        let accepting = accept(listener, server, Arc::clone(&refusals), stop.clone());
        task::spawn("proxy", stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, refusals, _stop: stop.drop_guard() })
    }

    /// Status codes of the refusals so far.
    pub(crate) fn given(&self) -> Vec<u16> {
        lock(&self.refusals).given.clone()
    }
}

fn lock(refusals: &Mutex<Refusals>) -> MutexGuard<'_, Refusals> {
    refusals.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    refusals: Arc<Mutex<Refusals>>,
    stop: CancellationToken,
) {
    while let Ok((near, _)) = listener.accept().await {
        let refusals = Arc::clone(&refusals);
        let serving = async move {
            // A connection that breaks is its peers' affair.
            let _ = serve(near, server, &refusals).await;
        };
        task::spawn("proxied", stop.clone().run_until_cancelled_owned(serving));
    }
}

/// Refuses the first request of a connection or passes the whole connection on. Uploads have connections of their own,
/// each of which ends with a refusal, so no later request can evade one.
async fn serve(near: TcpStream, server: SocketAddr, refusals: &Mutex<Refusals>) -> io::Result<()> {
    let (read, mut write) = near.into_split();
    let mut read = BufReader::new(read);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let left = MAX_HEAD.saturating_sub(head.len() as u64);
        if (&mut read).take(left).read_until(b'\n', &mut head).await? == 0 {
            return Ok(());
        }
    }
    if let Some(code) = refusal(&head, refusals) {
        write.write_all(&answer(code)).await?;
        let mut rest = tokio::io::sink();
        let _ = timeout(LINGER, tokio::io::copy(&mut read, &mut rest)).await;
        return Ok(());
    }
    let (mut far_read, mut far_write) = TcpStream::connect(server).await?.into_split();
    far_write.write_all(&head).await?;
    tokio::select! {
        done = tokio::io::copy_buf(&mut read, &mut far_write) => done?,
        done = tokio::io::copy(&mut far_read, &mut write) => done?,
    };
    Ok(())
}

/// The status code for a request with this head, if it is refused.
fn refusal(head: &[u8], refusals: &Mutex<Refusals>) -> Option<u16> {
    if !head.starts_with(b"PUT /leases/") {
        return None;
    }
    let mut refusals = lock(refusals);
    let code = refusals.left.pop()?;
    refusals.given.push(code);
    Some(code)
}

/// A page such as proxies send.
fn answer(code: u16) -> Vec<u8> {
    let page = format!("<html><body><h1>{code}</h1><hr>a proxy</body></html>\r\n");
    let length = page.len();
    format!(
        "HTTP/1.1 {code} Refused\r\nServer: proxy\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{page}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn uploads_of_proofs_are_refused_in_order_and_everything_else_passes() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        let server = listener.local_addr().expect("bound");
        let answering = async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = [0; 16];
                socket.read_exact(&mut head).await.expect("a request");
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserver";
                socket.write_all(answer).await.expect("sent");
                let mut rest = tokio::io::sink();
                let _ = timeout(LINGER, tokio::io::copy(&mut socket, &mut rest)).await;
            }
        };
        task::spawn("server", answering);
        let proxy = Proxy::to(server, &[413, 502]).await.expect("starts");
        let http = reqwest::Client::new();
        let text = async |request: reqwest::RequestBuilder| {
            let answer = request.send().await.expect("answers");
            (answer.status().as_u16(), answer.text().await.expect("text"))
        };
        let url = |path: &str| format!("http://{}{path}", proxy.address);
        let upload = || http.put(url("/leases/1/proof")).body(vec![7; 100_000]);
        assert_eq!(text(http.get(url("/leases/1/stdin"))).await, (200, "server".to_owned()));
        for code in [413, 502] {
            let (found, page) = text(upload()).await;
            assert_eq!(found, code);
            assert!(page.contains("a proxy"), "{page}");
        }
        assert_eq!(text(upload()).await, (200, "server".to_owned()));
        assert_eq!(proxy.given(), [413, 502]);
    }
}
