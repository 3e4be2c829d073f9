//! The writing connection and its advisory lock.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::{TIMEOUT, query};
use crate::StoreError;
use crate::driver::Batch;

/// Key of the advisory lock that the writing Hierophant holds ("hierophn" in ASCII).
const LOCK: i64 = 0x6869_6572_6f70_686e;

/// The right to write: the connection, and what reconnecting needs.
#[derive(Debug)]
pub(super) struct Writer {
    options: PgConnectOptions,
    location: String,
    connection: Option<PgConnection>,
    /// This writer's number, assigned by the database.
    number: i64,
    /// Another writer has written since; this Hierophant's state is out of date.
    superseded: bool,
}

impl Writer {
    /// Connects, takes the lock, migrates and gets a new writer number.
    pub(super) async fn open(
        options: PgConnectOptions,
        location: String,
    ) -> Result<Self, StoreError> {
        let opening = |source: sqlx::Error| {
            let (location, source) = (location.clone(), source.into());
            StoreError::Unreachable { location, source }
        };
        let mut connection = connect(&options).await.map_err(opening)?;
        if !try_lock(&mut connection).await.map_err(opening)? {
            return Err(StoreError::InUse { location });
        }
        sqlx::migrate!("migrations/postgres")
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|source| StoreError::migration(&location, source))?;
        let row = sqlx::query("UPDATE writer SET number = number + 1 RETURNING number")
            .fetch_one(&mut connection)
            .await
            .map_err(opening)?;
        let number = row.try_get("number").map_err(opening)?;
        Ok(Self { options, location, connection: Some(connection), number, superseded: false })
    }

    /// Runs all statements in one transaction. After a connection error, the next call reconnects.
    pub(super) async fn write(&mut self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let failed = StoreError::unavailable("writing");
        let mut connection = self.take_connection().await?;
        // A connection in an unknown state is not put back, also if this future is dropped.
        let done = async {
            let mut transaction = connection.begin().await?;
            for statement in batches.iter().flat_map(|batch| batch.iter()) {
                if let Err(error) = query(statement.clone()).execute(&mut *transaction).await {
                    let back = transaction.rollback().await;
                    return Ok((back.is_ok(), Err(error)));
                }
            }
            transaction.commit().await?;
            Ok((true, Ok(())))
        };
        let (usable, outcome) = match tokio::time::timeout(TIMEOUT, done).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => (false, Err(error)),
            Err(_) => (false, Err(timed_out())),
        };
        if usable {
            self.connection = Some(connection);
        }
        outcome.map_err(failed)
    }

    /// Releases the lock and closes the connection.
    pub(super) async fn close(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // The server also releases the lock of a closed connection, but later: an immediate restart would be
        // refused.
        let unlocking = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK);
        let closing = async {
            unlocking.execute(&mut connection).await?;
            connection.close().await
        };
        match tokio::time::timeout(TIMEOUT, closing).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the database connection was not closed cleanly"),
        }
    }

    async fn take_connection(&mut self) -> Result<PgConnection, StoreError> {
        if self.superseded {
            return Err(StoreError::InUse { location: self.location.clone() });
        }
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let failed = StoreError::unavailable("reconnecting");
        let mut connection = connect(&self.options).await.map_err(failed)?;
        if !try_lock(&mut connection).await.map_err(failed)? {
            // The holder may be our own broken session, until the server notices.
            let held = "the lock is held by another session";
            return Err(failed(sqlx::Error::Protocol(held.into())));
        }
        let row = sqlx::query("SELECT number FROM writer").fetch_one(&mut connection).await;
        let number: i64 = row.and_then(|row| row.try_get("number")).map_err(failed)?;
        if number != self.number {
            self.superseded = true;
            return Err(StoreError::InUse { location: self.location.clone() });
        }
        tracing::info!("reconnected to the database");
        Ok(connection)
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        // An acknowledged commit must be on disk; the server's default may differ.
        let durable = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";
        sqlx::query(durable).execute(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let locking = sqlx::query("SELECT pg_try_advisory_lock($1) AS taken").bind(LOCK);
    locking.fetch_one(connection).await?.try_get("taken")
}

fn timed_out() -> sqlx::Error {
    let text = format!("no answer within {} s", TIMEOUT.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}
