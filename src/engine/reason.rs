//! Why a stage must run: each reason has a name, a user's words and its own
//! small function that finds it by comparing two fingerprints.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::{Fingerprint, InputPrint};

/// Why an instance must run. Displays in a user's words, without full stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// There is no record of it in this store.
    NeverRan,
    /// It was asked for with `--force`.
    Forced,
    /// An output's file is gone from the store.
    ArtifactMissing {
        /// The output's name.
        output: String,
    },
    /// An output's file is not what it was when it was written; it was set aside.
    ArtifactDamaged {
        /// The output's name.
        output: String,
    },
    /// What it was is not in the store any more, or cannot be read.
    RecordLost,
    /// `refresh:` says that the result is too old.
    RefreshDue {
        /// The result's age, in seconds.
        age_seconds: u64,
        /// The age allowed, in seconds; 0 for `always`.
        allowed_seconds: u64,
    },
    /// The stage is of another kind than before.
    Kind {
        /// The kind before.
        before: String,
        /// The kind now.
        now: String,
    },
    /// The kind does its work differently than before.
    KindVersion {
        /// The kind.
        kind: String,
        /// The version before.
        before: u32,
        /// The version now.
        now: u32,
    },
    /// A setting is another.
    Setting {
        /// Its path below `with`.
        path: String,
        /// The value before, if there was one.
        before: Option<Value>,
        /// The value now, if there is one.
        now: Option<Value>,
    },
    /// An input is there that was not.
    InputAdded {
        /// The port, and the label where the port takes several: `metrics[V1]`.
        input: String,
    },
    /// An input was there that is not.
    InputRemoved {
        /// The port and label.
        input: String,
    },
    /// A column that is read has other values.
    InputColumn {
        /// The port and label.
        input: String,
        /// The column.
        column: String,
        /// The stage that it comes from now.
        from: Option<String>,
    },
    /// The columns of an input that is read whole are in another order.
    ColumnOrder {
        /// The port and label.
        input: String,
    },
    /// A file outside the store has another content.
    File {
        /// The file as written in YAML.
        path: String,
    },
    /// The number of files outside the store is another.
    FileCount {
        /// How many before.
        before: usize,
        /// How many now.
        now: usize,
    },
    /// A fact about the machine is another, such as a model's weights.
    Fact {
        /// Its name.
        name: String,
    },
    /// The seed is another.
    Seed {
        /// The seed before.
        before: Option<u64>,
        /// The seed now.
        now: Option<u64>,
    },
    /// The answers come from another sandbox world, or from the real services
    /// instead of one, or the other way round.
    World {
        /// The world before; none for the real services.
        before: Option<String>,
        /// The world now.
        now: Option<String>,
    },
    /// This version of Refrain writes fingerprints in another way.
    Format {
        /// The format before.
        before: u32,
        /// The format now.
        now: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRan => f.write_str("it never ran"),
            Self::Forced => f.write_str("asked for with --force"),
            Self::ArtifactMissing { output } => write!(f, "the artifact of output `{output}` is missing"),
            Self::ArtifactDamaged { output } => {
                write!(f, "the artifact of output `{output}` is damaged and was set aside")
            }
            Self::RecordLost => f.write_str("the record of its result is gone from the store"),
            Self::RefreshDue { age_seconds, allowed_seconds: 0 } => {
                write!(f, "refresh: always (its result is {} old)", duration_words(*age_seconds))
            }
            Self::RefreshDue { age_seconds, allowed_seconds } => write!(
                f,
                "refresh: its result is {} old, and {} is allowed",
                duration_words(*age_seconds),
                duration_words(*allowed_seconds)
            ),
            Self::Kind { before, now } => write!(f, "kind: {before} -> {now}"),
            Self::KindVersion { kind, before, now } => {
                write!(f, "the kind `{kind}` changed: version {before} -> {now}")
            }
            Self::Setting { path, before, now } => {
                let (before, now) = two_values(before.as_ref(), now.as_ref());
                write!(f, "setting {}: {before} -> {now}", or_with(path))
            }
            Self::InputAdded { input } => write!(f, "input `{input}` was added"),
            Self::InputRemoved { input } => write!(f, "input `{input}` was removed"),
            Self::InputColumn { input, column, from: Some(from) } => {
                write!(f, "input column `{input}.{column}` changed (from `{from}`)")
            }
            Self::InputColumn { input, column, from: None } => write!(f, "input column `{input}.{column}` changed"),
            Self::ColumnOrder { input } => write!(f, "the columns of input `{input}` changed their order"),
            Self::File { path } => write!(f, "the content of `{path}` changed"),
            Self::FileCount { before, now } => write!(f, "it read {before} files and now reads {now}"),
            Self::Fact { name } => write!(f, "`{name}` changed"),
            Self::Seed { before, now } => write!(f, "seed: {} -> {}", number_words(*before), number_words(*now)),
            Self::World { before, now } => write!(
                f,
                "the answers come from {}, not from {}",
                world_words(now.as_ref()),
                world_words(before.as_ref())
            ),
            Self::Format { before, now } => write!(f, "the format of fingerprints changed: {before} -> {now}"),
        }
    }
}

