//! What most commands start with: the pipeline, checked, and the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::arguments::{Global, Reading};
use super::errors::{Exit, Mistake, describe_problems};
use super::terminal::{Style, say};
use super::words::{Words, pipeline_file};
use crate::engine::{self, EngineError, PlanOptions, Resolved, SandboxChoice};
use crate::ground::Environment;
use crate::kinds::KINDS;
use crate::pipeline::{Pipeline, load};
use crate::remote::{Remote, Sharing};
use crate::store::Store;

/// A checked pipeline and the store that its results are in.
pub(super) struct Project {
    pub(super) pipeline: Pipeline,
    pub(super) store: Store,
    /// The store that is shared with others, if there is one that can be used.
    pub(super) remote: Option<Remote>,
}

impl Project {
    /// The result that a reference means, here or fetched from the shared store.
    ///
    /// # Errors
    /// As [`engine::resolve`].
    pub(super) fn resolve(&self, reference: &str) -> Result<Resolved, EngineError> {
        engine::resolve(&self.pipeline, &self.store, self.remote.as_ref(), reference)
    }

    /// The plan's options for what the user typed, with the shared store.
    pub(super) fn plan_options(&self, reading: &Reading, targets: &[String], force: &[String]) -> PlanOptions {
        PlanOptions { remote: self.remote.clone(), ..plan_options(reading, targets, force) }
    }
}

/// How the shared store is used: `--remote`, else `REFRAIN_REMOTE`, else what the
/// pipeline says; none if there is none, or it is `none`.
pub(super) fn sharing(global: &Global, pipeline: Option<&Pipeline>) -> Option<Sharing> {
    let given = global.remote.clone().filter(|remote| !remote.is_empty());
    let given = given.or_else(|| Environment::of_process().var("REFRAIN_REMOTE").map(str::to_owned));
    let own = pipeline.and_then(|pipeline| pipeline.store.clone());
    match (given, own) {
        (Some(given), _) if given == "none" => None,
        (Some(given), Some(own)) => Some(Sharing { remote: given, ..own }),
        (Some(given), None) => Some(Sharing::at(&given)),
        (None, own) => own,
    }
}

/// The same for commands that need no pipeline: the default one counts if it loads.
pub(super) fn sharing_of_default(global: &Global) -> Option<Sharing> {
    let file = pipeline_file(None).ok();
    let pipeline = file.and_then(|file| load(&file, &BTreeMap::new(), KINDS).ok());
    sharing(global, pipeline.as_ref())
}

/// The shared store of a pipeline's file, if it loads and has one.
pub(super) fn remote_of_file(global: &Global, file: &Path, reading: &Reading) -> Option<Remote> {
    let variables: BTreeMap<String, String> = reading.set.iter().cloned().collect();
    let pipeline = load(file, &variables, KINDS).ok()?;
    remote(global, &pipeline).ok().flatten()
}

/// What is said where a shared store is needed and none is named.
pub(super) fn no_remote() -> Mistake {
    Mistake::new("no shared store is named").hint(
        "add `store: { remote: s3://bucket/prefix }` to the pipeline, or name one with --remote or REFRAIN_REMOTE",
    )
}

/// The shared store, if there is one.
///
/// # Errors
/// [`Mistake`] if its address is none.
fn remote(global: &Global, pipeline: &Pipeline) -> Result<Option<Remote>, Mistake> {
    let opened = sharing(global, Some(pipeline)).map(Remote::open).transpose();
    opened.map_err(|error| Mistake::new(error.to_string()).hint("see `refrain push --help`"))
}

