//! SQL statements that both databases understand, with their parameters.
//!
//! Parameters are written `$1`, `$2`, …, which SQLite and Postgres both take.

use std::borrow::Cow;

use hierophant_model::records::Millis;

/// Maximum number of parameters in one statement; SQLite takes 32,766, Postgres 65,535.
pub(crate) const MAX_PARAMETERS: usize = 1000;

/// Value of a parameter; `None` is NULL of that type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Many rows that indexes find: what Hierophant reads for itself in parts, without a time limit.
    Indexed,
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

    /// Marks the statement as one that reads many rows found by indexes.
    pub(crate) fn by_index(self) -> Self {
        Self { access: Access::Indexed, ..self }
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
}
