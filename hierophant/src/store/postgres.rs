//! The store for those who run Postgres already.
//!
//! Everything is written over one connection, which holds an advisory lock of the database: whoever
//! does not hold the lock cannot write, and with the connection goes the right to. After a break the
//! store connects anew, and goes on only if nobody else has written in between; `writer.number` tells.

mod writer;

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row};
use tokio::sync::Mutex;

use super::group::Grouped;
use super::queries::{Batch, Driver, SqlStore};
use super::rows::{ColumnError, Columns};
use super::statement::{Statement, Value};
use super::{JobStore, StoreError};
use writer::Writer;

/// Connections that only read.
const READERS: u32 = 8;

/// Longest wait for a connection and for one transaction. Beyond it the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the sessions are told: to notice a peer that is gone within half a minute, so that the lock of
/// a Hierophant whose machine died is free again.
const SESSION: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Connects, takes the lock and brings the database to this version's schema.
///
/// # Errors
///
/// When the server cannot be reached or does not let us in, when another Hierophant holds the lock,
/// when the database belongs to another program or comes from a newer version.
pub async fn open(url: &str) -> Result<Arc<dyn JobStore>, StoreError> {
    Ok(Arc::new(SqlStore(Grouped::new(connect(url).await?))))
}

/// The driver of such a store.
pub(super) async fn connect(url: &str) -> Result<PostgresDriver, StoreError> {
    let opening = |location: &str, source: sqlx::Error| StoreError::Unreachable {
        location: location.to_owned(),
        source: source.into(),
    };
    let options = PgConnectOptions::from_str(url).map_err(|error| opening("named", error))?;
    let location = location(&options);
    let options = options.application_name("hierophant").options(SESSION);
    let writer = Writer::open(options.clone(), location.clone()).await?;
    let readers = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(PATIENCE)
        .connect_with(options.options([("default_transaction_read_only", "on")]))
        .await
        .map_err(|error| opening(&location, error))?;
    Ok(PostgresDriver { writer: Mutex::new(writer), readers })
}

/// The database without user and password, for people.
fn location(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        .map_or(options.get_host().to_owned(), |socket| socket.display().to_string());
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{database} on {host}:{}", options.get_port())
}

/// One writing connection, some that read.
#[derive(Debug)]
pub(super) struct PostgresDriver {
    writer: Mutex<Writer>,
    readers: PgPool,
}

#[async_trait]
impl Driver for PostgresDriver {
    async fn read<T, F>(
        &self,
        action: &'static str,
        statement: Statement,
        read: F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn Columns) -> Result<T, StoreError> + Send + 'static,
    {
        let failed = StoreError::unavailable(action);
        let mut rows = query(statement).fetch(&self.readers);
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            found.push(read(&row)?);
        }
        Ok(found)
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        self.writer.lock().await.write(batches).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answering = StoreError::unavailable("answering");
        sqlx::query("SELECT 1").execute(&self.readers).await.map_err(answering)?;
        self.writer.lock().await.write(vec![[Statement::new("SELECT 1")].into()]).await
    }

    async fn close(&self) {
        self.readers.close().await;
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
        // Postgres has no text with a NUL in it; peers may send one.
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
}
