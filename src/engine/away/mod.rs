//! Work that a cluster does: each piece is a job that is named by its key. The
//! truth is in the store: work is done when its result is there, whoever
//! submitted the job and whatever became of him. The cluster is only asked
//! whether it is worth waiting.

mod next;
mod order;
mod slurm;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::executor::Executor;
use super::job::{Ended, Job, Report};
use super::options::{EngineChoice, Failure, OnInterrupt, RunOptions};
use super::plan::{Plan, Planned, State};
use super::reporter::Reporter;
use crate::ground::{ContentHash, count};
use crate::pipeline::{EngineSettings, Pipeline};
use crate::stage::Resource;
use crate::store::Store;
use next::Next;
use order::Order;
use slurm::{QueueError, QueuedJob, Submission};

/// The folder of jobs' outputs in a run's folder.
const LOGS: &str = "slurm";
/// The shortest and the longest time between two looks at the cluster.
const PAUSE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// How long work that comes together may come apart: it is submitted as one array.
const TOGETHER: Duration = Duration::from_millis(150);
/// How long a cluster may not answer before the run warns.
const SILENT: Duration = Duration::from_mins(1);
/// How often a run looks whether it was told to stop.
const TICK: Duration = Duration::from_millis(100);

/// The instances that a cluster is to work on: those that compute, and took
/// long enough last time to be worth a job. Whoever asks an API stays, since
/// its limits are kept by one process.
pub(super) fn wanted(pipeline: &Pipeline, plan: &Plan, engine: EngineChoice) -> BTreeSet<usize> {
    let uses_slurm = match engine {
        EngineChoice::AsWritten => pipeline.engine.uses_slurm,
        EngineChoice::Local => false,
        EngineChoice::Slurm => true,
    };
    let goes = |planned: &&Planned| {
        let instance = &pipeline.instances[planned.index];
        let computes = !matches!(instance.stage.resource(), Resource::Api(_));
        let is_open = !matches!(planned.state, State::Fresh { .. } | State::Blocked { .. });
        computes && is_open && !pipeline.engine.of_stage(&instance.id.stage).stays(planned.last_seconds)
    };
    plan.stages.iter().filter(|_| uses_slurm).filter(goes).map(|planned| planned.index).collect()
}

/// Has a cluster do the work.
pub(super) struct Cluster {
    orders: Sender<Order>,
    settings: EngineSettings,
}

impl Cluster {
    /// Starts the thread that looks after the jobs of a run.
    ///
    /// # Errors
    /// The system's reason if there can be no thread or no folder for logs.
    pub(super) fn start(
        settings: EngineSettings,
        store: &Store,
        options: &RunOptions,
        reporter: &Arc<Reporter>,
    ) -> std::io::Result<Self> {
        let logs = std::path::absolute(reporter.folder().join(LOGS))?;
        std::fs::create_dir_all(&logs)?;
        let (orders, new) = channel();
        let keeper = Keeper {
            store: store.clone(),
            options: options.clone(),
            reporter: Arc::clone(reporter),
            cancel: options.cancel.clone(),
            logs,
            open: Vec::new(),
            told: BTreeMap::new(),
            silent_since: None,
        };
        std::thread::Builder::new().name("cluster".to_owned()).spawn(move || keeper.serve(&new))?;
        Ok(Self { orders, settings })
    }
}

