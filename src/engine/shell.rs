//! Runs a plan: settles what is up to date, starts what the scheduler allows,
//! and takes in what comes back. All decisions are made on one thread; only
//! the stages' work is on others.

mod split;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::elsewhere::Elsewhere;
use super::error::EngineError;
use super::event::{Event, Outcome};
use super::executor::{Executor, Threads};
use super::job::{Ended, Job, Report, in_store, remember};
use super::network::Network;
use super::options::{End, Failure, RunOptions, StageResult};
use super::piece::Piece;
use super::plan::{Plan, State};
use super::planner::{Look, Planner, Work, sources};
use super::reporter::Reporter;
use super::scheduler::{Because, Capacity, Scheduler, Status, Task};
use super::sharing::{Need, Sharing};
use crate::ground::ContentHash;
use crate::memo::VectorMemo;
use crate::pipeline::Instance;
use crate::stage::Resource;
use crate::store::{Manifest, Pins};
use crate::web::Spent;
use split::{Part, Sharded};

/// A run in progress. A *task* is a wanted instance, by its place in the plan.
pub(super) struct Shell<'a> {
    planner: &'a Planner<'a>,
    options: &'a RunOptions,
    reporter: Arc<Reporter>,
    network: Arc<Network>,
    pins: Arc<Pins>,
    sharing: Option<Arc<Sharing>>,
    vectors: Arc<VectorMemo>,
    scheduler: Scheduler,
    /// By instance.
    results: Vec<Option<Arc<Manifest>>>,
    /// By instance.
    synthetic: Vec<bool>,
    /// What the plan found for each task; taken when the task is decided.
    looks: Vec<Option<Look>>,
    /// Which tasks the plan left undecided.
    undecided: Vec<bool>,
    /// Work that is decided and waits to be started.
    works: BTreeMap<usize, Box<Work>>,
    /// The task that does, or will do, the work of a key.
    in_work: BTreeMap<ContentHash, usize>,
    /// The key that each of these tasks does.
    work_keys: BTreeMap<usize, ContentHash>,
    /// Tasks whose work another task does, and that task.
    twins: BTreeMap<usize, usize>,
    /// Tasks whose work another machine does, and when to look again.
    elsewhere: Elsewhere,
    /// Tasks that are cut into shards.
    sharded: BTreeMap<usize, Sharded>,
    /// Tasks that are shards; they come after those of the plan.
    parts: BTreeMap<usize, Part>,
    ends: Vec<Option<StageResult>>,
    machines: Machines,
    cancel: CancellationToken,
    stopping: bool,
}

/// What there is to work on.
pub(super) struct Machines {
    /// Of this machine.
    pub(super) capacity: Capacity,
    /// The instances that are worked on elsewhere.
    pub(super) away: BTreeSet<usize>,
    /// Has them worked on; there is one if there are any.
    pub(super) cluster: Option<Box<dyn Executor>>,
}

/// What is to be done with a task whose inputs are all there.
enum Decision {
    Done(Arc<Manifest>, Outcome),
    Work(Box<Work>),
    Failed(Failure),
}

impl<'a> Shell<'a> {
    /// A run of a plan.
    #[expect(clippy::too_many_arguments, reason = "they are what a run is made of")]
    pub(super) fn new(
        planner: &'a Planner<'a>,
        options: &'a RunOptions,
        plan: &Plan,
        looks: Vec<Option<Look>>,
        reporter: Arc<Reporter>,
        pins: Arc<Pins>,
        sharing: Option<Arc<Sharing>>,
        machines: Machines,
    ) -> Self {
        let pipeline = planner.pipeline;
        let places: BTreeMap<usize, usize> = planner.wanted.iter().enumerate().map(|(task, &i)| (i, task)).collect();
        let task = |&index: &usize| {
            let instance = &pipeline.instances[index];
            let needs = sources(instance).filter_map(|source| places.get(&source).copied()).collect();
            // Rows are cut and put together here, wherever shards are worked on.
            let is_cut = instance.shards > 1;
            let resource = if is_cut { Resource::Cpu(1) } else { instance.stage.resource() };
            Task { needs, resource, away: !is_cut && machines.away.contains(&index) }
        };
        let tasks: Vec<Task> = planner.wanted.iter().map(task).collect();
        let network = Network::new(pipeline, planner.store, options, planner.world.clone(), &reporter);
        let folder = planner.store.memo_folder().join("vectors");
        let vectors = Arc::new(VectorMemo::new(folder, Arc::clone(&options.plan.clock)));
        Self {
            planner,
            options,
            reporter,
            network,
            pins,
            sharing,
            vectors,
            results: vec![None; pipeline.instances.len()],
            synthetic: planner.synthetic(),
            looks,
            undecided: plan.stages.iter().map(|stage| matches!(stage.state, State::Undecided { .. })).collect(),
            works: BTreeMap::new(),
            in_work: BTreeMap::new(),
            work_keys: BTreeMap::new(),
            twins: BTreeMap::new(),
            elsewhere: Elsewhere::default(),
            sharded: BTreeMap::new(),
            parts: BTreeMap::new(),
            ends: vec![None; tasks.len()],
            scheduler: Scheduler::new(tasks, machines.capacity, options.keep_going),
            cancel: options.cancel.child_token(),
            machines,
            stopping: false,
        }
    }

