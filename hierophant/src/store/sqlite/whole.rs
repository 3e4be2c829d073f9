//! Rows as one value each.
//!
//! sqlx copies every value of a SQLite row by itself, and each copy takes a lock that the whole process
//! shares. At a start with a hundred thousand jobs that was most of the work. So where many whole rows
//! are wanted, SQLite hands each out as one line: numbers in digits, texts and bytes in hexadecimal
//! digits after an `x`, NULL as nothing, with commas between.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::hex;
use sqlx::{Row, SqlitePool};

use super::super::rows::Columns;

/// How a table's rows are asked for and read.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// What stands behind `SELECT`.
    pub(super) selection: String,
    places: Arc<BTreeMap<String, usize>>,
}

/// A row of one table.
#[derive(Debug)]
pub(super) struct WholeRow {
    places: Arc<BTreeMap<String, usize>>,
    line: String,
    /// Where each value begins, and where another one would.
    starts: Vec<usize>,
}

impl Layout {
    /// The layout of a table.
    pub(super) async fn of(readers: &SqlitePool, table: &str) -> Result<Self, sqlx::Error> {
        let described = sqlx::query("SELECT name, type FROM pragma_table_info($1)").bind(table);
        let mut places = BTreeMap::new();
        let mut values = String::new();
        for column in described.fetch_all(readers).await? {
            let (name, kind): (String, String) = (column.try_get(0)?, column.try_get(1)?);
            values.push_str(&match kind.as_str() {
                "INTEGER" => format!(", {table}.{name}"),
                _ => format!(", iif({table}.{name} IS NULL, '', 'x' || hex({table}.{name}))"),
            });
            places.insert(name, places.len());
        }
        let pattern = vec!["%s"; places.len()].join(",");
        let selection = format!("format('{pattern}'{values})");
        Ok(Self { selection, places: Arc::new(places) })
    }

    /// Reads a row.
    pub(super) fn read(&self, line: String) -> WholeRow {
        let mut starts = Vec::with_capacity(self.places.len() + 1);
        starts.push(0);
        starts.extend(line.bytes().enumerate().filter(|(_, b)| *b == b',').map(|(at, _)| at + 1));
        starts.push(line.len() + 1);
        WholeRow { places: Arc::clone(&self.places), line, starts }
    }
}

impl WholeRow {
    /// A value as it stands in the line, `None` for NULL.
    fn value(&self, name: &str) -> Result<Option<&str>, sqlx::Error> {
        let of_column = |place: &usize| {
            let (start, next) = (self.starts.get(*place)?, self.starts.get(place + 1)?);
            self.line.get(*start..next - 1)
        };
        let value = self.places.get(name).and_then(of_column);
        let value = value.ok_or_else(|| sqlx::Error::ColumnNotFound(name.to_owned()))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }
}

impl Columns for WholeRow {
    fn int(&self, name: &str) -> Result<Option<i64>, sqlx::Error> {
        let number = |digits: &str| digits.parse().map_err(decoding);
        self.value(name)?.map(number).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error> {
        let text = |bytes| String::from_utf8(bytes).map_err(decoding);
        self.bytes(name)?.map(text).transpose()
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
        let bytes = |digits: &str| hex::decode(digits.trim_start_matches('x')).map_err(decoding);
        self.value(name)?.map(bytes).transpose()
    }
}

fn decoding(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
