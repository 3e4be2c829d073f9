//! Inspection of a database file before anything is written to it.
//!
//! SQLite itself would accept another program's database. It finds a cut file at once, and other damage only on reading
//! the damaged page: after an unclean stop `integrity` reads all of them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::StoreError;

/// First bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// SQLite's result codes for "missing file or permission", "damaged", "not a database", "read-only" and "disk
/// full".
const CANNOT_OPEN: i32 = 14;
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;
const READ_ONLY: i32 = 8;
const FULL: i32 = 13;

/// Refuses a file that is not a database of Hierophant's, or whose beginning or end is damaged. A missing file is accepted, and so is one that an
/// interrupted start left empty.
pub(super) fn inspect(file: &Path, location: &str) -> Result<(), StoreError> {
    let unusable = |reason: String| StoreError::Unusable { location: location.to_owned(), reason };
    let mut head = Vec::new();
    match File::open(file).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(unusable(format!(
                "cannot be read ({error}); give this user read permission"
            )));
        }
    }
    if head.is_empty() {
        return Ok(());
    }
    if head != MAGIC {
        return Err(unusable(
            "is not a SQLite database, or its beginning is overwritten; restore it from a backup, or move it \
             away to start with an empty one"
                .into(),
        ));
    }
    let fault = Connection::open(file).and_then(|connection| find_fault(&connection));
    fault.map_err(refusal(location))?.map_or(Ok(()), |reason| Err(unusable(reason)))
}

/// Creates the file for this user alone, if it is missing: SQLite would let other users read it, and its log.
pub(super) fn create_private(file: &Path) {
    // SQLite reports what prevents it.
    let _ = File::options().write(true).create_new(true).mode(0o600).open(file);
}

/// What is wrong with the database, if anything.
fn find_fault(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let tables = "SELECT count(*), count(*) FILTER (WHERE name = '_sqlx_migrations') \
                  FROM sqlite_master WHERE type = 'table'";
    let (all, ours): (i64, i64) =
        connection.query_row(tables, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if all > 0 && ours == 0 {
        return Ok(Some("was made by another program; choose another `data_dir`".into()));
    }
    Ok(None)
}

pub(super) fn damaged(what: &str) -> String {
    let what = what.replace('\n', " ");
    format!(
        "is damaged ({what}); restore it from a backup, or recover what is left with \
         `sqlite3 hierophant.db .recover`"
    )
}

/// Converts an error of opening the file into one for the operator.
pub(super) fn refusal(location: &str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| {
        let code = error.sqlite_error().map_or(0, |error| error.extended_code);
        // The low byte is the primary result code.
        let reason = match code & 0xff {
            CORRUPT | NOT_A_DATABASE => damaged(&error.to_string()),
            CANNOT_OPEN | READ_ONLY => {
                format!(
                    "cannot be written ({error}); give this user write permission on file and folder"
                )
            }
            FULL => "cannot be written, the disk is full; free some space".into(),
            _ => return StoreError::unavailable("opening it")(error),
        };
        StoreError::Unusable { location: location.to_owned(), reason }
    }
}
