//! Draws the dashboard into a buffer: a pure function of the dashboard, the time
//! and the area, for any size of it.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::gauge::{about, spending};
use super::dashboard::{Dashboard, Question};
use super::keys::{HELP, Pane};
use super::look::{Look, put, put_line, titled, wrapped};
use super::panes;
use super::stage::Mark;
use super::stages;

/// From this width on, the panes stand beside the stages and the log below.
const WIDE: u16 = 100;
/// With fewer rows than this, there are only the stages.
const LOW: u16 = 10;

/// Draws it.
pub(super) fn draw(dashboard: &Dashboard, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    let [head, body, foot] = split_rows(area, 1 + banner_rows(dashboard, area), 1);
    draw_head(dashboard, now, look, head, buffer);
    put(buffer, foot, 0, &hints(dashboard), Look::dim());
    if body.height < LOW {
        stages::draw(dashboard, now, look, body, buffer);
    } else if area.width >= WIDE {
        draw_wide(dashboard, now, look, body, buffer);
    } else {
        draw_narrow(dashboard, now, look, body, buffer);
    }
    if dashboard.is_helping {
        let lines = HELP.map(|(keys, what)| format!("{keys:<12}{what}"));
        draw_box("keys", &lines, look, area, buffer);
    }
    if let Some(Question { title, words, choice, .. }) = &dashboard.question {
        draw_box(title, &[words.clone(), String::new(), choice.clone()], look, area, buffer);
    }
}

/// Rows at the top, the rest, and rows at the bottom.
fn split_rows(area: Rect, top: u16, bottom: u16) -> [Rect; 3] {
    let top = top.min(area.height);
    let bottom = bottom.min(area.height - top);
    let middle = area.height - top - bottom;
    [
        Rect { height: top, ..area },
        Rect { y: area.y + top, height: middle, ..area },
        Rect { y: area.y + top + middle, height: bottom, ..area },
    ]
}

fn draw_wide(dashboard: &Dashboard, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let log = (area.height / 4).max(5);
    let [top, _, below] = split_rows(area, area.height - log, log);
    let left = area.width / 8 * 5;
    let right = Rect { x: top.x + left + 1, width: top.width - left - 1, ..top };
    let limits = panes::limits(dashboard, now, look, usize::from(right.width));
    // As much as it needs, and no more than half.
    let height = if limits.is_empty() { 0 } else { (limits.len() as u16 + 1).min(top.height / 2) };
    let [details, _, limits] = split_rows(right, right.height - height, height);
    stages::draw(dashboard, now, look, Rect { width: left, ..top }, buffer);
    draw_pane(dashboard, Pane::Details, now, look, details, buffer);
    draw_pane(dashboard, Pane::Limits, now, look, limits, buffer);
    draw_pane(dashboard, Pane::Log, now, look, below, buffer);
}

fn draw_narrow(dashboard: &Dashboard, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    // No more rows than there are stages, and no more than three fifths.
    let rows = (dashboard.rows().len() + 1).min(usize::from(area.height / 5 * 3)) as u16;
    let [top, _, below] = split_rows(area, rows, area.height - rows);
    stages::draw(dashboard, now, look, top, buffer);
    draw_pane(dashboard, dashboard.pane, now, look, below, buffer);
}

fn draw_pane(dashboard: &Dashboard, pane: Pane, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let is_chosen = dashboard.pane == pane;
    let style = if is_chosen { Look::bold() } else { Look::dim() };
    let title = if pane == Pane::Limits { "limits: what this run sent" } else { pane.title() };
    let area = titled(buffer, area, title, style);
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let scroll = if is_chosen { dashboard.scroll } else { 0 };
    let lines: Vec<Line<'_>> = match pane {
        Pane::Details => panes::details(dashboard, now, look, width),
        Pane::Limits => panes::limits(dashboard, now, look, width),
        Pane::Log => panes::log(dashboard, look, width, height + scroll),
    };
    // The log ends at the bottom, the others begin at the top.
    let last = lines.len().saturating_sub(height);
    let first = if pane == Pane::Log { last.saturating_sub(scroll) } else { scroll.min(last) };
    for (row, line) in lines.iter().skip(first).take(height).enumerate() {
        put_line(buffer, area, row as u16, line);
    }
}

fn banner_rows(dashboard: &Dashboard, area: Rect) -> u16 {
    u16::from(area.height >= 6 && (dashboard.is_stopping || dashboard.sandbox))
}

fn draw_head(dashboard: &Dashboard, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let counts = dashboard.counts();
    let of = |mark: Mark| counts.get(&mark).copied().unwrap_or_default();
    let ended: usize = Mark::ALL.iter().filter(|mark| mark.is_end()).map(|mark| of(*mark)).sum();
    let mut parts = vec![Span::styled(dashboard.pipeline.clone(), Look::bold())];
    let mut add = |text: String, style: Style| parts.extend([Span::raw("  "), Span::styled(text, style)]);
    if dashboard.is_planned {
        add(format!("{ended} of {} ended", dashboard.stages.len()), Style::new());
    } else {
        add("planning".to_owned(), look.lively());
    }
    for mark in [Mark::Running, Mark::Failed, Mark::Skipped] {
        if of(mark) > 0 {
            add(format!("{} {}", of(mark), mark.word()), look.mark(mark));
        }
    }
    add(about(now.as_secs_f64()), Look::dim());
    for part in spending(&dashboard.spent()) {
        add(part, Look::dim());
    }
    put_line(buffer, area, 0, &Line::from(parts));
    let banner = if dashboard.is_stopping {
        "stopping: what was sent is waited for; q again aborts at once"
    } else {
        "a sandbox stands in for the APIs: all data is synthetic"
    };
    put(buffer, area, 1, banner, look.warning());
}

fn hints(dashboard: &Dashboard) -> String {
    let filter = if dashboard.only_failed { "f all" } else { "f failed" };
    format!("q stop  ↑↓ select  Enter fold  {filter}  Tab {}  ? help", dashboard.pane.next().title())
}

/// A framed text in the middle, over what is there.
fn draw_box(title: &str, lines: &[String], look: Look, area: Rect, buffer: &mut Buffer) {
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u16;
    let width = (widest + 4).min(area.width);
    let lines: Vec<String> =
        lines.iter().flat_map(|line| wrapped(line, usize::from(width.saturating_sub(4)))).collect();
    let height = (lines.len() as u16 + 2).min(area.height);
    let inside = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    if width < 4 || height < 3 {
        return;
    }
    let style = look.warning().add_modifier(Modifier::BOLD);
    let rule = |left: char, right: char| format!("{left}{}{right}", "─".repeat(usize::from(width) - 2));
    put(buffer, inside, 0, &rule('┌', '┐'), style);
    put(buffer, Rect { x: inside.x + 2, width: width - 4, ..inside }, 0, title, style);
    for row in 1..height - 1 {
        let text = lines.get(usize::from(row) - 1).map_or("", String::as_str);
        let room = usize::from(width) - 4;
        let line =
            Line::from(vec![Span::styled("│ ", style), Span::raw(format!("{text:<room$}")), Span::styled(" │", style)]);
        put_line(buffer, inside, row, &line);
    }
    put(buffer, inside, height - 1, &rule('└', '┘'), style);
}
