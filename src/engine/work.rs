//! One piece of a run's work, done on another machine of its cluster: the
//! pipeline is planned anew, and the piece is done if its key is the expected
//! one. The result goes to the store, where the run finds it.

use std::sync::Arc;

use super::error::EngineError;
use super::event::{Observer, Outcome};
use super::job::{Ended, Job};
use super::network::Network;
use super::options::{Failure, RunOptions};
use super::piece::{Piece, ShardName, ShardReporter};
use super::planner::{Look, Planner, Work};
use super::reason::Reason;
use super::reporter::Reporter;
use super::stage_reporter::StageReporter;
use crate::ground::ContentHash;
use crate::memo::VectorMemo;
use crate::pipeline::Pipeline;
use crate::store::{Pins, Store, StoreError};

/// Which piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkOrder {
    /// The instance, as it displays.
    pub instance: String,
    /// Which of its shards, from 0; all of it if none.
    pub shard: Option<usize>,
    /// The key that the instance's work must have.
    pub key: ContentHash,
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

/// Does one piece of work. Makes its own threads: call it outside of any runtime.
///
/// # Errors
/// [`EngineError`] if it could not be begun: the store cannot be read, what the
/// instance reads is not there, or its key is another.
pub fn work(
    pipeline: &Pipeline,
    store: &Store,
    options: &RunOptions,
    order: &WorkOrder,
    observer: Arc<dyn Observer>,
) -> Result<Worked, EngineError> {
    let mut options = options.clone();
    options.plan.targets = vec![order.instance.clone()];
    let planner = Planner::new(pipeline, store, &options.plan)?;
    let (plan, looks) = planner.plan()?;
    let place = plan.stages.iter().position(|planned| planned.id.to_string() == order.instance);
    let refused = |what: String| EngineError::NotBegun { instance: order.instance.clone(), what };
    let place = place.ok_or_else(|| refused("the pipeline has no such stage".to_owned()))?;
    let work = match looks.into_iter().nth(place).flatten() {
        Some(Look::Fresh { key, .. }) if key == order.key => return Ok(Worked::Done(Outcome::Cached)),
        Some(Look::Stale(work)) if work.key == order.key => work,
        Some(Look::Fresh { .. } | Look::Stale(_)) => {
            return Err(refused("what it is made from is not what it was when the job was submitted".to_owned()));
        }
        Some(Look::Blocked(failure)) => return Ok(Worked::Failed(failure)),
        None => return Err(refused("what it reads is not in the store that this machine sees".to_owned())),
    };
    // The run that waits for it has the records and the pins of its own; these go when it ends.
    let folder = store.temporary_folder()?;
    let reporter = Arc::new(Reporter::new(observer, folder.path().to_owned()).map_err(StoreError::File)?);
    let pins = Arc::new(store.pins(folder.path())?);
    let worker = Worker { planner: &planner, options: &options, reporter, pins, index: plan.stages[place].index };
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
