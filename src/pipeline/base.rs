//! `base: FILE`: a pipeline that takes over what another file says and gives
//! only what differs. The files are put together as values, before anything is
//! checked, so that no check knows of it; every value keeps its own file and
//! line ([decision 6](../../docs/decisions/0006-bases.md)).

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::document::mapping;
use super::node::{Content, Entry, Node};
use super::origin::SourceText;
use super::report::{Place, Report, suggest};
use super::yaml;
use super::{missing_file, utf8};
use crate::ground::files::read_bytes;

/// The key that names the base.
const BASE: &str = "base";
/// What a file says of itself alone.
const OWN: [&str; 3] = ["pipeline", "description", "report"];
/// The blocks in which each name is taken over or given anew; of all other
/// keys, what the file gives replaces what the base gives.
const BY_NAME: [&str; 5] = ["vars", "limiters", "budgets", "providers", "stages"];
/// More files than this one over another are refused.
const MAX_FILES: usize = 16;

/// A file that a pipeline is read from.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its path, as the user named it or as it follows from where it is named.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
}

/// Parses a pipeline's text, reads its bases and puts all together. The files
/// are in the order in which each names the next.
pub(super) fn read(file: &Path, text: &str, report: &mut Report) -> Option<(Node, Vec<SourceFile>)> {
    let mut files = vec![SourceFile { path: file.to_owned(), text: text.into() }];
    let mut trees = vec![yaml::parse(text, report)?];
    while let Some(entry) = trees.last().and_then(|tree| tree.entry(BASE)) {
        let base = open(entry, &files, report)?;
        trees.push(yaml::parse(&base.text, report)?);
        files.push(base);
    }
    Some((together(trees, report)?, files))
}

/// What [`read`] gave, from the texts alone.
pub(super) fn read_again(source: &SourceText) -> Option<Node> {
    let mut report: Option<Report> = None;
    let mut trees = Vec::new();
    for file in &source.files {
        match &mut report {
            None => report = Some(Report::new(&file.path, "")),
            Some(report) => report.open(&file.path, ""),
        }
        trees.push(yaml::parse(&file.text, report.as_mut()?)?);
    }
    together(trees, &mut report?)
}

/// Reads the file that an entry names.
fn open(entry: &Entry, files: &[SourceFile], report: &mut Report) -> Option<SourceFile> {
    let place = entry.node.place;
    let Some(name) = entry.node.text().filter(|name| !name.is_empty() && !name.contains("${")) else {
        let what = format!("`base` must be the path of a pipeline file, and this is {}", entry.node.describe());
        report.hinted(place, what, "it is relative to this file, and holds no reference: `base: demo.yaml`");
        return None;
    };
    let path = files.last()?.path.parent().unwrap_or_else(|| Path::new("")).join(name);
    let names = || files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>().join(" -> ");
    if files.iter().any(|file| plain(&file.path) == plain(&path)) {
        let what = format!("the base `{}` is this file or leads back to it", path.display());
        report.hinted(place, what, format!("remove one of the `base:` lines of {} -> {}", names(), path.display()));
        return None;
    }
    if files.len() == MAX_FILES {
        report.hinted(place, format!("more than {MAX_FILES} files are one over another"), names());
        return None;
    }
    let bytes = match read_bytes(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let hint = error.is_not_found().then(|| missing_file(&path));
            report.put(Some(place), format!("the base: {error}: {}", error.source), hint);
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    report.open(&path, &text);
    match utf8(&bytes) {
        Ok(text) => Some(SourceFile { path, text: text.into() }),
        Err((line, column)) => {
            let place = Place { file: report.current(), line, column };
            report.hinted(place, "this is not UTF-8 text", "save the file as UTF-8");
            None
        }
    }
}

/// A path without `.` and without `x/..`, to tell whether two are the same.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// Puts each file over its base, the last one first.
fn together(mut trees: Vec<Node>, report: &mut Report) -> Option<Node> {
    let mut whole = trees.pop()?;
    while let Some(own) = trees.pop() {
        whole = over(own, whole, report)?;
    }
    Some(whole)
}

fn over(own: Node, base: Node, report: &mut Report) -> Option<Node> {
    let (place, described) = (base.place, base.describe());
    let (Content::Map(given), Content::Map(mut entries)) = (own.content, base.content) else {
        let what = format!("a pipeline file must be a mapping, and this is {described}");
        report.hinted(place, what, "it starts with `pipeline: NAME`");
        return None;
    };
    entries.retain(|entry| !OWN.contains(&entry.key.as_str()));
    for entry in given.into_iter().filter(|entry| entry.key != BASE) {
        match entries.iter_mut().find(|of_base| of_base.key == entry.key) {
            None => entries.push(entry),
            Some(of_base) if BY_NAME.contains(&entry.key.as_str()) => by_name(of_base, entry, report),
            Some(of_base) => *of_base = entry,
        }
    }
    Some(Node { place: own.place, content: Content::Map(entries) })
}

/// Puts the names of a block over those of the base's; a stage given as `none`
/// is taken away.
fn by_name(base: &mut Entry, own: Entry, report: &mut Report) {
    let mut entries = mapping(base, report).to_vec();
    let Some(given) = own.node.entries() else {
        *base = own;
        return;
    };
    for entry in given {
        let at = entries.iter().position(|of_base| of_base.key == entry.key);
        let taken_away = own.key == "stages" && entry.node.text() == Some("none");
        match at {
            Some(at) if taken_away => drop(entries.remove(at)),
            Some(at) => entries[at] = entry.clone(),
            None if taken_away => {
                let hint = suggest(&entry.key, "stages of the base", entries.iter().map(|entry| entry.key.as_str()));
                report.hinted(entry.place, format!("the base has no stage `{}` to take away", entry.key), hint);
            }
            None => entries.push(entry.clone()),
        }
    }
    *base = Entry { node: Node { place: own.node.place, content: Content::Map(entries) }, ..own };
}
