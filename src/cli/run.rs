//! `refrain run`: runs a pipeline, shows it to the user, and prints the small
//! tables at its ends.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::arguments::{Engine, Global, HowToRun, OverBudget, Reading, RunArguments, When};
use super::asking::{AskOnTerminal, Curtain};
use super::board;
use super::cells;
use super::errors::{Exit, Mistake};
use super::interrupt::{self, Brake};
use super::live::LiveView;
use super::observers::{JsonLines, PlainLines};
use super::project::{self, Project};
use super::terminal::{Style, data, say, terminal_is_dumb, width_of_stdout};
use super::tui::{self, Facts, Tui};
use super::work;
use crate::engine::{self, End, EngineChoice, JobKeeper, Observer, PlanOptions, RunOptions, StageResult, Summary};
use crate::export::{OpenLineage, Target};
use crate::ground::{Environment, SystemClock};
use crate::model::Models;
use crate::pipeline::Pipeline;
use crate::web::{BudgetKeeper, ExceedBudget, StopAtBudget};

/// A final table has at most so many rows.
const SMALL: u64 = 30;
/// How many such results are printed.
const SHOWN_ENDS: usize = 8;

/// What every command says that shows numbers made from a sandbox.
pub(super) const SYNTHETIC: &str = "synthetic data: numbers from a sandbox world say nothing about real listeners";

