//! What may be typed after `refrain run`, `watch`, `plan`, `why` and
//! `bless`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Reading;
use crate::ground::ContentHash;
use crate::model::DeviceChoice;

pub(super) const WATCH_HELP: &str = "\
What is watched: the pipeline's file and the files that it names. A file with mistakes is told of, and waited on. A
change during a run is taken up when that run has ended. Ctrl-C ends the watch, and a run first, with exit code 0.
The options of how to run count with --run.";

pub(super) const BLESS_HELP: &str = "\
Without @VARIANT every stale instance of the stage is blessed. Nothing runs, and nothing below it becomes stale.
The manifest says for ever that it was blessed, when, why, from which result, and which differences were accepted;
`plan`, `why`, `status`, `show` and every run repeat it. A later change makes the stage stale as usual.

To undo: `refrain run --force STAGE` makes the result anew, and its manifest replaces the blessed one.";

/// What to do where a budget is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OverBudget {
    /// Ask on the terminal
    Ask,
    /// Spend it to its end, then stop
    Stop,
    /// Exceed it
    Allow,
}

/// On which machines stages are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Engine {
    /// This machine alone
    Local,
    /// A Slurm cluster, whose jobs share the store with this machine
    Slurm,
}

/// What becomes of a cluster's jobs when the run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Interrupted {
    /// Ask on the terminal
    Ask,
    /// Cancel them
    Cancel,
    /// Let them go on; the next run takes up what they make
    Leave,
}

/// How a run is done: the options that `run` and `watch` share.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct HowToRun {
    /// Stages to run at the same time; as many as there are processors if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) jobs: Option<u32>,
    /// After a failure, go on with what does not depend on it
    #[arg(long, short)]
    pub(in crate::cli) keep_going: bool,
    /// Send no request: answers come from the memo or not at all
    #[arg(long)]
    pub(in crate::cli) offline: bool,
    /// What to do where a budget is not enough; where nobody can be asked, `ask` is `stop`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OverBudget::Ask)]
    pub(in crate::cli) over_budget: OverBudget,
    /// Where stages are worked on, whatever the pipeline's `engine:` says
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub(in crate::cli) engine: Option<Engine>,
    /// What becomes of a cluster's jobs when the run is stopped; where nobody can be asked, `ask` is `leave`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Interrupted::Ask)]
    pub(in crate::cli) on_interrupt: Interrupted,
    /// Where models compute: `auto` (a GPU where one works), `cpu`, `cuda`, or `cuda:N` for the GPU of that number; if
    /// not given, what the pipeline's `device:` says, else `auto`
    #[arg(long, value_name = "DEVICE", env = "REFRAIN_DEVICE")]
    pub(in crate::cli) device: Option<DeviceChoice>,
    /// Tell `OpenLineage` events to a file, as JSON lines, or to a server; `OPENLINEAGE_URL` if not given
    #[arg(long, value_name = "FILE|URL")]
    pub(in crate::cli) openlineage: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Run only what this stage needs; may be repeated
    #[arg(long, short, value_name = "STAGE[@VARIANT]")]
    pub(in crate::cli) target: Vec<String>,
    /// Run this stage though it is done; may be repeated
    #[arg(long, short, value_name = "STAGE")]
    pub(in crate::cli) force: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) how: HowToRun,
    /// Watch the run on the whole terminal: stages, limits and the log; `?` there tells its keys
    #[arg(long, conflicts_with = "json")]
    pub(in crate::cli) tui: bool,
    /// Print events on stdout, one JSON object per line; the last is `finished`
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Only what this stage needs; may be repeated
    #[arg(long, short, value_name = "STAGE[@VARIANT]")]
    pub(in crate::cli) target: Vec<String>,
    /// Run what a change makes stale, not only plan it
    #[arg(long)]
    pub(in crate::cli) run: bool,
    #[command(flatten)]
    pub(in crate::cli) how: HowToRun,
}

/// One piece of a run's work, which a job of its cluster does.
#[derive(Debug, Args)]
pub(in crate::cli) struct WorkArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// The instance
    #[arg(long, value_name = "STAGE[@VARIANT]")]
    pub(in crate::cli) instance: String,
    /// The key that its work must have
    #[arg(long)]
    pub(in crate::cli) key: ContentHash,
    /// The keys of the results that it reads, in the order of its inputs
    #[arg(long)]
    pub(in crate::cli) input: Vec<ContentHash>,
    /// Which of its shards, from 0
    #[arg(long)]
    pub(in crate::cli) shard: Option<usize>,
    /// Do it though it is done
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Fetch no weights
    #[arg(long)]
    pub(in crate::cli) offline: bool,
    /// Where models compute
    #[arg(long, value_name = "DEVICE", env = "REFRAIN_DEVICE")]
    pub(in crate::cli) device: Option<DeviceChoice>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Plan only what this stage needs; may be repeated
    #[arg(long, short, value_name = "STAGE[@VARIANT]")]
    pub(in crate::cli) target: Vec<String>,
    /// Plan as if this stage had to run; may be repeated
    #[arg(long, short, value_name = "STAGE")]
    pub(in crate::cli) force: Vec<String>,
    /// One line per instance, none collapsed
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StageArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[@VARIANT]", required = true, num_args = 1..=2)]
    pub(in crate::cli) words: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Print JSON, with both fingerprints
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BlessArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[@VARIANT]", required = true, num_args = 1..=2)]
    pub(in crate::cli) words: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Why the change does no harm; kept with the result
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) why: String,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
