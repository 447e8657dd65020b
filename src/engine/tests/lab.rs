//! A laboratory: pipelines of toy stages over a store in a temporary folder,
//! which tells what ran.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::engine::{
    End, EngineError, Event, Observer, Outcome, Plan, PlanOptions, RunOptions, StageResult, Summary, plan, run,
};
use crate::ground::{InstanceId, Location, ManualClock};
use crate::pipeline::{Instance, Pipeline, Refresh, Source};
use crate::stage::{
    DeviceUse, InputPort, OutputPort, RequiredVariable, Resource, SettingProblem, Stage, StageContext, StageError,
    StageKind,
};
use crate::store::Store;
use crate::table::Table;

/// A toy kind, by version.
pub(super) struct ToyKind(u32);

pub(super) static FIRST: ToyKind = ToyKind(1);
pub(super) static SECOND: ToyKind = ToyKind(2);

impl StageKind for ToyKind {
    fn name(&self) -> &'static str {
        "toy"
    }
    fn version(&self) -> u32 {
        self.0
    }
    fn summary(&self) -> &'static str {
        "Adds numbers"
    }
    fn documentation(&self) -> &'static str {
        ""
    }
    fn example(&self) -> &'static str {
        ""
    }
    fn settings_schema(&self) -> Value {
        json!({})
    }
    fn parse(&self, _with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        Err(Vec::new())
    }
}

/// What a toy does besides adding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Act {
    #[default]
    Work,
    Warn,
    Fail,
    Panic,
    /// Works until it is told to stop.
    Wait,
    /// Writes to an output that it does not have.
    WrongPort,
    /// Changes the columns half-way.
    OtherColumns,
    /// Writes nothing.
    Nothing,
}

/// A toy stage: its output `main` has `value`, the sum of its inputs' values
/// and `add`, in steps of `step`; and `noise`, which nobody reads but who asks.
#[derive(Debug, Clone)]
pub(super) struct Toy {
    pub(super) name: String,
    pub(super) variant: Option<String>,
    pub(super) inputs: Vec<(String, String)>,
    pub(super) add: i64,
    pub(super) step: i64,
    pub(super) noise: i64,
    pub(super) reads: Vec<String>,
    pub(super) act: Act,
    pub(super) resource: Resource,
    pub(super) refresh: Refresh,
    pub(super) shards: u32,
    pub(super) version: u32,
    pub(super) seed: Option<u64>,
    pub(super) files: Vec<PathBuf>,
    pub(super) variable: Option<&'static str>,
    pub(super) device: DeviceUse,
    log: Arc<Mutex<Vec<String>>>,
}

impl Toy {
    pub(super) fn reading(mut self, stages: &[&str]) -> Self {
        let ports = ["a", "b", "c", "d", "e", "f", "g", "h"];
        self.inputs = stages.iter().zip(ports).map(|(stage, port)| (port.to_owned(), (*stage).to_owned())).collect();
        self
    }

    pub(super) fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    fn id(&self) -> InstanceId {
        InstanceId { stage: self.name.clone(), variant: self.variant.clone(), seed: None }
    }
}

fn column(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

#[async_trait]
impl Stage for Toy {
    fn settings(&self) -> Value {
        json!({"add": self.add, "step": self.step, "noise": self.noise, "key": "${env.TOY_KEY}"})
    }
    fn inputs(&self) -> Vec<InputPort> {
        vec![
            InputPort::new("many", self.reads.clone()).many().optional(),
            InputPort::new("*", self.reads.clone()).optional(),
        ]
    }
    fn outputs(&self) -> Vec<OutputPort> {
        vec![OutputPort::new("main", &[("value", "i64"), ("noise", "i64")])]
    }
    fn resource(&self) -> Resource {
        self.resource.clone()
    }
    fn device_use(&self) -> DeviceUse {
        self.device
    }
    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }
    fn is_seeded(&self) -> bool {
        self.seed.is_some()
    }
    fn variables(&self) -> Vec<RequiredVariable> {
        self.variable
            .map(|name| RequiredVariable { name: name.into(), obtain: "from the shop".into() })
            .into_iter()
            .collect()
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        self.log.lock().unwrap().push(self.id().to_string());
        let mut sum = self.add;
        for input in context.inputs.values().flatten() {
            let table = input.table()?;
            for column in &self.reads {
                sum += table.integers(column)?.value(0);
            }
        }
        let value = sum / self.step.max(1) * self.step.max(1);
        context.progress.total(1);
        match self.act {
            Act::Work => {}
            Act::Warn => context.progress.warn("half of it is odd"),
            Act::Fail => return Err(StageError::with_hint("could not add", "try smaller numbers")),
            Act::Panic => panic!("fell over"),
            Act::Wait => context.cancel.cancelled().await,
            Act::WrongPort => context.write("elsewhere", &Table::of_columns([("x", column(vec![1]))])?)?,
            Act::OtherColumns => context.write("main", &Table::of_columns([("x", column(vec![1]))])?)?,
            Act::Nothing => return Ok(()),
        }
        context.check_cancelled()?;
        context.progress.advance(1);
        context
            .write("main", &Table::of_columns([("value", column(vec![value])), ("noise", column(vec![self.noise]))])?)
    }
}

/// An observer that keeps everything, and may act on it.
#[derive(Default)]
pub(super) struct Watcher {
    pub(super) events: Mutex<Vec<Event>>,
    on: Option<Box<Reaction>>,
}

