//! Draws the list of stages: a row for each, as wide as the area.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::gauge::{Layout, about, fitted, live_line, spending};
use super::super::terminal::{Style as Plain, count, duration};
use super::dashboard::Dashboard;
use super::look::{Look, put, put_line, titled};
use super::rows::{Row, stage_of};
use super::stage::{Mark, Stage, StageState};

/// Longer names are cut there.
const LONGEST_NAME: usize = 24;
/// Columns before a name: the relation to the selected row, the state's sign, a space.
const GUTTER: usize = 3;

/// Draws it.
pub(super) fn draw(dashboard: &Dashboard, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let rows = dashboard.rows();
    let selected = dashboard.selected(&rows);
    let title = if dashboard.only_failed { "stages that failed, or have rows that did" } else { "stages" };
    // Without room for more, a title says less than a stage.
    let area = if area.height > 3 { titled(buffer, area, title, Look::bold()) } else { area };
    if rows.is_empty() {
        put(buffer, area, 0, "none", Look::dim());
        return;
    }
    let widest = rows.iter().map(|row| shown_name(row).chars().count()).max().unwrap_or(0);
    let names = widest.min(LONGEST_NAME).min(usize::from(area.width) / 3).max(1);
    let height = usize::from(area.height);
    let first = selected.saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    for (at, row) in rows.iter().enumerate().skip(first).take(height) {
        let line = line(dashboard, row, &rows[selected], now, look, names, usize::from(area.width));
        let place = (at - first) as u16;
        put_line(buffer, area, place, &line);
        if at == selected {
            let area = Rect { y: area.y + place, height: 1, ..area }.intersection(buffer.area);
            buffer.set_style(area, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// What a row is called in the list.
fn shown_name(row: &Row) -> String {
    match row {
        Row::Instance { name, below: true, .. } => format!("  {}", name.trim_start_matches(stage_of(name))),
        Row::Instance { name, .. } => name.clone(),
        Row::Stage { name, places } => format!("{name} ×{}", places.len()),
    }
}

fn line(
    dashboard: &Dashboard,
    row: &Row,
    selected: &Row,
    now: Duration,
    look: Look,
    names: usize,
    width: usize,
) -> Line<'static> {
    let mark = row.mark(&dashboard.stages);
    let mut parts =
        vec![Span::raw(relation(dashboard, row, selected)), Span::styled(mark.sign(), look.mark(mark)), Span::raw(" ")];
    let name = shown_name(row);
    let room = width.saturating_sub(GUTTER);
    let rest = room.saturating_sub(names + 1);
    match row {
        Row::Stage { places, .. } => {
            parts.push(Span::raw(format!("{} ", fitted(&name, names))));
            parts.extend(summary(dashboard, places, look, rest));
        }
        Row::Instance { place, .. } => {
            let stage = &dashboard.stages[*place];
            if let (StageState::Running { .. }, Some(gauge)) = (&stage.state, &stage.gauge) {
                let layout = Layout { width: room, names, style: Plain::new(false) };
                parts.extend(measured(&live_line(&name, gauge, &stage.note, layout), look));
            } else {
                parts.push(Span::raw(format!("{} ", fitted(&name, names))));
                parts.push(told(dashboard, stage, now, look));
            }
        }
    }
    Line::from(parts)
}

/// `↑` where the selected stage reads this one, `↓` where it is read by it.
fn relation(dashboard: &Dashboard, row: &Row, selected: &Row) -> &'static str {
    let has = |from: &Row, to: &Row, links: fn(&Stage) -> &Vec<usize>| {
        from.places().iter().any(|place| links(&dashboard.stages[*place]).iter().any(|link| to.places().contains(link)))
    };
    if has(selected, row, |stage| &stage.facts.reads) {
        "↑"
    } else if has(selected, row, |stage| &stage.read_by) {
        "↓"
    } else {
        " "
    }
}

/// The line of a stage that tells how far it is, with its bar in colour.
fn measured(line: &str, look: Look) -> Vec<Span<'static>> {
    let is_bar = |c: char| matches!(c, '█' | '░');
    let start = line.find(is_bar).unwrap_or(line.len());
    let end = line[start..].find(|c| !is_bar(c)).map_or(line.len(), |at| start + at);
    vec![
        Span::raw(line[..start].to_owned()),
        Span::styled(line[start..end].to_owned(), look.lively()),
        Span::raw(line[end..].to_owned()),
    ]
}

/// What is said of an instance after its name.
fn told(dashboard: &Dashboard, stage: &Stage, now: Duration, look: Look) -> Span<'static> {
    match &stage.state {
        StageState::Waiting => Span::styled(waiting(dashboard, stage), Look::dim()),
        StageState::Running { since } => {
            let took = about(now.saturating_sub(*since).as_secs_f64());
            Span::raw(format!("{took}  {}", stage.note))
        }
        StageState::Done { rows, seconds, unchanged } => {
            let as_before = if *unchanged { ", as before" } else { "" };
            let took = format!("{}{as_before}  {}", count(*rows, "row"), duration(*seconds));
            Span::raw([vec![took], spending(&stage.spent)].concat().join("  "))
        }
        StageState::Cached { how } => Span::styled(how.clone(), Look::dim()),
        StageState::Failed { why } => {
            let what = why.first().map_or("", String::as_str);
            Span::styled(format!("failed: {}", what.trim_start_matches("error: ")), look.bad())
        }
        StageState::Skipped { because } => Span::styled(format!("skipped: {because}"), look.warning()),
    }
}

/// For what an instance waits.
pub(super) fn waiting(dashboard: &Dashboard, stage: &Stage) -> String {
    let left = stage.facts.reads.iter().map(|read| &dashboard.stages[*read]).filter(|read| !read.mark().is_end());
    let names: Vec<&str> = left.map(|stage| stage.facts.id.as_str()).collect();
    match names.as_slice() {
        [] if dashboard.is_planned => "waits for its turn".to_owned(),
        [] => String::new(),
        names => format!("waits for {}", names.join(", ")),
    }
}

/// The states of a stage's instances: a sign for each where there is room, and
/// how many there are of each.
fn summary(dashboard: &Dashboard, places: &[usize], look: Look, room: usize) -> Vec<Span<'static>> {
    let marks: Vec<Mark> = places.iter().map(|place| dashboard.stages[*place].mark()).collect();
    let counted = Mark::ALL.iter().map(|mark| (mark, marks.iter().filter(|other| *other == mark).count()));
    let words: Vec<String> =
        counted.filter(|(_, count)| *count > 0).map(|(mark, count)| format!("{count} {}", mark.word())).collect();
    let words = words.join(", ");
    let mut parts = Vec::new();
    if marks.len() + 2 + words.chars().count() <= room {
        parts.extend(marks.iter().map(|mark| Span::styled(mark.sign(), look.mark(*mark))));
        parts.push(Span::raw("  "));
    }
    parts.push(Span::raw(words));
    parts
}