    /// Settles everything that is up to date. Whether something is left to do.
    pub(super) fn settle_first(&mut self) -> bool {
        let ready = self.scheduler.ready();
        self.settle(ready);
        !self.scheduler.is_finished()
    }

    /// Does everything that is left to do.
    pub(super) async fn drive(&mut self, handle: &Handle) {
        let (sender, mut receiver) = unbounded_channel();
        loop {
            if self.options.cancel.is_cancelled() && !self.stopping {
                self.stopping = true;
                let skipped = self.scheduler.stop();
                self.skip(&skipped);
            }
            self.look_elsewhere();
            while let Some(task) = self.scheduler.start() {
                self.launch(task, handle, &sender);
            }
            if self.scheduler.is_finished() {
                break;
            }
            // Cancellation is looked at first: a stage that was told to stop
            // comes back only after the scheduler has been told as well.
            tokio::select! {
                biased;
                () = self.options.cancel.cancelled(), if !self.stopping => {}
                Some((task, report)) = receiver.recv() => self.take(task, report),
                () = tokio::time::sleep(self.elsewhere.next(Instant::now())) => {}
            }
        }
        let tell = |text| self.reporter.tell(&Event::Warning { text });
        self.network.land(tell).await;
        for text in self.network.close().into_iter().chain(self.vectors.take_warnings()) {
            self.reporter.tell(&Event::Warning { text });
        }
    }

    /// What became of each task.
    pub(super) fn finish(self) -> (Vec<StageResult>, Vec<Arc<Manifest>>) {
        self.tell_store_warnings();
        (self.ends.into_iter().flatten().collect(), self.results.into_iter().flatten().collect())
    }

    /// A task's work turns out to be done by another machine: others go first,
    /// and it is looked at again after a while.
    fn wait_elsewhere(&mut self, task: usize, work: Box<Work>) {
        self.works.insert(task, work);
        self.scheduler.put_back(task);
        self.elsewhere.wait(task, Instant::now());
    }

    /// Lets those tasks be looked at again whose pause is over.
    fn look_elsewhere(&mut self) {
        if !self.stopping {
            self.elsewhere.due(Instant::now()).into_iter().for_each(|task| self.scheduler.take_up(task));
        }
    }

