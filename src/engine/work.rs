//! One piece of a run's work, done on another machine of its cluster, from the
//! results that the run names, if its key is still the expected one. The result
//! goes to the store, where the run finds it.

use std::sync::Arc;

use super::error::EngineError;
use super::event::{Observer, Outcome};
use super::job::{Ended, Job};
use super::network::Network;
use super::options::{Failure, RunOptions};
use super::piece::{Piece, ShardName, ShardReporter};
use super::planner::{Look, Planner, Work, sources};
use super::reason::Reason;
use super::reporter::Reporter;
use super::stage_reporter::StageReporter;
use crate::ground::ContentHash;
use crate::memo::VectorMemo;
use crate::pipeline::Pipeline;
use crate::remote::Remote;
use crate::store::{Manifest, Pins, Store, StoreError};

/// Which piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkOrder {
    /// The instance, as it displays.
    pub instance: String,
    /// Which of its shards, from 0; all of it if none.
    pub shard: Option<usize>,
    /// The key that the instance's work must have.
    pub key: ContentHash,
    /// The keys of the results that it reads, in the order of its inputs.
    pub inputs: Vec<ContentHash>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Worked {
    /// Its result is in the store.
    Done(Outcome),
    /// It failed.
    Failed(Failure),
    /// It was told to stop.
    Stopped,
}

/// Does one piece of work. `remote` is asked nothing; records of it that are
/// kept here are read. Makes its own threads: call it outside of any runtime.
///
/// # Errors
/// [`EngineError`] if it could not be begun: the store cannot be read, what the
/// instance reads is not there, or its key is another.
pub fn work(
    pipeline: &Pipeline,
    store: &Store,
    remote: Option<&Remote>,
    options: &RunOptions,
    order: &WorkOrder,
    observer: Arc<dyn Observer>,
) -> Result<Worked, EngineError> {
    let mut options = options.clone();
    options.plan.targets = vec![order.instance.clone()];
    let planner = Planner::new(pipeline, store, &options.plan)?;
    let refused = |what: &str| EngineError::NotBegun { instance: order.instance.clone(), what: what.to_owned() };
    let index = pipeline.instances.iter().position(|instance| instance.id.to_string() == order.instance);
    let index = index.ok_or_else(|| refused("the pipeline has no such stage any more"))?;
    let sources: Vec<usize> = sources(&pipeline.instances[index]).collect();
    if sources.len() != order.inputs.len() {
        return Err(refused("it reads other stages than when the job was submitted"));
    }
    let mut results: Vec<Option<Arc<Manifest>>> = vec![None; pipeline.instances.len()];
    for (source, key) in sources.into_iter().zip(&order.inputs) {
        let made = store.manifest(key)?.or_else(|| remote?.kept(store, key));
        let made = made.ok_or_else(|| refused("what it reads is not in the store that this machine sees"))?;
        results[source] = Some(Arc::new(made));
    }
    let work = match planner.look(index, &results)? {
        Look::Fresh { key, .. } if key == order.key => return Ok(Worked::Done(Outcome::Cached)),
        Look::Stale(work) if work.key == order.key => work,
        Look::Fresh { .. } | Look::Stale(_) => {
            return Err(refused("it, or what it is made from, is not what it was when the job was submitted"));
        }
        Look::Blocked(failure) => return Ok(Worked::Failed(failure)),
    };
    // The run that waits for it has the records and the pins of its own; these go when it ends.
    let folder = store.temporary_folder()?;
    let reporter = Arc::new(Reporter::new(observer, folder.path().to_owned()).map_err(StoreError::File)?);
    let pins = Arc::new(store.pins(folder.path())?);
    let worker = Worker { planner: &planner, options: &options, reporter, pins, index };
    worker.run(work, order)
}

/// What a piece of work is done with.
struct Worker<'a> {
    planner: &'a Planner<'a>,
    options: &'a RunOptions,
    reporter: Arc<Reporter>,
    pins: Arc<Pins>,
    index: usize,
}

impl Worker<'_> {
    fn run(&self, work: Box<Work>, order: &WorkOrder) -> Result<Worked, EngineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(EngineError::Runtime)?;
        let handle = runtime.handle().clone();
        let stage = Arc::new(StageReporter::new(order.instance.clone(), Arc::clone(&self.reporter)));
        let Some(number) = order.shard else {
            return Ok(worked(self.job(work, Piece::Whole, &stage).run(&handle).ended));
        };
        let is_forced = work.reasons.contains(&Reason::Forced);
        let shards = match self.job(work, Piece::Cut, &stage).run(&handle).ended {
            Ended::Cut(shards) => shards,
            other => return Ok(worked(other)),
        };
        let of = shards.works.len();
        let Some(shard) = shards.works.into_iter().nth(number).filter(|shard| shard.made.is_none()) else {
            return Ok(Worked::Done(Outcome::Cached));
        };
        let name = ShardName { number, of, rows: shard.rows, whole: order.key, is_forced };
        let piece = Piece::Shard(Arc::new(ShardReporter::new(name, Arc::clone(&stage))));
        Ok(worked(self.job(shard.work, piece, &stage).run(&handle).ended))
    }

    fn job(&self, work: Box<Work>, piece: Piece, reporter: &Arc<StageReporter>) -> Job {
        let Planner { pipeline, store, people, world, .. } = self.planner;
        let options = self.options.clone();
        let folder = store.memo_folder().join("vectors");
        Job {
            pipeline: pipeline.name.clone(),
            instance: pipeline.instances[self.index].clone(),
            work,
            piece,
            store: (*store).clone(),
            cancel: options.cancel.child_token(),
            network: Network::new(pipeline, store, &options, world.clone(), &self.reporter),
            pins: Arc::clone(&self.pins),
            sharing: None,
            needs: Vec::new(),
            vectors: Arc::new(VectorMemo::new(folder, Arc::clone(&options.plan.clock))),
            people: Arc::clone(people),
            reporter: Arc::clone(reporter),
            options,
        }
    }
}

fn worked(ended: Ended) -> Worked {
    match ended {
        Ended::Done(_, outcome) => Worked::Done(outcome),
        Ended::Failed(failure) => Worked::Failed(failure),
        Ended::Stopped | Ended::Elsewhere(_) | Ended::Cut(_) => Worked::Stopped,
    }
}
