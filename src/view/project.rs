//! What pages are made from: the pipeline, read again when its files change,
//! and the store, opened again when another process has written into it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::engine::{self, EngineError, Plan, PlanOptions};
use crate::ground::Problems;
use crate::pipeline::{Pipeline, load};
use crate::stage::StageKind;
use crate::store::{Manifest, Store, StoreError};

/// What is shown.
#[derive(Clone)]
pub struct ViewSettings {
    /// The pipeline's file.
    pub file: PathBuf,
    /// Values of `${var.NAME}`.
    pub variables: BTreeMap<String, String>,
    /// The store's folder.
    pub artifacts: PathBuf,
    /// For what the stages' states are told; also the clock.
    pub plan: PlanOptions,
    /// The kinds that a pipeline may name.
    pub kinds: &'static [&'static dyn StageKind],
    /// The columns that tell the rows of a kind's output apart.
    pub keys: fn(&str, &str) -> Vec<String>,
}

/// A file's time and size: another one means that it changed.
type Stamp = Option<(SystemTime, u64)>;

/// The settings and what was read last.
pub(super) struct View {
    pub(super) settings: ViewSettings,
    held: Mutex<Held>,
}

/// Files as they were.
type Stamps = Vec<(PathBuf, Stamp)>;

#[derive(Default)]
struct Held {
    /// The pipeline, and its files as they were.
    pipeline: Option<(Stamps, Arc<Pipeline>)>,
    store: Option<(Stamp, Store)>,
}

/// The pipeline and the store, for one page.
pub(super) struct Project {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) store: Store,
    /// Milliseconds since 1970-01-01 UTC.
    pub(super) now: u64,
}

/// Why there is nothing to make a page from.
pub(super) enum Trouble {
    /// The file is wrong.
    Pipeline(Problems),
    /// The store cannot be opened.
    Store(StoreError),
}

impl View {
    pub(super) fn new(settings: ViewSettings) -> Self {
        Self { settings, held: Mutex::default() }
    }

    /// What there is now.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn project(&self) -> Result<Project, Trouble> {
        let pipeline = self.pipeline().map_err(Trouble::Pipeline)?;
        let store = self.store(&pipeline.name).map_err(Trouble::Store)?;
        Ok(Project { pipeline, store, now: self.settings.plan.clock.now_millis() })
    }

    /// The pipeline, or the mistakes in its files. One with mistakes is read
    /// again whenever it is asked for: a base may be mended that it does not
    /// know of yet.
    fn pipeline(&self) -> Result<Arc<Pipeline>, Problems> {
        let ViewSettings { file, variables, kinds, .. } = &self.settings;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((files, pipeline)) = &held.pipeline
            && files.iter().all(|(path, read)| read.is_some() && stamp(path) == *read)
        {
            return Ok(Arc::clone(pipeline));
        }
        // Looked at before it is read: what changes meanwhile is seen next time.
        let own = stamp(file);
        let pipeline = Arc::new(load(file, variables, kinds)?);
        let stamped = |path: &Path| (path.to_owned(), if path == file { own } else { stamp(path) });
        held.pipeline = Some((pipeline.files().map(stamped).collect(), Arc::clone(&pipeline)));
        Ok(pipeline)
    }

    /// The store. It remembers what it has read, so it is opened anew when a
    /// run has noted results since, or the folder was taken away.
    fn store(&self, pipeline: &str) -> Result<Store, StoreError> {
        let root = &self.settings.artifacts;
        let now = stamp(&root.join("last-v2").join(format!("{pipeline}.jsonl")));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &held.store {
            Some((opened, store)) if *opened == now && root.join("runs-v1").is_dir() => Ok(store.clone()),
            _ => {
                let store = Store::open(root)?;
                held.store = Some((now, store.clone()));
                Ok(store)
            }
        }
    }
}

impl Project {
    /// What a run would do now.
    ///
    /// # Errors
    /// As [`engine::plan`].
    pub(super) fn plan(&self, view: &View) -> Result<Plan, EngineError> {
        engine::plan(&self.pipeline, &self.store, &view.settings.plan)
    }

    /// What an instance's current result is, as the plan says, else its last one.
    pub(super) fn manifest(&self, plan: Option<&Plan>, index: usize) -> Option<Manifest> {
        let planned = plan.and_then(|plan| plan.stages.iter().find(|planned| planned.index == index));
        if let Some(engine::State::Fresh { manifest, .. }) = planned.map(|planned| &planned.state) {
            return Some(manifest.as_ref().clone());
        }
        let id = self.pipeline.instances[index].id.to_string();
        let last = self.store.last(&self.pipeline.name, &id)?;
        self.store.manifest(&last.key).ok().flatten()
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
