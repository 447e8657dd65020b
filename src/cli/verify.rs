//! `refrain verify`: reads the whole store, names what is not as it was written,
//! and with `--repair` heals what can be made again.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::arguments::{Global, VerifyArguments};
use super::errors::Exit;
use super::project;
use super::terminal::{Style, bytes, count, data, say};
use crate::store::{Finding, Trouble, Verification};

/// Verifies the store.
///
/// # Errors
/// If there is no store, it cannot be read, or it cannot be repaired.
pub(super) fn verify(global: &Global, arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let style = Style::of_stderr(global.color);
    let store = project::existing_store(global)?;
    let bar = progress_bar(arguments.json);
    let mut found = store.verify(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if arguments.repair && found.findings.iter().any(|finding| finding.trouble != Trouble::Foreign) {
        store.repair(&mut found)?;
    }
    let exit = if found.damage() == 0 { Exit::Done } else { Exit::Failed };
    if arguments.json {
        let mut record = serde_json::to_value(&found)?;
        record["damage"] = json!(found.damage());
        record["to_make_again"] = json!(found.to_make_again());
        data(&serde_json::to_string_pretty(&record)?)?;
        return Ok(exit);
    }
    for finding in &found.findings {
        data(&line(finding, store.root(), Style::of_stdout(global.color)))?;
    }
    say(&conclusion(&found, arguments.repair, style));
    Ok(exit)
}

/// One line: what is wrong with which file, what it costs, and what is done about it.
fn line(finding: &Finding, root: &Path, style: Style) -> String {
    let word = match finding.trouble {
        Trouble::Damaged => style.red("damaged"),
        Trouble::Missing => style.red("missing"),
        Trouble::Torn => style.yellow("torn"),
        Trouble::Leftover => style.yellow("leftover"),
        Trouble::Foreign => style.yellow("foreign"),
    };
    let path = finding.path.strip_prefix(root).unwrap_or(&finding.path).display();
    let Finding { what, cost, remedy, .. } = finding;
    let done = if finding.repaired { "repaired" } else { "--repair would" };
    format!("{word}  {path}: {what}; costs: {cost}; {done}: {remedy}")
}

fn conclusion(found: &Verification, repair: bool, style: Style) -> String {
    let read = format!(
        "read {} ({}), {} and {}",
        count(found.objects as u64, "artifact"),
        bytes(found.bytes),
        count(found.manifests as u64, "result"),
        count(found.runs as u64, "run"),
    );
    let again = found.to_make_again();
    match found.damage() {
        0 if again > 0 => {
            let again = count(again as u64, "result");
            format!("{read}: repaired; {}", style.yellow(&format!("run again to make {again} again")))
        }
        0 if found.findings.iter().any(|finding| finding.repaired) => format!("{read}: repaired; no result is lost"),
        0 => format!("{read}: {}", style.green("all is as it was written")),
        damage => {
            let damage = style.red(&format!("{} damaged or missing", count(damage as u64, "file")));
            let hint = if repair { "" } else { "; `refrain verify --repair` heals what can be made again" };
            format!("{read}: {damage}{hint}")
        }
    }
}

/// A bar on a terminal, where bytes are counted; else nothing.
fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} reading {bar:20.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
