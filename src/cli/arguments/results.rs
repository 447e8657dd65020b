//! What may be typed after the commands that show what is there: `graph`,
//! `show`, `serve`, `path`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Reading;

/// A notation for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GraphFormat {
    /// Mermaid, which Markdown viewers draw
    Mermaid,
    /// DOT, which Graphviz draws
    Dot,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GraphArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// The notation
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub(in crate::cli) format: GraphFormat,
    /// Draw every instance, not only every stage
    #[arg(long)]
    pub(in crate::cli) all: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// The port on 127.0.0.1; 0 is any free one
    #[arg(long, short, value_name = "PORT", default_value_t = 8484)]
    pub(in crate::cli) port: u16,
    /// Open the browser
    #[arg(long)]
    pub(in crate::cli) open: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[.OUTPUT][@VARIANT]", required = true, num_args = 1..=2)]
    pub(in crate::cli) words: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// How many rows to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    pub(in crate::cli) rows: usize,
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,
    /// Show what was sent for this row and what came back, as the memo has it; may be repeated
    #[arg(long, value_name = "ROW", num_args = 1..)]
    pub(in crate::cli) exchange: Vec<String>,
    /// The same for the first rows
    #[arg(long, conflicts_with = "exchange")]
    pub(in crate::cli) exchanges: bool,
    /// The same for the first rows that failed
    #[arg(long, conflicts_with_all = ["exchange", "exchanges"])]
    pub(in crate::cli) failed: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Which rows and columns of an artifact are shown.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Selection {
    /// Show these columns
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(in crate::cli) columns: Vec<String>,
    /// Show only rows for which this is true, in SQL: `plays > 3 and artist = 'Abba'`
    #[arg(long = "where", value_name = "CONDITION")]
    pub(in crate::cli) condition: Option<String>,
    /// Show the smallest first, or the largest with `:desc`; may be repeated
    #[arg(long, value_name = "COLUMN[:desc]")]
    pub(in crate::cli) sort: Vec<String>,
    /// Show so many rows drawn at random
    #[arg(long, value_name = "N")]
    pub(in crate::cli) sample: Option<usize>,
    /// Draw other rows
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sample")]
    pub(in crate::cli) seed: u64,
    /// Show what is in each column: nulls, different values, range, mean, how numbers are spread, frequent texts
    #[arg(long, conflicts_with_all = ["sort", "sample"])]
    pub(in crate::cli) stats: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PathArguments {
    /// The pipeline, if not the default one, then the stage; no stage with --json for all
    #[arg(value_name = "[FILE] STAGE[.OUTPUT][@VARIANT]", num_args = 0..=2)]
    pub(in crate::cli) words: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Print a JSON object of paths: of all stages if none is named
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
