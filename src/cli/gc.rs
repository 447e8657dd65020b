//! `refrain gc`: says what nothing refers to, why, and how much it would free;
//! deletes it only when told to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::arguments::{GcArguments, Global, Reading};
use super::errors::{Exit, Mistake, describe_problems};
use super::grid::{Align, Grid};
use super::project;
use super::terminal::{Style, bytes, count, data, say, thousands};
use crate::engine::{self, PlanOptions, SandboxChoice, State};
use crate::ground::{Clock, ContentHash, Problems, SystemClock};
use crate::kinds::KINDS;
use crate::memo::{self, Forgotten};
use crate::pipeline::{Pipeline, load};
use crate::store::{Collection, Going, Group, Retention, Store};

/// How many of the largest files are listed.
const LARGEST: usize = 10;

/// Tells what would go, and deletes it if that is wanted.
///
/// # Errors
/// If there is no store, a pipeline file does not load, or a file cannot be deleted.
pub(super) fn gc(global: &Global, arguments: &GcArguments) -> anyhow::Result<Exit> {
    let style = Style::of_stderr(global.color);
    let store = project::existing_store(global)?;
    let Some(keys) = keys_in_use(&store, arguments, style)? else { return Ok(Exit::Wrong) };
    let keep = Duration::from_secs(u64::from(arguments.keep_days) * 86_400);
    let retention = Retention { keep, keys };
    let collection = store.collectable(&retention)?;
    let memo = Memo::new(&store, arguments.memo_older_than);
    let old = memo.old()?;
    if !arguments.json {
        data(&described(&collection, &store))?;
        old.iter().try_for_each(|old| data(&Memo::described(*old)))?;
    }
    let in_all = collection.bytes() + old.map_or(0, |old| old.bytes);
    let is_nothing = collection.going.is_empty() && old.is_none_or(|old| old.records == 0);
    let delete = !arguments.dry_run && !is_nothing && (arguments.yes || asked(arguments, in_all));
    let collected = delete.then(|| store.collect(&retention, &collection)).transpose()?;
    let forgotten = if delete { memo.forget()? } else { None };
    project::say_warnings(&[], &store, style);
    if arguments.json {
        data(&serde_json::to_string_pretty(&json!({
            "going": collection.going,
            "kept": collection.kept,
            "bytes": collection.bytes(),
            "collected": collected,
            "memo": old,
            "forgotten": forgotten,
        }))?)?;
    }
    match collected {
        Some(collected) => {
            let spared = match collected.spared {
                0 => String::new(),
                spared => format!("; {} came into use meanwhile and stay", thousands(spared as u64)),
            };
            say(&format!("deleted {}, {}{spared}", count(collected.deleted as u64, "file"), bytes(collected.bytes)));
            if let Some(Forgotten { records, bytes: size }) = forgotten {
                say(&format!("forgot {} of the memo, {}", count(records, "record"), bytes(size)));
            }
        }
        None if is_nothing => say("nothing to delete"),
        None => say("nothing was deleted; `refrain gc --yes` deletes this"),
    }
    Ok(Exit::Done)
}

/// What of the memo is to be forgotten.
struct Memo<'a> {
    store: &'a Store,
    folder: PathBuf,
    /// The moment before which answers are old; none if the memo is not to be touched.
    before: Option<u64>,
}

impl<'a> Memo<'a> {
    fn new(store: &'a Store, older_than: Option<Duration>) -> Self {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let before = older_than.map(|age| SystemClock.now_millis().saturating_sub(millis(age)));
        Self { store, folder: store.memo_folder(), before }
    }

    fn old(&self) -> anyhow::Result<Option<Forgotten>> {
        Ok(self.before.map(|before| memo::older_than(&self.folder, before)).transpose()?)
    }

    fn described(old: Forgotten) -> String {
        let Forgotten { records, bytes: size } = old;
        format!(
            "\nmemo: {} to forget, {}; they are asked or computed again when needed",
            count(records, "record"),
            bytes(size)
        )
    }

    fn forget(&self) -> anyhow::Result<Option<Forgotten>> {
        let Some(before) = self.before else { return Ok(None) };
        match self.store.while_idle(|| memo::forget(&self.folder, before))? {
            Some(forgotten) => Ok(Some(forgotten?)),
            None => Err(Mistake::new("a run is using the memo, so nothing of it is forgotten")
                .hint("try again when the run has ended")
                .into()),
        }
    }
}

