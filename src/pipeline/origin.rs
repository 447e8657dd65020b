//! Where in a pipeline's files something is written that decides an instance: a setting,
//! an input, a seed. What comes from `${var.…}` or `${variant.…}` is written
//! where that value is given, be it on the command line.
//!
//! Only a plan with something stale asks for places, so none are kept: the
//! text is, and it is parsed again when the first place is wanted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::base::{SourceFile, read_again};
use super::node::{Content, Entry, Node};
use super::providers::PROVIDER;
use super::report::Place;
use super::settings::step;
use super::substitute::{Piece, pieces};
use crate::ground::InstanceId;

/// References in values that stand for references are followed so often.
const MAX_JUMPS: usize = 8;

/// What a pipeline was read from.
#[derive(Debug, Clone, Default)]
pub struct SourceText {
    /// The pipeline's own file, then its bases, each named by the one before;
    /// empty for a pipeline that was not read from a file.
    pub files: Vec<SourceFile>,
    /// The `--set` values.
    pub set: BTreeMap<String, String>,
}

/// Where something is written. Displays as `FILE:LINE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "written", rename_all = "snake_case")]
pub enum Origin {
    /// In the file.
    InFile {
        /// The file, as the user named it.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is written there, if it is not the thing itself: `var NAME`,
        /// `variant V1`.
        #[serde(skip_serializing_if = "Option::is_none")]
        through: Option<String>,
    },
    /// With `--set`.
    OnCommandLine {
        /// The variable.
        name: String,
    },
    /// Nowhere: it is left out, and has its default.
    LeftOut {
        /// The file in which it could stand.
        file: PathBuf,
        /// The line below which it could stand.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFile { file, line, through: None, .. } => write!(f, "{}:{line}", file.display()),
            Self::InFile { file, line, through: Some(through), .. } => {
                write!(f, "{}:{line} ({through})", file.display())
            }
            Self::OnCommandLine { name } => write!(f, "--set {name}"),
            Self::LeftOut { file, line } => write!(f, "{}:{line} (left out)", file.display()),
        }
    }
}

/// Finds places in the files of one pipeline.
pub struct Origins<'a> {
    files: Vec<&'a Path>,
    set: &'a BTreeMap<String, String>,
    root: Node,
    /// The stages' places in the list of entries, by name.
    stages: BTreeMap<String, usize>,
}

/// A value that was found: where, and what it is where it can be looked into.
struct Found<'n> {
    at: Spot,
    node: Option<&'n Node>,
}

/// A place, or an option of the command line.
#[derive(Clone)]
enum Spot {
    At(Place, Option<String>),
    Set(String),
}

impl<'a> Origins<'a> {
    /// For the text that a pipeline was read from; none if it is no YAML, as
    /// that of a pipeline made without a file.
    pub(super) fn of(source: &'a SourceText) -> Option<Self> {
        let root = read_again(source)?;
        let entries = root.entry("stages").and_then(|stages| stages.node.entries()).unwrap_or_default();
        let stages = entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        let files = source.files.iter().map(|file| file.path.as_path()).collect();
        Some(Self { files, set: &source.set, root, stages })
    }

    /// Where a setting of an instance is written, by its path below `with`.
    /// Of a text made with references, where the part is that `before` had
    /// otherwise.
    #[must_use]
    pub fn setting(&self, id: &InstanceId, path: &str, before: Option<&Value>) -> Option<Origin> {
        let stage = self.stage(id)?;
        let Some(with) = stage.node.entry("with") else { return Some(self.left_out(stage.place)) };
        let before = before.and_then(Value::as_str);
        let mut found = self.resolve(&with.node, Spot::At(with.place, None), id, before);
        if found.node.is_some_and(|node| step(node, path).is_none())
            && let Some(group) = self.group(&with.node, id).filter(|group| step(&group.node, path).is_some())
        {
            found = Found { at: Spot::At(group.place, None), node: Some(&group.node) };
        }
        let mut rest = path;
        while !rest.is_empty() {
            let Some((place, node, tail)) = found.node.and_then(|node| step(node, rest)) else {
                if rest == path && matches!(found.at, Spot::At(_, None)) {
                    return Some(self.left_out(with.place));
                }
                break;
            };
            let through = match found.at {
                Spot::At(_, through) => through,
                Spot::Set(_) => None,
            };
            found = self.resolve(node, Spot::At(place, through), id, before);
            rest = tail;
        }
        Some(self.origin(found.at))
    }

