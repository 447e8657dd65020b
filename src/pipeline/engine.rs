//! `engine:`: on which machines stages are worked on, and what is asked of a
//! cluster for each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::node::{Content, Entry, Node};
use super::report::{Report, suggest};
use super::settings::decode;
use crate::ground::parse_duration;
use crate::stage::schema_of;

/// Stages that took less than this last time stay on this machine.
const HEAD_BELOW: Duration = Duration::from_secs(5);
/// How often a job is submitted again.
const RETRIES: u32 = 2;

/// On which machines stages are worked on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// Whether it is the cluster unless the command line says otherwise.
    pub uses_slurm: bool,
    /// What is asked of the cluster for every job.
    pub jobs: JobSettings,
    /// What is asked for single stages, by their names.
    pub stages: BTreeMap<String, JobSettings>,
}

/// What is asked of Slurm for a job. What is not given is the cluster's own
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// The partition.
    #[serde(default)]
    pub partition: Option<String>,
    /// The account that pays.
    #[serde(default)]
    pub account: Option<String>,
    /// The quality of service.
    #[serde(default)]
    pub qos: Option<String>,
    /// How long a job may take, such as `2h`.
    #[serde(default)]
    pub time: Option<String>,
    /// Memory of a job, as Slurm writes it: `16G`.
    #[serde(default, deserialize_with = "word")]
    #[schemars(with = "Option<Word>")]
    pub memory: Option<String>,
    /// GPUs of a job whose stage uses one, as Slurm writes it behind `gpu:`; default 1.
    #[serde(default, deserialize_with = "word")]
    #[schemars(with = "Option<Word>")]
    pub gpus: Option<String>,
    /// Processor cores of a job; the stage's own number by default.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Other options of `sbatch`, each as one word: `[--constraint=a100]`.
    #[serde(default)]
    pub options: Vec<String>,
    /// Lines for the job's shell before the work begins: `[module load cuda]`.
    #[serde(default)]
    pub before: Vec<String>,
    /// Most shards of a stage that run at the same time.
    #[serde(default)]
    pub at_once: Option<u32>,
    /// How often a job is submitted again that was preempted, ran out of time or lost its node; default 2.
    #[serde(default)]
    pub retries: Option<u32>,
    /// Stages whose last result took less than this stay on the machine that submits; default `5s`.
    #[serde(default)]
    pub head_below: Option<String>,
    /// Whether the stage stays on the machine that submits, or never does.
    #[serde(default)]
    pub head: Option<bool>,
}

/// How a word may be written that can be a number as well.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for the schema")]
enum Word {
    Text(String),
    Whole(u64),
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(D::Error::custom("expected a word or a number")),
    }
}

impl EngineSettings {
    /// What is asked for the jobs of a stage.
    #[must_use]
    pub fn of_stage(&self, stage: &str) -> JobSettings {
        let Some(own) = self.stages.get(stage) else { return self.jobs.clone() };
        let (own, all) = (own.clone(), self.jobs.clone());
        JobSettings {
            partition: own.partition.or(all.partition),
            account: own.account.or(all.account),
            qos: own.qos.or(all.qos),
            time: own.time.or(all.time),
            memory: own.memory.or(all.memory),
            gpus: own.gpus.or(all.gpus),
            cpus: own.cpus.or(all.cpus),
            options: [all.options, own.options].concat(),
            before: [all.before, own.before].concat(),
            at_once: own.at_once.or(all.at_once),
            retries: own.retries.or(all.retries),
            head_below: own.head_below.or(all.head_below),
            head: own.head.or(all.head),
        }
    }
}

impl JobSettings {
    /// How long a job may take.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.time.as_deref().and_then(|text| parse_duration(text).ok())
    }

    /// How often a job is submitted again.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries.unwrap_or(RETRIES)
    }

    /// Whether a stage whose last result took so many seconds stays on the
    /// machine that submits.
    #[must_use]
    pub fn stays(&self, last_seconds: Option<f64>) -> bool {
        let below = self.head_below.as_deref().and_then(|text| parse_duration(text).ok()).unwrap_or(HEAD_BELOW);
        self.head.unwrap_or_else(|| last_seconds.is_some_and(|seconds| seconds < below.as_secs_f64()))
    }
}

/// Reads `engine:`, which is `local`, `slurm` or `{ slurm: { … } }`.
pub(super) fn read(entry: &Entry, report: &mut Report) -> EngineSettings {
    const FORMS: &str = "write `local`, `slurm` or `{ slurm: { partition: NAME } }`";
    match (entry.node.text(), entry.node.entries()) {
        (Some("local"), _) => EngineSettings::default(),
        (Some("slurm"), _) => EngineSettings { uses_slurm: true, ..EngineSettings::default() },
        (None, Some([slurm])) if slurm.key == "slurm" => read_slurm(slurm, report),
        _ => {
            report.hinted(entry.node.place, format!("`engine` cannot be {}", entry.node.describe()), FORMS);
            EngineSettings::default()
        }
    }
}

