//! A look at a database file before anything is written to it.
//!
//! SQLite itself would take an empty file for a new database and another program's for ours, and would
//! find damage only when it comes to the damaged place.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rusqlite::Connection;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::super::StoreError;
use super::PATIENCE;

/// First bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// SQLite's result codes for "no such file or no right to open it", "damaged", "no database",
/// "read-only" and "disk full".
const CANNOT_OPEN: i32 = 14;
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;
const READ_ONLY: i32 = 8;
const FULL: i32 = 13;

/// Refuses a file that is no sound database of Hierophant's. A missing one is fine, and so is one that
/// is still empty because an earlier start ended while it was made.
pub(super) async fn inspect(file: &Path, location: &str) -> Result<(), StoreError> {
    let unusable = |reason: String| StoreError::Unusable { location: location.to_owned(), reason };
    let mut head = Vec::new();
    match File::open(file).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(unusable(format!("cannot be read ({error}); give this user the right to")));
        }
    }
    if head.is_empty() {
        return Ok(());
    }
    if head != MAGIC {
        return Err(unusable(
            "is no SQLite database, or its beginning is overwritten; restore it from a backup, or \
             move it away to start anew"
                .into(),
        ));
    }
    let refused = refusal(location);
    let file = file.to_owned();
    let looking = tokio::task::spawn_blocking(move || look_inside(&Connection::open(file)?));
    let verdict = looking.await.map_err(StoreError::unavailable("opening it"))?;
    verdict.map_err(refused)?.map_or(Ok(()), |reason| Err(unusable(reason)))
}

/// What is wrong with the database.
fn look_inside(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let tables = "SELECT count(*), count(*) FILTER (WHERE name = '_sqlx_migrations') \
                  FROM sqlite_master WHERE type = 'table'";
    let (all, ours): (i64, i64) =
        connection.query_row(tables, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if all > 0 && ours == 0 {
        return Ok(Some("was made by another program; choose another `data_dir`".into()));
    }
    // Reads every page once: some 0.2 s with 100,000 requests.
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then(|| damaged(&found)))
}

/// Brings the file to this version's schema, creating it where it is missing.
pub(super) async fn migrate(file: &Path, location: &str) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE);
    let mut connection = options.connect().await.map_err(|error| {
        let code = error.as_database_error().and_then(DatabaseError::code);
        refused(location, code.and_then(|code| code.parse().ok()), error)
    })?;
    sqlx::migrate!("migrations/sqlite")
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|source| StoreError::migration(location, source))?;
    connection.close().await.map_err(StoreError::unavailable("opening it"))
}

fn damaged(what: &str) -> String {
    let what = what.replace('\n', " ");
    format!(
        "is damaged ({what}); restore it from a backup, or save what can be saved with \
         `sqlite3 hierophant.db .recover`"
    )
}

/// What an error while opening means to the operator.
pub(super) fn refusal(location: &str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| refused(location, error.sqlite_error().map(|it| it.extended_code), error)
}

fn refused(
    location: &str,
    code: Option<i32>,
    error: impl Error + Send + Sync + 'static,
) -> StoreError {
    // The low byte is the kind, the rest says more about it.
    let reason = match code.unwrap_or(0) & 0xff {
        CORRUPT | NOT_A_DATABASE => damaged(&error.to_string()),
        CANNOT_OPEN | READ_ONLY => {
            format!(
                "cannot be written ({error}); give this user the right to write file and folder"
            )
        }
        FULL => "cannot be written, the disk is full; make room".into(),
        _ => return StoreError::unavailable("opening it")(error),
    };
    StoreError::Unusable { location: location.to_owned(), reason }
}
