//! One stage's work, on a thread of its own: take the key's lock, adopt what
//! another run made meanwhile or run the stage, and publish its result.
//!
//! The order is what makes a kill at any moment harmless: artifacts first, then
//! the manifest that names them, then the record of the instance's last run,
//! and only then the lock is given back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::event::Outcome;
use super::memory;
use super::network::Network;
use super::offline;
use super::options::{Failure, RunOptions};
use super::outputs::{OutputError, Outputs};
use super::piece::{Piece, Shards};
use super::planner::{Work, damage, is_api};
use super::sharing::{Need, Sharing, Turn};
use super::stage_reporter::StageReporter;
use crate::ground::{ContentHash, Seed, files};
use crate::memo::VectorMemo;
use crate::model::Models;
use crate::people::People;
use crate::pipeline::{Instance, Refresh};
use crate::remote::Claim;
use crate::stage::{Known, Progress as _, Resource, StageContext, StageError};
use crate::store::{self, Artifact, Guard, KeyLock, LastRun, Manifest, Pins, Store, StoreError};
use crate::table::TableError;
use crate::web::{Allowance, BudgetDecision, BudgetQuestion, Forecast, Session, Spent};

/// How often a key that another run holds is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A little longer than the memo waits between two looks at its folder.
const MEMO_LOOKS: Duration = Duration::from_millis(1_050);

/// What to do when the store cannot write.
const CHECK_SPACE: &str = "check the space and the permissions of the artifacts folder";

/// Everything that one stage's work needs.
pub(super) struct Job {
    pub(super) pipeline: String,
    pub(super) instance: Instance,
    pub(super) work: Box<Work>,
    /// Which part of the work it does.
    pub(super) piece: Piece,
    pub(super) store: Store,
    pub(super) options: RunOptions,
    pub(super) cancel: CancellationToken,
    pub(super) network: Arc<Network>,
    pub(super) pins: Arc<Pins>,
    pub(super) sharing: Option<Arc<Sharing>>,
    /// The tables that it reads.
    pub(super) needs: Vec<Need>,
    pub(super) vectors: Arc<VectorMemo>,
    pub(super) people: Arc<People>,
    pub(super) reporter: Arc<StageReporter>,
}

/// How the work ended.
pub(super) enum Ended {
    /// The result is there.
    Done(Arc<Manifest>, Outcome),
    /// Another machine does the work: it is to be looked at again. With the work,
    /// once the job has ended.
    Elsewhere(Option<Box<Work>>),
    /// Its rows are cut into shards, which are to be worked on.
    Cut(Box<Shards>),
    /// It was told to stop.
    Stopped,
    /// It failed.
    Failed(Failure),
}

/// How the work ended, and what it took.
pub(super) struct Report {
    pub(super) ended: Ended,
    pub(super) spent: Spent,
    /// How many rows ended how, by class of status.
    pub(super) statuses: BTreeMap<String, u64>,
    pub(super) seconds: f64,
}

impl Report {
    /// What took no time.
    pub(super) fn at_once(ended: Ended) -> Self {
        Self { ended, spent: Spent::default(), statuses: BTreeMap::new(), seconds: 0.0 }
    }
}

/// How old an answer may be that a stage takes from the memo.
pub(super) fn max_age(refresh: Refresh) -> Option<Duration> {
    match refresh {
        Refresh::Once => None,
        Refresh::Always => Some(Duration::ZERO),
        Refresh::After(age) => Some(age),
    }
}

