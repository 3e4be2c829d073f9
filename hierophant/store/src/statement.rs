//! SQL statements that both databases understand, with their parameters.
//!
//! Parameters are written `$1`, `$2`, …, which SQLite and Postgres both take.

use std::borrow::Cow;
use std::sync::OnceLock;

use hierophant_model::records::Millis;

/// Maximum number of parameters in one statement; SQLite takes 32,766, Postgres 65,535.
pub(crate) const MAX_PARAMETERS: usize = 1000;

/// Value of a parameter; `None` is NULL of that type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl<const N: usize> From<Option<[u8; N]>> for Value {
    fn from(value: Option<[u8; N]>) -> Self {
        Self::Bytes(value.map(|bytes| bytes.to_vec()))
    }
}

/// What a statement reads. Each kind has connections of its own, so that none waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The row or two that an index finds.
    Point,
    /// A list whose cost its caller chooses: it has a time limit, and is refused if too many wait.
    List,
    /// Anything else: what Hierophant reads for itself, without a time limit.
    Bulk,
}

/// An SQL statement, built piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
    /// What the statement reads.
    pub(crate) access: Access,
}

impl Statement {
    /// A statement, or its beginning.
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new(), access: Access::Bulk }
    }

    /// Marks the statement as one that reads a row or two found by an index.
    pub(crate) fn point_read(self) -> Self {
        Self { access: Access::Point, ..self }
    }

    /// Marks the statement as a list whose cost its caller chooses.
    pub(crate) fn list(self) -> Self {
        Self { access: Access::List, ..self }
    }

    /// Sets the next of the parameters that the text already contains.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Appends text without parameters.
    pub(crate) fn push(&mut self, sql: &str) {
        self.sql.to_mut().push_str(sql);
    }

    /// Appends text and a parameter.
    pub(crate) fn push_bind(&mut self, sql: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.sql.to_mut().push_str(&format!("{sql}${}", self.values.len()));
    }

    /// Appends text and a parenthesised list of parameters, for `IN`.
    pub(crate) fn push_list<V: Into<Value>>(
        &mut self,
        sql: &str,
        values: impl IntoIterator<Item = V>,
    ) {
        self.push(sql);
        let mut opening = "(";
        for value in values {
            self.push_bind(opening, value);
            opening = ", ";
        }
        // An empty list is invalid SQL; NULL equals nothing.
        self.push(if opening == "(" { "(NULL)" } else { ")" });
    }
}

/// Adds the condition and the order of a page, newest first; `before` is the last row of the previous page.
pub(crate) fn push_page<const N: usize>(
    query: &mut Statement,
    time: &str,
    id: &str,
    before: Option<(Millis, [u8; N])>,
) {
    if let Some((at, last)) = before {
        query.push_bind(&format!(" AND ({time}, {id}) < ("), at.0);
        query.push_bind(", ", last.as_slice());
        query.push(")");
    }
    query.push(&format!(" ORDER BY {time} DESC, {id} DESC"));
}

/// A row to write: names and values of its columns.
pub(crate) type Row = Vec<(&'static str, Value)>;

/// Number of rows per statement in large writes: a statement costs more than a row. With 30 columns it stays
/// below the parameter limits of both databases.
pub(crate) const ROWS_PER_STATEMENT: usize = 32;

/// An upsert into a table; all its rows have the same columns.
pub(crate) struct Upsert {
    table: &'static str,
    key: &'static str,
    replaced: fn(&str) -> bool,
    /// Cached SQL for one row, and for [`ROWS_PER_STATEMENT`] rows.
    one: OnceLock<String>,
    many: OnceLock<String>,
}

impl Upsert {
    /// An upsert that inserts a row, or updates the columns accepted by `replaced` if `key` exists.
    pub(crate) const fn new(
        table: &'static str,
        key: &'static str,
        replaced: fn(&str) -> bool,
    ) -> Self {
        Self { table, key, replaced, one: OnceLock::new(), many: OnceLock::new() }
    }

    /// The statement for a row.
    pub(crate) fn row(&'static self, row: Row) -> Statement {
        self.rows(vec![row])
    }

    /// The statement for several rows with different keys.
    pub(crate) fn rows(&'static self, rows: Vec<Row>) -> Statement {
        let sql = match rows.len() {
            1 => Cow::Borrowed(self.one.get_or_init(|| self.sql(&rows)).as_str()),
            ROWS_PER_STATEMENT => Cow::Borrowed(self.many.get_or_init(|| self.sql(&rows)).as_str()),
            _ => Cow::Owned(self.sql(&rows)),
        };
        let values = rows.into_iter().flatten().map(|(_, value)| value).collect();
        Statement { sql, values, access: Access::Bulk }
    }

    fn sql(&self, rows: &[Row]) -> String {
        let Self { table, key, replaced, .. } = self;
        let columns = rows.first().map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let width = names.len();
        let places_of = |row: usize| {
            let places = (1..=width).map(|column| format!("${}", row * width + column));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        let places: Vec<String> = (0..rows.len()).map(places_of).collect();
        let updates: Vec<String> = names
            .iter()
            .filter(|name| **name != *key && replaced(name))
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "INSERT INTO {table} ({}) VALUES {} ON CONFLICT ({key}) DO UPDATE SET {}",
            names.join(", "),
            places.join(", "),
            updates.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_in_order() {
        let mut statement = Statement::new("SELECT * FROM t WHERE a = $1").bind(1);
        statement.push_bind(" AND b = ", "two");
        statement.push_list(" AND c IN ", [3, 4]);
        statement.push_list(" AND d IN ", [] as [i64; 0]);
        assert_eq!(
            statement.sql,
            "SELECT * FROM t WHERE a = $1 AND b = $2 AND c IN ($3, $4) AND d IN (NULL)"
        );
        assert_eq!(statement.values.len(), 4);
    }

    #[test]
    fn an_upsert_replaces_only_what_it_should() {
        static T: Upsert = Upsert::new("t", "id", |name| name != "a");
        let columns = vec![("id", 1.into()), ("a", 2.into()), ("b", 3.into())];
        assert_eq!(
            T.row(columns).sql,
            "INSERT INTO t (id, a, b) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET b = excluded.b"
        );
    }

    #[test]
    fn several_rows_are_one_statement() {
        let row = |n: i64| vec![("id", n.into()), ("a", (10 * n).into())];
        static T: Upsert = Upsert::new("t", "id", |_| true);
        assert!(T.row(row(1)).sql.contains("VALUES ($1, $2) ON"));
        let statement = T.rows(vec![row(1), row(2)]);
        assert_eq!(
            statement.sql,
            "INSERT INTO t (id, a) VALUES ($1, $2), ($3, $4) \
             ON CONFLICT (id) DO UPDATE SET a = excluded.a"
        );
        assert_eq!(statement.values, [1.into(), 10.into(), 2.into(), 20.into()]);
        let all = T.rows((0..ROWS_PER_STATEMENT as i64).map(row).collect());
        assert!(all.sql.contains("($63, $64) ON"), "{}", all.sql);
    }
}
