//! Which calls a stage makes for its rows, found by letting it run on what its
//! inputs last were with a memo that only answers. Nothing is asked, written or
//! published: the calls are what counts, whatever comes of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::Array;
use tokio_util::sync::CancellationToken;

use super::error::EngineError;
use super::job::max_age;
use super::options::{Failure, PlanOptions};
use super::planner::{Planner, is_api, sources};
use super::reference;
use crate::ground::{Environment, InstanceId};
use crate::memo::VectorMemo;
use crate::model::{DeviceChoice, Models};
use crate::people::People;
use crate::pipeline::{Instance, Pipeline};
use crate::stage::{Columns, Input, Known, StageContext};
use crate::store::{Manifest, Store};
use crate::table::Table;
use crate::web::{Client, ClientSettings, Endpoints, Session, Traced, Tracing};

/// Which of a stage's rows are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracedRows {
    /// All at once: which calls are whose is not told.
    All,
    /// The first so many.
    First(usize),
    /// Those of these names.
    Named(Vec<String>),
}

/// What is to be found.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// The sandbox and the clock.
    pub plan: PlanOptions,
    /// Values of `${env.…}`.
    pub environment: Environment,
    /// Which calls.
    pub calls: Tracing,
    /// Of which rows.
    pub rows: TracedRows,
    /// Whether the world is the one that the stage's last result is of, however
    /// old its answers are; else it is as a run would ask now.
    pub as_made: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Trace {
    /// The instance.
    pub id: InstanceId,
    /// The sandbox that answers, if one does.
    pub sandbox: Option<String>,
    /// How many rows are known, where that can be counted.
    pub known: Option<Known>,
    /// The calls, by row where that can be told.
    pub rows: Vec<TracedRow>,
}

/// The calls of a row.
#[derive(Debug)]
pub struct TracedRow {
    /// The row's name; none if these are the calls of the whole stage.
    pub row: Option<String>,
    /// Its calls, in order, each once; none if there is no such row.
    pub calls: Option<Vec<Traced>>,
}

/// The column that names the rows of a stage that works row by row: by it a row
/// of the result is found in the input.
///
/// # Errors
/// [`EngineError`] if the reference names nothing or several instances.
pub fn row_column(pipeline: &Pipeline, text: &str) -> Result<Option<String>, EngineError> {
    let (index, _) = reference::single(pipeline, text)?;
    Ok(row_port(&pipeline.instances[index]).map(|(_, column)| column))
}

/// Finds the calls of one instance.
///
/// # Errors
/// [`EngineError`] if the reference names nothing or several instances, the
/// instance asks nobody, what it reads has not been made, or it cannot run as
/// it stands.
pub fn trace(pipeline: &Pipeline, store: &Store, text: &str, options: &TraceOptions) -> Result<Trace, EngineError> {
    let (index, _) = reference::single(pipeline, text)?;
    let instance = &pipeline.instances[index];
    if !is_api(instance) {
        return Err(EngineError::AsksNobody { stage: instance.id.to_string() });
    }
    let targets = vec![instance.id.to_string()];
    let planner = Planner::new(pipeline, store, &PlanOptions { targets, ..options.plan.clone() })?;
    let results = last_results(&planner, instance)?;
    let assembled = planner.assemble(instance, &results).map_err(|failure| blocked(instance, failure))?;
    let made = planner.before(index)?.and_then(|(_, manifest)| manifest).filter(|_| options.as_made);
    let sandbox = match &made {
        Some(made) => made.fingerprint.get("world").and_then(|world| world.as_str()).map(str::to_owned),
        None => planner.world.as_ref().map(|world| world.identity.clone()),
    };
    let tracer = Tracer::new(instance, store, options, sandbox.as_deref(), pipeline.device)?;
    let known = (!options.as_made).then(|| tracer.known(assembled.inputs.clone())).flatten();
    let rows = tracer.rows(assembled.inputs, &options.rows)?;
    Ok(Trace { id: instance.id.clone(), sandbox, known, rows })
}

/// What the producers of an instance's inputs made last.
fn last_results(planner: &Planner<'_>, instance: &Instance) -> Result<Vec<Option<Arc<Manifest>>>, EngineError> {
    let mut results = vec![None; planner.pipeline.instances.len()];
    for source in sources(instance) {
        let producer = &planner.pipeline.instances[source];
        let not_made = || EngineError::NotMade { reference: producer.id.to_string() };
        let manifest = planner.before(source)?.and_then(|(_, manifest)| manifest).ok_or_else(not_made)?;
        if !planner.damage(producer.stage.as_ref(), &manifest).is_empty() {
            return Err(not_made());
        }
        bring(planner, &manifest, &producer.id.to_string())?;
        results[source] = Some(Arc::new(manifest));
    }
    Ok(results)
}

/// Fetches what of a result is only in the shared store.
fn bring(planner: &Planner<'_>, manifest: &Manifest, name: &str) -> Result<(), EngineError> {
    let Some(remote) = &planner.remote else { return Ok(()) };
    let artifacts = manifest.outputs.values().cloned().collect();
    let fetched = remote.fetch(planner.store, artifacts, None, &CancellationToken::new());
    fetched.map_err(|source| EngineError::NotFetched { reference: name.to_owned(), source })?;
    remote.settle(planner.store, manifest)?;
    Ok(())
}

fn blocked(instance: &Instance, failure: Failure) -> EngineError {
    EngineError::Blocked { blocked: vec![(instance.id.to_string(), failure)] }
}

