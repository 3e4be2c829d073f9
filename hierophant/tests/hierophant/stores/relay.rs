//! A relay in front of a database server, which can swallow an answer and refuse connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use network_lib::task;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// What the relay does at the moment.
#[derive(Debug, Default)]
struct Mood {
    swallows: AtomicBool,
    refuses: AtomicBool,
}

/// A relay to a server's socket.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    mood: Arc<Mood>,
}

impl Relay {
    pub(crate) async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mood = Arc::<Mood>::default();
        let relayed = Arc::clone(&mood);
        task::spawn("relay", async move {
            loop {
                let (client, _) = listener.accept().await.expect("accepts");
                if relayed.refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let server = UnixStream::connect(&socket).await.expect("connects");
                task::spawn("relayed", pass(client, server, Arc::clone(&relayed)));
            }
        });
        Self { port, mood }
    }

    /// Swallows the next answer of the server, and closes the connection on which it came.
    pub(crate) fn swallow_next_answer(&self) {
        self.mood.swallows.store(true, Ordering::SeqCst);
    }

    /// Whether new connections are refused from now on.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.mood.refuses.store(refuse, Ordering::SeqCst);
    }
}

async fn pass(mut client: TcpStream, mut server: UnixStream, mood: Arc<Mood>) {
    let (mut asked, mut answered) = ([0; 1 << 16], [0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                if server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if mood.swallows.swap(false, Ordering::SeqCst) {
                    return;
                }
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
