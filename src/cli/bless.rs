//! `refrain bless STAGE --why TEXT`, and how a blessed result is told wherever
//! it is used.

use super::arguments::{BlessArguments, Global};
use super::errors::Exit;
use super::project;
use super::terminal::{Style, data, say};
use crate::engine::{self, Blessed, Reason};
use crate::ground::age;
use crate::store::Blessing;

/// Accepts the last result of a stage as it is.
///
/// # Errors
/// If it cannot be: nothing has changed then.
pub(super) fn bless(global: &Global, arguments: &BlessArguments) -> anyhow::Result<Exit> {
    let (project, stage) = match project::open_words(global, &arguments.words, &arguments.reading)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let stage = project::required_stage(stage)?;
    let options = project.plan_options(&arguments.reading, &[], &[]);
    let blessed = engine::bless(&project.pipeline, &project.store, &stage, &arguments.why, &options);
    let style = Style::of_stderr(global.color);
    project::say_warnings(&[], &project.store, style);
    let blessed = blessed.map_err(project::refused)?;
    if arguments.json {
        data(&serde_json::to_string_pretty(&blessed)?)?;
    } else {
        for one in &blessed {
            say(&told(one, style));
        }
    }
    Ok(Exit::Done)
}

fn told(blessed: &Blessed, style: Style) -> String {
    let reasons = blessed.accepted.iter().map(|reason| format!("\n    {reason}"));
    format!("{} {} is blessed; accepted:{}", style.green("="), blessed.stage, reasons.collect::<String>())
}

/// `blessed: TEXT` for a result that was; empty for others.
pub(super) fn words(blessed: &[Blessing]) -> String {
    blessed.last().map(|blessing| format!("blessed: {}", blessing.why)).unwrap_or_default()
}

/// Everything that was ever accepted for a result, newest first.
pub(super) fn history(blessed: &[Blessing], now_millis: u64) -> Vec<String> {
    let one = |blessing: &Blessing| {
        let head = format!(
            "blessed: {} ({} ago, from {})",
            blessing.why,
            age(blessing.at_millis, now_millis),
            blessing.from.short()
        );
        let accepted = blessing.accepted.iter().map(|reason| {
            // One that a later version wrote is shown as it stands.
            let known = serde_json::from_value::<Reason>(reason.clone());
            format!("  accepted: {}", known.map_or_else(|_| reason.to_string(), |reason| reason.to_string()))
        });
        std::iter::once(head).chain(accepted).collect::<Vec<_>>()
    };
    blessed.iter().rev().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ground::ContentHash;

    #[test]
    fn the_whole_history_is_told_newest_first() {
        let blessing = |why: &str, at_millis, accepted| Blessing {
            at_millis,
            why: why.into(),
            from: ContentHash::of(b"key"),
            accepted: vec![accepted],
        };
        let setting = json!({"reason": "setting", "path": "n", "before": 1, "now": 2});
        let blessed = [blessing("first", 0, setting), blessing("second", 60_000, json!({"reason": "new"}))];
        assert_eq!(
            history(&blessed, 180_000),
            [
                "blessed: second (2 min ago, from ff8e2bab3b26)",
                "  accepted: {\"reason\":\"new\"}",
                "blessed: first (3 min ago, from ff8e2bab3b26)",
                "  accepted: setting n: 1 -> 2",
            ]
        );
        assert_eq!((words(&blessed), words(&[])), ("blessed: second".into(), String::new()));
    }
}
