//! Tiny kinds for the tests: they check settings and declare ports, and do nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Pipeline, load_text};
use crate::ground::Problems;
use crate::stage::{
    InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};

/// What settings of a fake kind can say of themselves.
trait Plain: Serialize + DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static {}
impl<S: Serialize + DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static> Plain for S {}

#[derive(Clone)]
struct Fake<S> {
    name: &'static str,
    example: &'static str,
    inputs: fn(&S) -> Vec<InputPort>,
    outputs: fn(&S) -> Vec<OutputPort>,
    seeded: bool,
    limiter: fn(&S) -> Option<String>,
}

struct FakeStage<S> {
    fake: Fake<S>,
    settings: S,
}

impl<S: Plain> StageKind for Fake<S> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn version(&self) -> u32 {
        1
    }
    fn summary(&self) -> &'static str {
        "For tests"
    }
    fn documentation(&self) -> &'static str {
        ""
    }
    fn example(&self) -> &'static str {
        self.example
    }
    fn settings_schema(&self) -> Value {
        schema_of::<S>()
    }
    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        Ok(Arc::new(FakeStage { fake: self.clone(), settings: decode_settings(with)? }))
    }
}

#[async_trait]
impl<S: Plain> Stage for FakeStage<S> {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }
    fn inputs(&self) -> Vec<InputPort> {
        (self.fake.inputs)(&self.settings)
    }
    fn outputs(&self) -> Vec<OutputPort> {
        (self.fake.outputs)(&self.settings)
    }
    fn resource(&self) -> Resource {
        (self.fake.limiter)(&self.settings).map_or(Resource::Cpu(1), Resource::Api)
    }
    fn is_seeded(&self) -> bool {
        self.fake.seeded
    }
    async fn run(&self, _context: &StageContext) -> Result<(), StageError> {
        Ok(())
    }
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// The file.
    path: String,
    /// Which columns it has, if that is known.
    #[serde(default)]
    columns: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keep {
    /// Fewest rows per user.
    min_per_user: u32,
    /// Fewest rows per item.
    #[serde(default)]
    min_per_item: Option<u32>,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fetch {
    /// The limiter.
    #[serde(default)]
    limiter: Option<String>,
    /// A prompt.
    #[serde(default)]
    prompt: Option<String>,
    /// The key.
    #[serde(default)]
    api_key: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Tower {
    #[default]
    Ids,
    Text,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Train {
    /// What items are made of.
    #[serde(default)]
    tower: Tower,
    /// Widths.
    #[serde(default)]
    layers: Vec<u32>,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

const IDS: [&str; 2] = ["user_id", "item_id"];

const READ: Fake<Read> = Fake {
    name: "read_table",
    example: "with: { path: a.csv }",
    inputs: |_| Vec::new(),
    outputs: |read| {
        let columns: Vec<(&str, &str)> = read.columns.iter().map(|name| (name.as_str(), "str")).collect();
        vec![OutputPort::new("table", &columns)]
    },
    seeded: false,
    limiter: |_| None,
};
const KEEP: Fake<Keep> = Fake {
    name: "filter_k_core",
    example: "inputs: { interactions: a }\nwith: { min_per_user: 5 }",
    inputs: |_| vec![InputPort::new("interactions", IDS)],
    outputs: |_| {
        let ids = [("user_id", "str"), ("item_id", "str")];
        vec![OutputPort::new("interactions", &ids), OutputPort::new("items", &[("item_id", "str")])]
    },
    seeded: false,
    limiter: |_| None,
};
const FETCH: Fake<Fetch> = Fake {
    name: "crawl_words",
    example: "inputs: { items: a }",
    inputs: |_| vec![InputPort::new("items", ["item_id"])],
    outputs: |_| vec![OutputPort::new("texts", &[])],
    seeded: false,
    limiter: |fetch| Some(fetch.limiter.clone().unwrap_or_else(|| "lastfm".to_owned())),
};
const EMBED: Fake<Nothing> = Fake {
    name: "embed",
    example: "inputs: { texts: a }",
    inputs: |_| vec![InputPort::new("texts", ["item_id"])],
    outputs: |_| vec![OutputPort::new("vectors", &[])],
    seeded: false,
    limiter: |_| None,
};
const TRAIN: Fake<Train> = Fake {
    name: "train_model",
    example: "inputs: { split: a, vectors: b }\nwith: { tower: text }",
    inputs: |_| vec![InputPort::new("split", IDS), InputPort::whole("vectors").optional()],
    outputs: |_| vec![OutputPort::new("model", &[]), OutputPort::new("curve", &[])],
    seeded: true,
    limiter: |_| None,
};
const COMPARE: Fake<Nothing> = Fake {
    name: "compare",
    example: "inputs: { metrics: [a, b] }",
    inputs: |_| vec![InputPort::whole("metrics").many()],
    outputs: |_| vec![OutputPort::new("board", &[])],
    seeded: false,
    limiter: |_| None,
};
const QUERY: Fake<Nothing> = Fake {
    name: "sql",
    example: "inputs: { whatever: a }",
    inputs: |_| vec![InputPort::whole("*")],
    outputs: |_| vec![OutputPort::new("table", &[])],
    seeded: false,
    limiter: |_| None,
};

/// All of them.
pub(super) const KINDS: &[&dyn StageKind] = &[&COMPARE, &EMBED, &FETCH, &KEEP, &QUERY, &READ, &TRAIN];

/// A pipeline that uses all that there is: variants, seeds, absence, `@*`.
pub(super) const SAMPLE: &str = r#"
pipeline: sample
seed: 7
seeds: [0, 1]
vars: { least: 5, folder: data }
limiters:
  lastfm: { per_second: 5, concurrency: 4 }
budgets:
  lastfm: { requests: 100 }
sandbox: { users: 50 }
stages:
  board:
    kind: compare
    inputs: { metrics: ["model@*", baseline] }
  loved: { kind: read_table, with: { path: "${var.folder}/loved.csv" } }
  core:
    kind: filter_k_core
    inputs: { interactions: loved }
    with: { min_per_user: "${var.least}" }
  words:
    kind: crawl_words
    inputs: { items: core.items }
    refresh: { after: 30d }
    with: { api_key: "${env.KEY}" }
  vectors:
    kind: embed
    inputs: { texts: "${variant.text}" }
  model:
    kind: train_model
    inputs: { split: core, vectors: vectors }
    with: { tower: "${variant.tower}" }
  baseline: { kind: sql, inputs: { core: core } }
variants:
  CF: { text: none, tower: ids }
  V1: { text: words, tower: text }
"#;

/// Loads a text with the fake kinds and without variables.
pub(super) fn load(text: &str) -> Result<Pipeline, Problems> {
    load_with(text, &[])
}

/// Loads a text with the fake kinds and `--set` values.
pub(super) fn load_with(text: &str, set: &[(&str, &str)]) -> Result<Pipeline, Problems> {
    let set: BTreeMap<String, String> =
        set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load_text(Path::new("p.yaml"), text, &set, KINDS)
}

/// The problems of a text that must have some, as they are printed.
pub(super) fn problems(text: &str) -> String {
    load(text).expect_err("there are problems").to_string()
}

/// Each problem of a text as `line:column what (hint)`.
pub(super) fn brief(text: &str) -> Vec<String> {
    let found = load(text).expect_err("there are problems").0;
    let line = |problem: crate::ground::Problem| {
        let at = problem.at.map_or_else(String::new, |at| format!("{}:{} ", at.line, at.column));
        let hint = problem.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{at}{}{hint}", problem.what)
    };
    found.into_iter().map(line).collect()
}

/// Each instance as `id <- port: label=id.output, …`, in order.
pub(super) fn lines(pipeline: &Pipeline) -> Vec<String> {
    let source = |source: &super::Source| {
        format!("{}={}.{}", source.label, pipeline.instances[source.instance].id, source.output)
    };
    let instance = |instance: &super::Instance| {
        let ports = instance
            .inputs
            .iter()
            .map(|(port, sources)| format!("{port}: {}", sources.iter().map(source).collect::<Vec<_>>().join(", ")));
        let ports = ports.collect::<Vec<_>>().join("; ");
        if ports.is_empty() { instance.id.to_string() } else { format!("{} <- {ports}", instance.id) }
    };
    pipeline.instances.iter().map(instance).collect()
}
