//! The fingerprint: everything that decides a stage's result, and nothing else.
//!
//! Never in it: times, paths, hosts, devices, numbers of threads, secrets. It is
//! kept as JSON in each manifest, so "why did it run" is a diff of two of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ground::{ContentHash, hash_json};
use crate::stage::Columns;

/// The format of [`Fingerprint`]. Raising it makes every result stale once.
///
/// - 1: the first.
pub const FORMAT: u32 = 1;

/// Everything that decides the result of one instance.
///
/// The fields are public and plain on purpose: what is not here does not decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// [`FORMAT`] when it was made.
    pub format: u32,
    /// The kind's name.
    pub kind: String,
    /// The kind's version.
    pub kind_version: u32,
    /// The checked settings, defaults filled in, each `${env.NAME}` as `${env}`.
    pub settings: Value,
    /// What is read: port, then label, then columns. The label of a port that
    /// takes one table is empty, since it decides nothing.
    pub inputs: BTreeMap<String, BTreeMap<String, InputPrint>>,
    /// The contents of the files outside the store, in the stage's order.
    pub files: Vec<ContentHash>,
    /// What only the machine knows, such as the hash of a model's weights.
    pub facts: BTreeMap<String, String>,
    /// What the stage's random numbers come from; only if it draws some.
    pub seed: Option<SeedPrint>,
    /// The identity of the sandbox world that answered; only for stages that
    /// speak to the network, and only in a sandbox.
    pub world: Option<String>,
}

/// What is read of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPrint {
    /// The hash of each column that is read.
    pub columns: BTreeMap<String, ContentHash>,
    /// The columns' order, only where all columns are read: then the order can
    /// decide the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
}

/// What a stage's random numbers come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedPrint {
    /// The pipeline's seed.
    pub value: u64,
    /// The stage's name: stages draw different numbers from one seed.
    pub stage: String,
}

impl Fingerprint {
    /// The name of the result: the hash of the fingerprint's canonical JSON.
    ///
    /// # Panics
    /// If it does not serialise: this is a bug.
    #[must_use]
    pub fn key(&self) -> ContentHash {
        hash_json(&self.to_value())
    }

    /// The fingerprint as it is kept in a manifest.
    ///
    /// # Panics
    /// If it does not serialise: this is a bug.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self)
            .unwrap_or_else(|error| panic!("a fingerprint does not serialise, this is a bug: {error}"))
    }
}

/// The columns of a table that a port reads, in the port's order, or the name
/// of the first that is missing.
///
/// # Errors
/// The missing column.
pub(super) fn columns_read(port: &Columns, available: &[String]) -> Result<Vec<String>, String> {
    match port {
        Columns::All => Ok(available.to_vec()),
        Columns::Named(named) => required(named, available),
        Columns::NamedAndOptional(named, optional) => {
            let mut columns = required(named, available)?;
            columns.extend(optional.iter().filter(|name| available.contains(name)).cloned());
            Ok(columns)
        }
    }
}

fn required(named: &[String], available: &[String]) -> Result<Vec<String>, String> {
    match named.iter().find(|name| !available.contains(name)) {
        Some(missing) => Err(missing.clone()),
        None => Ok(named.to_vec()),
    }
}

/// Settings with each `${env.NAME}` replaced by `${env}`: neither a secret nor
/// the name it has on this machine decides a result.
#[must_use]
pub(super) fn without_environment(settings: &Value) -> Value {
    match settings {
        Value::String(text) => Value::String(blank(text)),
        Value::Array(items) => Value::Array(items.iter().map(without_environment).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), without_environment(v))).collect()),
        other => other.clone(),
    }
}

