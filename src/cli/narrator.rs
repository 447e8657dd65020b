//! Turns the events of a run into lines for people. Only text: where the lines
//! go, and the bars beside them, are the observers' part.

use super::errors::describe_failure;
use super::gauge::{outcome, spending};
use super::terminal::{Style, bytes, count, duration};
use crate::engine::{Event, Outcome as How, Shared};
use crate::web::Spent;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Tells a run line by line. Neighbouring lines that say the same of several
/// instances of a stage become one: `= train@V1, V2.1  cached`.
#[derive(Debug)]
pub(super) struct Narrator {
    style: Style,
    times: bool,
    pending: Option<Group>,
}

#[derive(Debug)]
struct Group {
    mark: String,
    stage: String,
    labels: Vec<String>,
    text: String,
}

impl Narrator {
    /// A narrator that tells times, or leaves them out so that equal runs give
    /// equal texts.
    pub(super) fn new(style: Style, times: bool) -> Self {
        Self { style, times, pending: None }
    }

    /// The lines that this event makes ready.
    pub(super) fn tell(&mut self, event: &Event) -> Vec<String> {
        let style = self.style;
        match event {
            Event::RunStarted { pipeline, stages, fresh, sandbox, .. } => {
                vec![opening(pipeline, *stages, *fresh, sandbox.as_deref(), style)]
            }
            Event::StageStarted { stage, kind, reasons } => {
                let why = reasons.first().map_or(kind.as_str(), String::as_str);
                self.line(format!("{} {stage}  {}", style.cyan(">"), style.dim(why)))
            }
            Event::StageWarning { stage, text, remembered } => {
                let when = if *remembered { " (when it was made)" } else { "" };
                self.line(style.yellow(&format!("! {stage}{when}: {text}")))
            }
            Event::Warning { text } => self.line(style.yellow(&format!("! {text}"))),
            Event::StageFinished { stage, outcome, rows, seconds, spent, statuses, .. } if outcome.has_run() => {
                let line = self.finished(stage, *outcome, *rows, *seconds, spent);
                self.line(line + &counted(statuses, style))
            }
            Event::StageFinished { stage, blessed: Some(why), .. } => {
                self.group(&style.green("="), stage, format!("blessed: {why}"))
            }
            Event::StageFinished { stage, outcome, .. } => {
                self.group(&style.green("="), stage, how_cached(*outcome).to_owned())
            }
            Event::StageFailed { stage, error, causes, hint, statuses, .. } => {
                let why = describe_failure(error, causes, hint.as_deref(), style);
                let counted = counted(statuses, style);
                self.line(format!("{} {stage}  failed{counted}\n{}", style.red("✗"), indented(&why)))
            }
            Event::StageSkipped { stage, because } => {
                self.group(&style.yellow("-"), stage, format!("skipped: {because}"))
            }
            Event::Shared { shared } => self.line(style.dim(&shared_words(shared))),
            Event::Finished { ran, cached, failed, skipped, spent, seconds, .. } => {
                self.line(self.closing([*ran, *cached, *failed, *skipped], spent, *seconds))
            }
            Event::RowsKnown { stage, known } => self.line(format!("  {stage}  {}", style.dim(&known.to_string()))),
            Event::StageProgress { .. } | Event::StageNote { .. } => Vec::new(),
        }
    }

    fn finished(&self, stage: &str, outcome: How, rows: u64, seconds: f64, spent: &Spent) -> String {
        let mut line = format!("{} {stage}  {}", self.style.green("✓"), count(rows, "row"));
        if outcome == How::Unchanged {
            line.push_str(", as before");
        }
        for part in spending(spent) {
            write!(line, "  {part}").ok();
        }
        if self.times {
            write!(line, "  {}", self.style.dim(&duration(seconds))).ok();
        }
        line
    }

    fn closing(&self, counts: [usize; 4], spent: &Spent, seconds: f64) -> String {
        let [ran, cached, failed, skipped] = counts;
        let failed_text = format!("{failed} failed");
        let failed_text = if failed > 0 { self.style.red(&failed_text) } else { failed_text };
        let mut line = format!("{ran} ran, {cached} cached, {failed_text}");
        if skipped > 0 {
            write!(line, ", {skipped} skipped").ok();
        }
        if self.times {
            write!(line, " in {}", duration(seconds)).ok();
        }
        for part in spending(spent) {
            write!(line, ", {part}").ok();
        }
        line
    }

