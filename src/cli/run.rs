//! `refrain run`: runs a pipeline, shows it to the user, and prints the small
//! tables at its ends.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;

use super::arguments::{Global, OverBudget, RunArguments, When};
use super::asking::{AskOnTerminal, Curtain};
use super::board;
use super::cells;
use super::errors::Exit;
use super::interrupt;
use super::live::LiveView;
use super::observers::{JsonLines, PlainLines};
use super::project::{self, Project};
use super::terminal::{Style, data, say};
use crate::engine::{self, End, Observer, RunOptions, StageResult, Summary};
use crate::ground::Environment;
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
    let project = match project::open(global, arguments.file.clone(), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let style = Style::of_stderr(global.color);
    let environment = Environment::of_process();
    let (observer, speak, curtain) = watcher(global, arguments, style);
    let options = RunOptions {
        keeper: keeper(arguments, style, curtain),
        plan: project::plan_options(&arguments.reading, &arguments.target, &arguments.force),
        jobs: arguments.jobs.unwrap_or(0) as usize,
        keep_going: arguments.keep_going,
        offline: arguments.offline,
        models: Arc::new(Models { device: arguments.device, ..Models::of_environment(&environment) }),
        environment,
        ..RunOptions::default()
    };
    interrupt::watch(options.cancel.clone(), speak)?;
    let summary = engine::run(&project.pipeline, &project.store, &options, observer).map_err(project::refused)?;
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

/// Says one line to the user, wherever the run is shown.
pub(super) type Speak = Arc<dyn Fn(&str) + Send + Sync>;

fn watcher(global: &Global, arguments: &RunArguments, style: Style) -> (Arc<dyn Observer>, Speak, Curtain) {
    let no_curtain: Curtain = Arc::new(|_| ());
    if arguments.json {
        return (Arc::new(JsonLines::default()), Arc::new(say), no_curtain);
    }
    if std::io::stderr().is_terminal() && global.color != When::Never && !terminal_is_dumb() {
        let view = Arc::new(LiveView::new(style));
        let (speaker, hidden) = (Arc::clone(&view), Arc::clone(&view));
        let curtain: Curtain = Arc::new(move |down| hidden.hide(down));
        return (view, Arc::new(move |line: &str| speaker.say(line)), curtain);
    }
    (Arc::new(PlainLines::new(style)), Arc::new(say), no_curtain)
}

/// Who decides when a budget is not enough. A person is asked only where one
/// sees the question and can type.
fn keeper(arguments: &RunArguments, style: Style, curtain: Curtain) -> Arc<dyn BudgetKeeper> {
    let can_ask = !arguments.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    match arguments.over_budget {
        OverBudget::Allow => Arc::new(ExceedBudget),
        OverBudget::Ask if can_ask => Arc::new(AskOnTerminal::new(style, curtain)),
        OverBudget::Ask | OverBudget::Stop => Arc::new(StopAtBudget),
    }
}

fn terminal_is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
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
        let resolved = engine::resolve(&project.pipeline, &project.store, &result.stage).map_err(project::refused)?;
        let table = cells::first_rows(&resolved.path, SMALL as usize)?;
        let mut text = format!("\n{}\n{}", style.bold(&result.stage), board::grid(&table)?.text(2, 40));
        for line in board::words(project, &resolved)? {
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
