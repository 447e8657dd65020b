//! What may be typed after the commands that compare and sum what has run:
//! `runs`, `costs`, `diff`, `status`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Reading;

pub(super) const DIFF_HELP: &str = "\
RUN is a run's name as `refrain runs` prints it, the beginning of it, `last`, or `last~1` for the run before the last.
The first is the earlier one: `refrain diff last~1 last` says what the last run changed.

Rows are matched by the columns that the kind says tell them apart, else by those whose names end with `_id`.";

pub(super) const COSTS_HELP: &str = "\
What sandboxes answered is left out, for nothing was paid for it; --sandbox sums it instead.
The ledger is Parquet, a file for each run: `pl.read_parquet(f\"{folder}/*.parquet\")` with the folder of --path.";

#[derive(Debug, Args)]
pub(in crate::cli) struct RunsArguments {
    /// List only the runs of this pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// How many to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(in crate::cli) limit: usize,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// By what the ledger is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SumBy {
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
pub(in crate::cli) struct CostsArguments {
    /// By what to sum
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = SumBy::Stage)]
    pub(in crate::cli) by: SumBy,
    /// Only what was spent no longer ago than this, such as 30d
    #[arg(long, value_name = "AGE", value_parser = crate::pipeline::parse_duration)]
    pub(in crate::cli) since: Option<std::time::Duration>,
    /// Sum what sandboxes answered, not what real services did
    #[arg(long)]
    pub(in crate::cli) sandbox: bool,
    /// Print the folder of the Parquet files, and nothing else
    #[arg(long, conflicts_with_all = ["json", "since", "sandbox"])]
    pub(in crate::cli) path: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArguments {
    /// The first run
    #[arg(value_name = "RUN")]
    pub(in crate::cli) before: String,
    /// The second run
    #[arg(value_name = "RUN")]
    pub(in crate::cli) now: String,
    /// Compare only this stage
    #[arg(value_name = "STAGE[@VARIANT]")]
    pub(in crate::cli) stage: Option<String>,
    /// Match rows by these columns
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(in crate::cli) by: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
