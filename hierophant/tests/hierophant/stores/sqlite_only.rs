//! Files that are not an intact database of Hierophant's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alloy_primitives::Address;
use hierophant_model::records::{Change, JobState};
use hierophant_store::sqlite;
use rusqlite::Connection;
use tempfile::TempDir;

use super::records::{job, request, spec};
use crate::support;

/// A closed database of some pages.
async fn database() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("hierophant.db");
    let store = sqlite::open(&file, ()).await.expect("opens");
    for number in 0..500 {
        let job = job(number, JobState::Queued);
        let request = Change::Request(request(number, &job), spec());
        let nonce = Change::CountNonce(Address::with_last_byte(1));
        store.commit(&[Change::Job(job), request, nonce]).await.expect("commits");
    }
    store.close().await;
    (folder, file)
}

pub(crate) fn administer(file: &Path, sql: &str) {
    let connection = Connection::open(file).expect("opens");
    connection.execute_batch(sql).expect("does it");
    connection.close().expect("closes");
}

/// Refused with a text that contains this, and left as it was.
async fn is_refused(file: &Path, text: &str) {
    let before = fs::read(file).expect("readable");
    let error = sqlite::open(file, ()).await.expect_err("must be refused");
    let line = format!("{:#}", anyhow::Error::new(error));
    let name = file.display().to_string();
    assert!(line.contains(text) && line.contains(&name) && !line.contains('\n'), "{line}");
    assert!(fs::read(file).expect("readable") == before, "the file was changed");
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let (_folder, file) = database().await;
    let length = fs::metadata(&file).expect("exists").len();
    for kept in [length / 2, length - 4096, 5000, 100, 10] {
        fs::OpenOptions::new().write(true).open(&file).and_then(|f| f.set_len(kept)).expect("cuts");
        let text = if kept < 16 { "not a SQLite database" } else { "is damaged" };
        is_refused(&file, text).await;
    }
}

#[tokio::test]
async fn a_file_with_overwritten_pages_is_refused() {
    let (_folder, file) = database().await;
    let mut bytes = fs::read(&file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(&file, bytes).expect("writes");
    // The start does not wait for the check, which finds it soon.
    let error = match sqlite::open(&file, ()).await {
        Ok(store) => {
            let checked = tokio::time::timeout(support::LIMIT, store.damaged()).await;
            let error = checked.expect("is found in time");
            store.close().await;
            error
        }
        Err(error) => error,
    };
    let line = format!("{:#}", anyhow::Error::new(error));
    let (name, remedy) = (file.display().to_string(), "restore it from a backup");
    assert!(line.contains("is damaged") && line.contains(remedy), "{line}");
    assert!(line.contains(&name) && !line.contains('\n'), "{line}");
    // It is found again at the next start: a damaged file gets no mark of an orderly stop.
    assert!(!file.with_extension("db-clean").exists());
}

/// Overwrites the last page, a leaf of a table or an index that a start does not read. Size and time stay.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).expect("readable");
    let time = fs::metadata(file).and_then(|it| it.modified()).expect("has a time");
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xa5);
    fs::write(file, bytes).expect("writes");
    fs::File::options().write(true).open(file).and_then(|it| it.set_modified(time)).expect("sets");
}

#[tokio::test]
async fn a_file_is_checked_only_after_an_unclean_stop() {
    let (_folder, file) = database().await;
    let mark = file.with_extension("db-clean");
    assert!(mark.exists(), "closed in order");
    damage(&file);
    let store = sqlite::open(&file, ()).await.expect("opens");
    assert!(!mark.exists(), "a crash from here on is unclean");
    let checked = tokio::time::timeout(Duration::from_millis(300), store.damaged()).await;
    assert!(checked.is_err(), "it is not looked for after an orderly stop: {checked:?}");
    store.close().await;
    fs::remove_file(&mark).expect("as after a crash");
    let store = sqlite::open(&file, ()).await.expect("opens");
    let found = tokio::time::timeout(support::LIMIT, store.damaged()).await.expect("in time");
    assert!(found.to_string().contains("is damaged"), "{found}");
    store.close().await;
}

#[tokio::test]
async fn a_running_hierophant_ends_when_its_database_is_found_damaged() {
    let (_folder, file) = database().await;
    let data = file.parent().expect("a folder").to_owned();
    damage(&file);
    fs::remove_file(file.with_extension("db-clean")).expect("as after a crash");
    let config = hierophant::config::Config::for_test(data);
    let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
    let running = hierophant::run(config, listeners, Default::default());
    let ended = tokio::time::timeout(support::LIMIT, running).await.expect("ends in time");
    let line = format!("{:#}", ended.expect_err("must end"));
    assert!(line.starts_with("cannot use the database: the database"), "{line}");
    assert!(line.contains("is damaged"), "{line}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("hierophant.db");
    fs::write(&file, "these are the minutes of a meeting").expect("writes");
    is_refused(&file, "not a SQLite database").await;
}

#[tokio::test]
async fn a_database_from_a_newer_version_is_refused() {
    let (_folder, file) = database().await;
    administer(&file, "INSERT INTO _sqlx_migrations VALUES (99, 'later', '', true, x'00', 0)");
    is_refused(&file, "newer version").await;
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("hierophant.db");
    administer(&file, "CREATE TABLE contacts (name TEXT)");
    is_refused(&file, "another program").await;
    let (_folder, file) = database().await;
    administer(&file, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1");
    is_refused(&file, "another program").await;
}

#[tokio::test]
async fn a_file_that_an_interrupted_start_left_empty_is_used() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("hierophant.db");
    fs::write(&file, "").expect("writes");
    sqlite::open(&file, ()).await.expect("opens");
}

#[test]
fn the_program_says_in_one_line_what_is_wrong_and_fails() {
    let folder = tempfile::tempdir().expect("temp dir");
    let data = folder.path().join("data");
    let database = data.join("hierophant.db");
    fs::create_dir(&data).expect("creates");
    fs::write(&database, "garbage, and more of it than sixteen bytes").expect("writes");
    let output = Command::new(env!("CARGO_BIN_EXE_hierophant"))
        .current_dir(&folder)
        .env("HIEROPHANT_DATA_DIR", &data)
        .env("HIEROPHANT_GRPC_PORT", "0")
        .env("HIEROPHANT_HTTP_PORT", "0")
        .output()
        .expect("runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().expect("says something");
    assert!(last.starts_with("hierophant: cannot use the database"), "{said}");
    assert!(last.contains(&database.display().to_string()), "{said}");
    assert!(last.contains("restore it from a backup"), "{said}");
}