/// Runs a pipeline.
///
/// # Errors
/// If nothing could be started; a stage that fails is an exit code.
pub(super) fn run(global: &Global, arguments: &RunArguments) -> anyhow::Result<Exit> {
    if arguments.tui {
        tui::require_terminal()?;
    }
    let project = match project::open(global, arguments.file.clone(), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let style = Style::of_stderr(global.color);
    let cancel = CancellationToken::new();
    let plan = project.plan_options(&arguments.reading, &arguments.target, &arguments.force);
    let summary = if arguments.tui {
        let facts = Facts::of(&project.pipeline, &plan.targets);
        let tui = Tui::start(facts, &project.store, &cancel, style)?;
        let asker = Arc::new(tui.asker());
        let keeper = keeper(&arguments.how, || Arc::clone(&asker) as Arc<dyn BudgetKeeper>);
        let options = options(&project, plan, &arguments.how, keeper, cancel);
        let options = work::with_jobs(options, global, &project, &arguments.reading, &arguments.how, Some(asker))?;
        let observer = with_lineage(&arguments.how, &project, &options.environment, tui.observer(), &tui.speaker())?;
        let summary = engine::run(&project.pipeline, &project.store, &options, observer);
        tui.end();
        summary
    } else {
        let View { observer, speak, keeper, asker } = View::new(global, &arguments.how, arguments.json, style);
        interrupt::watch(Arc::new(Brake::new(cancel.clone(), Arc::clone(&speak))))?;
        let options = options(&project, plan, &arguments.how, keeper, cancel);
        let options = work::with_jobs(options, global, &project, &arguments.reading, &arguments.how, asker)?;
        let observer = with_lineage(&arguments.how, &project, &options.environment, observer, &speak)?;
        engine::run(&project.pipeline, &project.store, &options, observer)
    };
    let summary = summary.map_err(project::refused)?;
    project::say_warnings(&[], &project.store, style);
    if summary.cancelled && !summary.is_complete() {
        say(&interrupt::farewell(std::env::args_os().skip(1)));
        return Ok(Exit::Interrupted);
    }
    if !arguments.json {
        print_ends(&project, &summary, Style::of_stdout(global.color))?;
    }
    Ok(if summary.is_complete() { Exit::Done } else { Exit::Failed })
}

/// Runs a pipeline once more for `watch`, and prints what `run` prints.
///
/// # Errors
/// As [`run`].
pub(super) fn run_again(
    global: &Global,
    project: &Project,
    reading: &Reading,
    plan: PlanOptions,
    how: &HowToRun,
    view: View,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let options = options(project, plan, how, view.keeper, cancel);
    let options = work::with_jobs(options, global, project, reading, how, view.asker)?;
    let observer = with_lineage(how, project, &options.environment, view.observer, &view.speak)?;
    let summary = engine::run(&project.pipeline, &project.store, &options, observer);
    let summary = summary.map_err(project::refused)?;
    project::say_warnings(&[], &project.store, Style::of_stderr(global.color));
    if summary.cancelled && !summary.is_complete() {
        return Ok(());
    }
    print_ends(project, &summary, Style::of_stdout(global.color))
}

fn options(
    project: &Project,
    plan: PlanOptions,
    how: &HowToRun,
    keeper: Arc<dyn BudgetKeeper>,
    cancel: CancellationToken,
) -> RunOptions {
    let environment = Environment::of_process();
    let device = how.device.or(project.pipeline.device).unwrap_or_default();
    RunOptions {
        engine: how.engine.map_or(EngineChoice::AsWritten, |engine| match engine {
            Engine::Local => EngineChoice::Local,
            Engine::Slurm => EngineChoice::Slurm,
        }),
        plan,
        jobs: how.jobs.unwrap_or(0) as usize,
        keep_going: how.keep_going,
        offline: how.offline,
        models: Arc::new(Models { device, ..Models::of_environment(&environment) }),
        environment,
        cancel,
        keeper,
        ..RunOptions::default()
    }
}

/// The observer that also tells `OpenLineage` events, if somebody wants them.
fn with_lineage(
    how: &HowToRun,
    project: &Project,
    environment: &Environment,
    observer: Arc<dyn Observer>,
    speak: &Speak,
) -> anyhow::Result<Arc<dyn Observer>> {
    let target = Target::choose(how.openlineage.as_deref(), environment).map_err(|why| {
        let what = format!("the address for OpenLineage events cannot be used: {why}");
        Mistake::new(what).hint("give --openlineage a file or a URL such as http://localhost:5000")
    })?;
    let Some(target) = target else { return Ok(observer) };
    let (pipeline, store) = (project.pipeline.clone(), project.store.clone());
    let lineage = OpenLineage::new(pipeline, store, target, Arc::new(SystemClock), observer, Arc::clone(speak));
    Ok(Arc::new(lineage.map_err(|error| Mistake::new("could not begin to tell OpenLineage events").because(error))?))
}

/// Says one line to the user, wherever the run is shown.
pub(super) type Speak = Arc<dyn Fn(&str) + Send + Sync>;

/// How a run is shown, and who answers where a budget is not enough.
pub(super) struct View {
    observer: Arc<dyn Observer>,
    /// Says a line beside the run.
    pub(super) speak: Speak,
    keeper: Arc<dyn BudgetKeeper>,
    /// Who asks about jobs of a cluster, where somebody can be asked.
    asker: Option<Arc<dyn JobKeeper>>,
}

impl View {
    /// JSON lines, a live view where there is a terminal, else plain lines.
    pub(super) fn new(global: &Global, how: &HowToRun, json: bool, style: Style) -> Self {
        let stop = || Arc::new(StopAtBudget) as Arc<dyn BudgetKeeper>;
        if json {
            let (observer, speak) = (Arc::new(JsonLines::default()), Arc::new(say));
            return Self { observer, speak, keeper: keeper(how, stop), asker: None };
        }
        let (observer, speak, curtain) = watcher(global, style);
        // A person is asked only where one sees the question and can type.
        let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let asker = can_ask.then(|| Arc::new(AskOnTerminal::new(style, curtain)));
        let ask = || asker.clone().map_or_else(stop, |asker| asker as Arc<dyn BudgetKeeper>);
        Self { observer, speak, keeper: keeper(how, ask), asker: asker.map(|asker| asker as Arc<dyn JobKeeper>) }
    }
}

fn watcher(global: &Global, style: Style) -> (Arc<dyn Observer>, Speak, Curtain) {
    if std::io::stderr().is_terminal() && global.color != When::Never && !terminal_is_dumb() {
        let view = Arc::new(LiveView::new(style));
        let (speaker, hidden) = (Arc::clone(&view), Arc::clone(&view));
        let curtain: Curtain = Arc::new(move |down| hidden.hide(down));
        return (view, Arc::new(move |line: &str| speaker.say(line)), curtain);
    }
    (Arc::new(PlainLines::new(style)), Arc::new(say), Arc::new(|_| ()))
}

/// Who decides when a budget is not enough; `ask` makes the one who asks.
fn keeper(how: &HowToRun, ask: impl FnOnce() -> Arc<dyn BudgetKeeper>) -> Arc<dyn BudgetKeeper> {
    match how.over_budget {
        OverBudget::Allow => Arc::new(ExceedBudget),
        OverBudget::Ask => ask(),
        OverBudget::Stop => Arc::new(StopAtBudget),
    }
}

/// Prints the results that nothing else in this run reads, where they are
/// small: they are what the run was for.
fn print_ends(project: &Project, summary: &Summary, style: Style) -> anyhow::Result<()> {
    let ends = ends(&project.pipeline, summary);
    let is_small_end = |result: &&StageResult| {
        ends.contains(&result.stage) && matches!(result.end, End::Done(_)) && result.rows <= SMALL
    };
    let small: Vec<&StageResult> = summary.results.iter().filter(is_small_end).collect();
    for result in small.iter().take(SHOWN_ENDS) {
        let resolved = project.resolve(&result.stage).map_err(project::refused)?;
        let table = cells::first_rows(&resolved.path, SMALL as usize)?;
        let mut text = format!("\n{}\n{}", style.bold(&result.stage), board::text(&table, 2, width_of_stdout())?);
        for line in board::words(project, &resolved, &table)? {
            write!(text, "\n  {line}").ok();
        }
        if result.synthetic {
            write!(text, "\n  {}", style.yellow(SYNTHETIC)).ok();
        }
        data(&text)?;
    }
    if small.len() > SHOWN_ENDS {
        data(&format!("\nand {} more results (`refrain show STAGE`)", small.len() - SHOWN_ENDS))?;
    }
    Ok(())
}

/// The instances of a run that no other of it reads, as they display.
fn ends(pipeline: &Pipeline, summary: &Summary) -> BTreeSet<String> {
    let mut ends: BTreeSet<String> = summary.results.iter().map(|result| result.stage.clone()).collect();
    let wanted = ends.clone();
    for instance in pipeline.instances.iter().filter(|instance| wanted.contains(&instance.id.to_string())) {
        for source in instance.inputs.values().flatten() {
            ends.remove(&pipeline.instances[source.instance].id.to_string());
        }
    }
    ends
}
