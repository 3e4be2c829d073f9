//! A transaction on the writing connection, in as few round trips as possible.
//!
//! The rows of a transaction are one statement: each table's rows are arrays in a part of its own, `WITH ... AS
//! (INSERT ...)`, and the writer's count of transactions is another part. Postgres commits a single statement without
//! being asked. Only a transaction with two different writes to one table, or with very many rows, is several
//! statements between BEGIN and COMMIT.

use std::borrow::Cow;

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::time::timeout;

use super::{TIMEOUT, is_passing, text, timed_out};
use crate::driver::Batch;
use crate::stages::{Part, Rows, stages};
use crate::statement::{Statement, Value};
use crate::table_write::Row;

/// Maximum number of rows of a table in one statement, so that its time limit does not depend on the size of the
/// transaction.
const MAX_ROWS: usize = 1000;

/// Why a transaction was not confirmed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A statement was refused and the transaction rolled back. The connection is usable if `usable`.
    Refused { table: String, error: sqlx::Error, usable: bool },
    /// The connection broke or did not answer in time. If `in_doubt`, the server may have committed.
    Broken { error: sqlx::Error, in_doubt: bool },
}

/// A statement of a transaction.
struct Step {
    sql: String,
    arguments: Vec<Argument>,
    tables: Vec<&'static str>,
}

/// A parameter: the values of a column, or a single value.
enum Argument {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    One(Value),
}

/// Executes all writes of all batches in one transaction, and stores its number.
pub(super) async fn execute(
    connection: &mut PgConnection,
    batches: &[Batch],
    number: i64,
) -> Result<(), Failure> {
    let mut steps = steps(batches);
    let Some(last) = steps.pop() else { return Ok(()) };
    let last = last.with_number(number);
    if steps.is_empty() {
        return run(connection, last).await.map_err(Failure::in_doubt);
    }
    let broken = |error| Failure::Broken { error, in_doubt: false };
    let mut transaction = within(connection.begin()).await.map_err(broken)?;
    for step in steps.into_iter().map(Step::without_number).chain([last]) {
        if let Err(failure) = run(&mut transaction, step).await {
            return Err(match failure {
                Failure::Refused { table, error, .. } => {
                    let usable = within(transaction.rollback()).await.is_ok();
                    Failure::Refused { table, error, usable }
                }
                broken => broken,
            });
        }
    }
    let in_doubt = |error| Failure::Broken { error, in_doubt: true };
    within(transaction.commit()).await.map_err(in_doubt)
}

async fn within<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(TIMEOUT, call).await.unwrap_or_else(|_| Err(timed_out()))
}

async fn run(connection: &mut PgConnection, step: Step) -> Result<(), Failure> {
    let Step { sql, arguments, tables } = step;
    let query = arguments.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
    match within(query.execute(connection)).await {
        Ok(_) => Ok(()),
        Err(error @ sqlx::Error::Database(_)) if !is_passing(&error) => {
            let named = error.as_database_error().and_then(|error| error.table());
            let table = named.map_or_else(|| tables.join(", "), str::to_owned);
            Err(Failure::Refused { table, error, usable: true })
        }
        Err(error) => Err(Failure::Broken { error, in_doubt: false }),
    }
}

fn bind(
    query: sqlx::query::Query<'static, Postgres, PgArguments>,
    argument: Argument,
) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    match argument {
        Argument::Ints(values) => query.bind(values),
        Argument::Texts(values) => query.bind(values),
        Argument::Bytes(values) => query.bind(values),
        Argument::One(value) => super::bind(query, value),
    }
}

impl Failure {
    /// The failure of a statement that is a transaction of its own.
    fn in_doubt(self) -> Self {
        match self {
            Self::Broken { error, .. } => Self::Broken { error, in_doubt: true },
            refused => refused,
        }
    }
}

/// The statements of a transaction.
fn steps(batches: &[Batch]) -> Vec<Step> {
    let mut steps = Vec::new();
    for stage in stages(batches) {
        let most = stage.iter().map(Part::len).max().unwrap_or_default();
        // Tables with fewer rows are done after the first steps.
        for start in (0..most).step_by(MAX_ROWS) {
            let mut step = Step { sql: String::new(), arguments: Vec::new(), tables: Vec::new() };
            for part in stage.iter().filter(|part| part.len() > start) {
                step.add(part, start);
            }
            steps.push(step);
        }
    }
    steps
}

