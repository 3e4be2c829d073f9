//! Order of a transaction's writes: rows of one table that are written in the same way form one statement.
//!
//! No table refers to another, so only the order of writes to one table matters. Of several writes to one row the
//! last one counts.

use std::borrow::Cow;

use crate::driver::Batch;
use crate::statement::Statement;
use crate::table_write::{Row, TableWrite, Write};

/// Rows with different keys, written in one way, sorted by key or in the order of the changes.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) kind: &'static TableWrite,
    pub(crate) rows: Vec<Cow<'a, Row>>,
}

/// A part of a transaction: each table occurs once.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    Rows(Rows<'a>),
    Run(&'static str, &'a Statement),
}

impl Part<'_> {
    /// The table that it changes.
    pub(crate) const fn table(&self) -> &'static str {
        match self {
            Self::Rows(rows) => rows.kind.table(),
            Self::Run(table, _) => table,
        }
    }
}

/// The writes of all batches in stages, to be executed one after the other.
pub(crate) fn stages(batches: &[Batch]) -> Vec<Vec<Part<'_>>> {
    let mut stages: Vec<Vec<Part<'_>>> = Vec::new();
    // The latest stage and place of each table.
    let mut latest: Vec<(&'static str, usize, usize)> = Vec::new();
    for write in batches.iter().flat_map(|batch| batch.iter()) {
        let known = latest.iter().position(|(table, ..)| *table == write.table());
        let found = known.map(|place| latest[place]);
        if let (Some((_, stage, place)), Write::Row(kind, row)) = (found, write)
            && let Part::Rows(rows) = &mut stages[stage][place]
            && rows.kind.is(kind)
            && !(kind.is_ordered() && rows.contains(row))
        {
            rows.rows.push(Cow::Borrowed(row));
            continue;
        }
        let stage = found.map_or(0, |(_, stage, _)| stage + 1);
        if stage == stages.len() {
            stages.push(Vec::new());
        }
        let entry = (write.table(), stage, stages[stage].len());
        match known {
            Some(place) => latest[place] = entry,
            None => latest.push(entry),
        }
        stages[stage].push(match write {
            Write::Row(kind, row) => Part::Rows(Rows { kind, rows: vec![Cow::Borrowed(row)] }),
            Write::Run(table, statement) => Part::Run(table, statement),
        });
    }
    for part in stages.iter_mut().flatten() {
        if let Part::Rows(rows) = part {
            rows.merge();
        }
    }
    stages
}

impl Rows<'_> {
    /// Whether there is a row with the same key.
    fn contains(&self, row: &Row) -> bool {
        self.rows.iter().any(|other| self.kind.compare_keys(other, row).is_eq())
    }

    /// Sorts the rows, and merges those with the same key. Rows whose order counts have different keys.
    fn merge(&mut self) {
        let kind = self.kind;
        if kind.is_ordered() {
            return;
        }
        // Stable: rows of one key stay in order.
        self.rows.sort_by(|one, other| kind.compare_keys(one, other));
        self.rows.dedup_by(|later, earlier| {
            let same = kind.compare_keys(later, earlier).is_eq();
            if same {
                *earlier = Cow::Owned(kind.merged(earlier, later));
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Value;

    static JOBS: TableWrite = TableWrite::upsert("jobs", &["id"], |_| true);
    static SET: TableWrite = TableWrite::upsert("settings", &["id"], |_| true);
    static UNSET: TableWrite = TableWrite::delete("settings", &["id"], "");

    fn row(kind: &'static TableWrite, id: i64, value: i64) -> Write {
        kind.row(vec![("id", id.into()), ("value", value.into())])
    }

    fn shown(batches: &[Batch]) -> Vec<Vec<String>> {
        let text = |part: &Part<'_>| match part {
            Part::Run(table, _) => format!("run {table}"),
            Part::Rows(Rows { kind, rows }) => {
                let rows = rows.iter().map(|row| match (&row[0].1, &row[1].1) {
                    (Value::Int(Some(id)), Value::Int(Some(value))) => format!(" {id}={value}"),
                    _ => unreachable!("numbers"),
                });
                kind.table().to_owned() + &rows.collect::<String>()
            }
        };
        stages(batches).iter().map(|stage| stage.iter().map(text).collect()).collect()
    }

    #[test]
    fn rows_of_one_table_are_written_together_and_the_last_word_counts() {
        let first: Batch = vec![row(&JOBS, 2, 20), row(&SET, 1, 1), row(&JOBS, 1, 10)].into();
        let second: Batch = vec![row(&JOBS, 2, 21), row(&SET, 2, 2)].into();
        assert_eq!(shown(&[first, second]), [["jobs 1=10 2=21", "settings 1=1 2=2"]]);
    }

    #[test]
    fn rows_whose_order_counts_keep_it() {
        static TOKENS: TableWrite = TableWrite::upsert("tokens", &["id"], |_| true).in_order();
        let batch: Batch =
            vec![row(&TOKENS, 2, 20), row(&TOKENS, 1, 10), row(&TOKENS, 2, 21)].into();
        assert_eq!(shown(&[batch]), [["tokens 2=20 1=10"], ["tokens 2=21"]]);
    }

    #[test]
    fn what_is_done_to_one_table_in_different_ways_keeps_its_order() {
        let run = Write::Run("settings", Statement::new("DELETE FROM settings"));
        let batch: Batch = vec![
            row(&SET, 1, 1),
            row(&UNSET, 1, 0),
            row(&JOBS, 1, 1),
            row(&SET, 1, 2),
            run,
            row(&JOBS, 2, 2),
        ]
        .into();
        let expected =
            [vec!["settings 1=1", "jobs 1=1 2=2"], vec!["settings 1=0"], vec!["settings 1=2"]];
        let shown = shown(&[batch]);
        assert_eq!(shown[..3], expected);
        assert_eq!(shown[3], ["run settings"]);
    }
}
