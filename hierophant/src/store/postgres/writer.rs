//! The one connection that writes, and the lock that it holds.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::super::StoreError;
use super::super::queries::Batch;
use super::{PATIENCE, query};

/// Advisory lock of the database, for as long as a Hierophant writes to it ("hierophn" in ASCII).
const LOCK: i64 = 0x6869_6572_6f70_686e;

/// The right to write, and how to get it back.
#[derive(Debug)]
pub(super) struct Writer {
    options: PgConnectOptions,
    location: String,
    connection: Option<PgConnection>,
    /// Which writer this is, counted by the database.
    number: i64,
    /// Another writer has been here: what this Hierophant believes is out of date.
    superseded: bool,
}

impl Writer {
    /// Connects, takes the lock, migrates, and counts as a new writer.
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
            return Err(StoreError::Taken { location });
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

    /// Runs all statements in one transaction. When it fails for want of a connection, the next call
    /// tries to connect anew.
    pub(super) async fn write(&mut self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let failed = StoreError::unavailable("writing");
        let mut connection = self.take_connection().await?;
        // The connection is not put back while its state is unknown: also when this future is dropped.
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
        let (usable, outcome) = match tokio::time::timeout(PATIENCE, done).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => (false, Err(error)),
            Err(_) => (false, Err(too_slow())),
        };
        if usable {
            self.connection = Some(connection);
        }
        outcome.map_err(failed)
    }

    /// Releases the lock and closes the connection.
    pub(super) async fn close(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // The server would release the lock too, but only some time after the connection is closed: a start that
        // follows at once would be refused.
        let unlocking = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK);
        let closing = async {
            unlocking.execute(&mut connection).await?;
            connection.close().await
        };
        match tokio::time::timeout(PATIENCE, closing).await.unwrap_or_else(|_| Err(too_slow())) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the database connection was not closed cleanly"),
        }
    }

    async fn take_connection(&mut self) -> Result<PgConnection, StoreError> {
        if self.superseded {
            return Err(StoreError::Taken { location: self.location.clone() });
        }
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let failed = StoreError::unavailable("connecting to it anew");
        let mut connection = connect(&self.options).await.map_err(failed)?;
        if !try_lock(&mut connection).await.map_err(failed)? {
            // It may still be our own broken session that holds it, until the server notices.
            let held = "the lock is held by another session";
            return Err(failed(sqlx::Error::Protocol(held.into())));
        }
        let row = sqlx::query("SELECT number FROM writer").fetch_one(&mut connection).await;
        let number: i64 = row.and_then(|row| row.try_get("number")).map_err(failed)?;
        if number != self.number {
            self.superseded = true;
            return Err(StoreError::Taken { location: self.location.clone() });
        }
        tracing::info!("connected to the database anew");
        Ok(connection)
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        // What is answered must be on disk; a server may be set up otherwise.
        let durable = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";
        sqlx::query(durable).execute(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let locking = sqlx::query("SELECT pg_try_advisory_lock($1) AS taken").bind(LOCK);
    locking.fetch_one(connection).await?.try_get("taken")
}

fn too_slow() -> sqlx::Error {
    let text = format!("no answer within {} s", PATIENCE.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}
