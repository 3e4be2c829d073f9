//! An S3 server in the hands of a test: a real one, that checks signatures and keeps objects as files.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The bucket that is there.
pub const BUCKET: &str = "proofs";
/// The access key id that is taken.
pub const ACCESS_KEY_ID: &str = "tobit";
/// Its secret access key.
pub const SECRET_ACCESS_KEY: &str = "a secret of tobit";

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Well,
    /// It cuts its connections and takes no new ones.
    Away,
    /// It cuts its connections, and takes new ones without ever answering.
    Silent,
    /// It cuts its connections, and serves new ones once it behaves otherwise.
    Slow,
}

/// A running S3 server with an empty bucket. It ends when this is dropped.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    folder: TempDir,
    mood: watch::Sender<Mood>,
    turned_away: watch::Receiver<u64>,
}

impl S3 {
    /// Starts it on a free port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("temp dir");
        fs::create_dir(folder.path().join(BUCKET)).expect("creates the bucket");
        let files = FileSystem::new(folder.path()).expect("opens");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let (mood, moods) = watch::channel(Mood::Well);
        let (turned, turned_away) = watch::channel(0);
        network_lib::task::spawn("s3", async move {
            // Ends with the sender, that is with the server.
            let mut end = moods.clone();
            let serving = async {
                while let Ok((socket, _)) = listener.accept().await {
                    if matches!(*moods.borrow(), Mood::Away | Mood::Slow) {
                        turned.send_modify(|count| *count += 1);
                    }
                    let connection = connection(socket, service.clone(), moods.clone());
                    network_lib::task::spawn("s3 connection", connection);
                }
            };
            tokio::select! {
                () = serving => {}
                () = async { while end.changed().await.is_ok() {} } => {}
            }
        });
        Self { address, folder, mood, turned_away }
    }

    /// Address for clients.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it behave otherwise from now on.
    pub fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Waits until a client that connects from now on was turned away, or has to wait.
    ///
    /// # Panics
    ///
    /// When no call arrives.
    pub async fn turns_away(&self) {
        let mut count = self.turned_away.clone();
        count.mark_unchanged();
        let coming = tokio::time::timeout(crate::LIMIT, count.changed()).await;
        coming.expect("a call").expect("the server runs");
    }

    /// The file of an object in the bucket.
    #[must_use]
    pub fn object(&self, key: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(key)
    }

    /// Number of objects below a prefix of one folder, such as `network`.
    ///
    /// # Panics
    ///
    /// When there is no such folder.
    #[must_use]
    pub fn objects(&self, prefix: &str) -> usize {
        let entries = fs::read_dir(self.object(prefix)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
        // The server keeps files of its own beside them.
        let is_object = |name: &String| name.len() == 32 && !name.contains('.');
        names.filter_map(Result::ok).filter(is_object).count()
    }

    /// Takes the bucket away, or gives it back, with all that is in it.
    ///
    /// # Panics
    ///
    /// When it is not where it should be.
    pub fn set_bucket(&self, there: bool) {
        let (bucket, aside) = (self.folder.path().join(BUCKET), self.folder.path().join("aside"));
        let (from, to) = if there { (aside, bucket) } else { (bucket, aside) };
        fs::rename(from, to).expect("renames");
    }
}

async fn connection(socket: TcpStream, service: S3Service, mut moods: watch::Receiver<Mood>) {
    let mut mood = *moods.borrow_and_update();
    while mood == Mood::Slow && moods.changed().await.is_ok() {
        mood = *moods.borrow_and_update();
    }
    let serving = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    match mood {
        Mood::Well => tokio::select! {
            // A client may leave at any time.
            _ = serving => {}
            _ = moods.changed() => {}
        },
        Mood::Away | Mood::Slow => {}
        // Held open, unserved.
        Mood::Silent => drop((moods.changed().await, serving)),
    }
}