    /// What is waiting, then this line.
    fn line(&mut self, line: String) -> Vec<String> {
        self.flush().into_iter().chain([line]).collect()
    }

    /// Adds an instance to the line that is waiting, or starts a new one.
    fn group(&mut self, mark: &str, instance: &str, text: String) -> Vec<String> {
        let (stage, label) = split(instance);
        if let Some(group) = &mut self.pending
            && group.stage == stage
            && group.text == text
            && !label.is_empty()
        {
            group.labels.push(label.to_owned());
            return Vec::new();
        }
        let ready = self.flush().into_iter().collect();
        let labels = if label.is_empty() { Vec::new() } else { vec![label.to_owned()] };
        self.pending = Some(Group { mark: mark.to_owned(), stage: stage.to_owned(), labels, text });
        ready
    }

    /// The line that is waiting for more of its kind.
    fn flush(&mut self) -> Option<String> {
        self.pending.take().map(|group| {
            let Group { mark, stage, labels, text } = group;
            format!("{mark} {stage}{}  {}", join_labels(&labels), self.style.dim(&text))
        })
    }
}

/// `shared store: 3 results and 12 MB from there, 2 results and 4 MB to it`.
fn shared_words(shared: &Shared) -> String {
    let moved = |results: u64, size: u64| match (results, size) {
        (0, 0) => None,
        (results, 0) => Some(count(results, "result")),
        (0, size) => Some(bytes(size)),
        (results, size) => Some(format!("{} and {}", count(results, "result"), bytes(size))),
    };
    let from = moved(shared.pulled as u64, shared.pulled_bytes).map(|moved| format!("{moved} from there"));
    let to = moved(shared.pushed, shared.pushed_bytes).map(|moved| format!("{moved} to it"));
    let not = (shared.not_pushed > 0).then(|| format!("{} not sent", count(shared.not_pushed as u64, "result")));
    let parts: Vec<String> = [from, to, not].into_iter().flatten().collect();
    format!("shared store {}: {}", shared.remote, parts.join(", "))
}

/// A line below a stage's that says how its rows ended, if some failed.
fn counted(statuses: &BTreeMap<String, u64>, style: Style) -> String {
    outcome(statuses).map(|told| format!("\n    {}", style.yellow(&told))).unwrap_or_default()
}

fn opening(pipeline: &str, stages: usize, fresh: usize, sandbox: Option<&str>, style: Style) -> String {
    let mut line = format!("{}: {}, {fresh} up to date", style.bold(pipeline), count(stages as u64, "stage"));
    if sandbox.is_some() {
        line.push_str(&style.yellow(" (a sandbox stands in for the APIs: all data is synthetic)"));
    }
    line
}

/// How a result came to be there that was not made in this run.
pub(super) fn how_cached(outcome: How) -> &'static str {
    match outcome {
        How::CutOff => "cached: what it reads came out as before",
        How::Restored => "restored: the same was done before",
        How::Pulled => "from the shared store",
        How::Adopted => "another run made it meanwhile",
        How::Cached | How::Ran | How::Unchanged => "cached",
    }
}

/// `train@V1#2` as `train` and `@V1#2`.
pub(super) fn split(instance: &str) -> (&str, &str) {
    instance.split_at(instance.find(['@', '#']).unwrap_or(instance.len()))
}