    fn instance(&self, task: usize) -> &'a Instance {
        let whole = self.parts.get(&task).map_or(task, |part| part.whole);
        &self.planner.pipeline.instances[self.planner.wanted[whole]]
    }

    fn name(&self, task: usize) -> String {
        self.instance(task).id.to_string()
    }

    /// Decides tasks that have become ready, and those that become so by it.
    fn settle(&mut self, ready: Vec<usize>) {
        let mut queue = VecDeque::from(ready);
        while let Some(task) = queue.pop_front() {
            if self.scheduler.status()[task] != Status::Ready {
                continue;
            }
            match self.decide(task) {
                Decision::Done(manifest, outcome) => {
                    let report = Report::at_once(Ended::Done(manifest, outcome));
                    queue.extend(self.conclude(task, report));
                }
                Decision::Failed(failure) => {
                    let report = Report::at_once(Ended::Failed(failure));
                    queue.extend(self.conclude(task, report));
                }
                Decision::Work(work) => {
                    let twin = self.in_work.get(&work.key).copied().filter(|other| *other != task);
                    if let Some(other) = twin {
                        self.scheduler.wait_for(task, other);
                        self.twins.insert(task, other);
                    } else {
                        self.in_work.insert(work.key, task);
                        self.work_keys.insert(task, work.key);
                        self.works.insert(task, work);
                    }
                }
            }
        }
        self.tell_store_warnings();
    }

    fn decide(&mut self, task: usize) -> Decision {
        if let Some(decision) = self.decide_joined(task) {
            return decision;
        }
        let index = self.planner.wanted[task];
        if let Some(&twin) = self.twins.get(&task)
            && let Some(manifest) = self.results[self.planner.wanted[twin]].clone()
        {
            return self.restored(task, manifest, Outcome::Restored);
        }
        let look = match self.looks[task].take() {
            Some(look) => Ok(look),
            None => self.look_now(index),
        };
        match look {
            Ok(Look::Fresh { manifest, pulled: true, .. }) => self.restored(task, manifest, Outcome::Pulled),
            Ok(Look::Fresh { manifest, restored: true, .. }) => self.restored(task, manifest, Outcome::Restored),
            Ok(Look::Fresh { manifest, .. }) => {
                Decision::Done(manifest, if self.undecided[task] { Outcome::CutOff } else { Outcome::Cached })
            }
            Ok(Look::Stale(work)) => Decision::Work(work),
            Ok(Look::Blocked(failure)) => Decision::Failed(failure),
            Err(error) => Decision::Failed(Failure::of(&error, error.hint())),
        }
    }

    /// Looks at an instance during the run, and pins the result if it is there.
    fn look_now(&self, index: usize) -> Result<Look, EngineError> {
        let _guard = self.planner.store.guard()?;
        let look = self.planner.look(index, &self.results)?;
        if let Look::Fresh { key, .. } = &look {
            self.pins.add([*key])?;
        }
        Ok(look)
    }

    /// A result that the instance did not have last: it has it from now on.
    fn restored(&self, task: usize, manifest: Arc<Manifest>, outcome: Outcome) -> Decision {
        let (store, pipeline) = (self.planner.store, &self.planner.pipeline.name);
        match remember(store, pipeline, self.instance(task), &manifest, self.options.plan.clock.now_millis()) {
            Ok(()) => Decision::Done(manifest, outcome),
            Err(error) => Decision::Failed(in_store(&error)),
        }
    }

    fn launch(&mut self, task: usize, handle: &Handle, sender: &UnboundedSender<(usize, Report)>) {
        let Some(work) = self.works.remove(&task) else { return };
        let instance = self.instance(task).clone();
        let (reporter, piece) = self.piece(task, &work);
        if !self.elsewhere.is_known(task) && matches!(piece, Piece::Whole | Piece::Cut) {
            self.reporter.tell(&Event::StageStarted {
                stage: instance.id.to_string(),
                kind: instance.kind.name().to_owned(),
                reasons: work.reasons.iter().map(ToString::to_string).collect(),
            });
        }
        let job = Job {
            pipeline: self.planner.pipeline.name.clone(),
            reporter,
            instance,
            work,
            piece,
            store: self.planner.store.clone(),
            options: self.options.clone(),
            cancel: self.cancel.clone(),
            network: Arc::clone(&self.network),
            pins: Arc::clone(&self.pins),
            sharing: self.sharing.clone(),
            needs: self.needs(task),
            vectors: Arc::clone(&self.vectors),
            people: Arc::clone(&self.planner.people),
        };
        match &self.machines.cluster {
            Some(cluster) if self.scheduler.is_away(task) => cluster.start(task, job, handle, sender),
            _ => Threads.start(task, job, handle, sender),
        }
    }

    /// The tables that a task reads.
    fn needs(&self, task: usize) -> Vec<Need> {
        let sources = self.instance(task).inputs.values().flatten();
        let need = |source: &crate::pipeline::Source| {
            let producer = Arc::clone(self.results[source.instance].as_ref()?);
            Some(Need { artifact: producer.outputs.get(&source.output)?.clone(), producer })
        };
        sources.filter_map(need).collect()
    }

    fn take(&mut self, task: usize, mut report: Report) {
        if let Ended::Elsewhere(work) = &mut report.ended
            && let Some(work) = work.take()
        {
            self.wait_elsewhere(task, work);
            return;
        }
        self.elsewhere.forget(task);
        if let Some(report) = self.take_sharded(task, report) {
            let ready = self.conclude(task, report);
            self.settle(ready);
        }
    }

    /// Records how a task ended. Gives the tasks that have become ready by it.
    fn conclude(&mut self, task: usize, report: Report) -> Vec<usize> {
        self.leave_work(task);
        let Report { ended, spent, mut statuses, mut seconds } = report;
        if let Some(sharded) = self.sharded.remove(&task) {
            (statuses, seconds) = (sharded.reporter.statuses(), sharded.seconds());
            sharded.reporter.finish();
        }
        let mut result = StageResult {
            stage: self.name(task),
            end: End::Skipped("the run was stopped".to_owned()),
            rows: 0,
            seconds,
            spent,
            statuses,
            synthetic: self.synthetic[self.planner.wanted[task]],
            key: None,
            outputs: BTreeMap::new(),
        };
        match ended {
            Ended::Done(manifest, outcome) => {
                result.end = End::Done(outcome);
                result.rows = main_rows(self.instance(task), &manifest);
                result.key = Some(manifest.key);
                result.outputs = manifest.outputs.iter().map(|(port, a)| (port.clone(), a.hash)).collect();
                self.tell_done(&result, outcome, &manifest);
                self.results[self.planner.wanted[task]] = Some(manifest);
                self.ends[task] = Some(result);
                self.scheduler.done(task)
            }
            Ended::Failed(failure) => {
                let Failure { error, causes, hint } = failure.clone();
                self.reporter.tell(&Event::StageFailed {
                    stage: result.stage.clone(),
                    error,
                    causes,
                    hint,
                    seconds,
                    spent,
                    statuses: result.statuses.clone(),
                });
                result.end = End::Failed(failure);
                self.ends[task] = Some(result);
                let skipped = self.scheduler.failed(task);
                self.skip(&skipped);
                Vec::new()
            }
            // A cut that nobody goes on with is as one that was stopped.
            Ended::Stopped | Ended::Elsewhere(_) | Ended::Cut(_) => {
                let because = "the run was stopped".to_owned();
                self.reporter.tell(&Event::StageSkipped { stage: result.stage.clone(), because });
                self.ends[task] = Some(result);
                self.scheduler.stopped(task);
                Vec::new()
            }
        }
    }

    /// A task's key is free again for others.
    fn leave_work(&mut self, task: usize) {
        if let Some(key) = self.work_keys.remove(&task) {
            self.in_work.remove(&key);
        }
    }

    fn tell_done(&self, result: &StageResult, outcome: Outcome, manifest: &Manifest) {
        if !outcome.has_run() {
            for text in &manifest.warnings {
                let (stage, text) = (result.stage.clone(), text.clone());
                self.reporter.tell(&Event::StageWarning { stage, text, remembered: true });
            }
        }
        self.reporter.tell(&Event::StageFinished {
            stage: result.stage.clone(),
            outcome,
            rows: result.rows,
            seconds: result.seconds,
            spent: result.spent,
            statuses: result.statuses.clone(),
            synthetic: result.synthetic,
            key: manifest.key,
            blessed: manifest.blessed.last().map(|blessing| blessing.why.clone()),
        });
    }

    fn skip(&mut self, skipped: &[(usize, Because)]) {
        for &(task, because) in skipped {
            self.works.remove(&task);
            self.leave_work(task);
            if self.parts.contains_key(&task) {
                continue;
            }
            let because = match because {
                Because::Failed(cause) => format!("`{}` failed", self.name(cause)),
                Because::StoppedAfter(cause) => format!("the run stopped after `{}` failed", self.name(cause)),
                Because::Stopped => "the run was stopped".to_owned(),
            };
            let stage = self.name(task);
            self.reporter.tell(&Event::StageSkipped { stage: stage.clone(), because: because.clone() });
            let synthetic = self.synthetic[self.planner.wanted[task]];
            self.ends[task] = Some(StageResult {
                stage,
                end: End::Skipped(because),
                rows: 0,
                seconds: 0.0,
                spent: Spent::default(),
                statuses: BTreeMap::new(),
                synthetic,
                key: None,
                outputs: BTreeMap::new(),
            });
        }
    }

    fn tell_store_warnings(&self) {
        let of_remote = self.sharing.iter().flat_map(|sharing| sharing.remote.take_warnings());
        for text in self.planner.store.take_warnings().into_iter().chain(of_remote) {
            self.reporter.tell(&Event::Warning { text });
        }
    }
}

/// The rows of an instance's main output.
fn main_rows(instance: &Instance, manifest: &Manifest) -> u64 {
    let main = instance.stage.outputs().into_iter().next();
    main.and_then(|port| manifest.outputs.get(&*port.name)).map_or(0, |artifact| artifact.rows)
}