fn or_with(path: &str) -> &str {
    if path.is_empty() { "with" } else { path }
}

/// Two values, each on one line: of long ones the part where they begin to
/// differ, so that the difference is what is seen.
fn two_values(before: Option<&Value>, now: Option<&Value>) -> (String, String) {
    /// Values that are no longer are shown whole.
    const SHORT: usize = 32;
    /// As much is shown of longer ones.
    const PART: usize = 22;
    /// How much is shown of what comes before the difference.
    const BEFORE: usize = 8;
    let words = |value: Option<&Value>| value.map_or_else(|| "(not there)".to_owned(), ToString::to_string);
    let (before, now) = (words(before), words(now));
    if before.chars().count().max(now.chars().count()) <= SHORT {
        return (before, now);
    }
    let same = before.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let skipped = same.saturating_sub(BEFORE);
    // Not worth an ellipsis of its own.
    let skipped = if skipped <= 3 { 0 } else { skipped };
    let part = |text: &str| {
        let mut part = if skipped > 0 { "…".to_owned() } else { String::new() };
        part.extend(text.chars().skip(skipped).take(PART));
        if text.chars().count() > skipped + PART {
            part.push('…');
        }
        part
    };
    (part(&before), part(&now))
}

fn number_words(number: Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |n| n.to_string())
}

fn world_words(world: Option<&String>) -> &str {
    world.map_or("the real services", String::as_str)
}

/// A duration in the largest whole unit that fits: `3d`, `5h`, `12min`, `7s`.
pub(super) fn duration_words(seconds: u64) -> String {
    match seconds {
        s if s >= 2 * 86_400 => format!("{}d", s / 86_400),
        s if s >= 2 * 3_600 => format!("{}h", s / 3_600),
        s if s >= 120 => format!("{}min", s / 60),
        s => format!("{s}s"),
    }
}

impl Reason {
    /// The reason for a result of `age` where `allowed` is allowed.
    pub(super) fn refresh_due(age: Duration, allowed: Duration) -> Self {
        Self::RefreshDue { age_seconds: age.as_secs(), allowed_seconds: allowed.as_secs() }
    }
}

/// What a comparison knows besides the two fingerprints.
pub(super) struct Present<'a> {
    /// The fingerprint now. Inputs that are not known yet are left out.
    pub(super) fingerprint: &'a Fingerprint,
    /// The files as written in YAML, in the fingerprint's order.
    pub(super) files: &'a [String],
    /// Where each input comes from: (port, label) -> instance.
    pub(super) sources: &'a BTreeMap<(String, String), String>,
    /// The inputs that are not known yet: nothing is said about them.
    pub(super) unknown: &'a [(String, String)],
}

