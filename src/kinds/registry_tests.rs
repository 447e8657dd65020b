//! What every kind must fulfil, checked for each entry of the registry: a new
//! kind is tested here without a line being added.

use serde_json::{Value, json};

use super::KINDS;
use crate::stage::{Columns, InputPort, StageKind};

const VERBS: &[&str] = &[
    "audit",
    "compare",
    "crawl",
    "detect",
    "embed",
    "evaluate",
    "filter",
    "match",
    "read",
    "resolve",
    "run",
    "split",
    "summarize",
    "train",
    "truncate",
];

/// Kinds that are named by what they hold, because the word says it better.
const NOT_VERBS: &[&str] = &["content_similarity", "ease", "ials", "item_knn", "popularity", "sql"];

fn for_each_kind(check: impl Fn(&dyn StageKind)) {
    for kind in KINDS {
        println!("kind {}", kind.name());
        check(*kind);
    }
}

fn example(kind: &dyn StageKind) -> serde_json::Map<String, Value> {
    let example: Value = serde_yaml::from_str(kind.example()).unwrap();
    example.as_object().cloned().unwrap()
}

fn settings_of_example(kind: &dyn StageKind) -> Value {
    example(kind).get("with").cloned().unwrap_or_else(|| json!({}))
}

#[test]
fn names_are_unique_sorted_and_start_with_a_verb() {
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
    for name in names {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        let verb = name.split('_').next().unwrap();
        assert!(VERBS.contains(&verb) || NOT_VERBS.contains(&name), "{name} does not start with a verb");
    }
}

#[test]
fn every_kind_is_documented() {
    for_each_kind(|kind| {
        assert!(kind.version() >= 1);
        assert!(!kind.summary().is_empty() && !kind.summary().ends_with('.') && !kind.summary().contains('\n'));
        assert!(kind.documentation().len() > 100, "say what it reads, writes and promises");
    });
}

#[test]
fn every_setting_is_described() {
    for_each_kind(|kind| {
        let schema = kind.settings_schema();
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, property) in properties {
            let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(!about.is_empty(), "the setting `{name}` has no description");
        }
    });
}

#[test]
fn the_example_is_a_stage_whose_settings_and_inputs_are_accepted() {
    for_each_kind(|kind| {
        let example = example(kind);
        assert_eq!(example.get("kind"), Some(&json!(kind.name())));
        assert!(example.keys().all(|key| ["kind", "inputs", "refresh", "with"].contains(&key.as_str())));
        let stage = kind.parse(&settings_of_example(kind)).unwrap();
        let ports = stage.inputs();
        let given = example.get("inputs").and_then(Value::as_object).cloned().unwrap_or_default();
        for port in &ports {
            assert!(!port.required || port.name == "*" || given.contains_key(&port.name), "no input `{}`", port.name);
        }
        for name in given.keys() {
            assert!(ports.iter().any(|port| port.name == *name || port.name == "*"), "there is no port `{name}`");
        }
    });
}

#[test]
fn an_unknown_setting_is_refused_with_its_path() {
    for_each_kind(|kind| {
        let mut with = settings_of_example(kind);
        with["no_such_setting"] = json!(1);
        let problems = kind.parse(&with).err().unwrap();
        assert!(problems.iter().any(|p| p.path == "no_such_setting" && p.hint.is_some()), "{problems:?}");
    });
}

/// `provider` is the pipeline's own: it stands for a group of settings.
#[test]
fn no_kind_has_a_setting_called_provider() {
    for_each_kind(|kind| assert!(kind.settings_schema()["properties"].get("provider").is_none()));
}

#[test]
fn settings_are_an_object_and_parsing_is_repeatable() {
    for_each_kind(|kind| {
        let with = settings_of_example(kind);
        let (one, other) = (kind.parse(&with).unwrap(), kind.parse(&with).unwrap());
        assert!(one.settings().is_object());
        assert_eq!(one.settings(), other.settings());
        assert_eq!(one.facts(), other.facts());
    });
}

#[test]
fn ports_are_sane() {
    for_each_kind(|kind| {
        let stage = kind.parse(&settings_of_example(kind)).unwrap();
        let outputs = stage.outputs();
        assert!(!outputs.is_empty());
        let mut names: Vec<&str> = outputs.iter().map(|port| &*port.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), outputs.len(), "two outputs have one name");
        let inputs = stage.inputs();
        let mut names: Vec<&str> = inputs.iter().map(|port| port.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), inputs.len(), "two inputs have one name");
        inputs.iter().for_each(check_columns);
    });
}

/// Without columns the settings decide, and nothing can be said of a key.
#[test]
fn the_key_of_an_output_is_some_of_its_columns() {
    for_each_kind(|kind| {
        for port in kind.parse(&settings_of_example(kind)).unwrap().outputs() {
            let lacking = port.key.iter().find(|key| !port.columns.iter().any(|(name, _)| name == *key));
            assert_eq!(lacking, None, "the key of `{}` is not among its columns", port.name);
            assert_eq!(
                port.key.is_empty(),
                port.columns.is_empty(),
                "say what tells the rows of `{}` apart",
                port.name
            );
        }
    });
}

fn check_columns(port: &InputPort) {
    let columns = match &port.columns {
        Columns::All => return,
        Columns::Named(named) => named.clone(),
        Columns::NamedAndOptional(named, optional) => named.iter().chain(optional).cloned().collect(),
    };
    let mut distinct = columns.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(!columns.is_empty() && distinct.len() == columns.len(), "port `{}` reads {columns:?}", port.name);
}
