//! What only Postgres can do: be taken, be away, come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use hierophant_model::records::{Change, JobState, RequestFilter};
use hierophant_store::{LIST_LIMIT, StoreError, postgres};
use sqlx::{Connection, PgConnection};

use super::records::job;
use super::relay::Relay;
use crate::support::postgres::{Database, Server, database};

const COUNT: [Change; 1] = [Change::CountNonce(Address::ZERO)];

pub(crate) async fn administer(url: &str, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    let mut connection = PgConnection::connect(url).await.expect("connects");
    sqlx::query(sql).execute(&mut connection).await.expect("does it");
    connection.close().await.expect("closes");
}

#[tokio::test]
async fn a_second_hierophant_keeps_out_of_the_database() {
    let database = database().await;
    let first = postgres::open(&database.url, ()).await.expect("opens");
    let error = postgres::open(&database.url, ()).await.expect_err("is taken");
    assert!(error.to_string().starts_with("another Hierophant uses the database test_"), "{error}");
    first.commit(&COUNT).await.expect("the first goes on");
    first.close().await;
    postgres::open(&database.url, ()).await.expect("is free again");
}

#[tokio::test]
async fn a_store_that_lost_its_lock_to_another_never_writes_again() {
    let database = database().await;
    let first = postgres::open(&database.url, ()).await.expect("opens");
    first.commit(&COUNT).await.expect("commits");
    administer(
        &database.url,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .await;
    let second = postgres::open(&database.url, ()).await.expect("the lock is free");
    first.commit(&COUNT).await.expect_err("its connection is broken");
    first.commit(&COUNT).await.expect_err("the lock is the other's");
    second.commit(&COUNT).await.expect("commits");
    second.close().await;
    // The lock is free, but what the first believes is out of date.
    let error = first.commit(&COUNT).await.expect_err("is superseded");
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    first.ping().await.expect_err("is superseded");
    assert_eq!(first.nonce(Address::ZERO).await.expect("reads go on"), 2);
}

/// Process of the server that holds the lock of this database.
async fn lock_holder(url: &str) -> i32 {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let holder = sqlx::query_scalar(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    let holder = holder.fetch_one(&mut connection).await.expect("the lock is held");
    connection.close().await.expect("closes");
    holder
}

#[tokio::test]
async fn a_ping_whose_caller_hangs_up_leaves_connection_and_lock_alone() {
    let database = database().await;
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let holder = lock_holder(&database.url).await;
    for hundredths in 0..100 {
        let patience = Duration::from_micros(20 * hundredths);
        let _ = tokio::time::timeout(patience, store.ping()).await;
    }
    store.ping().await.expect("answers");
    assert_eq!(lock_holder(&database.url).await, holder);
}

#[tokio::test]
async fn a_list_that_takes_too_long_is_interrupted_and_point_reads_do_not_wait_for_it() {
    let database = database().await;
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let mut other = PgConnection::connect(&database.url).await.expect("connects");
    let mut locking = other.begin().await.expect("begins");
    let lock = "LOCK TABLE requests IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *locking).await.expect("locks");
    let filter = RequestFilter { limit: 10, ..RequestFilter::default() };
    let lists = futures_util::future::join_all((0..4).map(|_| store.requests(&filter)));
    let reads = async {
        let started = std::time::Instant::now();
        for _ in 0..50 {
            store.nonce(Address::ZERO).await.expect("reads");
        }
        started.elapsed()
    };
    let (lists, took) = tokio::join!(lists, reads);
    assert!(took < LIST_LIMIT, "{took:?}");
    for list in lists {
        assert!(matches!(list, Err(StoreError::TooSlow)), "{list:?}");
    }
    locking.rollback().await.expect("unlocks");
    store.requests(&filter).await.expect("lists");
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("starts");
    let database = Database { url: server.url("postgres"), server: Arc::new(server) };
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let queued = job(1, JobState::Queued);
    store.commit(&[Change::Job(queued.clone())]).await.expect("commits");
    database.server.stop();
    for _ in 0..2 {
        let error = store.commit(&COUNT).await.expect_err("is away");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    store.ping().await.expect_err("is away");
    let server = Arc::clone(&database.server);
    tokio::task::spawn_blocking(move || server.start_again()).await.expect("starts");
    store.commit(&COUNT).await.expect("is back");
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 1);
    assert_eq!(store.job(queued.id).await.expect("reads"), Some(queued));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_in_one_line() {
    let newer = database().await;
    postgres::open(&newer.url, ()).await.expect("opens").close().await;
    administer(
        &newer.url,
        "INSERT INTO _sqlx_migrations VALUES (99, 'later', now(), true, 'x', 0)",
    )
    .await;
    let other = database().await;
    administer(&other.url, "CREATE TABLE jobs (something TEXT)").await;
    let away = format!("{}_missing", newer.url.replace("?", "x?"));
    let cases = [
        (newer.url.as_str(), "newer version"),
        (other.url.as_str(), "schema"),
        (away.as_str(), "cannot open the database test_"),
        ("postgres://kahana:s3cret@127.0.0.1:1/x", "x on 127.0.0.1:1"),
    ];
    for (url, text) in cases {
        let error = anyhow::Error::new(postgres::open(url, ()).await.expect_err("is refused"));
        let line = format!("{error:#}");
        assert!(line.contains(text) && !line.contains('\n'), "{line}");
        assert!(!line.contains("s3cret"), "{line}");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("does not panic")
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts_once() {
    let database = database().await;
    let relay = Relay::to(database.server.socket()).await;
    let name = database.url.split(['/', '?']).nth(3).expect("a name");
    let url = database.server.url_by_way_of(relay.port, name);
    let store = postgres::open(&url, ()).await.expect("opens");
    let nonce = async || store.nonce(Address::ZERO).await.expect("reads");
    // The statement is prepared: the next answer is that to its execution.
    store.commit(&COUNT).await.expect("commits");
    assert_eq!(nonce().await, 1);
    relay.swallow_next_answer();
    store.commit(&COUNT).await.expect("the database says that it was committed");
    assert_eq!(nonce().await, 2);
    // The server stays away for longer: the caller hears of it, and repeats its commit later.
    store.commit(&COUNT).await.expect("commits");
    relay.swallow_next_answer();
    relay.refuse(true);
    let error = store.commit(&COUNT).await.expect_err("its outcome is unknown");
    assert!(error.is_transient(), "{error:?}");
    relay.refuse(false);
    store.commit(&COUNT).await.expect("it had been committed");
    assert_eq!(nonce().await, 4);
    store.commit(&COUNT).await.expect("commits");
    assert_eq!(nonce().await, 5, "another one counts");
}

#[tokio::test]
async fn a_database_that_lost_confirmed_transactions_is_not_written_to() {
    let server = Arc::new(blocking(Server::start).await);
    let store = postgres::open(&server.url("postgres"), ()).await.expect("opens");
    store.commit(&COUNT).await.expect("commits");
    let kept = Arc::clone(&server);
    let backup = blocking(move || {
        kept.stop();
        let backup = kept.backup();
        kept.start_again();
        backup
    })
    .await;
    for _ in 0..3 {
        store.commit(&COUNT).await.expect("commits");
    }
    let restored = Arc::clone(&server);
    blocking(move || {
        restored.stop();
        restored.restore(&backup);
        restored.start_again();
    })
    .await;
    for _ in 0..2 {
        let error = store.commit(&COUNT).await.expect_err("three were lost");
        assert!(matches!(error, StoreError::Behind { .. }) && !error.is_transient(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("has lost confirmed transactions"), "{text}");
        assert!(text.contains("synchronous standby"), "{text}");
    }
    store.ping().await.expect_err("it must not write");
    store.close().await;
    let store = postgres::open(&server.url("postgres"), ()).await.expect("a start goes on");
    assert_eq!(store.nonce(Address::ZERO).await.expect("reads"), 1);
    store.commit(&COUNT).await.expect("commits");
}

#[tokio::test]
async fn a_start_waits_for_the_lock_and_for_the_server() {
    let server = Arc::new(blocking(Server::start).await);
    let url = server.url("postgres");
    let first = postgres::open(&url, ()).await.expect("opens");
    let began = Instant::now();
    let error = postgres::open_within(&url, Duration::from_secs(1), ()).await;
    assert!(matches!(error, Err(StoreError::InUse { .. })), "{error:?}");
    assert!(began.elapsed() >= Duration::from_millis(500), "it waited");
    let patience = Duration::from_secs(60);
    let second = postgres::open_within(&url, patience, ());
    let closing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.close().await;
    };
    let (second, ()) = tokio::join!(second, closing);
    second.expect("the lock became free").close().await;

    let away = Arc::clone(&server);
    blocking(move || away.stop()).await;
    let back = Arc::clone(&server);
    let starting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        blocking(move || back.start_again()).await;
    };
    let (third, ()) = tokio::join!(postgres::open_within(&url, patience, ()), starting);
    third.expect("the server came back");
    // What will not change by waiting is refused at once.
    let began = Instant::now();
    let missing = server.url("missing");
    let error = postgres::open_within(&missing, patience, ()).await.expect_err("there is none");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(began.elapsed() < patience / 2);
}

#[tokio::test]
async fn a_read_that_does_not_end_holds_up_no_stop() {
    let database = database().await;
    let store = postgres::open(&database.url, ()).await.expect("opens");
    let mut locking = PgConnection::connect(&database.url).await.expect("connects");
    let lock = "BEGIN; LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut locking).await.expect("locks");
    let reader = Arc::clone(&store);
    let read =
        network_lib::task::spawn("read", async move { reader.stored_bytes().await.map(drop) });
    let mut looking = PgConnection::connect(&database.url).await.expect("connects");
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'artifacts'::regclass";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut looking).await.expect("reads") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    store.close().await;
    assert!(began.elapsed() < Duration::from_secs(8), "closing took {:?}", began.elapsed());
    assert!(!read.is_finished());
    locking.close().await.expect("closes");
    postgres::open(&database.url, ()).await.expect("the database is free again");
}