/// Reads and checks a pipeline. Its mistakes are printed here, since there may
/// be many; then there is only an exit code to return.
///
/// # Errors
/// If no file is named and there is no default.
pub(super) fn read(
    global: &Global,
    file: Option<PathBuf>,
    reading: &Reading,
) -> anyhow::Result<Result<Pipeline, Exit>> {
    let file = pipeline_file(file)?;
    let variables: BTreeMap<String, String> = reading.set.iter().cloned().collect();
    match load(&file, &variables, KINDS) {
        Ok(pipeline) => Ok(Ok(pipeline)),
        Err(problems) => {
            say(&describe_problems(&problems, &name_of(&file), Style::of_stderr(global.color)));
            Ok(Err(Exit::Wrong))
        }
    }
}

/// Reads and checks a pipeline and opens the store.
///
/// # Errors
/// If no file is named and there is no default, or the store cannot be opened.
pub(super) fn open(global: &Global, file: Option<PathBuf>, reading: &Reading) -> anyhow::Result<Result<Project, Exit>> {
    let pipeline = match read(global, file, reading)? {
        Ok(pipeline) => pipeline,
        Err(exit) => return Ok(Err(exit)),
    };
    let store = open_store(global)?;
    let remote = remote(global, &pipeline)?;
    Ok(Ok(Project { pipeline, store, remote }))
}

/// Opens the store.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn open_store(global: &Global) -> Result<Store, Mistake> {
    Store::open(&global.artifacts).map_err(|error| {
        Mistake::new(format!("could not open the store in `{}`", global.artifacts.display()))
            .hint("choose another folder with --artifacts or REFRAIN_ARTIFACTS")
            .because(error)
    })
}

/// The store, for commands that need one to be there already.
///
/// # Errors
/// [`Mistake`] if there is none or it cannot be opened.
pub(super) fn existing_store(global: &Global) -> Result<Store, Mistake> {
    if global.artifacts.join("objects-v1").is_dir() {
        return open_store(global);
    }
    Err(Mistake::new(format!("there is no store in `{}`", global.artifacts.display()))
        .hint("name its folder with --artifacts or REFRAIN_ARTIFACTS; `refrain run` makes one"))
}

/// As [`open`], for commands whose words are `[FILE] STAGE`; also gives the
/// stage, if one is named.
///
/// # Errors
/// As [`open`], and if the words do not fit.
pub(super) fn open_words(
    global: &Global,
    words: &[std::ffi::OsString],
    reading: &Reading,
) -> anyhow::Result<Result<(Project, Option<String>), Exit>> {
    let words = Words::of(words)?;
    Ok(open(global, words.file, reading)?.map(|project| (project, words.stage)))
}

/// The stage that a command needs.
///
/// # Errors
/// [`Mistake`] if none is named.
pub(super) fn required_stage(stage: Option<String>) -> Result<String, Mistake> {
    stage.ok_or_else(|| Mistake::new("no stage is named").hint("`refrain status` lists the stages"))
}

/// The plan's options for what the user typed.
pub(super) fn plan_options(reading: &Reading, targets: &[String], force: &[String]) -> PlanOptions {
    PlanOptions {
        targets: targets.to_vec(),
        force: force.to_vec(),
        sandbox: reading.sandbox.as_deref().map(sandbox_choice),
        ..PlanOptions::default()
    }
}

fn sandbox_choice(url: &str) -> SandboxChoice {
    if url.is_empty() { SandboxChoice::InProcess(None) } else { SandboxChoice::At(url.to_owned()) }
}

/// An engine's refusal, with its hint.
pub(super) fn refused(error: EngineError) -> anyhow::Error {
    let hint = error.hint();
    let message = error.to_string();
    let mistake = Mistake::new(message).because(error);
    match hint {
        Some(hint) => mistake.hint(hint).into(),
        None => mistake.into(),
    }
}

/// Prints what the plan and the store found that the user should know.
pub(super) fn say_warnings(of_plan: &[String], store: &Store, style: Style) {
    for warning in of_plan.iter().chain(&store.take_warnings()) {
        say(&style.yellow(&format!("! {warning}")));
    }
}

/// A file's name without its folders.
pub(super) fn name_of(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned())
}