    /// The group of `providers:` that an instance takes.
    fn group(&self, with: &Node, id: &InstanceId) -> Option<&Entry> {
        let provider = with.entry(PROVIDER)?;
        let found = self.resolve(&provider.node, Spot::At(provider.place, None), id, None);
        let name = match found.at {
            Spot::Set(variable) => self.set.get(&variable)?,
            Spot::At(..) => found.node?.text()?,
        };
        self.root.entry("providers")?.node.entry(name)
    }

    /// Where an instance is given that input; where its inputs are if it is not.
    #[must_use]
    pub fn input(&self, id: &InstanceId, port: &str) -> Option<Origin> {
        let stage = self.stage(id)?;
        let Some(inputs) = stage.node.entry("inputs") else { return Some(self.left_out(stage.place)) };
        let Some(entry) = inputs.node.entry(port) else { return Some(self.left_out(inputs.place)) };
        Some(self.origin(self.resolve(&entry.node, Spot::At(entry.place, None), id, None).at))
    }

    /// Where the `kind` or the `refresh` of an instance is written.
    #[must_use]
    pub fn key(&self, id: &InstanceId, key: &str) -> Option<Origin> {
        let stage = self.stage(id)?;
        let Some(entry) = stage.node.entry(key) else { return Some(self.left_out(stage.place)) };
        Some(self.origin(self.resolve(&entry.node, Spot::At(entry.place, None), id, None).at))
    }

    /// Where the seed of an instance is written.
    #[must_use]
    pub fn seed(&self, id: &InstanceId) -> Option<Origin> {
        let key = if id.seed.is_some() { "seeds" } else { "seed" };
        let Some(entry) = self.root.entry(key) else { return Some(self.left_out(Place::START)) };
        Some(self.origin(self.resolve(&entry.node, Spot::At(entry.place, None), id, None).at))
    }

    fn stage(&self, id: &InstanceId) -> Option<&Entry> {
        self.root.entry("stages")?.node.entries()?.get(*self.stages.get(&id.stage)?)
    }

    fn origin(&self, at: Spot) -> Origin {
        match at {
            Spot::Set(name) => Origin::OnCommandLine { name },
            Spot::At(place, through) => {
                Origin::InFile { file: self.file(place), line: place.line, column: place.column, through }
            }
        }
    }

    fn left_out(&self, place: Place) -> Origin {
        Origin::LeftOut { file: self.file(place), line: place.line }
    }

    fn file(&self, place: Place) -> PathBuf {
        self.files.get(place.file).map(|file| (*file).to_owned()).unwrap_or_default()
    }

    /// Follows references to what they stand for.
    fn resolve<'n>(&'n self, node: &'n Node, at: Spot, id: &InstanceId, before: Option<&str>) -> Found<'n> {
        let mut found = Found { at, node: Some(node) };
        for _ in 0..MAX_JUMPS {
            let Some(text) = found.node.and_then(Node::text).filter(|text| text.contains("${")) else { break };
            let Ok(parts) = pieces(text) else { break };
            let reference = match parts.as_slice() {
                [one @ (Piece::Variable(_) | Piece::Variant(_))] => Some(one),
                several => before.and_then(|before| self.changed(several, id, before)),
            };
            let Some(next) = reference.and_then(|reference| self.target(reference, id)) else { break };
            found = next;
        }
        found
    }

