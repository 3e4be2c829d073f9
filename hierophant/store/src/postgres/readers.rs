//! Read-only connections.
//!
//! A look-up is one round trip: sqlx's own pool asks the server before each use of a connection and after it, which
//! makes three. Here a broken connection shows itself by failing, and the statement, which only reads, is repeated
//! on a new one.

use std::time::Duration;

use futures_util::TryStreamExt;
use parking_lot::Mutex;
use sqlx::Connection;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{TIMEOUT, connect_to, query, timed_out};
use crate::StoreError;
use crate::driver::ReadRow;
use crate::statement::Statement;

/// SQLSTATE of a statement that the server has interrupted.
const INTERRUPTED: &str = "57014";

/// How long closing waits for running reads, which change nothing and end with the process.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Read-only connections for one kind of statement.
#[derive(Debug)]
pub(super) struct Readers {
    options: PgConnectOptions,
    number: u32,
    /// Time limit of a statement, if there is one.
    limit: Option<Duration>,
    /// Permits for concurrent reads.
    turns: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

/// Why rows were not read.
enum Failure {
    /// The server refused the statement; the connection is usable.
    Refused(sqlx::Error),
    /// The server interrupted the statement because its time was up; the connection is usable.
    Interrupted,
    /// The connection is broken, or in an unknown state.
    Broken(sqlx::Error),
    /// A row cannot be converted.
    Row(StoreError),
}

impl Readers {
    /// Readers that connect when needed.
    pub(super) fn new(options: PgConnectOptions, number: u32, limit: Option<Duration>) -> Self {
        let options = options.options([("default_transaction_read_only", "on")]);
        let turns = Semaphore::new(number as usize);
        Self { options, number, limit, turns, idle: Mutex::default() }
    }

    /// Connects once, to find out whether the server accepts it.
    pub(super) async fn try_out(&self) -> Result<(), sqlx::Error> {
        let connection = connect_to(&self.options).await?;
        self.idle.lock().push(connection);
        Ok(())
    }

    /// Runs a statement and converts each row.
    pub(super) async fn fetch<T>(
        &self,
        action: &'static str,
        statement: &Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let failed = StoreError::unavailable(action);
        let _turn = self.turn().await.map_err(failed)?;
        loop {
            // A connection whose future is dropped half-way is not put back.
            let idle = self.idle.lock().pop();
            let was_idle = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => connect_to(&self.options).await.map_err(failed)?,
            };
            let limit = self.limit.unwrap_or(Duration::MAX);
            let reading = rows(&mut connection, statement, &read);
            match timeout(limit, reading)
                .await
                .unwrap_or_else(|_| Err(Failure::Broken(timed_out())))
            {
                Ok(found) => {
                    self.idle.lock().push(connection);
                    return Ok(found);
                }
                Err(Failure::Refused(error)) => {
                    self.idle.lock().push(connection);
                    return Err(failed(error));
                }
                Err(Failure::Interrupted) => {
                    self.idle.lock().push(connection);
                    return Err(StoreError::TooSlow);
                }
                Err(Failure::Broken(error)) => {
                    // The server may have closed all of them, for instance by a restart.
                    self.idle.lock().clear();
                    if !was_idle || matches!(&error, sqlx::Error::Io(it) if is_timeout(it)) {
                        return Err(failed(error));
                    }
                }
                Err(Failure::Row(error)) => return Err(error),
            }
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        let turn = timeout(TIMEOUT, self.turns.acquire()).await.map_err(|_| timed_out())?;
        turn.map_err(|_| sqlx::Error::PoolClosed)
    }

    /// Waits a moment for running reads and closes the connections.
    pub(super) async fn close(&self) {
        let reads = timeout(CLOSE_LIMIT, self.turns.acquire_many(self.number)).await;
        if reads.is_err() {
            tracing::debug!("reads of the database are still in progress");
        }
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a database connection was not closed cleanly");
            }
        }
        self.turns.close();
        drop(reads);
    }
}

fn is_interrupted(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == INTERRUPTED)
}

fn is_timeout(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::TimedOut
}

async fn rows<T>(
    connection: &mut PgConnection,
    statement: &Statement,
    read: &impl ReadRow<T>,
) -> Result<Vec<T>, Failure> {
    let mut rows = query(statement).fetch(connection);
    let mut found = Vec::new();
    loop {
        match rows.try_next().await {
            Ok(Some(row)) => found.push(read(&row).map_err(Failure::Row)?),
            Ok(None) => return Ok(found),
            Err(error) if is_interrupted(&error) => return Err(Failure::Interrupted),
            // After an error of severity FATAL the server closes the connection, which the next use finds out.
            Err(error @ sqlx::Error::Database(_)) if !super::is_passing(&error) => {
                return Err(Failure::Refused(error));
            }
            Err(error) => return Err(Failure::Broken(error)),
        }
    }
}