/// Asks on a terminal; elsewhere the answer is no.
fn asked(arguments: &GcArguments, in_all: u64) -> bool {
    if arguments.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    say(&format!("delete this, {}? [y/N]", bytes(in_all)));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// The keys of all results that pipeline files in reach refer to, with the
/// file; none if a file does not load, which is then reported.
fn keys_in_use(
    store: &Store,
    arguments: &GcArguments,
    style: Style,
) -> anyhow::Result<Option<BTreeMap<ContentHash, String>>> {
    let mut keys = BTreeMap::new();
    let mut broken = Vec::new();
    for file in files_in_reach(&arguments.files)? {
        let because = file.display().to_string();
        match readings(&file, &arguments.reading) {
            Ok(pipelines) => {
                for pipeline in &pipelines {
                    let of = keys_of(pipeline, store, &arguments.reading)?;
                    for key in of {
                        keys.entry(key).or_insert_with(|| because.clone());
                    }
                }
            }
            Err(problems) => {
                say(&describe_problems(&problems, &because, style));
                broken.push(because);
            }
        }
    }
    if broken.is_empty() || arguments.ignore_broken {
        return Ok(Some(keys));
    }
    Err(Mistake::new(format!("nobody knows which results {} refers to, so nothing is deleted", broken.join(", ")))
        .hint("mend the file, or add --ignore-broken to keep only what its stages used last")
        .into())
}

/// What a file means as it stands, and with the values of `--set`.
fn readings(file: &Path, reading: &Reading) -> Result<Vec<Pipeline>, Problems> {
    let set: BTreeMap<String, String> = reading.set.iter().cloned().collect();
    let plain = load(file, &BTreeMap::new(), KINDS);
    if set.is_empty() {
        return plain.map(|pipeline| vec![pipeline]);
    }
    match (load(file, &set, KINDS), plain) {
        (Ok(with), Ok(without)) => Ok(vec![with, without]),
        // A variable that another file has is no mistake of this one.
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(problems), Err(_)) => Err(problems),
    }
}

/// The keys that are up to date now, with the real services and with a sandbox.
fn keys_of(pipeline: &Pipeline, store: &Store, reading: &Reading) -> anyhow::Result<Vec<ContentHash>> {
    let asked = project::plan_options(reading, &[], &[]);
    let plan = engine::plan(pipeline, store, &asked).map_err(project::refused)?;
    let mut stages = plan.stages;
    for sandbox in [None, Some(SandboxChoice::InProcess(None))] {
        if sandbox != asked.sandbox {
            // Where the other world cannot be described, nothing of it is up to date.
            let options = PlanOptions { sandbox, ..asked.clone() };
            stages.extend(engine::plan(pipeline, store, &options).map(|plan| plan.stages).unwrap_or_default());
        }
    }
    Ok(stages.iter().filter_map(|stage| State::fresh_key(&stage.state)).collect())
}

/// The files named, and the pipelines in this folder and below `pipelines/`.
fn files_in_reach(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = named.to_vec();
    let mut folders = vec![(PathBuf::from("."), false), (PathBuf::from("pipelines"), true)];
    while let Some((folder, below)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let what = format!("could not look for pipelines in `{}`", folder.display());
                return Err(Mistake::new(what).because(error).into());
            }
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
            if entry.file_type()?.is_dir() {
                if below {
                    folders.push((path, true));
                }
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") && is_pipeline(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Whether a YAML file is meant to be a pipeline: there are others.
fn is_pipeline(path: &Path) -> bool {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().any(|line| line.starts_with("stages:") || line.starts_with("pipeline:"))
}

/// What would go, with the largest of it, and what stays, each with the reason.
fn described(collection: &Collection, store: &Store) -> String {
    let mut groups: BTreeMap<(Group, &str), (u64, u64)> = BTreeMap::new();
    for going in &collection.going {
        let (files, size) = groups.entry((going.group, &going.why)).or_default();
        *files += 1;
        *size += going.bytes;
    }
    let mut parts = Vec::new();
    if !groups.is_empty() {
        let mut grid =
            Grid::new([("going", Align::Right), ("size", Align::Right), ("", Align::Left), ("why", Align::Left)]);
        for ((group, why), (files, size)) in groups {
            grid.row([thousands(files), bytes(size), named(group).to_owned(), why.to_owned()]);
        }
        grid.row([
            thousands(collection.going.len() as u64),
            bytes(collection.bytes()),
            "in all".to_owned(),
            String::new(),
        ]);
        parts.extend([grid.text(0, 90), largest(collection, store)]);
    }
    if !collection.kept.is_empty() {
        let mut grid = Grid::new([("kept", Align::Right), ("size", Align::Right), ("because of", Align::Left)]);
        for kept in &collection.kept {
            grid.row([thousands(kept.results as u64), bytes(kept.bytes), kept.because.clone()]);
        }
        parts.push(grid.text(0, 90));
    }
    parts.join("\n\n")
}

fn largest(collection: &Collection, store: &Store) -> String {
    let mut going: Vec<&Going> = collection.going.iter().collect();
    going.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    let mut grid = Grid::new([("largest", Align::Right), ("made by", Align::Left), ("file", Align::Left)]);
    for going in going.into_iter().take(LARGEST) {
        let path = going.path.strip_prefix(store.root()).unwrap_or(&going.path).display().to_string();
        grid.row([bytes(going.bytes), going.stage.clone().unwrap_or_default(), path]);
    }
    grid.text(0, 110)
}

fn named(group: Group) -> &'static str {
    match group {
        Group::Manifest => "records of results",
        Group::Object => "artifacts",
        Group::Run => "records of runs",
        Group::SetAside => "damaged files, set aside",
    }
}
