//! Configuration files of the programs under test, as TOML tables.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

/// A table with one key; a dot separates section and key.
pub fn key(name: &str, value: impl Into<Value>) -> Table {
    match name.split_once('.') {
        Some((section, rest)) => Table::from_iter([(section.to_owned(), key(rest, value).into())]),
        None => Table::from_iter([(name.to_owned(), value.into())]),
    }
}

/// Adds `keys` to `table`, section by section.
pub fn merge(table: &mut Table, keys: &Table) {
    for (key, value) in keys {
        match (table.get_mut(key), value) {
            (Some(Value::Table(section)), Value::Table(more)) => merge(section, more),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

/// A path as a value.
///
/// # Errors
///
/// When it is not UTF-8.
pub fn path(path: &Path) -> Result<Value> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(Value::from(text))
}

/// Writes a table to a file.
pub(crate) fn write(file: &Path, table: &Table) -> Result<()> {
    let written = std::fs::write(file, table.to_string());
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_joined_and_later_values_count() {
        let mut table = key("storage.min_free_bytes", 1);
        merge(&mut table, &key("storage.artifacts_url", "s3://bucket"));
        merge(&mut table, &key("storage.min_free_bytes", 2));
        merge(&mut table, &key("mock_mode", true));
        let wanted =
            "mock_mode = true\n[storage]\nmin_free_bytes = 2\nartifacts_url = 's3://bucket'";
        assert_eq!(table, wanted.parse::<Table>().expect("TOML"));
    }
}
