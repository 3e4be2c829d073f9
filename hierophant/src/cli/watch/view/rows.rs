//! Lines of the lists. A narrow screen omits the least important columns.

use hierophant_admin_model::{Job, Phase, Running};
use hierophant_model::records::{JobState, Millis};
use ratatui::text::{Line, Span};

use super::{BAD, GOOD, QUIET};
use crate::cli::show::span;
use crate::cli::watch::model::{Model, Pane};

/// Minimum width of a screen with secondary columns.
const MEDIUM: usize = 64;

/// Minimum width of a screen with all columns.
const WIDE: usize = 100;

/// Minimum width of a screen with complete ids.
const WIDEST: usize = 140;

/// Visible lines of a list: `height` lines after the first `skipped`.
pub(super) fn rows(
    model: &Model,
    pane: Pane,
    skipped: usize,
    height: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let now = model.now;
    let visible = |jobs: &[Job], row: &dyn Fn(usize, &Job) -> Line<'static>| {
        let jobs = jobs.iter().enumerate().skip(skipped).take(height);
        jobs.map(|(index, job)| row(index, job)).collect()
    };
    match pane {
        Pane::Running => {
            let running = model.running();
            let visible = running.into_iter().skip(skipped).take(height);
            visible.map(|(name, proof)| in_progress(now, name, proof, width)).collect()
        }
        Pane::Waiting => visible(&model.queue, &|index, job| queued(now, index, job, width)),
        Pane::Ended => visible(&model.ended, &|_, job| ended(now, job, width)),
        Pane::Failed => visible(&model.failed, &|_, job| failed(now, job, width)),
    }
}

fn in_progress(now: Millis, name: &str, proof: &Running, width: usize) -> Line<'static> {
    let mark = if proof.estimated { "~" } else { "" };
    let percent = proof.fraction.map(|fraction| format!("{mark}{:.0}%", fraction * 100.0));
    let left = proof.eta_seconds.map(|seconds| format!("{mark}{} left", span(seconds)));
    let since = || format!("for {}", span(now.since(Millis(proof.started_at)) / 1000));
    let (name, step) = match &proof.tasks {
        Some(tasks) => {
            (format!("{} workers", tasks.workers), format!("tasks {}/{}", tasks.done, tasks.all))
        }
        None => {
            let phase = proof.phase.as_ref().map_or("starting", Phase::as_str);
            (name.to_owned(), phase.to_owned())
        }
    };
    let mut spans = vec![Span::raw(fit(&name, 14))];
    if width >= MEDIUM {
        spans.push(Span::styled(fit(&format!("{} {step}", proof.mode), 22), QUIET));
    }
    let (full, empty) = bar(proof.fraction, if width >= WIDE { 24 } else { 12 });
    spans.extend([Span::styled(full, GOOD), Span::styled(empty, QUIET)]);
    spans.push(Span::raw(format!(" {:<5} ", percent.unwrap_or_default())));
    spans.push(Span::raw(fit(&left.unwrap_or_else(since), 15)));
    if width >= WIDE {
        spans.push(Span::styled(fit(&cycles(proof), 21), QUIET));
        spans.push(Span::styled(id(&proof.job, width), QUIET));
    }
    Line::from(spans)
}

/// The full and the empty part of a progress bar of this width.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a few columns"
)]
fn bar(fraction: Option<f32>, columns: usize) -> (String, String) {
    let full = (fraction.unwrap_or(0.0).clamp(0.0, 1.0) * columns as f32).round() as usize;
    ("\u{2588}".repeat(full), "\u{2591}".repeat(columns - full.min(columns)))
}

fn cycles(proof: &Running) -> String {
    match (proof.cycles_done, proof.cycles_total) {
        (Some(done), Some(total)) => {
            format!("{} of {} cycles", abbreviated(done), abbreviated(total))
        }
        (None, Some(total)) => format!("{} cycles", abbreviated(total)),
        (Some(done), None) => format!("{} cycles done", abbreviated(done)),
        (None, None) => String::new(),
    }
}

