//! The Postgres store.
//!
//! All writes go over one connection, which holds an advisory lock of the database. Losing the connection loses
//! the lock and with it the right to write. After reconnecting, the store continues only if no other Hierophant
//! has written in between, which `writer.number` shows.

mod writer;

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use network_lib::task;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row};
use tokio::sync::Mutex;

use crate::driver::{Batch, Driver, ReadRow, SqlStore};
use crate::error::LIST_LIMIT;
use crate::group::Grouped;
use crate::measured::Measured;
use crate::rows::{ColumnError, Columns};
use crate::statement::{Access, Statement, Value};
use crate::turns::{LISTS, Turns};
use crate::{CallObserver, JobStore, StoreError};
use writer::Writer;

/// Number of read-only connections.
const READERS: u32 = 8;

/// Timeout for a connection and for one transaction; after it the connection counts as broken.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Session parameters: the server notices a lost peer within half a minute, which frees the lock of a Hierophant
/// whose machine died.
const SESSION: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// SQLSTATE of a statement that the server has interrupted.
const INTERRUPTED: &str = "57014";

/// Opens the store: connects, takes the lock and migrates the database to this version's schema.
///
/// # Errors
///
/// If the server cannot be reached or refuses the credentials, if another Hierophant holds the lock, or if the
/// database belongs to another program or to a newer version.
pub async fn open(url: &str, observer: impl CallObserver) -> Result<Arc<dyn JobStore>, StoreError> {
    let driver = connect(url).await?;
    Ok(Arc::new(SqlStore(Grouped::new(Measured { driver, observer }))))
}

/// Checks a database URL without connecting.
///
/// # Errors
///
/// What is wrong with the URL. The text does not repeat it, as it may contain a password.
pub fn check_url(url: &str) -> Result<(), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("must be a postgres:// URL".into());
    }
    PgConnectOptions::from_str(url).map(drop).map_err(|error| format!("invalid URL ({error})"))
}

async fn connect(url: &str) -> Result<PostgresDriver, StoreError> {
    let opening = |location: &str, source: sqlx::Error| StoreError::Unreachable {
        location: location.to_owned(),
        source: source.into(),
    };
    let options = PgConnectOptions::from_str(url).map_err(|error| opening("named", error))?;
    let location = location(&options);
    let options = options.application_name("hierophant").options(SESSION);
    let writer = Writer::open(options.clone(), location.clone()).await?;
    let options = options.options([("default_transaction_read_only", "on")]);
    let pool =
        |connections| PgPoolOptions::new().max_connections(connections).acquire_timeout(TIMEOUT);
    let readers = pool(READERS).connect_with(options.clone()).await;
    let readers = readers.map_err(|error| opening(&location, error))?;
    let limit = LIST_LIMIT.as_millis();
    let lists = pool(LISTS).connect_lazy_with(options.options([("statement_timeout", limit)]));
    Ok(PostgresDriver { writer: Mutex::new(writer), readers, lists, turns: Turns::of_lists() })
}

/// The database for messages, without user and password.
fn location(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        .map_or(options.get_host().to_owned(), |socket| socket.display().to_string());
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{database} on {host}:{}", options.get_port())
}

/// A Postgres database: one writing connection, a pool for reads, and one for lists.
#[derive(Debug)]
struct PostgresDriver {
    writer: Mutex<Writer>,
    readers: PgPool,
    /// Connections whose statements have a time limit.
    lists: PgPool,
    turns: Turns,
}

/// Runs a statement that only reads, and converts each row.
async fn fetch<T>(
    pool: &PgPool,
    action: &'static str,
    statement: Statement,
    read: impl ReadRow<T>,
) -> Result<Vec<T>, StoreError> {
    let failed = StoreError::unavailable(action);
    let mut rows = query(statement).fetch(pool);
    let mut found = Vec::new();
    loop {
        match rows.try_next().await {
            Ok(Some(row)) => found.push(read(&row)?),
            Ok(None) => return Ok(found),
            Err(error) if is_interrupted(&error) => return Err(StoreError::TooSlow),
            Err(error) => return Err(failed(error)),
        }
    }
}

fn is_interrupted(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == INTERRUPTED)
}

#[async_trait]
impl Driver for PostgresDriver {
    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        if statement.access != Access::List {
            return fetch(&self.readers, action, statement, read).await;
        }
        let turn = self.turns.take(action).await?;
        let pool = self.lists.clone();
        // A caller that hangs up leaves the connection at most until the limit: its turn lasts as long.
        let reading = task::spawn("list", async move {
            let _turn = turn;
            fetch(&pool, action, statement, read).await
        });
        reading.await.map_err(StoreError::unavailable(action))?
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        self.writer.lock().await.write(batches).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answering = StoreError::unavailable("answering");
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop).map_err(answering)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.lists.close().await;
        self.writer.lock().await.close().await;
    }
}

impl Columns for PgRow {
    fn int(&self, name: &str) -> Result<Option<i64>, ColumnError> {
        Ok(self.try_get(name)?)
    }

    fn text(&self, name: &str) -> Result<Option<String>, ColumnError> {
        Ok(self.try_get(name)?)
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ColumnError> {
        Ok(self.try_get(name)?)
    }
}

fn query(statement: Statement) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let query = match statement.sql {
        Cow::Borrowed(sql) => sqlx::query(sql),
        Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql)),
    };
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        // Postgres text cannot contain NUL, but peers may send it.
        Value::Text(text) => query.bind(text.map(|text| text.replace('\0', "\u{fffd}"))),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_what_people_see() {
        let url = "postgres://kahana:s3cret@db.example.org:5433/proofs";
        let options = PgConnectOptions::from_str(url).expect("a URL");
        assert_eq!(location(&options), "proofs on db.example.org:5433");
    }
    #[test]
    fn a_fault_of_the_database_url_does_not_show_its_password() {
        assert_eq!(check_url("postgres://kahana:s3cret@db.example.org:5433/proofs"), Ok(()));
        for bad in ["mysql://a:s3cret@b/c", "postgres://a:s3cret@b:port/c", "s3cret"] {
            let text = check_url(bad).expect_err("is refused");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
