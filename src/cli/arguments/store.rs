//! What may be typed after the commands that look after the store: `verify`,
//! `gc`.

use std::path::PathBuf;

use clap::Args;

use super::Reading;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArguments {
    /// Move what is damaged out of the way, so that the next run makes it again
    #[arg(long)]
    pub(in crate::cli) repair: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(in crate::cli) struct GcArguments {
    /// Pipelines whose results are kept, besides those in this folder and below pipelines/
    #[arg(value_name = "FILE")]
    pub(in crate::cli) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Keep everything that runs of the last N days used
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(in crate::cli) keep_days: u32,
    /// Delete without asking
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,
    /// Only say what would go; this is what happens without --yes where nobody can be asked
    #[arg(long, conflicts_with = "yes")]
    pub(in crate::cli) dry_run: bool,
    /// Also forget answers and vectors of the memo that are older than this, such as 90d
    #[arg(long, value_name = "AGE", value_parser = crate::pipeline::parse_duration)]
    pub(in crate::cli) memo_older_than: Option<std::time::Duration>,
    /// Go on though a pipeline does not load: of it, only what its stages used last is kept
    #[arg(long)]
    pub(in crate::cli) ignore_broken: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