type Reaction = dyn Fn(&Event) + Send + Sync;

impl Watcher {
    pub(super) fn acting(on: impl Fn(&Event) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { events: Mutex::default(), on: Some(Box::new(on)) })
    }
}

impl Observer for Watcher {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
        if let Some(on) = &self.on {
            on(event);
        }
    }
}

/// A store in a temporary folder, a clock that stands, and a log of what ran.
pub(super) struct Lab {
    pub(super) folder: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) options: RunOptions,
    log: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000_000));
        let plan = PlanOptions { clock: Arc::clone(&clock) as _, ..PlanOptions::default() };
        let options = RunOptions { plan, jobs: 2, ..RunOptions::default() };
        Self { folder: tempfile::tempdir().unwrap(), clock, options, log: Arc::default() }
    }

    pub(super) fn store(&self) -> Store {
        Store::open_at(&self.folder.path().join("artifacts"), Arc::clone(&self.clock) as _).unwrap()
    }

    /// A toy that reads nothing and gives its `add`.
    pub(super) fn toy(&self, name: &str, add: i64) -> Toy {
        let (name, variant) = name.split_once('@').map_or((name, None), |(name, variant)| (name, Some(variant)));
        Toy {
            name: name.to_owned(),
            variant: variant.map(str::to_owned),
            inputs: Vec::new(),
            add,
            step: 1,
            noise: 0,
            reads: vec!["value".to_owned()],
            act: Act::Work,
            resource: Resource::Cpu(1),
            refresh: Refresh::Once,
            shards: 1,
            version: 1,
            seed: None,
            files: Vec::new(),
            variable: None,
            device: DeviceUse::Nothing,
            log: Arc::clone(&self.log),
        }
    }

    /// What has run since the last call, sorted.
    pub(super) fn ran(&self) -> Vec<String> {
        let mut ran = std::mem::take(&mut *self.log.lock().unwrap());
        ran.sort();
        ran
    }

    /// Runs, and gives what ran, sorted.
    pub(super) fn run(&self, pipeline: &Pipeline) -> Vec<String> {
        let summary = self.summary(pipeline);
        assert!(summary.is_complete(), "{summary:?}");
        let ran = self.ran();
        assert_eq!(ran.len(), summary.ran, "{summary:?}");
        ran
    }

    pub(super) fn summary(&self, pipeline: &Pipeline) -> Summary {
        self.try_run(pipeline).unwrap()
    }

    pub(super) fn try_run(&self, pipeline: &Pipeline) -> Result<Summary, EngineError> {
        run(pipeline, &self.store(), &self.options, Arc::new(Watcher::default()))
    }

    pub(super) fn plan(&self, pipeline: &Pipeline) -> Plan {
        plan(pipeline, &self.store(), &self.options.plan).unwrap()
    }

    /// The reasons that the plan gives for one stage, in a user's words.
    pub(super) fn reasons(&self, pipeline: &Pipeline, stage: &str) -> Vec<String> {
        let plan = self.plan(pipeline);
        let planned = plan.stages.iter().find(|planned| planned.id.to_string() == stage).unwrap();
        planned.state.reasons().iter().map(ToString::to_string).collect()
    }

    /// The path of a stage's artifact.
    pub(super) fn artifact(&self, pipeline: &Pipeline, stage: &str) -> PathBuf {
        crate::engine::resolve(pipeline, &self.store(), None, stage).unwrap().path
    }
}

/// A pipeline of toys; producers stand before their readers.
pub(super) fn pipeline(toys: &[Toy]) -> Pipeline {
    let instances = toys.iter().map(|toy| {
        let mut inputs: BTreeMap<String, Vec<Source>> = BTreeMap::new();
        for (port, name) in &toy.inputs {
            let instance = toys.iter().position(|other| other.id().to_string() == *name).unwrap();
            let source = Source { label: toys[instance].id().label(), instance, output: "main".to_owned() };
            inputs.entry(port.clone()).or_default().push(source);
        }
        Instance {
            id: toy.id(),
            kind: if toy.version == 1 { &FIRST } else { &SECOND },
            stage: Arc::new(toy.clone()),
            inputs,
            refresh: toy.refresh,
            shards: toy.shards,
            location: Location { file: "toys.yaml".into(), line: 1, column: 1, text: String::new() },
            seed: toy.seed.unwrap_or_default(),
        }
    });
    Pipeline {
        name: "toys".to_owned(),
        file: "toys.yaml".into(),
        seed: 0,
        seeds: Vec::new(),
        device: None,
        limiters: BTreeMap::new(),
        budgets: BTreeMap::new(),
        engine: crate::pipeline::EngineSettings::default(),
        sandbox: None,
        publication: crate::pipeline::ReportSettings::default(),
        store: None,
        variants: Vec::new(),
        variant_values: BTreeMap::new(),
        instances: instances.collect(),
        source: crate::pipeline::SourceText::default(),
    }
}

/// How a stage ended in a summary.
pub(super) fn end<'a>(summary: &'a Summary, stage: &str) -> &'a End {
    &result(summary, stage).end
}

pub(super) fn result<'a>(summary: &'a Summary, stage: &str) -> &'a StageResult {
    summary.results.iter().find(|result| result.stage == stage).unwrap()
}

pub(super) fn outcome(summary: &Summary, stage: &str) -> Outcome {
    match end(summary, stage) {
        End::Done(outcome) => *outcome,
        other => panic!("{stage} is {other:?}"),
    }
}
