//! The parts that a stage's work is done in: all of it at once, or cutting its
//! rows into shards, each shard, and putting the shards together.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::runtime::Handle;

use super::cut::{self, Cut, CutError};
use super::job::{Ended, Job, in_store};
use super::options::Failure;
use super::planner::{Work, damage};
use super::stage_reporter::StageReporter;
use crate::ground::{ContentHash, InstanceId};
use crate::remote::Claim;
use crate::stage::{OutputSink, Progress, RowEnd};
use crate::store::{self, Artifact, Manifest, ObjectState, StoreError};
use crate::web::Session;

/// A part of a stage's work.
pub(super) enum Piece {
    /// All of it.
    Whole,
    /// Cutting its rows into shards.
    Cut,
    /// One shard.
    Shard(Arc<ShardReporter>),
    /// Putting together what the shards made, in their order.
    Join { cut: Cut, made: Vec<Arc<Manifest>>, claim: Mutex<Option<Claim>> },
}

/// The rows of a stage, cut, and the work on each shard.
pub(super) struct Shards {
    /// On the whole: held until it is put together.
    pub(super) claim: Option<Claim>,
    pub(super) cut: Cut,
    pub(super) works: Vec<ShardWork>,
}

/// The work on one shard.
pub(super) struct ShardWork {
    pub(super) work: Box<Work>,
    /// What the store has of it.
    pub(super) made: Option<Manifest>,
    /// How many rows it is about.
    pub(super) rows: u64,
}

impl Piece {
    /// The shard that it is.
    pub(super) fn shard(&self) -> Option<ShardName> {
        match self {
            Self::Shard(shard) => Some(shard.shard),
            _ => None,
        }
    }

    /// What its progress is told to.
    pub(super) fn progress(&self, reporter: &Arc<StageReporter>) -> Arc<dyn Progress> {
        match self {
            Self::Shard(shard) => Arc::clone(shard) as Arc<dyn Progress>,
            _ => Arc::clone(reporter) as Arc<dyn Progress>,
        }
    }

    /// What is to be said whenever the result is used.
    pub(super) fn warnings(&self, reporter: &StageReporter) -> Vec<String> {
        match self {
            Self::Shard(shard) => shard.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            _ => reporter.warnings(),
        }
    }

    /// Whose result it is, for people.
    pub(super) fn named(&self, id: &InstanceId) -> String {
        match self {
            Self::Shard(shard) => format!("{id} ({})", shard.name),
            Self::Cut => format!("{id} (its rows, cut into shards)"),
            Self::Whole | Self::Join { .. } => id.to_string(),
        }
    }
}

/// Which shard of which work.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardName {
    /// From 0.
    pub(super) number: usize,
    pub(super) of: usize,
    pub(super) rows: u64,
    /// The key of the whole stage's work.
    pub(super) whole: ContentHash,
    /// Whether the whole stage is made again by force.
    pub(super) is_forced: bool,
}

/// What the work on one shard is told to: rows count for the whole stage, and
/// warnings belong to the shard's own result.
pub(super) struct ShardReporter {
    pub(super) shard: ShardName,
    name: String,
    whole: Arc<StageReporter>,
    warnings: Mutex<Vec<String>>,
}

impl ShardReporter {
    /// For one shard of a stage that tells `whole`.
    pub(super) fn new(shard: ShardName, whole: Arc<StageReporter>) -> Self {
        let name = format!("shard {} of {}", shard.number + 1, shard.of);
        Self { shard, name, whole, warnings: Mutex::default() }
    }
}

impl Progress for ShardReporter {
    /// The whole stage's rows are known already.
    fn total(&self, _rows: u64) {}

    fn advance(&self, rows: u64) {
        self.whole.advance(rows);
    }

    fn ended(&self, end: RowEnd<'_>) {
        self.whole.ended(end);
    }

    fn note(&self, text: &str) {
        self.whole.note(&format!("{}: {text}", self.name));
    }

    fn line(&self, text: &str) {
        self.whole.line(&format!("{}: {text}", self.name));
    }

    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        self.whole.warn_now(format!("{}: {text}", self.name));
    }
}

impl Job {
    /// Cuts the stage's rows, or finds how they were cut before, and sees which
    /// shards are done.
    pub(super) fn cut(&self, handle: &Handle, claim: Option<Claim>) -> Result<Ended, Failure> {
        let sharding = self.instance.stage.sharding().map_err(|why| Failure {
            error: format!("`{}` cannot be cut into shards: {why}", self.instance.id),
            causes: Vec::new(),
            hint: Some("remove `shards:`".to_owned()),
        })?;
        let print = cut::fingerprint(&self.work, &sharding, self.instance.shards);
        let key = cut::key(&print);
        let Some(_lock) = self.lock(handle, &key)? else { return Ok(Ended::Stopped) };
        let shards = match self.cut_before(&key).map_err(|error| in_store(&error))? {
            Some(shards) => shards,
            None => self.cut_now(&sharding, key, print)?,
        };
        self.known_rows(&self.context(&self.outputs(), Session::closed()));
        let cut = Cut { sharding, shards };
        let works = cut.shards.iter().map(|rows| self.shard(&cut, rows)).collect::<Result<_, _>>();
        let works = works.map_err(|error| in_store(&error))?;
        Ok(Ended::Cut(Box::new(Shards { claim, cut, works })))
    }