/// `@V1` and `@V2.1` as `@V1, V2.1`.
pub(super) fn join_labels(labels: &[String]) -> String {
    let mut joined = String::new();
    for (i, label) in labels.iter().enumerate() {
        if i == 0 {
            joined.push_str(label);
        } else {
            joined.push_str(", ");
            joined.push_str(label.trim_start_matches('@'));
        }
    }
    joined
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ContentHash;

    fn finished(stage: &str, outcome: How) -> Event {
        Event::StageFinished {
            stage: stage.into(),
            outcome,
            rows: 1200,
            seconds: 3.21,
            spent: Spent::default(),
            statuses: BTreeMap::new(),
            synthetic: false,
            key: ContentHash::of(b""),
            blessed: None,
        }
    }

    fn tell(times: bool, events: &[Event]) -> Vec<String> {
        let mut narrator = Narrator::new(Style::new(false), times);
        events.iter().flat_map(|event| narrator.tell(event)).collect()
    }

    fn requests(requests: u64) -> Spent {
        Spent { requests, ..Spent::default() }
    }

    fn end() -> Event {
        Event::Finished { stages: 5, ran: 1, cached: 4, failed: 0, skipped: 0, spent: requests(1234), seconds: 41.2 }
    }

    #[test]
    fn instances_of_a_stage_share_a_line() {
        let lines = tell(
            false,
            &[
                finished("core", How::Cached),
                finished("train@V1", How::Cached),
                finished("train@V2.1", How::Cached),
                finished("train@V3", How::Restored),
                finished("vectors@V4", How::Ran),
                end(),
            ],
        );
        assert_eq!(
            lines,
            [
                "= core  cached",
                "= train@V1, V2.1  cached",
                "= train@V3  restored: the same was done before",
                "✓ vectors@V4  1,200 rows",
                "1 ran, 4 cached, 0 failed, 1,234 requests",
            ]
        );
    }

    #[test]
    fn times_are_told_only_where_they_are_wanted() {
        let lines = tell(true, &[finished("core", How::Unchanged), end()]);
        assert_eq!(
            lines,
            ["✓ core  1,200 rows, as before  3.2 s", "1 ran, 4 cached, 0 failed in 41.2 s, 1,234 requests"]
        );
    }

    #[test]
    fn what_was_spent_and_which_rows_failed_is_told_at_the_end() {
        let spent = Spent { requests: 12_345, prompt_tokens: 3_000_000, completion_tokens: 100_000, usd: 0.19 };
        let mut stage = finished("tags", How::Ran);
        if let Event::StageFinished { spent: of_stage, statuses, .. } = &mut stage {
            *of_stage = spent;
            *statuses =
                [("ok", 1186), ("not_found", 2), ("failed: timed out", 12)].map(|(s, n)| (s.to_owned(), n)).into();
        }
        let end = Event::Finished { stages: 1, ran: 1, cached: 0, failed: 0, skipped: 0, spent, seconds: 1.0 };
        assert_eq!(
            tell(false, &[stage, end]),
            [
                "✓ tags  1,200 rows  12,345 requests  3.1 M tokens  $0.19\n    \
                 1,186 ok, 2 not_found, 12 failed (12 timed out)",
                "1 ran, 0 cached, 0 failed, 12,345 requests, 3.1 M tokens, $0.19",
            ]
        );
    }

    #[test]
    fn failures_are_told_in_full_and_what_they_stop_in_one_line() {
        let failed = Event::StageFailed {
            stage: "crawl".into(),
            error: "could not ask lastfm".into(),
            causes: vec!["refused".into()],
            hint: Some("check the key".into()),
            seconds: 1.0,
            spent: requests(3),
            statuses: BTreeMap::new(),
        };
        let skipped = |stage: &str| Event::StageSkipped { stage: stage.into(), because: "`crawl` failed".into() };
        let end =
            Event::Finished { stages: 3, ran: 0, cached: 0, failed: 1, skipped: 2, spent: requests(3), seconds: 1.0 };
        let lines = tell(false, &[failed, skipped("train@A"), skipped("train@B"), end]);
        assert_eq!(
            lines,
            [
                "✗ crawl  failed\n  error: could not ask lastfm\n    caused by: refused\n    hint: check the key",
                "- train@A, B  skipped: `crawl` failed",
                "0 ran, 0 cached, 1 failed, 2 skipped, 3 requests",
            ]
        );
    }

    #[test]
    fn synthetic_data_is_said_to_be_so() {
        let start = Event::RunStarted {
            run: "r".into(),
            pipeline: "demo".into(),
            stages: 3,
            fresh: 1,
            sandbox: Some("sandbox:ab".into()),
            at_millis: 0,
        };
        let line = "demo: 3 stages, 1 up to date (a sandbox stands in for the APIs: all data is synthetic)";
        assert_eq!(tell(false, &[start]), [line]);
    }
}
