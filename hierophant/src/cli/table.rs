//! Tables, times and sizes as text for a terminal.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use hierophant_model::records::Millis;

pub(super) fn list<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    none: &str,
) -> String {
    let mut table = plain();
    table.set_header(heads.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    if table.is_empty() {
        return format!("{none}\n");
    }
    lines(&table)
}

pub(super) fn facts_table(facts: &[(&str, String)]) -> String {
    let mut table = plain();
    for (name, value) in facts {
        table.add_row([*name, value]);
    }
    lines(&table)
}

/// The lines of a table, without the blank that its style puts at both ends of a line.
fn lines(table: &Table) -> String {
    let lines = table.trim_fmt();
    lines.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

pub(super) fn ago(millis: i64) -> String {
    format!("{} ago", span(Millis::now().since(Millis(millis)) / 1000))
}

pub(super) fn until(millis: i64) -> String {
    match Millis(millis).since(Millis::now()) / 1000 {
        0 => "passed".to_owned(),
        seconds => format!("in {}", span(seconds)),
    }
}

pub(super) fn took(start: Option<i64>, end: Option<i64>) -> String {
    let Some((start, end)) = start.zip(end) else { return String::new() };
    let millis = Millis(end).since(Millis(start));
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

/// A duration in at most two units, such as `3m 20s`, `2h 5m` or `4days 1h`.
pub(super) fn span(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < units.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{number:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_well() {
        assert_eq!(span(0), "0s");
        assert_eq!(span(200), "3m 20s");
        assert_eq!(span(90_061), "1day 1h");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