fn queued(now: Millis, index: usize, job: &Job, width: usize) -> Line<'static> {
    let since = span(now.since(Millis(job.created_at)) / 1000);
    let mut spans = vec![Span::raw(format!("{:>4}  ", index + 1))];
    spans.push(Span::raw(format!("{}  {:<11}", id(&job.id, width), job.mode)));
    spans.push(Span::raw(fit(&format!("for {since}"), 15)));
    if width >= MEDIUM {
        let deadline = job.requests.iter().map(|request| request.deadline).min();
        let left = deadline.map(|deadline| match Millis(deadline).since(now) / 1000 {
            0 => "deadline passed".to_owned(),
            seconds => format!("deadline in {}", span(seconds)),
        });
        spans.push(Span::styled(fit(&left.unwrap_or_default(), 24), QUIET));
    }
    if let Some(failure) = job.failure.as_ref().filter(|_| width >= WIDE) {
        spans.push(Span::styled(one_line(failure), BAD));
    }
    Line::from(spans)
}

fn ended(now: Millis, job: &Job, width: usize) -> Line<'static> {
    let style = if job.state == JobState::Proved { GOOD } else { BAD };
    let mut spans =
        vec![Span::raw(fit(&when(now, job), 16)), Span::styled(fit(job.state.as_str(), 13), style)];
    spans.push(Span::raw(format!("{:<11}{}  ", job.mode, id(&job.id, width))));
    if width >= MEDIUM {
        let took = job.started_at.zip(job.finished_at);
        let took = took.map(|(start, end)| Millis(end).since(Millis(start)) / 1000);
        let took = took.map_or_else(String::new, |seconds| format!("in {}", span(seconds)));
        spans.push(Span::raw(fit(job.contemplant.as_deref().unwrap_or_default(), 14)));
        spans.push(Span::raw(fit(&took, 12)));
    }
    if let Some(count) = job.cycles.filter(|_| width >= WIDE) {
        spans.push(Span::styled(format!("{} cycles", abbreviated(count)), QUIET));
    }
    Line::from(spans)
}

fn failed(now: Millis, job: &Job, width: usize) -> Line<'static> {
    let failure = one_line(job.failure.as_deref().unwrap_or_default());
    Line::from(vec![
        Span::raw(fit(&when(now, job), 16)),
        Span::raw(format!("{}  ", id(&job.id, width))),
        Span::styled(failure, BAD),
    ])
}

fn when(now: Millis, job: &Job) -> String {
    let seconds = job.finished_at.map(|at| now.since(Millis(at)) / 1000);
    seconds.map_or_else(String::new, |seconds| format!("{} ago", span(seconds)))
}

/// The complete id, or its first digits on a narrow screen.
fn id(id: &str, width: usize) -> String {
    if width >= WIDEST { id.to_owned() } else { id.chars().take(8).collect() }
}

/// A text padded or shortened to a width in columns, the last of which stays empty.
fn fit(text: &str, columns: usize) -> String {
    let text = one_line(text);
    if text.chars().count() < columns {
        return format!("{text:<columns$}");
    }
    let kept: String = text.chars().take(columns.saturating_sub(2)).collect();
    format!("{kept}\u{2026} ")
}

/// A text without control characters: names and messages from workers must not move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A number with about three digits, such as `940`, `12.3K` or `4.6G`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn abbreviated(number: u64) -> String {
    let units = ["", "K", "M", "G", "T", "P", "E"];
    let (mut shown, mut unit) = (number as f64, 0);
    while shown >= 1000.0 && unit + 1 < units.len() {
        (shown, unit) = (shown / 1000.0, unit + 1);
    }
    if unit == 0 { number.to_string() } else { format!("{shown:.1}{}", units[unit]) }
}
