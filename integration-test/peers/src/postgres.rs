//! A Postgres server of the tests' own, from the installed package: its own data folder and a socket in
//! it, no port. Tests that run at the same time share it, each with a database of its own; the last one
//! stops it.

use std::fs::OpenOptions;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for the server to start or stop.
const LIMIT: Duration = Duration::from_secs(60);

/// The server's log, in its folder.
const LOG: &str = "log";

/// The server's administrator, who needs no password.
const USER: &str = "postgres";

/// A running server, which ends when dropped. Its methods block, and panic when they fail.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    binaries: PathBuf,
    databases: AtomicU32,
    durable: bool,
    running: Mutex<Child>,
}

/// A database of a test's own.
#[derive(Debug)]
pub struct Database {
    /// How a Hierophant reaches it.
    pub url: String,
    /// The server that it lies on.
    pub server: Arc<Server>,
}

/// A new, empty database on the server that all tests share.
pub async fn database() -> Database {
    let made = tokio::task::spawn_blocking(|| {
        let server = Server::shared();
        Database { url: server.url(&server.create_database()), server }
    });
    made.await.expect("a database can be made")
}

impl Server {
    /// The server that runs already, or a new one.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server that no other test uses, to be stopped and started at will.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// The same, which syncs every commit to the disk, as one does that is not a test's.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(true)
    }

    fn start_with(durable: bool) -> Self {
        let binaries = binaries();
        let folder = TempDir::new().expect("temp dir");
        if let Some((user, group)) = other_user() {
            chown(folder.path(), Some(user), Some(group)).expect("gives the folder away");
        }
        let data = folder.path().join("data");
        let made = as_other_user(&binaries.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--username", USER, "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let running = Mutex::new(launch(&binaries, folder.path(), durable));
        let databases = AtomicU32::new(0);
        let server = Self { folder, binaries, databases, running, durable };
        server.wait_until_ready();
        server
    }

    /// Makes an empty database and returns its name.
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut creating = Command::new(self.binaries.join("createdb"));
        creating.args(["--username", USER, "--host"]).arg(self.folder.path()).arg(&name);
        let created = creating.output().expect("createdb can be run");
        assert!(created.status.success(), "createdb: {}", String::from_utf8_lossy(&created.stderr));
        name
    }

    /// URL of a database on it, by way of the socket; `postgres` is there from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.folder.path().display())
    }

    /// Operating-system id of the server's first process, the parent of all others.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// The Unix socket that it listens on, for a relay in front of it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// URL of a database on it, by way of a relay that listens on this port of this machine.
    #[must_use]
    pub fn url_by_way_of(&self, port: u16, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{database}")
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).expect("the log can be read")
    }

    /// Stops the server at once, without goodbye to its clients.
    pub fn stop(&self) {
        assert!(quit(&mut self.running.lock().expect("not poisoned")), "cannot stop Postgres");
    }

    /// Starts a stopped server again, on the same data.
    pub fn start_again(&self) {
        let running = launch(&self.binaries, self.folder.path(), self.durable);
        *self.running.lock().expect("not poisoned") = running;
        self.wait_until_ready();
    }

    /// A copy of a stopped server's data, as a backup or a standby has it.
    #[must_use]
    pub fn backup(&self) -> TempDir {
        let backup = TempDir::new().expect("temp dir");
        copy(&self.folder.path().join("data"), &backup.path().join("data"));
        backup
    }

    /// Replaces a stopped server's data by a copy: what was committed since is lost.
    pub fn restore(&self, backup: &TempDir) {
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).expect("removes the data");
        copy(&backup.path().join("data"), &data);
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        let ready = || {
            let mut asking = Command::new(self.binaries.join("pg_isready"));
            asking.args(["--quiet", "-h"]).arg(self.folder.path());
            asking.status().expect("pg_isready can be run").success()
        };
        while !ready() {
            assert!(began.elapsed() < LIMIT, "the Postgres server did not start in time");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(running) = self.running.get_mut()
            && running.try_wait().is_ok_and(|ended| ended.is_none())
        {
            quit(running);
        }
    }
}

/// SIGQUIT is Postgres' immediate shutdown; a plain kill would leave its children behind.
fn quit(server: &mut Child) -> bool {
    let told = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
    told.is_ok_and(|told| told.success()) && server.wait().is_ok()
}

/// Copies a folder with owners and modes.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--archive").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|copied| copied.success()), "cannot copy {}", from.display());
}

fn launch(binaries: &Path, folder: &Path, durable: bool) -> Child {
    let settings: &[&str] =
        if durable { &[] } else { &["-c", "fsync=off", "-c", "shared_buffers=16MB"] };
    let socket_folder = format!("unix_socket_directories={}", folder.display());
    let log = OpenOptions::new().create(true).append(true).open(folder.join(LOG));
    as_other_user(&binaries.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-c", "listen_addresses=", "-c", &socket_folder])
        .args(settings)
        .stdout(Stdio::null())
        .stderr(log.expect("the log can be opened"))
        .spawn()
        .expect("postgres can be run")
}

/// Where the server's programs lie: Debian keeps them off the path.
fn binaries() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = folders.into_iter().find(|folder| folder.join("initdb").exists());
    found.expect("no Postgres server is installed; run `cargo xtask setup --tests`")
}

/// The package's user, if this is root, as whom the server refuses to run.
fn other_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().expect("id can be run");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let user =
        id(&["-u", "postgres"]).expect("the package's user; run `cargo xtask setup --tests`");
    Some((user, id(&["-g", "postgres"]).expect("its group")))
}

fn as_other_user(program: &Path) -> Command {
    match other_user() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
            command.arg("--clear-groups").arg("--").arg(program);
            command
        }
    }
}
