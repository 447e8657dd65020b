//! Two fingerprints side by side, field by field: what `why` shows of one
//! instance then and now, and `diff` of one stage in two runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::fingerprint::Fingerprint;
use super::reason::{Reason, input_words};
use crate::pipeline::Origin;

/// What sort of thing a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The kind, or its version.
    Kind,
    /// A setting; its name is the path below `with`.
    Setting,
    /// A column of an input, by its hash: `interactions.item_id`.
    Input,
    /// A file outside the store, by its hash.
    File,
    /// A fact about the machine.
    Fact,
    /// The seed.
    Seed,
    /// Who answers requests.
    World,
    /// The format of fingerprints.
    Format,
}

/// One field of a fingerprint, then and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// What sort of thing it is.
    pub part: Part,
    /// Its name among those.
    pub name: String,
    /// Its value before, if there was one.
    pub before: Option<Value>,
    /// Its value now, if there is one.
    pub now: Option<Value>,
    /// Whether it is not known yet, because what gives it has not run.
    pub undecided: bool,
    /// Where it is written, if it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Origin>,
    /// Of an input: the instance that it comes from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of an input that is another: why that instance ran in the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl Field {
    /// Whether it is known to be another than before.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.undecided && self.before != self.now
    }

    /// The reason that it is to run, of a field that can have a place.
    pub(super) fn reason(&self) -> Option<Reason> {
        let input = || self.name.rsplit_once('.').map_or(self.name.as_str(), |(input, _)| input).to_owned();
        match self.part {
            Part::Setting => {
                Some(Reason::Setting { path: self.name.clone(), before: self.before.clone(), now: self.now.clone() })
            }
            Part::Input => Some(Reason::InputAdded { input: input() }),
            Part::Kind if self.name == "kind" => Some(Reason::Kind { before: String::new(), now: String::new() }),
            Part::Seed => Some(Reason::Seed { before: None, now: None }),
            _ => None,
        }
    }
}

type Values = BTreeMap<(Part, String), Value>;

/// Every field of two fingerprints, sorted by part and name. `files` are the
/// names of the files now.
pub(super) fn fields(before: Option<&Fingerprint>, now: Option<&Fingerprint>, files: &[String]) -> Vec<Field> {
    let (old, new) = (before.map(|f| values(f, files)), now.map(|f| values(f, files)));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let names: BTreeSet<&(Part, String)> = old.keys().chain(new.keys()).collect();
    let field = |key: &(Part, String)| Field {
        part: key.0,
        name: key.1.clone(),
        before: old.get(key).cloned(),
        now: new.get(key).cloned(),
        undecided: false,
        at: None,
        from: None,
        since: None,
    };
    names.into_iter().map(field).collect()
}

fn values(fingerprint: &Fingerprint, files: &[String]) -> Values {
    let mut values = Values::from([
        ((Part::Kind, "kind".to_owned()), json!(fingerprint.kind)),
        ((Part::Kind, "version".to_owned()), json!(fingerprint.kind_version)),
        ((Part::Format, "format".to_owned()), json!(fingerprint.format)),
    ]);
    add_settings("", &fingerprint.settings, &mut values);
    for (port, labels) in &fingerprint.inputs {
        for (label, print) in labels {
            let input = input_words(port, label);
            let columns = print.columns.iter();
            values.extend(columns.map(|(name, hash)| ((Part::Input, format!("{input}.{name}")), json!(hash))));
            if let Some(order) = &print.order {
                values.insert((Part::Input, format!("{input}.(order)")), json!(order.join(", ")));
            }
        }
    }
    for (at, hash) in fingerprint.files.iter().enumerate() {
        let name = files.get(at).cloned().unwrap_or_else(|| format!("file {}", at + 1));
        values.insert((Part::File, name), json!(hash));
    }
    values.extend(fingerprint.facts.iter().map(|(name, fact)| ((Part::Fact, name.clone()), json!(fact))));
    if let Some(seed) = &fingerprint.seed {
        values.insert((Part::Seed, "seed".to_owned()), json!(seed.value));
    }
    if let Some(world) = &fingerprint.world {
        values.insert((Part::World, "world".to_owned()), json!(world));
    }
    values
}

fn add_settings(path: &str, value: &Value, values: &mut Values) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, below) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                add_settings(&path, below, values);
            }
        }
        // A mapping that has nothing in it says no more than one that is not there.
        Value::Object(_) => {}
        leaf => drop(values.insert((Part::Setting, path.to_owned()), leaf.clone())),
    }
}
