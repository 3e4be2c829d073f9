//! Writes of rows: which table, which columns, and what happens to a row that exists.
//!
//! Both databases write the rows of a transaction table by table. SQLite takes them as a list of `VALUES`,
//! Postgres as one array for each column: the text of such a statement does not depend on the number of rows,
//! so it is prepared once.

use std::cmp::Ordering;
use std::fmt;
use std::sync::OnceLock;

use crate::statement::{Statement, Value};

/// A row to write: names and values of its columns.
pub(crate) type Row = Vec<(&'static str, Value)>;

/// Number of rows in one `VALUES` list of a large write: a statement costs more than a row. With 30 columns it
/// stays below the parameter limits of both databases.
pub(crate) const ROWS_PER_STATEMENT: usize = 32;

/// What is done with a row.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Insert it; if its key exists, update the columns that the function accepts.
    Upsert(fn(&str) -> bool),
    /// Insert it; if its key exists, add the other column to the stored number.
    Add,
    /// Update the row with its key.
    Update,
    /// Delete the rows with its key.
    Delete,
}

/// A kind of write to a table; all its rows have the same columns.
pub(crate) struct TableWrite {
    table: &'static str,
    /// Columns that identify a row. The first is found by an index; the others may be NULL.
    key: &'static [&'static str],
    action: Action,
    /// SQL condition on the stored row of an update or a deletion; may be empty.
    only_if: &'static str,
    /// Whether rows must be written in the order of their changes.
    is_ordered: bool,
    /// Cached SQL for one row, for [`ROWS_PER_STATEMENT`] rows, and for arrays.
    one: OnceLock<String>,
    many: OnceLock<String>,
    arrays: OnceLock<String>,
}

impl fmt::Debug for TableWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.action, self.table)
    }
}

