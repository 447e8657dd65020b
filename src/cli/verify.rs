//! `refrain verify`: reads the whole store, names what is not as it was written,
//! and with `--repair` heals what can be made again.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::arguments::{Global, VerifyArguments};
use super::errors::Exit;
use super::project;
use super::terminal::{Style, bytes, count, data, say};
use crate::memo::{self, Damage};
use crate::store::{self, Store, Trouble, Verification};

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
    let mut lines: Vec<Line> = found.findings.iter().map(Line::of_store).collect();
    lines.extend(of_memo(&store, arguments.repair)?);
    let damage = lines.iter().filter(|line| line.trouble.is_damage() && !line.repaired).count() as u64;
    if arguments.json {
        data(&serde_json::to_string_pretty(&json!({
            "objects": found.objects,
            "bytes": found.bytes,
            "manifests": found.manifests,
            "runs": found.runs,
            "damage": damage,
            "to_make_again": found.to_make_again(),
            "findings": lines,
        }))?)?;
    } else {
        for line in &lines {
            data(&line.text(store.root(), Style::of_stdout(global.color)))?;
        }
        let is_repaired = lines.iter().any(|line| line.repaired);
        say(&format!("{}: {}", read(&found), conclusion(&found, damage, is_repaired, arguments.repair, style)));
    }
    Ok(if damage == 0 { Exit::Done } else { Exit::Failed })
}

/// What is wrong with one file, what it costs, and what is done about it.
#[derive(Debug, Serialize)]
struct Line {
    path: PathBuf,
    trouble: Trouble,
    what: String,
    cost: String,
    remedy: String,
    repaired: bool,
}

impl Line {
    fn of_store(finding: &store::Finding) -> Self {
        let store::Finding { path, trouble, what, cost, remedy, repaired, .. } = finding.clone();
        Self { path, trouble, what, cost, remedy, repaired }
    }

    fn of_memo(finding: &memo::Finding, repaired: bool) -> Self {
        let lost = format!("at least {} to ask for again", count(finding.lost, "answer"));
        let (trouble, cost, remedy) = match &finding.what {
            Damage::Records => (Trouble::Damaged, lost, "keep all other answers"),
            Damage::TornTail => (Trouble::Torn, lost, "keep all other answers"),
            Damage::Index => (Trouble::Torn, "nothing".to_owned(), "make it again"),
            Damage::Foreign => (Trouble::Foreign, "nothing".to_owned(), "nothing: it is left to you"),
            Damage::Unreadable(_) => (Trouble::Damaged, "its answers".to_owned(), "nothing: see why it cannot be read"),
        };
        let (path, what) = (finding.path.clone(), finding.what.to_string());
        Self { path, trouble, what, cost, remedy: remedy.to_owned(), repaired }
    }

    fn text(&self, root: &Path, style: Style) -> String {
        let word = match self.trouble {
            Trouble::Damaged => style.red("damaged"),
            Trouble::Missing => style.red("missing"),
            Trouble::Torn => style.yellow("torn"),
            Trouble::Leftover => style.yellow("leftover"),
            Trouble::Foreign => style.yellow("foreign"),
        };
        let path = self.path.strip_prefix(root).unwrap_or(&self.path).display();
        let Self { what, cost, remedy, .. } = self;
        let done = if self.repaired { "repaired" } else { "--repair would" };
        format!("{word}  {path}: {what}; costs: {cost}; {done}: {remedy}")
    }
}

/// What is wrong in the memo, which is repaired only while no run uses it.
fn of_memo(store: &Store, repair: bool) -> anyhow::Result<Vec<Line>> {
    let folder = store.memo_folder();
    let found = memo::verify(&folder)?;
    if !repair || found.is_empty() {
        return Ok(found.iter().map(|finding| Line::of_memo(finding, false)).collect());
    }
    if let Some(repaired) = store.while_idle(|| memo::repair(&folder))? {
        repaired?;
    }
    let left = memo::verify(&folder)?;
    Ok(found.iter().map(|finding| Line::of_memo(finding, !left.contains(finding))).collect())
}

fn read(found: &Verification) -> String {
    format!(
        "read {} ({}), {}, {} and the memo",
        count(found.objects as u64, "artifact"),
        bytes(found.bytes),
        count(found.manifests as u64, "result"),
        count(found.runs as u64, "run"),
    )
}

fn conclusion(found: &Verification, damage: u64, is_repaired: bool, repair: bool, style: Style) -> String {
    let again = found.to_make_again() as u64;
    match damage {
        0 if again > 0 => {
            format!("repaired; {}", style.yellow(&format!("run again to make {} again", count(again, "result"))))
        }
        0 if is_repaired => "repaired; no result is lost".to_owned(),
        0 => style.green("all is as it was written"),
        damage => {
            let damage = style.red(&format!("{} damaged or missing", count(damage, "file")));
            let hint = if repair { "" } else { "; `refrain verify --repair` heals what can be made again" };
            format!("{damage}{hint}")
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
