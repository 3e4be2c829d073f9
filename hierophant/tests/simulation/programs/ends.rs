//! Invariants at the end, in the database and for the clients.

use std::fmt;
use std::path::Path;

use hierophant_model::records::{AttemptOutcome, JobState, RequestState};
use hierophant_proto::network as pb;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::clients::{Asked, Reported};
use super::content;
use super::machine::MAX_ATTEMPTS;

/// Number of requests by final state.
#[derive(Debug, Default, Clone)]
pub struct Ends {
    pub attempts: usize,
    pub fulfilled: usize,
    pub unexecutable: usize,
    pub failed: usize,
    pub cancelled: usize,
    pub expired: usize,
    pub too_late: usize,
}

impl Ends {
    pub fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.fulfilled += other.fulfilled;
        self.unexecutable += other.unexecutable;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.too_late += other.too_late;
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} attempts; requests: {} fulfilled, {} unexecutable, {} failed, {} cancelled, {} \
             expired, {} too late",
            self.attempts,
            self.fulfilled,
            self.unexecutable,
            self.failed,
            self.cancelled,
            self.expired,
            self.too_late
        )
    }
}

/// Compares the answers to clients with the store.
pub fn check(asked: &[Asked], database: &Path) -> Ends {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(database, flags).expect("opens");
    let mut ends = Ends { attempts: attempts(&database), ..Ends::default() };
    for asked in asked {
        let reported = asked.reported();
        let Some(id) = &reported.id else {
            assert!(reported.too_late, "never answered: {asked:?}");
            ends.too_late += 1;
            continue;
        };
        let query = "SELECT r.state, j.state, r.job FROM requests r JOIN jobs j ON j.id = r.job \
                     WHERE r.id = ?";
        let row = database
            .query_row(query, [id], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .optional()
            .expect("reads");
        let row = row.unwrap_or_else(|| panic!("an accepted request is lost: {asked:?}"));
        let (state, job_state, job) = row;
        let (state, job_state): (RequestState, JobState) = (parsed(&state), parsed(&job_state));
        right_end(asked, &reported, state);
        match state {
            RequestState::Fulfilled => {
                ends.fulfilled += 1;
                assert_eq!(job_state, JobState::Proved, "{asked:?}");
                let won = count(&database, &job, "outcome = 'completed'");
                assert_eq!(won, 1, "winning attempts: {asked:?}");
            }
            RequestState::Unexecutable => ends.unexecutable += 1,
            RequestState::Failed => {
                ends.failed += 1;
                let failed = at_fault(&database, &job);
                assert!(failed >= MAX_ATTEMPTS, "quarantined after {failed} workers: {asked:?}");
            }
            RequestState::Cancelled => ends.cancelled += 1,
            RequestState::Expired => ends.expired += 1,
            RequestState::Open => panic!("still open: {asked:?}"),
        }
    }
    database.close().expect("closes");
    ends
}

/// Checks that this end was expected and equals the client's answers.
fn right_end(asked: &Asked, reported: &Reported, state: RequestState) {
    let fails = content::fails(&content::stdin(asked.plan.content));
    let expected = match state {
        RequestState::Open => false,
        RequestState::Fulfilled => !fails,
        RequestState::Unexecutable => fails,
        // `check` looks whether the budget was spent.
        RequestState::Failed => true,
        RequestState::Cancelled => asked.plan.withdraw.is_some(),
        RequestState::Expired => asked.plan.is_impatient(),
    };
    assert!(expected, "ended as {state}: {asked:?}");
    let fulfilled = reported.end.map(|(fulfilment, _)| fulfilment)
        == Some(pb::FulfillmentStatus::Fulfilled as i32);
    let unexecutable = reported.end.is_some_and(|(_, unexecutable)| unexecutable);
    assert_eq!(fulfilled, state == RequestState::Fulfilled, "another answer: {asked:?}");
    assert_eq!(unexecutable, state == RequestState::Unexecutable, "another answer: {asked:?}");
}

/// Number of attempts; none is running.
fn attempts(database: &Connection) -> usize {
    let mut query = database.prepare("SELECT outcome FROM attempts").expect("is SQL");
    let rows = query.query_map((), |row| row.get::<_, String>(0)).expect("reads");
    let check = |outcome: rusqlite::Result<String>| {
        let outcome: AttemptOutcome = parsed(&outcome.expect("reads"));
        assert_ne!(outcome, AttemptOutcome::Running, "an attempt goes on");
    };
    rows.map(check).count()
}

/// Number of attempts at a job that meet a condition.
fn count(database: &Connection, job: &[u8], condition: &str) -> u32 {
    let query = format!("SELECT COUNT(*) FROM attempts WHERE job = ? AND {condition}");
    database.query_row(&query, [job], |row| row.get(0)).expect("reads")
}

/// Number of workers at fault for failed attempts at a job.
fn at_fault(database: &Connection, job: &[u8]) -> u32 {
    let query =
        "SELECT COUNT(DISTINCT worker) FROM attempts WHERE job = ? AND failure_class = 'worker'";
    database.query_row(query, [job], |row| row.get(0)).expect("reads")
}

fn parsed<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("no such state: {word}"))
}
