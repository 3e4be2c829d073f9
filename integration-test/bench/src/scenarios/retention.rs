//! A retention sweep over a store that keeps many artifacts, of which few are due.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use test_harness::config::key;
use test_peers::unix_now;

use crate::database::{self, Bytes, Ended};
use crate::report::{Figure, Scenario};
use crate::stage::{Part, Stage};

/// Most seconds of a sweep.
const TARGET: f64 = 10.0;

/// Looks at a due artifact: one when it expires, another one in the same sweep because its bytes are still there.
const LOOKS: f64 = 2.0;

/// Longest wait for the end of the first sweep, which begins some seconds after a start.
const LIMIT: Duration = Duration::from_secs(120);

/// Milliseconds of an hour.
const HOUR: i64 = 3600 * 1000;

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let (kept, due) = stage.scale.pick((2_000_000, 1000), (50_000, 1000), (500, 40));
    let mut fresh = stage.launch().await?;
    fresh.coordinator.stop().await?;

    // Inputs and proofs, two of each request. Half of those that are due have expired an hour ago, and their bytes are
    // removed; the others expire.
    let now = i64::try_from(unix_now())? * 1000;
    let recent = Ended {
        first: 0,
        requests: kept / 2,
        since: now - 12 * HOUR,
        within: 12 * HOUR - 60_000,
        deadline: (now + 24 * HOUR) / 1000,
        bytes: Bytes::Kept,
    };
    let old = Ended {
        first: kept / 2,
        requests: due / 4,
        since: now - 72 * HOUR,
        within: HOUR,
        deadline: (now - 48 * HOUR) / 1000,
        bytes: Bytes::Kept,
    };
    let expired =
        Ended { first: old.first + old.requests, bytes: Bytes::Expired(now - HOUR), ..old };
    let url = fresh.coordinator.database();
    database::fill_with_ended(&url, &[recent, old, expired]).await?;
    let mut files: Vec<PathBuf> = Vec::new();
    for number in expired.first..expired.first + expired.requests {
        for id in database::artifact_id(number) {
            let file = fresh.coordinator.artifact_file(&id);
            std::fs::create_dir_all(file.parent().context("a file without a folder")?)?;
            std::fs::write(&file, [7; 1000])?;
            files.push(file);
        }
    }

    // The bytes of the others were never there.
    fresh.coordinator.configure(&key("storage.accept_loss", true))?;
    fresh.coordinator.expect_error("`storage.accept_loss` is set");
    fresh.coordinator.log("info,hierophant::artifacts=debug");
    fresh.coordinator.start().await?;
    let part = Part::begin(&fresh.coordinator)?;
    let line = fresh.coordinator.logs("retention sweep", LIMIT).await?;
    let name = format!("{kept} kept, {due} due");
    part.end(&format!("sweep, {name}"), found)?;
    let seconds = number_after(&line, "seconds=")?;
    found.figure(Figure::cost(format!("sweep, {name}"), seconds, "s").within(TARGET));
    let looked = number_after(&line, "due=")? + number_after(&line, "expired=")?;
    let each = looked / due as f64;
    let figure = format!("looks at artifacts for each that is due, {name}");
    found.figure(Figure::cost(figure, each, "").within(LOOKS));

    let rows = async |condition: &str| database::count(&url, "artifacts", condition).await;
    let untouched = rows("expired_at IS NULL AND removed_at IS NULL").await?;
    ensure!(untouched == kept, "{untouched} artifacts are kept, not {kept}");
    let since = format!("expired_at >= {now} AND removed_at IS NULL AND due_rule = 'expired'");
    let has_expired = rows(&since).await?;
    ensure!(has_expired == due / 2, "{has_expired} artifacts have expired, not {}", due / 2);
    let removed = rows(&format!("removed_at >= {now}")).await?;
    ensure!(removed == files.len(), "{removed} artifacts were removed, not {}", files.len());
    let left = files.iter().filter(|file| file.exists()).count();
    ensure!(left == 0, "{left} files of removed artifacts are still there");
    let changed = (has_expired + removed) as f64;
    found.figure(Figure::cost(format!("records that it changed, {name}"), changed, ""));
    let requests = recent.requests + old.requests + expired.requests;
    fresh.finish(async |database| database::check(database, "fulfilled", requests).await).await?;
    Ok(())
}

/// Number behind a key in a line of the log.
fn number_after(line: &str, key: &str) -> Result<f64> {
    let rest = line.split_once(&format!(" {key}")).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {key} in the line {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_log() {
        let line = "2026-11-29T20:00:00Z DEBUG a: retention sweep due=5 expired=7 seconds=0.25";
        let number = |key| number_after(line, key).ok();
        assert_eq!(number("due="), Some(5.0));
        assert_eq!(number("expired="), Some(7.0));
        assert_eq!(number("seconds="), Some(0.25));
        assert_eq!(number("artifacts="), None);
    }
}