type Comparison = fn(&Fingerprint, &Present<'_>) -> Vec<Reason>;

/// All comparisons, the most telling first.
const COMPARISONS: &[Comparison] = &[kind, kind_version, settings, inputs, columns, files, facts, seed, world, format];

/// Every difference between what the result was made from and what it would
/// be made from now.
pub(super) fn compare(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    COMPARISONS.iter().flat_map(|comparison| comparison(before, now)).collect()
}

fn kind(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let now = &now.fingerprint.kind;
    one(before.kind != *now, || Reason::Kind { before: before.kind.clone(), now: now.clone() })
}

fn kind_version(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let now = now.fingerprint;
    one(before.kind == now.kind && before.kind_version != now.kind_version, || Reason::KindVersion {
        kind: now.kind.clone(),
        before: before.kind_version,
        now: now.kind_version,
    })
}

fn settings(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if before.kind == now.fingerprint.kind {
        value_differences("", Some(&before.settings), Some(&now.fingerprint.settings), &mut reasons);
    }
    reasons
}

fn value_differences(path: &str, before: Option<&Value>, now: Option<&Value>, reasons: &mut Vec<Reason>) {
    if before == now {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, now) {
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for name in names {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            value_differences(&below, old.get(name), new.get(name), reasons);
        }
        return;
    }
    reasons.push(Reason::Setting { path: path.to_owned(), before: before.cloned(), now: now.cloned() });
}

/// The inputs by (port, label).
fn flat(fingerprint: &Fingerprint) -> BTreeMap<(&str, &str), &InputPrint> {
    let ports = fingerprint.inputs.iter();
    ports
        .flat_map(|(port, labels)| labels.iter().map(move |(label, print)| ((port.as_str(), label.as_str()), print)))
        .collect()
}

pub(super) fn input_words(port: &str, label: &str) -> String {
    if label.is_empty() { port.to_owned() } else { format!("{port}[{label}]") }
}

fn is_unknown(now: &Present<'_>, port: &str, label: &str) -> bool {
    now.unknown.iter().any(|(p, l)| p == port && l == label)
}

fn inputs(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let (old, new) = (flat(before), flat(now.fingerprint));
    let known_before = |key: &(String, String)| old.contains_key(&(key.0.as_str(), key.1.as_str()));
    let pending = now.unknown.iter().filter(|key| !known_before(key)).map(|(p, l)| (p.as_str(), l.as_str()));
    let added = new.keys().copied().filter(|key| !old.contains_key(key)).chain(pending);
    let removed = old.keys().copied().filter(|key| !new.contains_key(key) && !is_unknown(now, key.0, key.1));
    let added = added.map(|(port, label)| Reason::InputAdded { input: input_words(port, label) });
    added.chain(removed.map(|(port, label)| Reason::InputRemoved { input: input_words(port, label) })).collect()
}

fn columns(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let old = flat(before);
    let mut reasons = Vec::new();
    for ((port, label), print) in flat(now.fingerprint) {
        let Some(was) = old.get(&(port, label)) else { continue };
        let from = now.sources.get(&(port.to_owned(), label.to_owned()));
        let names: std::collections::BTreeSet<_> = was.columns.keys().chain(print.columns.keys()).collect();
        let changed = names.into_iter().filter(|name| was.columns.get(*name) != print.columns.get(*name));
        let before_columns = reasons.len();
        reasons.extend(changed.map(|column| Reason::InputColumn {
            input: input_words(port, label),
            column: column.clone(),
            from: from.cloned(),
        }));
        if reasons.len() == before_columns && was.order != print.order {
            reasons.push(Reason::ColumnOrder { input: input_words(port, label) });
        }
    }
    reasons
}

fn files(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let new = &now.fingerprint.files;
    if before.files.len() != new.len() {
        return vec![Reason::FileCount { before: before.files.len(), now: new.len() }];
    }
    let paths = before.files.iter().zip(new).zip(now.files);
    paths.filter(|((old, new), _)| old != new).map(|(_, path)| Reason::File { path: path.clone() }).collect()
}

fn facts(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let new = &now.fingerprint.facts;
    let names: std::collections::BTreeSet<_> = before.facts.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter(|name| before.facts.get(*name) != new.get(*name));
    changed.map(|name| Reason::Fact { name: name.clone() }).collect()
}

fn seed(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let value = |fingerprint: &Fingerprint| fingerprint.seed.as_ref().map(|seed| seed.value);
    let now = now.fingerprint;
    one(before.seed != now.seed, || Reason::Seed { before: value(before), now: value(now) })
}

fn world(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let now = &now.fingerprint.world;
    one(before.world != *now, || Reason::World { before: before.world.clone(), now: now.clone() })
}

fn format(before: &Fingerprint, now: &Present<'_>) -> Vec<Reason> {
    let now = now.fingerprint.format;
    one(before.format != now, || Reason::Format { before: before.format, now })
}

fn one(holds: bool, reason: impl FnOnce() -> Reason) -> Vec<Reason> {
    if holds { vec![reason()] } else { Vec::new() }
}
