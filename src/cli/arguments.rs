//! What may be typed: commands, options and their help. Nothing is read or
//! opened here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::memo::MemoCommand;
use crate::model::DeviceChoice;
use crate::sandbox::FaultKind;

const AFTER_HELP: &str = "\
FILE is a pipeline. Without one it is pipeline.yaml in the current folder, else pipelines/demo.yaml.
STAGE is a stage's name; stage@VARIANT and stage@VARIANT#SEED name one of its instances.

Exit codes: 0 done, 1 a stage failed, 2 the file or the arguments are wrong, 130 interrupted.";

const BLESS_HELP: &str = "\
Without @VARIANT every stale instance of the stage is blessed. Nothing runs, and nothing below it becomes stale.
The manifest says for ever that it was blessed, when, why, from which result, and which differences were accepted;
`plan`, `why`, `status`, `show` and every run repeat it. A later change makes the stage stale as usual.

To undo: `refrain run --force STAGE` makes the result anew, and its manifest replaces the blessed one.";

const DIFF_HELP: &str = "\
RUN is a run's name as `refrain runs` prints it, the beginning of it, `last`, or `last~1` for the run before the last.
The first is the earlier one: `refrain diff last~1 last` says what the last run changed.

Rows are matched by the columns that the kind says tell them apart, else by those whose names end with `_id`.";

const COSTS_HELP: &str = "\
What sandboxes answered is left out, for nothing was paid for it; --sandbox sums it instead.
The ledger is Parquet, a file for each run: `pl.read_parquet(f\"{folder}/*.parquet\")` with the folder of --path.";

const DEVICE_HELP: &str = "\
The check trains and ranks a small generated split on the processor and on the device, and embeds some texts where the
weights are on this machine. Exit code 1 if they do not agree. What a GPU needs is in docs/gpu.md.";

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

/// What to do where a budget is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OverBudget {
    /// Ask on the terminal
    Ask,
    /// Spend it to its end, then stop
    Stop,
    /// Exceed it
    Allow,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run what is not done yet
    Run(RunArguments),
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
    /// Print the pipeline's graph
    Graph(GraphArguments),
    /// Show an artifact: its columns, how many rows, the first of them
    Show(ShowArguments),
    /// Print the path of an artifact: for `pl.read_parquet`
    Path(PathArguments),
    /// List what a trained model would recommend to a user
    Recommend(super::recommend::RecommendArguments),
    /// List the tracks most like one, by a model or by their texts
    Similar(super::similar::SimilarArguments),
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
    /// A trained model's tensors to PyTorch's safetensors, and back
    #[command(subcommand)]
    Weights(super::weights::WeightsCommand),
    /// Weights of models on this machine
    #[command(subcommand)]
    Model(ModelCommand),
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

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Stages to run at the same time; as many as there are processors if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) jobs: Option<u32>,
    /// Run only what this stage needs; may be repeated
    #[arg(long, short, value_name = "STAGE[@VARIANT]")]
    pub(super) target: Vec<String>,
    /// Run this stage though it is done; may be repeated
    #[arg(long, short, value_name = "STAGE")]
    pub(super) force: Vec<String>,
    /// After a failure, go on with what does not depend on it
    #[arg(long, short)]
    pub(super) keep_going: bool,
    /// Send no request: answers come from the memo or not at all
    #[arg(long)]
    pub(super) offline: bool,
    /// What to do where a budget is not enough; where nobody can be asked, `ask` is `stop`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OverBudget::Ask)]
    pub(super) over_budget: OverBudget,
    /// Print events on stdout, one JSON object per line; the last is `finished`
    #[arg(long)]
    pub(super) json: bool,
    /// Where models compute: `auto` (a GPU where one works), `cpu`, `cuda`, or `cuda:N` for the GPU of that number
    #[arg(long, value_name = "DEVICE", env = "REFRAIN_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub(super) device: DeviceChoice,
}

/// Options of `device`.
#[derive(Debug, Args)]
pub(super) struct DeviceArguments {
    /// The device: `auto` (a GPU where one works), `cpu`, `cuda`, or `cuda:N` for the GPU of that number
    #[arg(long, value_name = "DEVICE", env = "REFRAIN_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub(super) device: DeviceChoice,
    /// Compare with the processor, and time both
    #[arg(long)]
    pub(super) check: bool,
    /// The check at the size of the paper's data: minutes where there is no GPU
    #[arg(long, requires = "check")]
    pub(super) full: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Plan only what this stage needs; may be repeated
    #[arg(long, short, value_name = "STAGE[@VARIANT]")]
    pub(super) target: Vec<String>,
    /// Plan as if this stage had to run; may be repeated
    #[arg(long, short, value_name = "STAGE")]
    pub(super) force: Vec<String>,
    /// One line per instance, none collapsed
    #[arg(long)]
    pub(super) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StageArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[@VARIANT]", required = true, num_args = 1..=2)]
    pub(super) words: Vec<OsString>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Print JSON, with both fingerprints
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BlessArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[@VARIANT]", required = true, num_args = 1..=2)]
    pub(super) words: Vec<OsString>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Why the change does no harm; kept with the result
    #[arg(long, value_name = "TEXT")]
    pub(super) why: String,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunsArguments {
    /// List only the runs of this pipeline
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// How many to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(super) limit: usize,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// By what the ledger is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SumBy {
    /// Run
    Run,
    /// Pipeline and stage
    Stage,
    /// Provider
    Provider,
    /// Limiter, which is what budgets are for
    Limiter,
    /// Day, in UTC
    Day,
    /// Model
    Model,
}

#[derive(Debug, Args)]
pub(super) struct CostsArguments {
    /// By what to sum
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = SumBy::Stage)]
    pub(super) by: SumBy,
    /// Only what was spent no longer ago than this, such as 30d
    #[arg(long, value_name = "AGE", value_parser = crate::pipeline::parse_duration)]
    pub(super) since: Option<std::time::Duration>,
    /// Sum what sandboxes answered, not what real services did
    #[arg(long)]
    pub(super) sandbox: bool,
    /// Print the folder of the Parquet files, and nothing else
    #[arg(long, conflicts_with_all = ["json", "since", "sandbox"])]
    pub(super) path: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// The first run
    #[arg(value_name = "RUN")]
    pub(super) before: String,
    /// The second run
    #[arg(value_name = "RUN")]
    pub(super) now: String,
    /// Compare only this stage
    #[arg(value_name = "STAGE[@VARIANT]")]
    pub(super) stage: Option<String>,
    /// Match rows by these columns
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(super) by: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A notation for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// Mermaid, which Markdown viewers draw
    Mermaid,
    /// DOT, which Graphviz draws
    Dot,
}