impl Executor for Cluster {
    fn start(&self, task: usize, job: Job, handle: &Handle, done: &UnboundedSender<(usize, Report)>) {
        let settings = self.settings.of_stage(&job.instance.id.stage);
        let (orders, done) = (self.orders.clone(), done.clone());
        // Nodes see this store, not the one that is shared with others: claims are the run's, and what is only
        // there is brought here.
        drop(handle.spawn_blocking(move || {
            let claimed = job.turn().and_then(|turn| match turn {
                ControlFlow::Continue(claim) => job.fetch_inputs().map(|()| ControlFlow::Continue(claim)),
                ControlFlow::Break(ended) => Ok(ControlFlow::Break(ended)),
            });
            let ended = match claimed {
                Ok(ControlFlow::Continue(claim)) => {
                    // The thread lives as long as this value; if it is gone nobody waits.
                    orders.send(Order::new(task, job, settings, claim, done)).ok();
                    return;
                }
                Ok(ControlFlow::Break(Ended::Elsewhere(_))) => Ended::Elsewhere(Some(job.work)),
                Ok(ControlFlow::Break(ended)) => {
                    job.ended_away(&ended);
                    ended
                }
                Err(failure) => Ended::Failed(failure),
            };
            done.send((task, Report::at_once(ended))).ok();
        }));
    }
}

/// Looks after the jobs of a run.
struct Keeper {
    store: Store,
    options: RunOptions,
    reporter: Arc<Reporter>,
    cancel: CancellationToken,
    /// Where the outputs of jobs go.
    logs: PathBuf,
    open: Vec<Order>,
    /// What was told of each stage last.
    told: BTreeMap<String, String>,
    silent_since: Option<Instant>,
}