fn read_slurm(slurm: &Entry, report: &mut Report) -> EngineSettings {
    let entries = match (&slurm.node.content, slurm.node.entries()) {
        (Content::Scalar(Value::Null), _) => &[],
        (_, Some(entries)) => entries,
        _ => {
            report.add(slurm.node.place, format!("`slurm` must be a mapping, and this is {}", slurm.node.describe()));
            &[]
        }
    };
    // What is left beside `stages` is what a single stage may have as well.
    let own: Vec<Entry> = entries.iter().filter(|entry| entry.key != "stages").cloned().collect();
    let all = Entry { node: Node { place: slurm.node.place, content: Content::Map(own) }, ..slurm.clone() };
    let jobs = read_jobs("the engine", &all, report);
    let mut stages = BTreeMap::new();
    for stage in slurm.node.entry("stages").and_then(|stages| stages.node.entries()).unwrap_or_default() {
        stages.insert(stage.key.clone(), read_jobs(&format!("the engine for `{}`", stage.key), stage, report));
    }
    EngineSettings { uses_slurm: true, jobs, stages }
}

fn read_jobs(owner: &str, entry: &Entry, report: &mut Report) -> JobSettings {
    let Some(settings) = decode::<JobSettings>(owner, entry, report) else { return JobSettings::default() };
    for (name, text) in [("time", &settings.time), ("head_below", &settings.head_below)] {
        if let Some(Err(what)) = text.as_deref().map(parse_duration) {
            let place = entry.node.entry(name).map_or(entry.place, |setting| setting.node.place);
            report.hinted(place, format!("{owner}: {what}"), "write `2h` or `90m`");
        }
    }
    settings
}

/// Stages that `engine:` names must be there.
pub(super) fn check<'a>(entry: Option<&Entry>, names: &(impl Iterator<Item = &'a str> + Clone), report: &mut Report) {
    let stages = entry.and_then(|entry| entry.node.entry("slurm")?.node.entry("stages")?.node.entries());
    for stage in stages.unwrap_or_default() {
        if !names.clone().any(|name| name == stage.key) {
            let hint = suggest(&stage.key, "stages", names.clone());
            report.hinted(stage.place, format!("there is no stage `{}`, for which `engine` asks", stage.key), hint);
        }
    }
}

/// The JSON Schema of `engine:`.
pub(super) fn schema() -> Value {
    let of_stage = schema_of::<JobSettings>();
    let mut slurm = of_stage.clone();
    slurm["properties"]["stages"] = json!({
        "type": "object",
        "description": "What is asked for single stages, by their names",
        "additionalProperties": of_stage,
    });
    json!({
        "description": "On which machines stages are worked on",
        "anyOf": [
            { "enum": ["local", "slurm"] },
            { "type": "object", "required": ["slurm"], "additionalProperties": false, "properties": { "slurm": slurm } },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{brief, load};
    use super::*;

    fn text(engine: &str) -> String {
        format!("pipeline: p\nengine: {engine}\nstages:\n  loved: {{ kind: read_table, with: {{ path: a.csv }} }}\n")
    }

    fn settings(engine: &str) -> EngineSettings {
        load(&text(engine)).unwrap_or_else(|problems| panic!("{problems}")).engine
    }

    #[test]
    fn a_stage_has_its_own_and_the_rest_from_all() {
        assert!(!settings("local").uses_slurm);
        assert_eq!(settings("slurm"), EngineSettings { uses_slurm: true, ..EngineSettings::default() });
        let engine = settings(
            "{ slurm: { partition: cpu, time: 90m, options: [-x], retries: 0, stages: \
             { loved: { partition: gpu, gpus: 2, options: [-y] } } } }",
        );
        let (own, other) = (engine.of_stage("loved"), engine.of_stage("else"));
        assert_eq!((own.partition.as_deref(), other.partition.as_deref()), (Some("gpu"), Some("cpu")));
        assert_eq!((own.time(), own.retries(), own.options), (other.time(), 0, vec!["-x".to_owned(), "-y".to_owned()]));
        assert_eq!((other.time(), own.gpus.as_deref()), (Some(Duration::from_mins(90)), Some("2")));
    }

    #[test]
    fn what_takes_little_time_stays_unless_it_is_said() {
        let engine = settings("{ slurm: { stages: { loved: { head: false } } } }");
        let (own, other) = (engine.of_stage("loved"), engine.of_stage("else"));
        assert!(other.stays(Some(4.9)) && !other.stays(Some(5.1)) && !other.stays(None) && !own.stays(Some(0.1)));
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        let wrong = [
            "slrum",
            "{ slurm: 3 }",
            "{ slurm: { partitoin: a } }",
            "{ slurm: { time: soon } }",
            "{ slurm: { stages: { lovde: { time: 2h } } } }",
        ];
        let told: Vec<String> = wrong.iter().flat_map(|engine| brief(&text(engine))).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        2:9 `engine` cannot be the text `slrum` (write `local`, `slurm` or `{ slurm: { partition: NAME } }`)
        2:18 `slurm` must be a mapping, and this is `3`
        2:20 the engine: unknown setting `partitoin` (did you mean `partition`?)
        2:26 the engine: `soon` is not a duration (write `2h` or `90m`)
        2:30 there is no stage `lovde`, for which `engine` asks (did you mean `loved`?)
        ");
    }
}
