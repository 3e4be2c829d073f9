//! Schema migrations.
//!
//! The record of applied migrations is sqlx's table `_sqlx_migrations`, because sqlx migrated the databases of
//! earlier versions; they open unchanged, and an earlier version can open a database of this one.

use std::collections::BTreeSet;
use std::time::Instant;

use rusqlite::{Connection, params};
use sqlx::migrate::{MigrateError, Migrator};

use crate::StoreError;

/// All migrations, with their checksums (SHA-384 of the file).
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// sqlx's own definition of its table.
const CREATE_RECORD: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";

/// Migrates the database to this version's schema: applies the missing migrations, each in its own transaction.
///
/// # Errors
///
/// If an applied migration is unknown or differs, or if a migration fails.
pub(super) fn apply(connection: &mut Connection, location: &str) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Schema {
        location: location.to_owned(),
        source: error.into(),
    };
    let applied = applied(connection).map_err(failed)?;
    let applied = verified(applied).map_err(|error| StoreError::migration(location, error))?;
    for migration in MIGRATIONS.iter().filter(|it| !applied.contains(&it.version)) {
        let started = Instant::now();
        let mut run = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration.sql.as_str())?;
            let nanos = i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX);
            transaction.execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (?1, ?2, TRUE, ?3, ?4)",
                params![migration.version, migration.description, migration.checksum, nanos],
            )?;
            transaction.commit()
        };
        run().map_err(failed)?;
    }
    Ok(())
}

/// A row of the record: version, success, checksum.
type Applied = (i64, bool, Vec<u8>);

fn applied(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    connection.execute_batch(CREATE_RECORD)?;
    let mut query =
        connection.prepare("SELECT version, success, checksum FROM _sqlx_migrations")?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Versions of the applied migrations, if all are complete and this version's.
fn verified(applied: Vec<Applied>) -> Result<BTreeSet<i64>, MigrateError> {
    for (version, success, checksum) in &applied {
        let migration = MIGRATIONS.iter().find(|it| it.version == *version);
        let migration = migration.ok_or(MigrateError::VersionMissing(*version))?;
        if !success {
            return Err(MigrateError::Dirty(*version));
        }
        if migration.checksum != *checksum {
            return Err(MigrateError::VersionMismatch(*version));
        }
    }
    Ok(applied.into_iter().map(|(version, ..)| version).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dump of a database that an earlier version created and migrated by sqlx, with a few records.
    const MADE_BY_SQLX: &str = include_str!("made_by_sqlx.sql");

    fn opened(dump: &str) -> Connection {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch(dump).expect("is read");
        connection
    }

    /// The record and the schema, without times.
    fn schema(connection: &Connection) -> Vec<String> {
        let sql = "SELECT version || ' ' || description || ' ' || success || ' ' || hex(checksum) \
                   FROM _sqlx_migrations \
                   UNION ALL SELECT type || ' ' || name || ' ' || sql FROM sqlite_master WHERE sql IS NOT NULL \
                   ORDER BY 1";
        let mut query = connection.prepare(sql).expect("is SQL");
        let lines = query.query_map([], |row| row.get(0)).expect("reads");
        lines.collect::<rusqlite::Result<_>>().expect("reads")
    }

    fn error_of(connection: &mut Connection) -> String {
        apply(connection, "hierophant.db").expect_err("is refused").to_string()
    }

    fn new() -> Connection {
        let mut new = opened("");
        apply(&mut new, "hierophant.db").expect("is created");
        new
    }

    #[test]
    fn a_database_made_by_sqlx_opens_and_gets_only_the_later_migrations() {
        let mut old = opened(MADE_BY_SQLX);
        let is_record = |line: &String| line.starts_with(|first: char| first.is_ascii_digit());
        let before: Vec<String> = schema(&old).into_iter().filter(is_record).collect();
        assert_eq!(before.len(), 10);
        apply(&mut old, "hierophant.db").expect("opens");
        let after = schema(&old);
        assert!(before.iter().all(|line| after.contains(line)), "the record is as sqlx left it");
        assert_eq!(after, schema(&new()), "a new database has the same schema and record");
        let changes = old.total_changes();
        apply(&mut old, "hierophant.db").expect("opens again");
        assert_eq!(old.total_changes(), changes);
    }

    #[test]
    fn a_database_of_an_earlier_version_gets_the_missing_migrations() {
        let mut old = opened(MADE_BY_SQLX);
        // As it was before the last migration.
        old.execute_batch("DELETE FROM _sqlx_migrations WHERE version = 10").expect("is deleted");
        old.execute_batch("DROP INDEX programs_by_owner").expect("is dropped");
        apply(&mut old, "hierophant.db").expect("is migrated");
        assert_eq!(schema(&old), schema(&new()));
        let jobs: i64 =
            old.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).expect("reads");
        assert_eq!(jobs, 2);
    }

    #[test]
    fn an_applied_migration_with_another_checksum_is_refused() {
        let mut old = opened(MADE_BY_SQLX);
        old.execute_batch("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 3")
            .expect("is set");
        let error = error_of(&mut old);
        assert!(error.contains("hierophant.db was made by another program"), "{error}");
        assert!(error.contains("schema change 3 differs"), "{error}");
    }

    #[test]
    fn a_migration_of_a_newer_version_is_refused() {
        let mut old = opened(MADE_BY_SQLX);
        old.execute_batch("INSERT INTO _sqlx_migrations VALUES (99, 'later', '', TRUE, x'00', 0)")
            .expect("is inserted");
        let error = error_of(&mut old);
        assert!(error.contains("comes from a newer version (it has schema change 99"), "{error}");
    }

    #[test]
    fn a_migration_that_did_not_succeed_is_refused() {
        let mut old = opened(MADE_BY_SQLX);
        old.execute_batch("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 10")
            .expect("is set");
        assert_eq!(
            error_of(&mut old),
            "cannot migrate the database hierophant.db to this version's schema"
        );
    }

    #[test]
    fn a_migration_that_fails_leaves_no_record() {
        let mut old = opened(MADE_BY_SQLX);
        // Its index exists already.
        old.execute_batch("DELETE FROM _sqlx_migrations WHERE version = 10").expect("is deleted");
        error_of(&mut old);
        assert!(!schema(&old).iter().any(|line| line.starts_with("10 ")));
    }
}
