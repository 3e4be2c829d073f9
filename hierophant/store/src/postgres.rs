//! The Postgres store.
//!
//! All writes go over one connection, which holds an advisory lock of the database. Losing the connection loses
//! the lock and with it the right to write. After reconnecting, the store continues only if no other Hierophant
//! has written in between, which `writer.number` shows.

mod readers;
mod transaction;
mod writer;

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use network_lib::task;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, Row};
use tokio::sync::Mutex;

use crate::driver::{Batch, Driver, ReadRow, SqlStore};
use crate::error::LIST_LIMIT;
use crate::group::Grouped;
use crate::measured::Measured;
use crate::rows::{ColumnError, Columns};
use crate::statement::{Access, Statement, Value};
use crate::turns::{LISTS, Turns};
use crate::{CallObserver, JobStore, StoreError};
use readers::Readers;
use writer::Writer;

/// Number of connections for look-ups.
const LOOK_UPS: u32 = 8;

/// Number of connections for parts of many rows: retention and history read one part after the other.
const INDEXED_READS: u32 = 2;

/// Number of connections for all other reads.
const OTHER_READS: u32 = 4;

/// Prepared statements cached on a connection. A writer has one for each combination of tables in a transaction.
const PREPARED: usize = 256;

/// Timeout for a connection, for a look-up and for one statement of a transaction; after it the connection counts as
/// broken.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Session parameters: the server notices a lost peer within half a minute, which frees the lock of a Hierophant
/// whose machine died.
const SESSION: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Parameters of sessions whose statements find their rows by a key. Planning such a statement costs more than executing
/// it, so each is planned once on a connection. The sizes that the tables had then must not matter, because of a table that
/// was almost empty every plan seems to read little. Therefore only indexes and loops are used, and each statement is
/// written so that one index alone fulfils its condition: the key is in no other index that can be used, and a table that
/// is joined is found by a key that is known before. The test of the plans shows which ones the server makes.
const BY_KEY: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Parameters of sessions that read many rows found by indexes. Which index is the best depends on the sizes of the
/// tables, so each execution is planned; but only by indexes and loops, whatever the statistics say. Compiling such a plan
/// never pays off.
const BY_INDEX: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Parameters of the other reading sessions: each plan is made for the present size of the tables.
const PLANNED: [(&str, &str); 2] = [("plan_cache_mode", "force_custom_plan"), ("jit", "off")];

/// Opens the store: connects, takes the lock and migrates the database to this version's schema.
///
/// # Errors
///
/// If the server cannot be reached or refuses the credentials, if another Hierophant holds the lock, or if the
/// database belongs to another program or to a newer version.
pub async fn open(url: &str, observer: impl CallObserver) -> Result<Arc<dyn JobStore>, StoreError> {
    open_within(url, Duration::ZERO, observer).await
}

/// [`open`], with a time for which it waits for a server that cannot be reached, and for a lock that another session
/// holds. A server notices after up to half a minute that a Hierophant whose network failed is gone.
///
/// # Errors
///
/// Those of [`open`], after that time.
pub async fn open_within(
    url: &str,
    patience: Duration,
    observer: impl CallObserver,
) -> Result<Arc<dyn JobStore>, StoreError> {
    let driver = connect(url, patience).await?;
    Ok(Arc::new(SqlStore::new(Grouped::new(Measured { driver, observer }))))
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

async fn connect(url: &str, patience: Duration) -> Result<PostgresDriver, StoreError> {
    let opening = |location: &str, source: sqlx::Error| StoreError::Unreachable {
        location: location.to_owned(),
        source: source.into(),
    };
    let options = PgConnectOptions::from_str(url).map_err(|error| opening("named", error))?;
    let location = location(&options);
    let options = options.application_name("hierophant").options(SESSION);
    let options = options.statement_cache_capacity(PREPARED);
    let by_key = options.clone().options(BY_KEY);
    let writer = Writer::open(by_key.clone(), location.clone(), patience).await?;
    let look_ups = Readers::new(by_key, LOOK_UPS, Some(TIMEOUT));
    look_ups.try_out().await.map_err(|error| opening(&location, error))?;
    let indexed = Readers::new(options.clone().options(BY_INDEX), INDEXED_READS, None);
    let planned = options.options(PLANNED);
    let limit = LIST_LIMIT.as_millis();
    let limited = planned.clone().options([("statement_timeout", limit)]);
    Ok(PostgresDriver {
        writer: Mutex::new(writer),
        look_ups,
        lists: Arc::new(Readers::new(limited, LISTS, None)),
        indexed,
        others: Readers::new(planned, OTHER_READS, None),
        turns: Turns::of_lists(),
    })
}

/// Connects. An acknowledged commit must be on disk; the server's default may differ.
async fn connect_to(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        let durable = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";
        sqlx::query(durable).execute(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> sqlx::Error {
    let text = format!("no answer within {} s", TIMEOUT.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

/// Whether the same statement may succeed later: the server is away, stops, starts, has too many connections or a
/// full disk, or is a standby that has not taken over yet. Everything else, like a constraint, a missing table or a
/// missing permission, would be refused again.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_none_or(|code| {
            // Classes of SQLSTATE: connection, rollback, resources, state, intervention, system, internal.
            ["08", "40", "53", "55", "57", "58", "XX"].iter().any(|class| code.starts_with(class))
                || code == "25006"
        }),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        _ => false,
    }
}

/// The database for messages, without user and password.
fn location(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        .map_or(options.get_host().to_owned(), |socket| socket.display().to_string());
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{database} on {host}:{}", options.get_port())
}

/// A Postgres database: one writing connection, and some for each kind of read.
#[derive(Debug)]
struct PostgresDriver {
    writer: Mutex<Writer>,
    look_ups: Readers,
    /// Connections whose statements have a time limit.
    lists: Arc<Readers>,
    indexed: Readers,
    others: Readers,
    turns: Turns,
}

#[async_trait]
impl Driver for PostgresDriver {
    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        statement: Statement,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        match statement.access {
            Access::Point => self.look_ups.fetch(action, &statement, read).await,
            Access::Indexed => self.indexed.fetch(action, &statement, read).await,
            Access::Bulk => self.others.fetch(action, &statement, read).await,
            Access::List => {
                let turn = self.turns.take(action).await?;
                let lists = Arc::clone(&self.lists);
                // A caller that hangs up leaves the connection at most until the limit: its turn lasts as long.
                let reading = task::spawn("list", async move {
                    let _turn = turn;
                    lists.fetch(action, &statement, read).await
                });
                reading.await.map_err(StoreError::unavailable(action))?
            }
        }
    }

    async fn write(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        self.writer.lock().await.write(&batches).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let asking = Statement::new("SELECT 1").point_read();
        self.read("answering", asking, |_| Ok(())).await.map(drop)
    }

    async fn close(&self) {
        self.look_ups.close().await;
        self.lists.close().await;
        self.indexed.close().await;
        self.others.close().await;
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

fn query(statement: &Statement) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let query = match &statement.sql {
        Cow::Borrowed(sql) => sqlx::query(*sql),
        Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql.clone())),
    };
    statement.values.iter().cloned().fold(query, bind)
}

fn bind(
    query: sqlx::query::Query<'static, Postgres, PgArguments>,
    value: Value,
) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    match value {
        Value::Int(number) => query.bind(number),
        Value::Text(value) => query.bind(value.as_deref().map(text)),
        Value::Bytes(bytes) => query.bind(bytes),
    }
}

/// Postgres text cannot contain NUL, but peers may send it.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
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
