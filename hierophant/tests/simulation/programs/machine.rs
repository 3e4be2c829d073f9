//! Machine of Hierophant: state that survives restarts.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hierophant::artifacts::blobs::Blobs;
use hierophant::config::Config;
use hierophant::metrics::Metrics;
use hierophant::{Listeners, run_on};
use hierophant_model::records::{Change, Millis, Role, TokenRecord};
use hierophant_store::sqlite;
use network_lib::ids::{Sha256Digest, TokenId};
use network_lib::secret::Secret;
use rand::Rng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::clients::Asked;
use super::contemplants::TOKEN;
use super::ends::{self, Ends};
use super::network::{GRPC, HTTP, Listener};
use super::operator;
use super::store::{SlowStore, block_on};
use super::story::Story;

/// Maximum number of workers at fault for failures of a job.
pub const MAX_ATTEMPTS: u32 = 3;

/// State that the host of Hierophant keeps across restarts.
pub struct Machine {
    config: Config,
    runtime: Runtime,
    seed: u64,
    /// The store of the latest start.
    store: RefCell<Option<Arc<SlowStore>>>,
    broken_store: Arc<AtomicBool>,
    hanging_store: Arc<AtomicBool>,
    /// Whether the store has failed since the latest start.
    store_failed: Cell<bool>,
    stop: RefCell<CancellationToken>,
    starts: Cell<usize>,
    story: Story,
    _folder: TempDir,
}

impl Machine {
    /// An empty machine.
    pub fn new(rng: &mut StdRng, story: Story) -> Self {
        let folder = folder();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let machine = Self {
            config: config(folder.path().join("data")),
            runtime: runtime.worker_threads(1).enable_all().build().expect("a runtime"),
            seed: rng.random(),
            store: RefCell::default(),
            broken_store: Arc::default(),
            hanging_store: Arc::default(),
            store_failed: Cell::default(),
            stop: RefCell::default(),
            starts: Cell::default(),
            story,
            _folder: folder,
        };
        machine.make_token(1, "operator", Role::Read, operator::TOKEN);
        machine.make_token(2, "acting operator", Role::Act, operator::ACT_TOKEN);
        machine
    }

    /// Token of an operator, as if it had been created long ago.
    fn make_token(&self, number: u8, name: &str, role: Role, secret: &str) {
        let record = TokenRecord {
            id: TokenId([number; 16]),
            name: name.into(),
            role,
            client: None,
            digest: Sha256Digest(Sha256::digest(secret).into()),
            created_at: Millis(0),
            revoked_at: None,
            expires_at: None,
            used: None,
        };
        block_on(self.runtime.handle(), async {
            let store = sqlite::open(&self.database(), ()).await.expect("opens");
            store.commit(&[Change::Token(record)]).await.expect("commits");
            store.close().await;
        });
    }

    /// Asks Hierophant to stop.
    pub fn stop(&self) {
        self.stop.borrow().cancel();
    }

    /// From now on the store fails, or does not.
    pub fn break_store(&self, broken: bool) {
        self.broken_store.store(broken, Ordering::Relaxed);
        self.store_failed.set(self.store_failed.get() || broken);
    }

    /// From now on the store answers nothing, or answers again.
    pub fn hang_store(&self, hanging: bool) {
        self.hanging_store.store(hanging, Ordering::Relaxed);
    }

    /// How often Hierophant was started.
    pub fn starts(&self) -> usize {
        self.starts.get()
    }

    /// Final state of the database, compared with requests and answers.
    pub fn ends(&self, asked: &[Asked]) -> Ends {
        ends::check(asked, &self.database())
    }

    fn database(&self) -> PathBuf {
        self.config.data_dir.join("hierophant.db")
    }

    /// Where half-written uploads lie.
    pub fn leftovers(&self) -> PathBuf {
        self.config.data_dir.join("artifacts/tmp")
    }

    /// Opens the database, after the last process's connections are closed.
    fn open(&self) -> Arc<SlowStore> {
        if let Some(old) = self.store.take() {
            old.close_now();
        }
        let handle = self.runtime.handle().clone();
        let broken = Arc::clone(&self.broken_store);
        let hanging = Arc::clone(&self.hanging_store);
        let store = SlowStore::open(&self.database(), handle, self.seed, broken, hanging);
        let store = Arc::new(store);
        self.store.replace(Some(Arc::clone(&store)));
        store
    }

    /// Hierophant, from one start to its end.
    pub async fn run(&self) -> turmoil::Result {
        self.story.tell("Hierophant: starts");
        self.starts.set(self.starts.get() + 1);
        self.store_failed.set(self.broken_store.load(Ordering::Relaxed));
        let stop = CancellationToken::new();
        self.stop.replace(stop.clone());
        let store = self.open();
        let (grpc, http) = (Listener::bind(GRPC).await, Listener::bind(HTTP).await);
        let blobs = Blobs::open(&self.config.data_dir.join("artifacts")).expect("opens");
        let listeners = Listeners::public(grpc, http);
        let outcome =
            run_on(store, blobs, Metrics::new(), self.config.clone(), listeners, stop.clone())
                .await;
        match outcome {
            Ok(()) => self.story.tell("Hierophant: has stopped"),
            Err(error) if self.store_failed.get() => {
                self.story.tell(format!("Hierophant: ends because its store failed: {error:#}"));
            }
            Err(error) => return Err(format!("Hierophant fails: {error:#}").into()),
        }
        Ok(())
    }
}

/// On a disk in memory where there is one: every commit is synced.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("temp dir")
}

fn config(data: PathBuf) -> Config {
    std::fs::create_dir_all(&data).expect("creates");
    let mut config = Config::for_test(data);
    config.mock_mode = true;
    config.worker_token = Some(Secret::from(TOKEN));
    // Links are slow here, and only silence ends an upload.
    config.limits.min_upload_rate = 0;
    let workers = &mut config.worker_registry;
    workers.heartbeat_interval = Duration::from_secs(1);
    workers.silence_limit = Duration::from_secs(4);
    workers.return_limit = Duration::from_secs(10);
    workers.strike_decay = Duration::from_secs(30);
    config.proofs.max_attempts = MAX_ATTEMPTS.try_into().expect("not zero");
    config.proofs.attempt_limit = Duration::from_secs(120);
    config.proofs.quarantine = Duration::from_secs(20);
    config
}
