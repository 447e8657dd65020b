//! What may be typed: the list of commands, and the options that many of them
//! share. The options of one command stand in a file by its group. Nothing is
//! read or opened here.

mod history;
mod results;
mod running;
mod services;
mod sharing;
mod store;
mod writing;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::memo::MemoCommand;
use history::{COSTS_HELP, DIFF_HELP};
use running::{BLESS_HELP, WATCH_HELP};
use services::DEVICE_HELP;
use sharing::SHARING_HELP;
use writing::COMPLETIONS_HELP;

pub(super) use history::{CostsArguments, DiffArguments, RunsArguments, StatusArguments, SumBy};
pub(super) use results::{GraphArguments, GraphFormat, PathArguments, Selection, ServeArguments, ShowArguments};
pub(super) use running::{
    BlessArguments, Engine, HowToRun, Interrupted, OverBudget, PlanArguments, RunArguments, StageArguments,
    WatchArguments, WorkArguments,
};
pub(super) use services::{DeviceArguments, FetchArguments, ModelCommand, SandboxArguments};
pub(super) use sharing::{PullArguments, PushArguments};
pub(super) use store::{GcArguments, VerifyArguments};
pub(super) use writing::{CheckArguments, CompletionsArguments, InitArguments, KindsArguments, ManArguments, Template};

const AFTER_HELP: &str = "\
FILE is a pipeline. Without one it is pipeline.yaml in the current folder, else pipelines/demo.yaml.
STAGE is a stage's name; stage@VARIANT and stage@VARIANT#SEED name one of its instances.

Exit codes: 0 done, 1 a stage failed, 2 the file or the arguments are wrong, 130 interrupted.";

/// Runs data pipelines written in YAML, and refrains from doing again what has been done
#[derive(Debug, Parser)]
#[command(name = "refrain", version, about, after_help = AFTER_HELP, disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// Where artifacts are kept
    #[arg(long, global = true, value_name = "DIR", env = "REFRAIN_ARTIFACTS", default_value = "artifacts")]
    pub(super) artifacts: PathBuf,
    /// When to use colour and the live view; `NO_COLOR` is respected
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub(super) color: When,
    /// The store that is shared with others, instead of the pipeline's: an address as `refrain push --help` lists them,
    /// or `none` [env: `REFRAIN_REMOTE`=]
    #[arg(long, global = true, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub(super) remote: Option<String>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run what is not done yet
    Run(RunArguments),
    /// Plan, or run, again whenever the pipeline or a file that it names changes
    #[command(after_help = WATCH_HELP)]
    Watch(WatchArguments),
    /// Do one piece of a run's work: what the jobs of a cluster run
    #[command(hide = true)]
    Work(WorkArguments),
    /// Say what a run would do, and why
    Plan(PlanArguments),
    /// Say why a stage would run, or why not
    Why(StageArguments),
    /// Accept a harmless change without running: a stage's last result counts as up to date
    #[command(after_help = BLESS_HELP)]
    Bless(BlessArguments),
    /// List the runs of the store, newest first
    Runs(RunsArguments),
    /// Sum what went over the network: requests, tokens and money
    #[command(after_help = COSTS_HELP)]
    Costs(CostsArguments),
    /// Compare two runs: settings, rows and metrics, stage by stage
    #[command(after_help = DIFF_HELP)]
    Diff(DiffArguments),
    /// Say what the store holds of each stage
    Status(StatusArguments),
    /// Send results to the shared store
    #[command(after_help = SHARING_HELP)]
    Push(PushArguments),
    /// Fetch results from the shared store, with their artifacts
    #[command(after_help = SHARING_HELP)]
    Pull(PullArguments),
    /// Print the pipeline's graph
    Graph(GraphArguments),
    /// Show an artifact: its columns, how many rows, some of them; what is in each column
    #[command(after_help = super::selection::SHOW_HELP)]
    Show(ShowArguments),
    /// Show the pipeline, its runs and results in a browser: a web view on this machine only
    Serve(ServeArguments),
    /// Print the path of an artifact: for `pl.read_parquet`
    Path(PathArguments),
    /// Write a page, or tables, of what came out: leaderboards, figures, every stage
    Report(super::report::ReportArguments),
    /// Ask the results with SQL, each a table by its stage's name
    #[command(after_help = super::sql::SQL_HELP)]
    Sql(super::sql::SqlArguments),
    /// List what a trained model would recommend to a user
    Recommend(super::recommend::RecommendArguments),
    /// List the tracks most like one, by a model or by their texts
    Similar(super::similar::SimilarArguments),
    /// Write a pipeline to start from
    Init(InitArguments),
    /// Check a pipeline file; nothing is run
    Check(CheckArguments),
    /// List what stages can do, or describe one kind in full
    Kinds(KindsArguments),
    /// Print the JSON Schema of pipeline files: for editors
    Schema,
    /// Serve a synthetic world: Last.fm, lyrics, search and chat on the loopback
    Sandbox(SandboxArguments),
    /// Read the whole store and name what is damaged, missing or not refrain's
    Verify(VerifyArguments),
    /// Say what nothing refers to any more, and delete it if told to
    Gc(GcArguments),
    /// What the memo holds and lacks; its answers and vectors as one file
    #[command(subcommand)]
    Memo(MemoCommand),
    /// Say which device models compute on and why, and whether it agrees with the processor
    #[command(after_help = DEVICE_HELP)]
    Device(DeviceArguments),
    /// What a pipeline made, as other tools take it
    #[command(subcommand)]
    Export(super::export::ExportCommand),
    /// A trained model's tensors to PyTorch's safetensors, and back
    #[command(subcommand)]
    Weights(super::weights::WeightsCommand),
    /// Weights of models on this machine
    #[command(subcommand)]
    Model(ModelCommand),
    /// Print a script that completes refrain's commands, options and stages in a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArguments),
    /// Print the manual page, or write one for each command
    Man(ManArguments),
}