#[derive(Debug, Args)]
pub(super) struct GraphArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// The notation
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub(super) format: GraphFormat,
    /// Draw every instance, not only every stage
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[.OUTPUT][@VARIANT]", required = true, num_args = 1..=2)]
    pub(super) words: Vec<OsString>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// How many rows to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    pub(super) rows: usize,
    /// Show what was sent for this row and what came back, as the memo has it; may be repeated
    #[arg(long, value_name = "ROW", num_args = 1..)]
    pub(super) exchange: Vec<String>,
    /// The same for the first rows
    #[arg(long, conflicts_with = "exchange")]
    pub(super) exchanges: bool,
    /// The same for the first rows that failed
    #[arg(long, conflicts_with_all = ["exchange", "exchanges"])]
    pub(super) failed: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PathArguments {
    /// The pipeline, if not the default one, then the stage; no stage with --json for all
    #[arg(value_name = "[FILE] STAGE[.OUTPUT][@VARIANT]", num_args = 0..=2)]
    pub(super) words: Vec<OsString>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Print a JSON object of paths: of all stages if none is named
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
}

#[derive(Debug, Args)]
pub(super) struct KindsArguments {
    /// The kind to describe in full
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SandboxArguments {
    /// The loopback port; 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    pub(super) port: u16,
    /// The world's seed
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// How many listeners there are
    #[arg(long, value_name = "N")]
    pub(super) users: Option<usize>,
    /// How many songs there are
    #[arg(long, value_name = "N")]
    pub(super) songs: Option<usize>,
    /// Make the world over the songs of this CSV file
    #[arg(long, value_name = "CSV")]
    pub(super) catalog: Option<PathBuf>,
    /// Share of requests that fail as real servers fail, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub(super) faults: Option<f64>,
    /// How they fail, as `reset,html`; in every way that passes if not given
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(super) fault_kinds: Vec<FaultKind>,
    /// How long an answer stalls
    #[arg(long, value_name = "SECONDS")]
    pub(super) stall_secs: Option<f64>,
    /// The length of an answer of the fault `giant`
    #[arg(long, value_name = "BYTES")]
    pub(super) giant_bytes: Option<u64>,
    /// Suspend Last.fm's key after so many requests, until `/__restore` is asked
    #[arg(long, value_name = "N")]
    pub(super) revoke_after: Option<u64>,
    /// Requests per second that each server allows before it answers 429
    #[arg(long, value_name = "N")]
    pub(super) per_second: Option<f64>,
    /// What a server allows, such as `chat.tokens_per_minute=6000`; may be repeated
    #[arg(long, value_name = "PROVIDER.LIMIT=N", value_parser = parse_limit)]
    pub(super) limit: Vec<(String, String, f64)>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Move what is damaged out of the way, so that the next run makes it again
    #[arg(long)]
    pub(super) repair: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct GcArguments {
    /// Pipelines whose results are kept, besides those in this folder and below pipelines/
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Keep everything that runs of the last N days used
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(super) keep_days: u32,
    /// Delete without asking
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Only say what would go; this is what happens without --yes where nobody can be asked
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
    /// Also forget answers and vectors of the memo that are older than this, such as 90d
    #[arg(long, value_name = "AGE", value_parser = crate::pipeline::parse_duration)]
    pub(super) memo_older_than: Option<std::time::Duration>,
    /// Go on though a pipeline does not load: of it, only what its stages used last is kept
    #[arg(long)]
    pub(super) ignore_broken: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Make the weights of the text encoder available on this machine
    Fetch(FetchArguments),
}

#[derive(Debug, Args)]
pub(super) struct FetchArguments {
    /// The model: the default, or `OWNER/NAME` of a sentence-transformers BERT on the Hugging Face hub
    #[arg(value_name = "MODEL", default_value = "sentence-transformers/all-MiniLM-L6-v2")]
    pub(super) model: String,
    /// The commit on the hub, if not the newest
    #[arg(long, value_name = "COMMIT")]
    pub(super) revision: Option<String>,
    /// Where models are kept, if not in the usual place
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
}

fn parse_limit(text: &str) -> Result<(String, String, f64), String> {
    let parts = text.split_once('=').and_then(|(name, number)| Some((name.split_once('.')?, number)));
    let Some(((provider, limit), number)) = parts else {
        return Err("give a provider, a limit and a number: `lastfm.per_second=5`".to_owned());
    };
    let number = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    Ok((provider.to_owned(), limit.to_owned(), number))
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
        assert_eq!((run.jobs, run.target.as_slice()), (Some(2), ["x@V1".to_owned()].as_slice()));
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
