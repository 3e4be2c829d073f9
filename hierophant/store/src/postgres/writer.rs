//! The writing connection and its advisory lock.
//!
//! The table `writer` says who writes: each Hierophant that takes the lock gets a new number, and stores with each
//! transaction how many there were. After a broken connection these two numbers tell whether another Hierophant has
//! written, whether the transaction without an answer was committed, and whether the database still has everything
//! that was confirmed.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use tokio::time::{Instant, sleep, timeout};

use super::transaction::{Failure, execute};
use super::{TIMEOUT, connect_to, is_passing, timed_out};
use crate::StoreError;
use crate::driver::Batch;

/// Key of the advisory lock that the writing Hierophant holds ("hierophn" in ASCII).
const LOCK: i64 = 0x6869_6572_6f70_686e;

/// Interval between tries to take the lock, or to reach the server, at a start.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How long a reconnection waits for the lock: the server needs a moment to end the broken session that has it.
const OWN_LOCK: Duration = Duration::from_secs(1);

/// How long the batches of a transaction whose answer was lost are remembered. Their writers repeat them meanwhile.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The right to write: the connection, and what reconnecting needs.
#[derive(Debug)]
pub(super) struct Writer {
    options: PgConnectOptions,
    location: String,
    connection: Option<PgConnection>,
    /// This writer's number, assigned by the database.
    number: i64,
    /// Number of the last confirmed transaction.
    confirmed: i64,
    /// Batches of a transaction that may have been committed: its answer was lost.
    in_doubt: Vec<Batch>,
    /// Batches that were committed although their writers heard otherwise, and when that was found out.
    committed: Option<(Instant, Vec<Batch>)>,
    /// Why this Hierophant must not write any longer.
    ended: Option<Ended>,
}

/// Why a writer must not write any longer.
#[derive(Debug, Clone, Copy)]
enum Ended {
    /// Another writer has written since; this Hierophant's state is out of date.
    Superseded,
    /// The database has lost confirmed transactions; this is the number of its last one.
    Behind(i64),
}

impl Writer {
    /// Connects, takes the lock, migrates and gets a new writer number. For as long as `patience` it waits for a server
    /// that cannot be reached and for a lock that another session holds.
    pub(super) async fn open(
        options: PgConnectOptions,
        location: String,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let opening = |source: sqlx::Error| {
            let (location, source) = (location.clone(), source.into());
            StoreError::Unreachable { location, source }
        };
        let mut connection = wait_for_lock(&options, &location, patience).await?;
        sqlx::migrate!("migrations/postgres")
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|source| StoreError::migration(&location, source))?;
        let row = sqlx::query(
            "UPDATE writer SET number = number + 1, committed = committed + 1 WHERE one \
             RETURNING number, committed",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(opening)?;
        let number = row.try_get("number").map_err(opening)?;
        let confirmed = row.try_get("committed").map_err(opening)?;
        Ok(Self {
            options,
            location,
            connection: Some(connection),
            number,
            confirmed,
            in_doubt: Vec::new(),
            committed: None,
            ended: None,
        })
    }

    /// Executes all writes in one transaction. If the connection breaks, it reconnects: a transaction that was not
    /// committed is repeated once, one that was committed is confirmed.
    pub(super) async fn write(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        match self.try_write(batches).await {
            Err(WriteError::Broken(error)) if !is_timeout(&error) => {
                tracing::debug!(%error, "the database connection broke; reconnecting");
                self.try_write(batches).await
            }
            done => done,
        }
        .map_err(|error| match error {
            WriteError::Broken(error) => StoreError::unavailable("writing")(error),
            WriteError::Final(error) => error,
        })
    }

    async fn try_write(&mut self, batches: &[Batch]) -> Result<(), WriteError> {
        let mut connection = self.take_connection().await.map_err(WriteError::Final)?;
        let batches = self.without_committed(batches);
        if batches.iter().all(|batch| batch.is_empty()) {
            // Nothing to write, as for a check that the database accepts writes.
            let asking = sqlx::query("SELECT 1").execute(&mut connection);
            timeout(TIMEOUT, asking)
                .await
                .unwrap_or_else(|_| Err(timed_out()))
                .map_err(WriteError::Broken)?;
            self.connection = Some(connection);
            return Ok(());
        }
        // From here on until the answer it is unknown what the server does, also if this future is dropped.
        self.in_doubt = batches;
        match execute(&mut connection, &self.in_doubt, self.confirmed + 1).await {
            Ok(()) => {
                self.in_doubt.clear();
                self.confirmed += 1;
                self.connection = Some(connection);
                Ok(())
            }
            Err(Failure::Refused { table, error, usable }) => {
                self.in_doubt.clear();
                if usable {
                    self.connection = Some(connection);
                }
                Err(WriteError::Final(StoreError::Refused { table, source: error.into() }))
            }
            Err(Failure::Broken { error, in_doubt }) => {
                if !in_doubt {
                    self.in_doubt.clear();
                }
                Err(WriteError::Broken(error))
            }
        }
    }