    /// How the rows were cut before, if all of that is still there.
    fn cut_before(&self, key: &ContentHash) -> Result<Option<Vec<Artifact>>, StoreError> {
        let _guard = self.store.guard()?;
        self.pins.add([*key])?;
        let Some(manifest) = self.store.manifest(key)? else { return Ok(None) };
        // The names sort as the numbers do.
        let shards: Vec<Artifact> = manifest.outputs.into_values().collect();
        let is_whole = shards.len() == self.instance.shards as usize;
        Ok((is_whole && shards.iter().all(|rows| self.store.check(rows) == ObjectState::Good)).then_some(shards))
    }

    fn cut_now(
        &self,
        sharding: &crate::stage::Sharding,
        key: ContentHash,
        fingerprint: Value,
    ) -> Result<Vec<Artifact>, Failure> {
        let started = Instant::now();
        let input = &self.work.assembled.inputs[&sharding.port][0];
        let is_cancelled = || self.cancel.is_cancelled();
        let writers = cut::write(&self.store, input, sharding, self.instance.shards, &is_cancelled);
        let writers = writers.map_err(|error| error.failure())?;
        let _guard = self.store.guard().map_err(|error| in_store(&error))?;
        let shards = writers.into_iter().map(store::ArtifactWriter::finish).collect::<Result<Vec<_>, _>>();
        let shards = shards.map_err(|error| in_store(&error))?;
        let named = shards.iter().enumerate().map(|(number, rows)| (format!("shard-{number:05}"), rows.clone()));
        let manifest = Manifest {
            format: store::FORMAT,
            key,
            instance: self.piece.named(&self.instance.id),
            pipeline: self.pipeline.clone(),
            kind: "cut".to_owned(),
            fingerprint,
            outputs: named.collect(),
            warnings: Vec::new(),
            made_at_millis: self.options.plan.clock.now_millis(),
            seconds: started.elapsed().as_secs_f64(),
            requests: 0,
            blessed: Vec::new(),
        };
        self.store.publish(&manifest).map_err(|error| in_store(&error))?;
        Ok(shards)
    }

    /// The work on one shard: the stage's own, on these rows alone.
    fn shard(&self, cut: &Cut, rows: &Artifact) -> Result<ShardWork, StoreError> {
        let assembled = &self.work.assembled;
        let port = &cut.sharding.port;
        let print = &assembled.fingerprint.inputs[port][""];
        let (print, input) = cut::shard_input(&self.store, &assembled.inputs[port][0], print, rows);
        let assembled = assembled.with_input(port, print, input);
        let key = assembled.fingerprint.key();
        let _guard = self.store.guard()?;
        let made = self.store.manifest(&key)?;
        let made = made.filter(|made| damage(&self.store, self.instance.stage.as_ref(), made).is_empty());
        // Where the stage is to be made again though it is there, so are its shards.
        let refused = self.work.refused.and(made.as_ref().map(|made| made.made_at_millis));
        let made = made.filter(|_| refused.is_none());
        if made.is_some() {
            self.pins.add([key])?;
        }
        let work = Work { key, reasons: Vec::new(), assembled, refused, before: None };
        Ok(ShardWork { work: Box::new(work), made, rows: rows.rows })
    }

    /// Puts together what the shards made.
    pub(super) fn join(
        &self,
        cut: &Cut,
        made: &[Arc<Manifest>],
        started: Instant,
        claim: Option<Claim>,
    ) -> Result<Ended, Failure> {
        let input = &self.work.assembled.inputs[&cut.sharding.port][0];
        let outputs = self.outputs();
        let is_cancelled = || self.cancel.is_cancelled();
        for port in self.instance.stage.outputs() {
            let of_shard = |made: &Arc<Manifest>| Some(self.store.object_path(&made.outputs.get(&*port.name)?.hash));
            let results: Vec<PathBuf> = made.iter().filter_map(of_shard).collect();
            let mut sink = outputs.clone();
            let mut write = |table: &_| sink.append(&port.name, table).map_err(CutError::from);
            cut::join(input, &cut.sharding, &results, &is_cancelled, &mut write).map_err(|error| error.failure())?;
        }
        let mut warnings: Vec<String> = Vec::new();
        for text in made.iter().flat_map(|made| &made.warnings) {
            if !warnings.contains(text) {
                warnings.push(text.clone());
            }
        }
        self.finish(&outputs, warnings, 0, started, claim)
    }
}