impl Job {
    /// Does the work. Never panics: a panic is a failure of the stage.
    pub(super) fn run(self, handle: &Handle) -> Report {
        let started = Instant::now();
        let mut session = Session::closed();
        let kind = self.instance.kind.name();
        let ended = catch_unwind(AssertUnwindSafe(|| self.attempt(handle, &mut session, started)));
        let ended = match ended {
            Ok(Ok(Ended::Elsewhere(_))) => return Report::at_once(Ended::Elsewhere(Some(self.work))),
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) if self.cancel.is_cancelled() => Ended::Stopped,
            Ok(Err(failure)) => Ended::Failed(failure),
            Err(payload) => Ended::Failed(panicked(kind, payload.as_ref())),
        };
        if matches!(self.piece, Piece::Whole) {
            self.reporter.finish();
        }
        let (spent, statuses) = (session.spent(), self.reporter.statuses());
        Report { ended, spent, statuses, seconds: started.elapsed().as_secs_f64() }
    }

    fn attempt(&self, handle: &Handle, session: &mut Session, started: Instant) -> Result<Ended, Failure> {
        let Some(_lock) = self.lock(handle, &self.work.key)? else { return Ok(Ended::Stopped) };
        let guard = self.pinned().map_err(|error| in_store(&error))?;
        if let Some(manifest) = self.adoptable().map_err(|error| in_store(&error))? {
            let manifest = Arc::new(manifest);
            self.remember(&manifest).map_err(|error| in_store(&error))?;
            return Ok(Ended::Done(manifest, Outcome::Adopted));
        }
        drop(guard);
        let claim = match self.turn()? {
            ControlFlow::Continue(claim) => claim,
            ControlFlow::Break(ended) => return Ok(ended),
        };
        self.fetch_inputs()?;
        match &self.piece {
            Piece::Cut => return self.cut(handle, claim),
            Piece::Join { cut, made, claim } => {
                let claim = claim.lock().unwrap_or_else(PoisonError::into_inner).take();
                return self.join(cut, made, started, claim);
            }
            Piece::Whole | Piece::Shard(_) => {}
        }
        if let Resource::Api(limiter) = self.instance.stage.resource() {
            let opened = handle.block_on(self.network.session(max_age(self.instance.refresh), self.cancel.clone()))?;
            *session = opened.of_stage(&self.instance.id.to_string());
            self.reporter.watch(session, &limiter);
        }
        let outputs = self.outputs();
        let context = self.context(&outputs, session.clone());
        let known = if matches!(self.piece, Piece::Whole) { self.known_rows(&context) } else { None };
        self.within_budget(handle, &context, known)?;
        let ran = {
            let _ticking = self.reporter.ticking(handle);
            handle.block_on(self.instance.stage.run(&context))
        };
        // What it made of the rows that have answers is not the result.
        if let Some(failure) = offline::refusal(&self.instance.id.to_string(), &context.web.lacking(), known) {
            return Err(failure);
        }
        ran.map_err(|error| of_stage(&error))?;
        if is_api(&self.instance) {
            self.network.flush()?;
        }
        self.finish(&outputs, self.piece.warnings(&self.reporter), session.requests(), started, claim)
    }

    /// Where the stage's tables go.
    pub(super) fn outputs(&self) -> Outputs {
        let ports = self.instance.stage.outputs().into_iter().map(|port| port.name.into_owned()).collect();
        Outputs::new(&self.store, ports)
    }

    /// Publishes what was written.
    pub(super) fn finish(
        &self,
        outputs: &Outputs,
        warnings: Vec<String>,
        requests: u64,
        started: Instant,
        claim: Option<Claim>,
    ) -> Result<Ended, Failure> {
        let _guard = self.store.guard().map_err(|error| in_store(&error))?;
        let artifacts = outputs.finish().map_err(|error| {
            let is_bug = matches!(error, OutputError::Missing(_));
            Failure::of(&error, (!is_bug).then(|| CHECK_SPACE.to_owned()))
        })?;
        self.publish(artifacts, warnings, requests, started, claim).map_err(|error| in_store(&error))
    }

    /// Claims the work among the machines that share a store, unless another does it
    /// or has done it. Whoever may cut the rows may work on the shards: only the
    /// whole is claimed.
    pub(super) fn turn(&self) -> Result<ControlFlow<Ended, Option<Claim>>, Failure> {
        let Some(sharing) = self.sharing.as_ref().filter(|_| matches!(self.piece, Piece::Whole | Piece::Cut)) else {
            return Ok(ControlFlow::Continue(None));
        };
        Ok(match sharing.turn(&self.work.key, self.work.refused, self.options.plan.clock.now_millis()) {
            Turn::Ours(claim) => ControlFlow::Continue(claim),
            Turn::Theirs => {
                self.reporter.note("waiting for another machine that is making the same");
                ControlFlow::Break(Ended::Elsewhere(None))
            }
            Turn::Made(manifest) => {
                self.remember(&manifest).map_err(|error| in_store(&error))?;
                ControlFlow::Break(Ended::Done(Arc::new(*manifest), Outcome::Pulled))
            }
        })
    }

    /// Gets what it reads from the shared store, as far as it is not here.
    pub(super) fn fetch_inputs(&self) -> Result<(), Failure> {
        let Some(sharing) = &self.sharing else { return Ok(()) };
        let reporter = Arc::clone(&self.reporter);
        sharing.fetch(&self.needs, move |text| reporter.note(text), &self.cancel)
    }

    /// How many rows are known before the work begins, with what the shared
    /// store knows; tells it.
    pub(super) fn known_rows(&self, context: &StageContext) -> Option<Known> {
        let mut known = self.count_known(context);
        if let Some(sharing) = self.sharing.as_ref().filter(|_| !self.options.offline)
            && sharing.bring_memo(known, is_api(&self.instance))
        {
            // The memo looks for others' segments once a second.
            std::thread::sleep(MEMO_LOOKS);
            known = self.count_known(context);
        }
        if let Some(known) = known {
            self.reporter.known(known);
        }
        known
    }

    /// The lock of a key, once no other run holds it; none if told to stop.
    pub(super) fn lock(&self, handle: &Handle, key: &ContentHash) -> Result<Option<KeyLock>, Failure> {
        let mut waiting = false;
        loop {
            if self.cancel.is_cancelled() {
                return Ok(None);
            }
            if let Some(lock) = self.store.try_lock(key).map_err(|error| in_store(&error))? {
                return Ok(Some(lock));
            }
            if !waiting {
                waiting = true;
                self.reporter.note("waiting for another run that is making the same");
            }
            handle.block_on(async {
                tokio::select! {
                    () = self.cancel.cancelled() => {}
                    () = tokio::time::sleep(LOCK_INTERVAL) => {}
                }
            });
        }
    }

    /// Pins the key, whose result is about to be adopted or made, and keeps
    /// collection away until that is settled.
    pub(super) fn pinned(&self) -> Result<Guard, StoreError> {
        let guard = self.store.guard()?;
        self.pins.add([self.work.key])?;
        Ok(guard)
    }

    /// What another run has made of the same key since this one looked.
    fn adoptable(&self) -> Result<Option<Manifest>, StoreError> {
        let manifest = self.store.manifest(&self.work.key)?;
        Ok(manifest.filter(|manifest| {
            self.work.refused != Some(manifest.made_at_millis)
                && damage(&self.store, self.instance.stage.as_ref(), manifest).is_empty()
        }))
    }

    /// What another machine has made of the work, if it has.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read, or it not be written down that it is used.
    pub(super) fn made(&self) -> Result<Option<Manifest>, StoreError> {
        let _guard = self.store.guard()?;
        let made = self.adoptable()?;
        if let Some(manifest) = &made {
            self.pins.add([self.work.key])?;
            self.remember(manifest)?;
        }
        Ok(made)
    }

    /// How a result that was made elsewhere differs from the one before.
    pub(super) fn outcome_of(&self, manifest: &Manifest) -> Outcome {
        let unchanged = self.work.before.as_ref().is_some_and(|before| same_columns(before, manifest));
        if unchanged { Outcome::Unchanged } else { Outcome::Ran }
    }

    /// Tells how far the stage is after its piece ended elsewhere.
    pub(super) fn ended_away(&self, ended: &Ended) {
        match self.piece.shard() {
            Some(shard) if matches!(ended, Ended::Done(..)) => self.reporter.advance(shard.rows),
            Some(_) => {}
            None => self.reporter.finish(),
        }
    }

    /// How many rows are known here before the work begins.
    fn count_known(&self, context: &StageContext) -> Option<Known> {
        let vectors = context.vectors.clone();
        let (inputs, environment) = (context.inputs.clone(), context.environment.clone());
        let looking = StageContext::of_memo(inputs, &context.web, vectors, Arc::clone(&context.models), environment);
        let looking = StageContext { people: context.people.clone(), ..looking };
        memory::known(&self.instance, &looking)
    }

    /// Has it decided what to do if the budget will not do for what is to be asked.
    fn within_budget(&self, handle: &Handle, context: &StageContext, known: Option<Known>) -> Result<(), Failure> {
        let (Resource::Api(limiter), Some(needs)) =
            (self.instance.stage.resource(), known.and_then(|known| known.expected))
        else {
            return Ok(());
        };
        let Some((budget, left)) = context.web.budget(&limiter).filter(|(_, left)| !left.covers(&needs)) else {
            return Ok(());
        };
        if self.options.offline {
            return Ok(());
        }
        let stage = self.instance.id.to_string();
        let told = shortfall(&limiter, &needs, &left);
        let question = BudgetQuestion::TooSmall { stage: stage.clone(), limiter: limiter.clone(), needs, left, budget };
        let decided = self.options.keeper.decide(question);
        let decision = handle.block_on(async {
            tokio::select! {
                () = self.cancel.cancelled() => BudgetDecision::Stop,
                decision = decided => decision,
            }
        });
        context.web.decide_budget(&limiter, decision);
        match decision {
            BudgetDecision::Stop => {
                return Err(Failure {
                    error: format!("`{stage}` was not begun: {told}"),
                    causes: Vec::new(),
                    hint: Some(format!("raise `budgets.{limiter}`, or go on until it is spent")),
                });
            }
            BudgetDecision::GoOn => self.reporter.warn_now(format!("{told}; it ends when that is spent")),
            BudgetDecision::Raise => self.reporter.warn_now(format!("{told}; this run may exceed it")),
        }
        Ok(())
    }

    pub(super) fn context(&self, outputs: &Outputs, web: Session) -> StageContext {
        // A stage that says it draws no random numbers is given the same seed
        // everywhere, so that its result cannot depend on one by mistake.
        let seed = if self.instance.stage.is_seeded() {
            Seed::of_stage(self.instance.seed, &self.instance.id.stage)
        } else {
            Seed::of_stage(0, "")
        };
        StageContext {
            inputs: self.work.assembled.inputs.clone(),
            outputs: Mutex::new(Box::new(outputs.clone())),
            seed,
            cancel: self.cancel.clone(),
            progress: self.piece.progress(&self.reporter),
            web,
            vectors: Some(Arc::clone(&self.vectors)),
            people: Some(Arc::clone(&self.people)),
            models: self.models(),
            environment: self.options.environment.clone(),
        }
    }

    /// The models; an offline run fetches no weights.
    fn models(&self) -> Arc<Models> {
        let given = &self.options.models;
        if self.options.offline { Arc::new(given.as_ref().clone().offline()) } else { Arc::clone(given) }
    }

    fn publish(
        &self,
        outputs: BTreeMap<String, Artifact>,
        warnings: Vec<String>,
        requests: u64,
        started: Instant,
        claim: Option<Claim>,
    ) -> Result<Ended, StoreError> {
        let manifest = Manifest {
            format: store::FORMAT,
            key: self.work.key,
            instance: self.piece.named(&self.instance.id),
            pipeline: self.pipeline.clone(),
            kind: self.instance.kind.name().to_owned(),
            fingerprint: self.work.assembled.fingerprint.to_value(),
            outputs,
            warnings,
            made_at_millis: self.options.plan.clock.now_millis(),
            seconds: started.elapsed().as_secs_f64(),
            requests,
            blessed: Vec::new(),
        };
        let outcome = self.outcome_of(&manifest);
        self.store.publish(&manifest)?;
        self.remember(&manifest)?;
        let manifest = Arc::new(manifest);
        self.share(&manifest, claim);
        Ok(Ended::Done(manifest, outcome))
    }

    /// Sends a result to the shared store: what shards make is of use to this
    /// machine, the whole goes to all.
    pub(super) fn share(&self, manifest: &Arc<Manifest>, claim: Option<Claim>) {
        if let Some(sharing) = self.sharing.as_ref().filter(|_| !matches!(self.piece, Piece::Shard(_))) {
            sharing.made(manifest, self.work.refused.is_some(), claim);
        }
    }

    /// Only a whole result is one that the instance has.
    fn remember(&self, manifest: &Manifest) -> Result<(), StoreError> {
        if matches!(self.piece, Piece::Shard(_)) {
            return Ok(());
        }
        let at = self.options.plan.clock.now_millis();
        remember(&self.store, &self.pipeline, &self.instance, manifest, at)
    }
}

