//! Drawing of the [`Model`]. A frame depends only on the model and the size of the screen.

mod rows;

use hierophant_admin_model::Overview;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::model::{Link, MAX_ENDED, Model, Pane};
use crate::cli::show::counts;
use crate::cli::table::span;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Minimum number of lines to show all lists; with fewer only the selected list is shown.
const MIN_LINES_FOR_ALL: u16 = 26;

/// Draws a frame.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let head = head(model);
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    if body.height < MIN_LINES_FOR_ALL {
        let names = Pane::ALL.map(|pane| [title(model, pane), Span::styled("\u{2500}", QUIET)]);
        let names = Line::from_iter(names.into_iter().flatten());
        draw_pane(frame, body, model, model.pane, names);
    } else {
        let share = |pane| match pane {
            Pane::Running => Constraint::Fill(3),
            Pane::Waiting => Constraint::Fill(2),
            Pane::Ended | Pane::Failed => Constraint::Fill(1),
        };
        let areas = Layout::vertical(Pane::ALL.map(share)).split(body);
        for (pane, area) in Pane::ALL.into_iter().zip(areas.iter()) {
            draw_pane(frame, *area, model, pane, Line::from(title(model, pane)));
        }
    }
    let keys = "Tab next list   \u{2191}\u{2193} scroll   q quit";
    frame.render_widget(Paragraph::new(Line::styled(keys, QUIET)), bottom);
}

fn head(model: &Model) -> Vec<Line<'static>> {
    let version = model.overview.as_ref().map_or("", |overview| &overview.version);
    let mut lines = vec![Line::from(vec![
        Span::styled(format!("Hierophant {version}  "), STRONG),
        link(model),
    ])];
    let Some(overview) = &model.overview else { return lines };
    let slots = format!("{} of {} slots in use", overview.running, overview.slots);
    lines.push(Line::from(format!("Workers  {}; {slots}", counts(&overview.workers))));
    let age = model.now.since(model.overview_at) / 1000;
    let oldest = overview.oldest_wait_seconds.map(|seconds| span(seconds + age));
    let oldest = oldest.map_or_else(String::new, |wait| format!("; the oldest for {wait}"));
    lines.push(Line::from(format!("Queued   {}{oldest}", counts(&overview.waiting))));
    lines.extend(warnings(model, overview).into_iter().map(|text| Line::styled(text, BAD)));
    lines
}

fn link(model: &Model) -> Span<'static> {
    match &model.link {
        Link::Connecting => Span::styled("connecting", QUIET),
        Link::Live => Span::styled("live", GOOD),
        Link::Lost { since, reason } => {
            let since = span(model.now.since(*since) / 1000);
            Span::styled(format!("connection lost {since} ago, reconnecting: {reason}"), BAD)
        }
    }
}

fn warnings(model: &Model, overview: &Overview) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(paused) = &overview.paused {
        warnings.push(format!("Dispatch is paused: {}", paused.reason));
    }
    if let Some(low) = &overview.storage_low {
        warnings.push(format!("New work is rejected: {low}"));
    }
    if overview.mock_mode {
        warnings.push("Mock mode: mock proofs, which prove nothing, are accepted".to_owned());
    }
    for webhook in overview.webhooks.iter().filter(|webhook| webhook.failing_since.is_some()) {
        let why = webhook.failure.as_deref().unwrap_or_default();
        warnings.push(format!("Webhooks to {} fail: {why}", webhook.receiver));
    }
    for worker in model.workers.values() {
        if let Some(obstacle) = &worker.obstacle {
            warnings.push(format!("{} cannot prove: {obstacle}", worker.name));
        }
    }
    // The warnings must leave space for the lists.
    if warnings.len() > 4 {
        let more = warnings.len() - 3;
        warnings.truncate(3);
        warnings.push(format!("and {more} more warnings"));
    }
    warnings
}

fn draw_pane(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: Pane, title: Line<'_>) {
    let block = Block::new().borders(Borders::TOP).border_style(QUIET);
    let inner = block.inner(area);
    let height = usize::from(inner.height);
    let (all, width) = (model.len(pane), usize::from(inner.width));
    let skipped = model.scrolled[pane as usize].min(all.saturating_sub(height));
    let mut lines = rows::rows(model, pane, skipped, height, width);
    if lines.is_empty() && model.overview.is_some() {
        lines.push(Line::styled(nothing(pane), QUIET));
    }
    frame.render_widget(block.title(title), area);
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Name and length of a list; the selected list is highlighted.
fn title(model: &Model, pane: Pane) -> Span<'static> {
    let style = if pane == model.pane { STRONG } else { QUIET };
    Span::styled(format!(" {}{} ", name(pane), count(model, pane)), style)
}

const fn name(pane: Pane) -> &'static str {
    match pane {
        Pane::Running => "Proving",
        Pane::Waiting => "Queued",
        Pane::Ended => "Ended",
        Pane::Failed => "Failed",
    }
}

/// Number of entries of a list. Of the queue only the start is fetched, so the overview has its length.
fn count(model: &Model, pane: Pane) -> String {
    let waiting: usize = model.overview.iter().flat_map(|overview| overview.waiting.values()).sum();
    match (pane, model.len(pane)) {
        (Pane::Waiting, shown) if waiting > shown => format!(" {waiting}"),
        // Only the latest of the ended jobs are fetched.
        (Pane::Ended | Pane::Failed, MAX_ENDED) => format!(" {MAX_ENDED}+"),
        (_, shown) => format!(" {shown}"),
    }
}

/// Text shown in an empty list.
const fn nothing(pane: Pane) -> &'static str {
    match pane {
        Pane::Running => "no proof is in progress",
        Pane::Waiting => "no job is queued",
        Pane::Ended => "no job has ended",
        Pane::Failed => "no job has failed",
    }
}

#[cfg(test)]
mod tests;