impl Part<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::Rows(Rows { rows, .. }) => rows.len(),
            Self::Run(..) => 1,
        }
    }
}

impl Step {
    /// Adds a part's rows from `start` on.
    fn add(&mut self, part: &Part<'_>, start: usize) {
        let before = self.arguments.len();
        let sql: Cow<'_, str> = match part {
            Part::Rows(Rows { kind, rows }) => {
                let rows = &rows[start..rows.len().min(start + MAX_ROWS)];
                self.arguments.extend(columns(rows));
                Cow::Borrowed(kind.with_arrays(&rows[0]))
            }
            Part::Run(_, Statement { sql, values, .. }) => {
                self.arguments.extend(values.iter().cloned().map(Argument::One));
                sql.clone()
            }
        };
        self.sql.push_str(if self.tables.is_empty() { "WITH " } else { ", " });
        self.sql.push_str(&format!("w{} AS ({})", self.tables.len(), renumbered(&sql, before)));
        self.tables.push(part.table());
    }

    /// Any other statement than the last one.
    fn without_number(mut self) -> Self {
        self.sql.push_str(" SELECT 1");
        self
    }

    /// The last statement of a transaction: it also stores the transaction's number.
    fn with_number(mut self, number: i64) -> Self {
        self.arguments.push(Argument::One(number.into()));
        let place = self.arguments.len();
        self.sql.push_str(&format!(" UPDATE writer SET committed = ${place} WHERE one"));
        self
    }
}

/// The statement with its parameters numbered from `before` on.
fn renumbered(sql: &str, before: usize) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = part[..digits].parse().unwrap_or_default();
        text.push_str(&format!("${}{}", number + before, &part[digits..]));
    }
    text
}

/// The rows' columns.
fn columns(rows: &[Cow<'_, Row>]) -> Vec<Argument> {
    let first = rows.first().map_or(&[][..], |row| row.as_slice());
    let column = |place: usize| rows.iter().map(move |row| &row[place].1);
    first
        .iter()
        .enumerate()
        .map(|(place, (_, value))| match value {
            Value::Int(_) => Argument::Ints(column(place).map(Value::int).collect()),
            Value::Text(_) => {
                let texts = column(place).map(|value| value.text().map(text));
                Argument::Texts(texts.collect())
            }
            Value::Bytes(_) => {
                let bytes = column(place).map(|value| value.bytes().map(<[u8]>::to_vec));
                Argument::Bytes(bytes.collect())
            }
        })
        .collect()
}

impl Value {
    const fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => *number,
            Self::Text(_) | Self::Bytes(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.as_deref(),
            Self::Int(_) | Self::Bytes(_) => None,
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => bytes.as_deref(),
            Self::Int(_) | Self::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table_write::{TableWrite, Write};

    static JOBS: TableWrite = TableWrite::upsert("jobs", &["id"], |_| true);
    static COUNTS: TableWrite = TableWrite::add("counts", &["id"]);

    fn row(kind: &'static TableWrite, id: i64) -> Write {
        kind.row(vec![("id", id.into()), ("n", 1.into())])
    }

    #[test]
    fn a_transaction_is_one_statement_however_many_rows_it_has() {
        let writes: Vec<Write> =
            (0..100).map(|id| row(&JOBS, id)).chain([row(&COUNTS, 1)]).collect();
        let steps = steps(&[writes.into()]);
        let [step] = &steps[..] else { panic!("{} statements", steps.len()) };
        assert_eq!(step.tables, ["jobs", "counts"]);
        assert_eq!(step.arguments.len(), 4);
        assert!(step.sql.contains("unnest($3::bigint[], $4::bigint[])"), "{}", step.sql);
    }

    #[test]
    fn very_many_rows_are_several_statements() {
        let writes: Vec<Write> =
            (0..2500).map(|id| row(&JOBS, id)).chain([row(&COUNTS, 1)]).collect();
        let steps = steps(&[writes.into()]);
        let tables: Vec<_> = steps.iter().map(|step| step.tables.clone()).collect();
        assert_eq!(tables, [vec!["jobs", "counts"], vec!["jobs"], vec!["jobs"]]);
    }

    #[test]
    fn parameters_are_renumbered() {
        assert_eq!(renumbered("a = $1 AND b = $12::text[]", 9), "a = $10 AND b = $21::text[]");
        assert_eq!(renumbered("SELECT 1", 9), "SELECT 1");
    }
}