impl Keeper {
    fn serve(mut self, orders: &Receiver<Order>) {
        let mut pause = PAUSE[0];
        let mut looked: Option<Instant> = None;
        loop {
            match orders.recv_timeout(TICK) {
                Ok(order) => {
                    self.open.push(order);
                    while let Ok(order) = orders.recv_timeout(TOGETHER) {
                        self.open.push(order);
                    }
                    (looked, pause) = (None, PAUSE[0]);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if self.open.is_empty() => return,
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if self.cancel.is_cancelled() && !self.open.is_empty() {
                self.interrupt();
            }
            let due = looked.is_none_or(|last| last.elapsed() >= pause);
            if due && !self.open.is_empty() {
                let moved = self.look();
                pause = if moved { PAUSE[0] } else { (pause * 3 / 2).min(PAUSE[1]) };
                looked = Some(Instant::now());
            }
        }
    }

    /// Looks at the cluster and the store; whether anything has changed.
    fn look(&mut self) -> bool {
        let before = self.open.len();
        let jobs = match slurm::list() {
            Ok(jobs) => by_work(jobs),
            Err(error) => return self.no_answer(&error),
        };
        self.silent_since = None;
        let mut submit: BTreeMap<String, Vec<Order>> = BTreeMap::new();
        for mut order in std::mem::take(&mut self.open) {
            match order.look(&jobs) {
                None => {}
                Some(Next::Wait) => self.open.push(order),
                Some(Next::Submit) => submit.entry(order.name.clone()).or_default().push(order),
                Some(Next::Fail(why)) => order.fail(why),
            }
        }
        let has_new = !submit.is_empty();
        for (name, orders) in submit {
            self.submit(&name, orders);
        }
        self.tell() || has_new || self.open.len() != before
    }

    /// Submits what belongs to one stage, unless another run does so meanwhile.
    fn submit(&mut self, name: &str, orders: Vec<Order>) {
        let turn = ContentHash::of(format!("submit {name}").as_bytes());
        let Ok(Some(_turn)) = self.store.try_lock(&turn) else {
            // Whoever has the turn submits it: the next look finds his jobs.
            return self.open.extend(orders);
        };
        let jobs = match slurm::list() {
            Ok(jobs) => by_work(jobs),
            Err(_) => return self.open.extend(orders),
        };
        let mut wanted = Vec::new();
        for mut order in orders {
            match order.look(&jobs) {
                None => {}
                Some(Next::Submit) => match order.pin() {
                    Ok(()) => wanted.push(order),
                    Err(failure) => order.give(Ended::Failed(failure)),
                },
                Some(_) => self.open.push(order),
            }
        }
        wanted.sort_by_key(|order| order.index);
        let Some(first) = wanted.first() else { return };
        let indices: Vec<usize> = wanted.iter().filter_map(|order| order.index).collect();
        let is_array = !indices.is_empty();
        let log = self.logs.join(format!("{name}-{}.log", if is_array { "%A_%a" } else { "%j" }));
        let submission = Submission {
            name,
            indices: is_array.then_some(&indices[..]),
            settings: &first.settings,
            resource: &first.job.instance.stage.resource(),
            log,
            words: first.words(&self.options.worker),
        };
        let (taken, log) = (slurm::submit(&submission), submission.log);
        match taken {
            Ok(number) => wanted.iter_mut().for_each(|order| order.submitted(number, &log)),
            // It may have been taken all the same: the next look says so.
            Err(QueueError::Silent { .. }) => {}
            Err(error) => {
                let hint = "correct `engine: { slurm: … }`, or run without it: `--engine local`";
                let failure = Failure::of(&error, Some(hint.to_owned()));
                return wanted.into_iter().for_each(|order| order.give(Ended::Failed(failure.clone())));
            }
        }
        self.open.extend(wanted);
    }

    /// The cluster does not answer: that may pass, and the jobs go on meanwhile.
    fn no_answer(&mut self, error: &QueueError) -> bool {
        if let QueueError::NoCommand { .. } = error {
            let hint = "run on a machine from which jobs can be submitted, or with `--engine local`".to_owned();
            let failure = Failure::of(error, Some(hint));
            for order in std::mem::take(&mut self.open) {
                order.give(Ended::Failed(failure.clone()));
            }
            return true;
        }
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SILENT {
            let text = format!("{error}; the run waits, and jobs that were submitted go on");
            self.reporter.tell(&Event::Warning { text });
            self.silent_since = Some(Instant::now());
        }
        false
    }

    /// Tells of each stage how its jobs stand, where that is news.
    fn tell(&mut self) -> bool {
        let mut stages: BTreeMap<String, Vec<&Order>> = BTreeMap::new();
        for order in &self.open {
            stages.entry(order.job.instance.id.to_string()).or_default().push(order);
        }
        let mut moved = false;
        for (stage, orders) in stages {
            let text = order::in_words(&orders);
            if self.told.get(&stage) != Some(&text) {
                orders[0].note(&text);
                self.told.insert(stage, text);
                moved = true;
            }
        }
        moved
    }

    /// The run was told to stop: its jobs are cancelled, or go on without it.
    fn interrupt(&mut self) {
        let open = std::mem::take(&mut self.open);
        let ids: Vec<String> = open.iter().filter_map(|order| order.id.clone()).collect();
        let decision =
            if ids.is_empty() { OnInterrupt::Leave } else { self.options.jobs_keeper.on_interrupt(ids.len()) };
        let is_one = ids.len() == 1;
        let text = match decision {
            OnInterrupt::Cancel => match slurm::cancel(&ids) {
                Ok(()) => {
                    format!(
                        "{} of the cluster {} cancelled",
                        count(ids.len() as u64, "job"),
                        if is_one { "was" } else { "were" }
                    )
                }
                Err(error) => format!("{} could not be cancelled: {error}", count(ids.len() as u64, "job")),
            },
            OnInterrupt::Leave => {
                let verb = if is_one { "goes" } else { "go" };
                format!(
                    "{} of the cluster {verb} on: the next run takes up what is made",
                    count(ids.len() as u64, "job")
                )
            }
        };
        if !ids.is_empty() {
            self.reporter.tell(&Event::Warning { text });
        }
        for order in open {
            order.give(Ended::Stopped);
        }
    }
}

/// The latest job of each piece of work.
fn by_work(jobs: Vec<QueuedJob>) -> BTreeMap<(String, Option<usize>), QueuedJob> {
    let mut latest: BTreeMap<(String, Option<usize>), QueuedJob> = BTreeMap::new();
    for job in jobs {
        let work = (job.name.clone(), job.index);
        if latest.get(&work).is_none_or(|other| other.number < job.number) {
            latest.insert(work, job);
        }
    }
    latest
}