fn blank(text: &str) -> String {
    let mut parts = text.split("${env.");
    let mut blanked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (reference, rest) = part.split_once('}').map_or(("${env.", part), |(_, after)| ("${env}", after));
        blanked.push_str(reference);
        blanked.push_str(rest);
    }
    blanked
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Fingerprint {
        let read = InputPrint {
            columns: BTreeMap::from([
                ("user_id".to_owned(), ContentHash::of(b"users")),
                ("item_id".to_owned(), ContentHash::of(b"items")),
            ]),
            order: None,
        };
        Fingerprint {
            format: FORMAT,
            kind: "filter_k_core".to_owned(),
            kind_version: 2,
            settings: json!({"min_per_user": 5, "min_per_item": 5}),
            inputs: BTreeMap::from([("interactions".to_owned(), BTreeMap::from([(String::new(), read)]))]),
            files: vec![ContentHash::of(b"a"), ContentHash::of(b"b")],
            facts: BTreeMap::from([("weights".to_owned(), "abc".to_owned())]),
            seed: Some(SeedPrint { value: 0, stage: "core".to_owned() }),
            world: None,
        }
    }

    /// The literal key of a fixed fingerprint. If this fails, every result that
    /// anyone has is stale: raise [`FORMAT`] and say so in the commit.
    #[test]
    fn golden_key() {
        assert_eq!(sample().key().to_string(), "94736e92086271bb2a725f9faa8b656174e83af8a6d88a8826bbda7322b066b7");
    }

    #[test]
    fn the_order_of_settings_does_not_matter() {
        let mut other = sample();
        other.settings = json!({"min_per_item": 5, "min_per_user": 5});
        assert_eq!(other.key(), sample().key());
    }

    #[test]
    fn everything_in_it_matters() {
        let edits: Vec<fn(&mut Fingerprint)> = vec![
            |f| f.format += 1,
            |f| f.kind.push('x'),
            |f| f.kind_version += 1,
            |f| f.settings = json!({"min_per_user": 5, "min_per_item": 6}),
            |f| f.inputs.clear(),
            |f| f.files.reverse(),
            |f| f.facts.clear(),
            |f| f.seed = None,
            |f| f.seed = Some(SeedPrint { value: 0, stage: "other".to_owned() }),
            |f| f.world = Some("sandbox:1".to_owned()),
        ];
        for edit in edits {
            let mut other = sample();
            edit(&mut other);
            assert_ne!(other.key(), sample().key());
        }
    }

    #[test]
    fn the_order_of_listed_settings_and_of_all_columns_matters() {
        let listed = |items: Value| Fingerprint { settings: items, ..sample() }.key();
        assert_ne!(listed(json!([1, 2])), listed(json!([2, 1])));
        let ordered = |order: &[&str]| {
            let order = Some(order.iter().map(|s| (*s).to_owned()).collect());
            let read = InputPrint { columns: BTreeMap::new(), order };
            Fingerprint {
                inputs: BTreeMap::from([("p".to_owned(), BTreeMap::from([(String::new(), read)]))]),
                ..sample()
            }
            .key()
        };
        assert_ne!(ordered(&["a", "b"]), ordered(&["b", "a"]));
    }

    #[test]
    fn it_reads_back_from_a_manifest() {
        let text = sample().to_value().to_string();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).expect("reads back"), sample());
    }

    #[test]
    fn secrets_and_their_names_are_blanked() {
        let settings = json!({"key": "${env.KEY}", "url": ["http://${env.HOST}:${env.PORT}/x", "${env.open"], "n": 1});
        let expected = json!({"key": "${env}", "url": ["http://${env}:${env}/x", "${env.open"], "n": 1});
        assert_eq!(without_environment(&settings), expected);
    }

    #[test]
    fn a_port_reads_its_columns_and_names_the_missing_one() {
        let available: Vec<String> = ["c", "b", "a"].map(String::from).into();
        let named = Columns::Named(vec!["a".into(), "b".into()]);
        assert_eq!(columns_read(&named, &available), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(columns_read(&Columns::All, &available), Ok(available.clone()));
        let optional = Columns::NamedAndOptional(vec!["a".into()], vec!["x".into(), "c".into()]);
        assert_eq!(columns_read(&optional, &available), Ok(vec!["a".into(), "c".into()]));
        assert_eq!(columns_read(&Columns::Named(vec!["z".into()]), &available), Err("z".to_owned()));
    }
}
