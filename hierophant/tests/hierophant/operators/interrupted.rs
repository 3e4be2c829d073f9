//! Commands whose audit entry, or whose outcome, cannot be stored.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hierophant_model::records::AuditRecord;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{code, refusal, send, stranger};
use crate::support::{LIMIT, Network, eventually};

/// Opens the database of a running Hierophant, as its operator could.
fn database(data: &Path) -> Connection {
    let database = Connection::open(data.join("hierophant.db")).expect("opens");
    database.busy_timeout(Duration::from_secs(10)).expect("sets");
    database
}

/// Lets every write of this kind fail.
fn refuse(database: &Connection, what: &str) {
    let trigger =
        format!("CREATE TRIGGER refused BEFORE {what} BEGIN SELECT RAISE(ABORT, 'refused'); END");
    database.execute_batch(&trigger).expect("a trigger");
}

#[tokio::test]
async fn a_command_that_cannot_be_written_down_is_not_executed() {
    let network = Network::start().await;
    refuse(&database(network.data()), "INSERT ON audit");
    let pause = stranger(1).post(network.url("/api/v1/dispatch/pause"));
    let (code, words) = refusal(send(pause.json(&json!({"reason": "disks"}))).await).await;
    assert!(code == 503 && words.starts_with("not executed"), "{code} {words}");
    assert!(network.json("/api/v1/overview").await["paused"].is_null());
    let make = stranger(1).post(network.url("/api/v1/tokens"));
    let make = make.json(&json!({"name": "anna", "role": "act"}));
    assert_eq!(send(make).await.status(), 503);
    assert_eq!(network.json("/api/v1/tokens").await, json!([]));
    database(network.data()).execute_batch("DROP TRIGGER refused").expect("drops");
    let resume = stranger(1).post(network.url("/api/v1/dispatch/resume"));
    assert_eq!(send(resume).await.status(), 200, "later commands are executed again");
}

#[tokio::test]
async fn an_entry_stays_if_the_store_fails_after_the_command() {
    let network = Network::start().await;
    refuse(&database(network.data()), "UPDATE ON audit");
    let pause = stranger(1).post(network.url("/api/v1/dispatch/pause"));
    assert_eq!(code(pause.json(&json!({"reason": "disks"}))).await, 200);
    let log = network.json("/api/v1/audit").await;
    assert_eq!(log[0]["action"], "POST /api/v1/dispatch/pause", "{log}");
    assert_eq!(
        (&log[0]["code"], log.as_array().map(Vec::len)),
        (&json!(AuditRecord::PENDING), Some(1))
    );
}

/// A Hierophant as a process, which ends with the test.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().expect("ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(folder: &Path, port: u16) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hierophant"));
    command.current_dir(folder).env_clear();
    command.env("HIEROPHANT_BIND_ADDRESS", "127.0.0.1").env("HIEROPHANT_GRPC_PORT", "0");
    command.env("HIEROPHANT_HTTP_PORT", port.to_string());
    command.env("HIEROPHANT_STORAGE__MIN_FREE_BYTES", "0");
    Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
}

#[tokio::test]
async fn an_entry_stays_if_the_process_is_killed_during_the_command() {
    let folder = tempfile::tempdir().expect("temp dir");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let is_ready =
        async || reqwest::get(url("/ready")).await.is_ok_and(|answer| answer.status() == 200);
    let mut process = start(folder.path(), port);
    eventually("it is ready", is_ready).await;
    let data = folder.path().join("hierophant-data");
    // Storing the pause takes minutes.
    let slowly = "CREATE VIEW slow AS WITH RECURSIVE n(i) AS \
                  (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000000) SELECT count(*) FROM n; \
                  CREATE TRIGGER slowed BEFORE INSERT ON settings BEGIN SELECT * FROM slow; END";
    database(&data).execute_batch(slowly).expect("a trigger");
    let pause = reqwest::Client::new().post(url("/api/v1/dispatch/pause"));
    let pausing = network_lib::task::spawn("pause", pause.json(&json!({"reason": "x"})).send());
    let entries = || {
        let found = database(&data).query_row("SELECT count(*) FROM audit", [], |row| row.get(0));
        found.unwrap_or(0_i64)
    };
    eventually("the command is written down", async || entries() == 1).await;
    process.kill();
    let _ = tokio::time::timeout(LIMIT, pausing).await.expect("its caller hears of it");
    database(&data).execute_batch("DROP TRIGGER slowed; DROP VIEW slow").expect("drops");
    let _process = start(folder.path(), port);
    eventually("it is ready again", is_ready).await;
    let log: Value =
        reqwest::get(url("/api/v1/audit")).await.expect("answers").json().await.expect("JSON");
    assert_eq!(log[0]["action"], "POST /api/v1/dispatch/pause", "{log}");
    assert_eq!(log[0]["code"], AuditRecord::PENDING, "its outcome is unknown");
}