/// The port whose rows are those of the result, and the column that names them.
fn row_port(instance: &Instance) -> Option<(String, String)> {
    let outputs = instance.stage.outputs();
    let mut keys = outputs.iter().flat_map(|output| &output.key);
    let ports = instance.stage.inputs();
    keys.find_map(|key| {
        let reads = |columns: &Columns| match columns {
            Columns::All => false,
            Columns::Named(named) | Columns::NamedAndOptional(named, _) => named.iter().any(|column| column == key),
        };
        let port = ports.iter().find(|port| !port.many && reads(&port.columns))?;
        Some((port.name.clone(), key.clone()))
    })
}

type Inputs = BTreeMap<String, Vec<Input>>;

/// Lets a stage run to see what it asks for.
struct Tracer<'a> {
    instance: &'a Instance,
    session: Session,
    vectors: Arc<VectorMemo>,
    people: Arc<People>,
    models: Arc<Models>,
    environment: Environment,
    calls: Tracing,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Tracer<'a> {
    fn new(
        instance: &'a Instance,
        store: &Store,
        options: &TraceOptions,
        sandbox: Option<&str>,
        device: Option<DeviceChoice>,
    ) -> Result<Self, EngineError> {
        let (folder, clock) = (store.memo_folder(), &options.plan.clock);
        let settings = ClientSettings {
            // Nothing is ever sent there: only the identity counts.
            endpoints: sandbox
                .map_or_else(Endpoints::default, |identity| Endpoints::sandbox("http://127.0.0.1", identity)),
            memo: Some(folder.join("http")),
            memo_only: true,
            clock: Arc::clone(clock),
            ..ClientSettings::default()
        };
        let client = Client::new(settings).map_err(|error| blocked(instance, Failure::of(&error, error.hint())))?;
        let age = if options.as_made { None } else { max_age(instance.refresh) };
        Ok(Self {
            instance,
            session: client.session(age, CancellationToken::new()),
            vectors: Arc::new(VectorMemo::read_only(folder.join("vectors"), Arc::clone(clock))),
            people: Arc::new(People::new(store.people_folder())),
            models: Arc::new(Models::of_pipeline(&options.environment, device)),
            environment: options.environment.clone(),
            calls: options.calls,
            runtime: tokio::runtime::Builder::new_current_thread().build().map_err(EngineError::Runtime)?,
        })
    }

    fn context(&self, inputs: Inputs) -> StageContext {
        let (vectors, models) = (Arc::clone(&self.vectors), Arc::clone(&self.models));
        let people = Some(Arc::clone(&self.people));
        let context = StageContext::of_memo(inputs, &self.session, Some(vectors), models, self.environment.clone());
        StageContext { people, ..context }
    }

    fn known(&self, inputs: Inputs) -> Option<Known> {
        super::memory::known(self.instance, &self.context(inputs))
    }

    /// The calls for some inputs. Why the run failed counts only if it asked for nothing.
    fn calls(&self, inputs: Inputs) -> Result<Vec<Traced>, EngineError> {
        let session = self.session.tracing(self.calls);
        let context = StageContext { web: session.clone(), ..self.context(inputs) };
        let run = || self.runtime.block_on(self.instance.stage.run(&context));
        let ended = catch_unwind(AssertUnwindSafe(run));
        let mut seen = BTreeSet::new();
        let calls: Vec<Traced> = session.take_traced().into_iter().filter(|call| seen.insert(call.key)).collect();
        match ended {
            Ok(Err(error)) if calls.is_empty() && session.lacking().count == 0 => {
                Err(blocked(self.instance, Failure::of(&error, None)))
            }
            _ => Ok(calls),
        }
    }

    fn rows(&self, inputs: Inputs, rows: &TracedRows) -> Result<Vec<TracedRow>, EngineError> {
        let Some((port, column)) = row_port(self.instance).filter(|_| *rows != TracedRows::All) else {
            return Ok(vec![TracedRow { row: None, calls: Some(self.calls(inputs)?) }]);
        };
        let failed = |error: &crate::table::TableError| blocked(self.instance, Failure::of(error, None));
        let Some(input) = inputs.get(&port).and_then(|list| list.first()).cloned() else { return Ok(Vec::new()) };
        let table = input.table().map_err(|error| failed(&error))?;
        let names = table.strings(&column).map_err(|error| failed(&error))?;
        let batch = table.single_batch().map_err(|error| failed(&error))?;
        let of_rows = |places: &[usize]| {
            let parts = places.iter().map(|place| batch.slice(*place, 1)).collect();
            let part = Input::of_table(input.label.clone(), Table::new(batch.schema(), parts));
            let mut inputs = inputs.clone();
            inputs.insert(port.clone(), vec![part]);
            self.calls(inputs)
        };
        let name = |row: usize| names.is_valid(row).then(|| names.value(row).to_owned());
        match rows {
            TracedRows::Named(wanted) => {
                let mut places: BTreeMap<&str, Vec<usize>> =
                    wanted.iter().map(|name| (name.as_str(), Vec::new())).collect();
                for row in 0..names.len() {
                    if let Some(found) = places.get_mut(names.value(row)).filter(|_| names.is_valid(row)) {
                        found.push(row);
                    }
                }
                let calls = |name: &String| match places.get(name.as_str()) {
                    Some(places) if !places.is_empty() => of_rows(places).map(Some),
                    _ => Ok(None),
                };
                wanted.iter().map(|row| Ok(TracedRow { row: Some(row.clone()), calls: calls(row)? })).collect()
            }
            TracedRows::First(count) => (0..names.len().min(*count))
                .map(|row| Ok(TracedRow { row: name(row), calls: Some(of_rows(&[row])?) }))
                .collect(),
            TracedRows::All => Ok(Vec::new()),
        }
    }
}