    /// Leaves out batches that were committed although their answer was lost. To most of them a repetition would change
    /// nothing, but a count would count twice.
    fn without_committed(&mut self, batches: &[Batch]) -> Vec<Batch> {
        let mut left = batches.to_vec();
        if let Some((since, committed)) = &mut self.committed {
            left.retain(|batch| {
                let known = committed.iter().position(|it| it == batch);
                known.map(|place| committed.swap_remove(place)).is_none()
            });
            if committed.is_empty() || since.elapsed() > REMEMBERED {
                self.committed = None;
            }
        }
        left
    }

    /// Releases the lock and closes the connection.
    pub(super) async fn close(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // The server also releases the lock of a closed connection, but later: an immediate restart would have to
        // wait.
        let unlocking = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK);
        let closing = async {
            unlocking.execute(&mut connection).await?;
            connection.close().await
        };
        match timeout(TIMEOUT, closing).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the database connection was not closed cleanly"),
        }
    }

    async fn take_connection(&mut self) -> Result<PgConnection, StoreError> {
        self.check_right()?;
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let failed = StoreError::unavailable("reconnecting");
        let mut connection = connect_to(&self.options).await.map_err(failed)?;
        let began = Instant::now();
        while !try_lock(&mut connection).await.map_err(failed)? {
            // The holder may be our own broken session, until the server notices.
            if began.elapsed() > OWN_LOCK {
                let held = "the lock is held by another session";
                return Err(failed(sqlx::Error::Protocol(held.into())));
            }
            sleep(OWN_LOCK / 20).await;
        }
        let reading =
            sqlx::query("SELECT number, committed FROM writer").fetch_one(&mut connection);
        let row = timeout(TIMEOUT, reading).await.unwrap_or_else(|_| Err(timed_out()));
        let row = row.map_err(failed)?;
        let number: i64 = row.try_get("number").map_err(failed)?;
        let committed: i64 = row.try_get("committed").map_err(failed)?;
        self.compare(number, committed);
        self.check_right()?;
        tracing::info!("reconnected to the database");
        Ok(connection)
    }

    /// Compares what the database says after a reconnection with what this writer knows.
    fn compare(&mut self, number: i64, committed: i64) {
        let in_doubt = std::mem::take(&mut self.in_doubt);
        if (number, committed) == (self.number, self.confirmed) {
            return;
        }
        if !in_doubt.is_empty() && (number, committed) == (self.number, self.confirmed + 1) {
            tracing::info!("the transaction whose answer was lost had been committed");
            self.confirmed = committed;
            self.committed = Some((Instant::now(), in_doubt));
            return;
        }
        let is_behind = number < self.number || number == self.number && committed < self.confirmed;
        self.ended = Some(if is_behind { Ended::Behind(committed) } else { Ended::Superseded });
    }

    fn check_right(&self) -> Result<(), StoreError> {
        let (location, confirmed) = (self.location.clone(), self.confirmed);
        match self.ended {
            None => Ok(()),
            Some(Ended::Superseded) => Err(StoreError::InUse { location }),
            Some(Ended::Behind(found)) => Err(StoreError::Behind { location, found, confirmed }),
        }
    }
}

/// Why a write failed.
enum WriteError {
    /// The connection broke.
    Broken(sqlx::Error),
    /// Any other reason.
    Final(StoreError),
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// Connects and takes the lock, which may take as long as `patience`.
async fn wait_for_lock(
    options: &PgConnectOptions,
    location: &str,
    patience: Duration,
) -> Result<PgConnection, StoreError> {
    let began = Instant::now();
    let mut is_noted = false;
    loop {
        let tried = async {
            let mut connection = connect_to(options).await?;
            let taken = try_lock(&mut connection).await?;
            Ok::<_, sqlx::Error>(taken.then_some(connection))
        };
        let (why, refusal) = match tried.await {
            Ok(Some(connection)) => return Ok(connection),
            Ok(None) => {
                let location = location.to_owned();
                ("another Hierophant holds its lock".to_owned(), StoreError::InUse { location })
            }
            Err(error) => {
                let passes = is_passing(&error);
                let (why, location) = (error.to_string(), location.to_owned());
                let refusal = StoreError::Unreachable { location, source: error.into() };
                if !passes {
                    return Err(refusal);
                }
                (why, refusal)
            }
        };
        if began.elapsed() + TRY_AGAIN > patience {
            return Err(refusal);
        }
        if !is_noted {
            let patience = format!("{patience:?}");
            tracing::warn!(database = location, why, patience, "waiting for the database");
            is_noted = true;
        }
        sleep(TRY_AGAIN).await;
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let locking = sqlx::query("SELECT pg_try_advisory_lock($1) AS taken").bind(LOCK);
    let locking = timeout(TIMEOUT, locking.fetch_one(connection)).await;
    locking.unwrap_or_else(|_| Err(timed_out()))?.try_get("taken")
}