    /// Where the value of a reference is given.
    fn target(&self, reference: &Piece<'_>, id: &InstanceId) -> Option<Found<'_>> {
        match reference {
            Piece::Variable(name) if self.set.contains_key(*name) => {
                Some(Found { at: Spot::Set((*name).to_owned()), node: None })
            }
            Piece::Variable(name) => {
                let entry = self.root.entry("vars")?.node.entry(name)?;
                Some(Found { at: Spot::At(entry.place, Some(format!("var {name}"))), node: Some(&entry.node) })
            }
            Piece::Variant(name) => {
                let variant = id.variant.as_deref()?;
                let entry = self.root.entry("variants")?.node.entry(variant)?.node.entry(name)?;
                Some(Found { at: Spot::At(entry.place, Some(format!("variant {variant}"))), node: Some(&entry.node) })
            }
            Piece::Text(_) | Piece::Environment(_) => None,
        }
    }

    /// The reference in a text whose value was another when the text was
    /// `before`; none if the words between the references differ.
    fn changed<'p, 't>(&self, parts: &'p [Piece<'t>], id: &InstanceId, before: &str) -> Option<&'p Piece<'t>> {
        let mut rest = before;
        let mut changed = None;
        for (at, part) in parts.iter().enumerate() {
            if let Piece::Text(text) = part {
                rest = rest.strip_prefix(text.as_str())?;
                continue;
            }
            let end = match parts.get(at + 1) {
                None => rest.len(),
                Some(Piece::Text(text)) => rest.find(text.as_str())?,
                Some(_) => return None,
            };
            let (was, after) = rest.split_at_checked(end)?;
            rest = after;
            let now = self.target(part, id).and_then(|found| match &found.node?.content {
                Content::Scalar(Value::String(text)) => Some(text.clone()),
                Content::Scalar(value) => Some(value.to_string()),
                _ => None,
            });
            let now = now.or_else(|| match part {
                Piece::Variable(name) => self.set.get(*name).cloned(),
                _ => None,
            });
            if changed.is_none() && now.is_some_and(|now| now != was) {
                changed = Some(part);
            }
        }
        changed.filter(|_| rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "\
pipeline: p
seed: ${var.S}
vars:
  S: 1
  WIDTH: 4
  WORD: w
stages:
  a:
    kind: sql
    inputs: { x: y, z: \"${variant.from}\" }
    refresh: always
    with:
      query: >
        SELECT '${variant.name}'
        FROM ${var.WORD} LIMIT 1
      width: ${var.WIDTH}
      columns:
        b.c: d
        e: ${variant.deep}
      bands: [1, 2]
  bare:
    kind: sql
variants:
  V1:
    name: n
    from: f
    deep: { deeper: \"${var.WORD}\" }
";

    fn with<T>(set: &[(&str, &str)], look: impl Fn(&Origins<'_>) -> T) -> T {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let file = SourceFile { path: "p.yaml".into(), text: TEXT.into() };
        look(&Origins::of(&SourceText { files: vec![file], set }).unwrap())
    }

    fn id(stage: &str) -> InstanceId {
        InstanceId { stage: stage.into(), variant: Some("V1".into()), seed: None }
    }

    fn setting(path: &str, before: Option<&str>) -> String {
        let before = before.map(|text| json!(text));
        with(&[], |origins| origins.setting(&id("a"), path, before.as_ref()).unwrap().to_string())
    }

    #[test]
    fn settings_are_found_where_they_are_written() {
        assert_eq!(setting("columns.b.c", None), "p.yaml:18");
        assert_eq!(setting("bands.1", None), "p.yaml:20");
        assert_eq!(setting("depth", None), "p.yaml:12 (left out)");
        // What a kind fills in below a setting is said to be where that is.
        assert_eq!(setting("bands.1.more", None), "p.yaml:20");
        assert_eq!(with(&[], |o| o.setting(&id("bare"), "x", None).unwrap().to_string()), "p.yaml:21 (left out)");
        assert_eq!(with(&[], |o| o.setting(&id("none"), "x", None)), None);
    }

    #[test]
    fn references_lead_to_what_was_given() {
        assert_eq!(setting("width", None), "p.yaml:5 (var WIDTH)");
        assert_eq!(setting("columns.e.deeper", None), "p.yaml:6 (var WORD)");
        assert_eq!(setting("columns.e", None), "p.yaml:27 (variant V1)");
        let set = |path: &str| {
            with(&[("WIDTH", "5"), ("S", "2")], |o| {
                (o.setting(&id("a"), path, None).unwrap().to_string(), o.seed(&id("a")).unwrap().to_string())
            })
        };
        assert_eq!(set("width"), ("--set WIDTH".to_owned(), "--set S".to_owned()));
    }

    #[test]
    fn a_text_with_references_is_where_it_changed() {
        assert_eq!(setting("query", Some("SELECT 'm' FROM w LIMIT 1\n")), "p.yaml:25 (variant V1)");
        assert_eq!(setting("query", Some("SELECT 'n' FROM v LIMIT 1\n")), "p.yaml:6 (var WORD)");
        assert_eq!(setting("query", Some("SELECT 'n' FROM w LIMIT 2\n")), "p.yaml:13");
    }

    #[test]
    fn inputs_seeds_and_keys_are_found() {
        let found = with(&[], |o| {
            let id = id("a");
            [
                o.input(&id, "x"),
                o.input(&id, "z"),
                o.input(&id, "q"),
                o.key(&id, "refresh"),
                o.key(&id, "kind"),
                o.seed(&id),
            ]
            .map(|origin| origin.unwrap().to_string())
        });
        let expected = [
            "p.yaml:10",
            "p.yaml:26 (variant V1)",
            "p.yaml:10 (left out)",
            "p.yaml:11",
            "p.yaml:9",
            "p.yaml:4 (var S)",
        ];
        assert_eq!(found, expected);
    }
}