impl Command {
    /// Whether it may look at all rows of large artifacts.
    pub(super) fn asks_much(&self) -> bool {
        match self {
            Self::Sql(_) => true,
            Self::Show(show) => show.selection.is_large(),
            _ => false,
        }
    }
}

/// What decides how a pipeline file is read.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Reading {
    /// Give a `${var.NAME}` of the pipeline another value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(super) set: Vec<(String, String)>,
    /// Let a sandbox stand in for every API: one started for this run, or the one at URL
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(super) sandbox: Option<String>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_are_read() {
        let line = "refrain run p.yaml --set A=b=c --set D= --sandbox --target x@V1 --jobs 2 --artifacts there";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        let Command::Run(run) = arguments.command else { panic!("not run") };
        assert_eq!(run.reading.set, [("A".into(), "b=c".into()), ("D".into(), String::new())]);
        assert_eq!(run.reading.sandbox.as_deref(), Some(""));
        assert_eq!((run.how.jobs, run.target.as_slice()), (Some(2), ["x@V1".to_owned()].as_slice()));
        assert_eq!(arguments.global.artifacts, PathBuf::from("there"));
        assert!(Arguments::try_parse_from(["refrain", "run", "--set", "nothing"]).is_err());
        assert!(Arguments::try_parse_from(["refrain", "run", "--jobs", "0"]).is_err());
    }

    #[test]
    fn a_running_sandbox_is_named_by_its_address() {
        let arguments =
            Arguments::try_parse_from(["refrain", "plan", "--sandbox=http://127.0.0.1:9", "p.yaml"]).unwrap();
        let Command::Plan(plan) = arguments.command else { panic!("not plan") };
        assert_eq!(plan.reading.sandbox.as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(plan.file, Some(PathBuf::from("p.yaml")));
    }
}