/// Records that an instance's result is the one of this manifest.
pub(super) fn remember(
    store: &Store,
    pipeline: &str,
    instance: &Instance,
    manifest: &Manifest,
    at_millis: u64,
) -> Result<(), StoreError> {
    store.set_last(pipeline, &instance.id.to_string(), LastRun { key: manifest.key, at_millis })
}

/// Whether two results have the same outputs with the same columns.
fn same_columns(one: &Manifest, other: &Manifest) -> bool {
    one.outputs.len() == other.outputs.len()
        && one.outputs.iter().zip(&other.outputs).all(|((a, x), (b, y))| a == b && x.columns == y.columns)
}

impl Failure {
    /// An error and the chain of its causes; a disk that is full or failing
    /// decides the hint.
    pub(super) fn of(error: &(dyn std::error::Error + 'static), hint: Option<String>) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string).collect();
        Self { error: error.to_string(), causes, hint: files::disk_hint(error).or(hint) }
    }
}

/// A failure of the store, as the stage's.
pub(super) fn in_store(error: &StoreError) -> Failure {
    Failure::of(error, Some(CHECK_SPACE.to_owned()))
}

/// `it will need about $3.10, and the budget of `groq` has $1.20 left`.
fn shortfall(limiter: &str, needs: &Forecast, left: &Allowance) -> String {
    let (needs, left) = needs.beside(left);
    format!("it will need {needs}, and the budget of `{limiter}` has {left} left")
}

fn of_stage(error: &StageError) -> Failure {
    let hint = match error {
        StageError::Failed { hint, .. } => hint.clone(),
        StageError::Web(error) => error.hint(),
        StageError::Variable(missing) => Some(format!("set {} in the environment, or add `--sandbox`", missing.name)),
        StageError::Table(TableError::InFile { action: "read", .. }) => {
            Some("find and mend damaged artifacts with `refrain verify --repair`, then run again".to_owned())
        }
        StageError::Table(TableError::InFile { .. }) | StageError::File(_) => Some(CHECK_SPACE.to_owned()),
        StageError::Cancelled | StageError::Table(_) => None,
    };
    Failure::of(error, hint)
}

fn panicked(kind: &str, payload: &(dyn std::any::Any + Send)) -> Failure {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    Failure {
        error: format!("the kind `{kind}` panicked; this is a bug"),
        causes: vec![text],
        hint: Some("please report it with the pipeline file; what other stages made is kept".to_owned()),
    }
}