impl TableWrite {
    const fn new(
        table: &'static str,
        key: &'static [&'static str],
        action: Action,
        only_if: &'static str,
    ) -> Self {
        Self {
            table,
            key,
            action,
            only_if,
            is_ordered: false,
            one: OnceLock::new(),
            many: OnceLock::new(),
            arrays: OnceLock::new(),
        }
    }

    /// An insertion that updates the columns accepted by `replaced` if the key exists.
    pub(crate) const fn upsert(
        table: &'static str,
        key: &'static [&'static str],
        replaced: fn(&str) -> bool,
    ) -> Self {
        Self::new(table, key, Action::Upsert(replaced), "")
    }

    /// Keeps the order of the changes: a row may take what another one gives up, such as a name in a unique index.
    pub(crate) const fn in_order(mut self) -> Self {
        self.is_ordered = true;
        self
    }

    /// Whether rows must be written in the order of their changes.
    pub(crate) const fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// An insertion of a number that is added to the stored one if the key exists.
    pub(crate) const fn add(table: &'static str, key: &'static [&'static str]) -> Self {
        Self::new(table, key, Action::Add, "")
    }

    /// An update of all columns outside the key, of rows that fulfil a condition.
    pub(crate) const fn update(
        table: &'static str,
        key: &'static [&'static str],
        only_if: &'static str,
    ) -> Self {
        Self::new(table, key, Action::Update, only_if)
    }

    /// A deletion of rows that fulfil a condition.
    pub(crate) const fn delete(
        table: &'static str,
        key: &'static [&'static str],
        only_if: &'static str,
    ) -> Self {
        Self::new(table, key, Action::Delete, only_if)
    }

    /// Name of the table.
    pub(crate) const fn table(&self) -> &'static str {
        self.table
    }

    /// The write of a row.
    pub(crate) const fn row(&'static self, row: Row) -> Write {
        Write::Row(self, row)
    }

    /// Whether two writes are of one kind.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// Whether two rows have the same key.
    pub(crate) fn compare_keys(&self, one: &Row, other: &Row) -> Ordering {
        let value = |row: &'_ Row, name| row.iter().position(|(column, _)| *column == name);
        self.key
            .iter()
            .map(|name| {
                let of = |row| value(row, *name).map(|place| &row[place].1);
                of(one).cmp(&of(other))
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// The row that has the effect of two with the same key, one after the other.
    pub(crate) fn merged(&self, earlier: &Row, later: &Row) -> Row {
        if !matches!(self.action, Action::Add) {
            return later.clone();
        }
        let both = earlier.iter().zip(later);
        both.map(|((name, one), (_, other))| match (one, other) {
            (Value::Int(Some(one)), Value::Int(Some(other))) => (*name, (one + other).into()),
            _ => (*name, other.clone()),
        })
        .collect()
    }

    /// How many of these rows one `VALUES` statement takes.
    pub(crate) const fn rows_at_once(&self, left: usize) -> usize {
        let is_insertion = matches!(self.action, Action::Upsert(_) | Action::Add);
        if is_insertion && left >= ROWS_PER_STATEMENT { ROWS_PER_STATEMENT } else { 1 }
    }

    /// The statement for [that many](Self::rows_at_once) rows; the parameters are their values in order.
    pub(crate) fn with_values(&self, rows: &[&Row]) -> &str {
        match rows {
            [row] => self.one.get_or_init(|| self.values_sql(row, 1)),
            _ => self.many.get_or_init(|| self.values_sql(rows[0], ROWS_PER_STATEMENT)),
        }
    }

    /// The statement for any number of rows, with one array for each column.
    pub(crate) fn with_arrays(&self, row: &Row) -> &str {
        self.arrays.get_or_init(|| self.arrays_sql(row))
    }

    fn values_sql(&self, row: &Row, rows: usize) -> String {
        let width = row.len();
        match self.action {
            Action::Upsert(_) | Action::Add => {
                let places_of = |row: usize| {
                    let places = (1..=width).map(|column| format!("${}", row * width + column));
                    format!("({})", places.collect::<Vec<_>>().join(", "))
                };
                let places: Vec<String> = (0..rows).map(places_of).collect();
                let source = format!("VALUES {}", places.join(", "));
                self.insertion(row, &source)
            }
            Action::Update | Action::Delete => {
                let place = |index: usize| format!("${}", index + 1);
                let set = self.assignments(row, &place);
                let first = |place: &str| format!("= {place}");
                let verb = if matches!(self.action, Action::Update) {
                    format!("UPDATE {} SET {set}", self.table)
                } else {
                    format!("DELETE FROM {}", self.table)
                };
                format!("{verb} WHERE {}", self.conditions(row, &place, first))
            }
        }
    }

    fn arrays_sql(&self, row: &Row) -> String {
        let arrays = row.iter().enumerate().map(|(index, (_, value))| {
            let of = match value {
                Value::Int(_) => "bigint",
                Value::Text(_) => "text",
                Value::Bytes(_) => "bytea",
            };
            format!("${}::{of}[]", index + 1)
        });
        let arrays = arrays.collect::<Vec<_>>().join(", ");
        let Self { table, .. } = self;
        let names: Vec<String> = row.iter().map(|(name, _)| format!("new_{name}")).collect();
        let source = format!("unnest({arrays}) AS v ({})", names.join(", "));
        let place = |index: usize| format!("v.{}", names[index]);
        // The same as `=`, except that Postgres can only look up the stored rows by the key, one after the other. By `=`
        // it would as well walk the whole index of a table that seems small.
        let first = |place: &str| format!("= ANY (ARRAY[{place}])");
        match self.action {
            Action::Upsert(_) | Action::Add => {
                self.insertion(row, &format!("SELECT * FROM {source}"))
            }
            Action::Update => {
                let (set, conditions) =
                    (self.assignments(row, &place), self.conditions(row, &place, first));
                format!("UPDATE {table} SET {set} FROM {source} WHERE {conditions}")
            }
            Action::Delete => {
                let conditions = self.conditions(row, &place, first);
                format!("DELETE FROM {table} USING {source} WHERE {conditions}")
            }
        }
    }

    fn insertion(&self, row: &Row, source: &str) -> String {
        let Self { table, key, .. } = self;
        let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
        let others = names.iter().filter(|name| !key.contains(name));
        let updates: Vec<String> = match self.action {
            Action::Upsert(replaced) => others
                .filter(|name| replaced(name))
                .map(|name| format!("{name} = excluded.{name}"))
                .collect(),
            _ => others.map(|name| format!("{name} = {table}.{name} + excluded.{name}")).collect(),
        };
        let (names, key, updates) = (names.join(", "), key.join(", "), updates.join(", "));
        format!(
            "INSERT INTO {table} ({names}) {source} ON CONFLICT ({key}) DO UPDATE SET {updates}"
        )
    }

    fn assignments(&self, row: &Row, place: &dyn Fn(usize) -> String) -> String {
        let columns = row.iter().enumerate().filter(|(_, (name, _))| !self.key.contains(name));
        let set = columns.map(|(index, (name, _))| format!("{name} = {}", place(index)));
        set.collect::<Vec<_>>().join(", ")
    }

    /// The conditions on a stored row; `first` compares with the value of the key's first column.
    fn conditions(
        &self,
        row: &Row,
        place: &dyn Fn(usize) -> String,
        first: fn(&str) -> String,
    ) -> String {
        let columns = row.iter().enumerate().filter(|(_, (name, _))| self.key.contains(name));
        let equal = columns.map(|(index, (name, _))| {
            let place = place(index);
            let is_first = self.key.first() == Some(name);
            let is = if is_first { first(&place) } else { format!("IS NOT DISTINCT FROM {place}") };
            format!("{name} {is}")
        });
        let own = (!self.only_if.is_empty()).then(|| self.only_if.to_owned());
        equal.chain(own).collect::<Vec<_>>().join(" AND ")
    }
}

/// A write of a transaction.
#[derive(Debug)]
pub(crate) enum Write {
    /// A row of a table.
    Row(&'static TableWrite, Row),
    /// Any other statement, and the table that it changes.
    Run(&'static str, Statement),
}

impl Write {
    /// The table that it changes.
    pub(crate) const fn table(&self) -> &'static str {
        match self {
            Self::Row(kind, _) => kind.table(),
            Self::Run(table, _) => table,
        }
    }
}

impl PartialEq for Write {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Row(kind, row), Self::Row(other, their)) => kind.is(other) && row == their,
            (Self::Run(table, statement), Self::Run(other, their)) => {
                table == other && statement.sql == their.sql && statement.values == their.values
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static T: TableWrite = TableWrite::upsert("t", &["id"], |name| name != "a");
    static COUNT: TableWrite = TableWrite::add("t", &["id"]);
    static MARK: TableWrite = TableWrite::update("t", &["id"], "b IS NULL");
    static DROP: TableWrite = TableWrite::delete("t", &["id"], "");

    fn row(id: i64, a: &str) -> Row {
        vec![("id", id.into()), ("a", a.into()), ("b", id.into())]
    }

    #[test]
    fn an_upsert_replaces_only_what_it_should() {
        let row = row(1, "x");
        assert_eq!(
            T.with_values(&[&row]),
            "INSERT INTO t (id, a, b) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET b = excluded.b"
        );
        assert_eq!(
            T.with_arrays(&row),
            "INSERT INTO t (id, a, b) SELECT * FROM \
             unnest($1::bigint[], $2::text[], $3::bigint[]) AS v (new_id, new_a, new_b) \
             ON CONFLICT (id) DO UPDATE SET b = excluded.b"
        );
    }

    #[test]
    fn several_rows_are_one_statement() {
        let all: Vec<Row> = (0..32).map(|id| row(id, "x")).collect();
        let all: Vec<&Row> = all.iter().collect();
        assert_eq!((T.rows_at_once(40), T.rows_at_once(31), MARK.rows_at_once(40)), (32, 1, 1));
        let sql = T.with_values(&all);
        assert!(sql.contains("VALUES ($1, $2, $3), ($4, $5, $6), "), "{sql}");
        assert!(sql.contains("($94, $95, $96) ON CONFLICT"), "{sql}");
    }

    #[test]
    fn updates_and_deletions_name_their_rows_by_key() {
        let marked = vec![("b", 1.into()), ("id", 2.into())];
        let sql = MARK.with_values(&[&marked]);
        assert_eq!(sql, "UPDATE t SET b = $1 WHERE id = $2 AND b IS NULL");
        assert_eq!(
            MARK.with_arrays(&marked),
            "UPDATE t SET b = v.new_b FROM unnest($1::bigint[], $2::bigint[]) AS v (new_b, new_id) \
             WHERE id = ANY (ARRAY[v.new_id]) AND b IS NULL"
        );
        let gone = vec![("id", 2.into())];
        assert_eq!(DROP.with_values(&[&gone]), "DELETE FROM t WHERE id = $1");
        assert_eq!(
            DROP.with_arrays(&gone),
            "DELETE FROM t USING unnest($1::bigint[]) AS v (new_id) WHERE id = ANY (ARRAY[v.new_id])"
        );
    }

    #[test]
    fn numbers_of_one_key_are_added_up_and_other_rows_replaced() {
        let of = |id: i64, count: i64| vec![("id", id.into()), ("n", count.into())];
        assert!(COUNT.with_values(&[&of(1, 1)]).ends_with("SET n = t.n + excluded.n"));
        // The key is a number too, and is the same in both.
        let key: Row = vec![("id", "x".into()), ("n", 2.into())];
        let merged = COUNT.merged(&key, &vec![("id", "x".into()), ("n", 3.into())]);
        assert_eq!(merged, [("id", "x".into()), ("n", 5.into())]);
        assert_eq!(T.merged(&row(1, "x"), &row(1, "y")), row(1, "y"));
    }
}
