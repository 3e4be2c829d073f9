//! Draws what is known. A picture depends on the [`Model`] and the size of the screen alone.

mod rows;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::model::{Link, Model, Pane, REMEMBERED};
use crate::cli::show::{counts, span};
use hierophant_admin_model::Overview;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Below so many lines for the lists only one of them is shown.
const ROOM_FOR_ALL: u16 = 26;

/// Draws a picture.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let head = head(model);
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    if body.height < ROOM_FOR_ALL {
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
    let keys = "Tab other list   \u{2191}\u{2193} scroll   q quit";
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
    lines.push(Line::from(format!("Contemplants  {}; {slots}", counts(&overview.workers))));
    let aged = model.now.since(model.at) / 1000;
    let oldest = overview.oldest_wait_seconds.map(|seconds| span(seconds + aged));
    let oldest = oldest.map_or_else(String::new, |wait| format!("; the oldest for {wait}"));
    lines.push(Line::from(format!("Waiting       {}{oldest}", counts(&overview.waiting))));
    lines.extend(warnings(model, overview).into_iter().map(|text| Line::styled(text, BAD)));
    lines
}

fn link(model: &Model) -> Span<'static> {
    match &model.link {
        Link::Connecting => Span::styled("connecting", QUIET),
        Link::Live => Span::styled("live", GOOD),
        Link::Lost { since, reason } => {
            let since = span(model.now.since(*since) / 1000);
            Span::styled(format!("connection lost {since} ago, trying again: {reason}"), BAD)
        }
    }
}

fn warnings(model: &Model, overview: &Overview) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(paused) = &overview.paused {
        warnings.push(format!("Dispatch is paused: {}", paused.reason));
    }
    if let Some(low) = &overview.storage_low {
        warnings.push(format!("New work is turned away: {low}"));
    }
    if overview.mock_mode {
        warnings.push("Mock mode: proofs that prove nothing are taken".to_owned());
    }
    for webhook in overview.webhooks.iter().filter(|webhook| webhook.failing_since.is_some()) {
        let why = webhook.failure.as_deref().unwrap_or_default();
        warnings.push(format!("{} takes no webhooks: {why}", webhook.receiver));
    }
    for worker in model.workers.values() {
        if let Some(obstacle) = &worker.obstacle {
            warnings.push(format!("{} cannot prove: {obstacle}", worker.name));
        }
    }
    // A screen full of warnings would show nothing else.
    if warnings.len() > 4 {
        let more = warnings.len() - 3;
        warnings.truncate(3);
        warnings.push(format!("and {more} warnings more"));
    }
    warnings
}

fn draw_pane(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: Pane, title: Line<'_>) {
    let block = Block::new().borders(Borders::TOP).border_style(QUIET);
    let inner = block.inner(area);
    let height = usize::from(inner.height);
    let (all, width) = (model.len(pane), usize::from(inner.width));
    let past = model.scrolled[pane as usize].min(all.saturating_sub(height));
    let mut lines = rows::rows(model, pane, past, height, width);
    if lines.is_empty() && model.overview.is_some() {
        lines.push(Line::styled(nothing(pane), QUIET));
    }
    frame.render_widget(block.title(title), area);
    frame.render_widget(Paragraph::new(lines), inner);
}

/// A list's name and length; the list that keys act on stands out.
fn title(model: &Model, pane: Pane) -> Span<'static> {
    let style = if pane == model.pane { STRONG } else { QUIET };
    Span::styled(format!(" {}{} ", name(pane), count(model, pane)), style)
}

const fn name(pane: Pane) -> &'static str {
    match pane {
        Pane::Running => "Proving",
        Pane::Waiting => "Waiting",
        Pane::Ended => "Ended",
        Pane::Failed => "Failed",
    }
}

/// How many entries a list has; of the waiting jobs only the first are known.
fn count(model: &Model, pane: Pane) -> String {
    let waiting: usize = model.overview.iter().flat_map(|overview| overview.waiting.values()).sum();
    match (pane, model.len(pane)) {
        (Pane::Waiting, shown) if waiting > shown => format!(" {waiting}"),
        // Of those that have ended only the latest are known.
        (Pane::Ended | Pane::Failed, REMEMBERED) => format!(" {REMEMBERED}+"),
        (_, shown) => format!(" {shown}"),
    }
}

const fn nothing(pane: Pane) -> &'static str {
    match pane {
        Pane::Running => "nothing is being proved",
        Pane::Waiting => "no job waits",
        Pane::Ended => "no job has ended",
        Pane::Failed => "no job has failed",
    }
}

#[cfg(test)]
mod tests;
