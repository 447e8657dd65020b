//! What may be typed after `refrain memo`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::arguments::Reading;
use crate::pipeline::parse_duration;

const EXPORT_HELP: &str = "\
The rows are in the order of their keys: the same memo gives the same file. Its columns are key, at (milliseconds since
1970 UTC), provider, request, world (live, or the sandbox that made the answer up), sent (the request's body), status,
headers (JSON) and body; with --vectors key, at and vector. No key or password is in it. Answers that do not count
are left out. See docs/memo.md before you publish it.";

const IMPORT_HELP: &str = "\
FILE is one that `refrain memo export` wrote. What is there already, as new or newer, stays: importing twice does no
more than once, and an import that was interrupted is finished by running it again. Rows that are not as they must be
are named and left out, and the exit code is 1. A run may use the store meanwhile.";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MemoCommand {
    /// Count what the memo holds: answers by provider, vectors, bytes, damage
    Stats(MemoStatsArguments),
    /// List the requests of a stage that the memo has no answer to; nothing is asked
    Lacks(MemoLacksArguments),
    /// Write answers, or vectors, to one Parquet file
    #[command(after_help = EXPORT_HELP)]
    Export(MemoExportArguments),
    /// Take in what another machine has exported
    #[command(after_help = IMPORT_HELP)]
    Import(MemoImportArguments),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MemoStatsArguments {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MemoLacksArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[@VARIANT]", required = true, num_args = 1..=2)]
    pub(super) words: Vec<OsString>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Print a JSON object for each request: its key and what it asks for
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MemoExportArguments {
    /// The Parquet file to write
    #[arg(value_name = "FILE.parquet")]
    pub(super) to: PathBuf,
    /// Only answers of this provider, such as lastfm; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "vectors")]
    pub(super) provider: Vec<String>,
    /// Only answers that this stage's rows are made of; may be repeated
    #[arg(long, value_name = "STAGE[@VARIANT]", conflicts_with = "vectors")]
    pub(super) stage: Vec<String>,
    /// The pipeline of --stage, if not the default one
    #[arg(long, value_name = "FILE", requires = "stage")]
    pub(super) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: Reading,
    /// Only what is not older than this, such as 30d, or of that day and later, such as 2026-01-31
    #[arg(long, value_name = "AGE|DATE", value_parser = parse_since)]
    pub(super) since: Option<Since>,
    /// Leave out what a sandbox made up
    #[arg(long, conflicts_with = "vectors")]
    pub(super) live: bool,
    /// Write the vectors of texts instead of answers
    #[arg(long)]
    pub(super) vectors: bool,
    /// Replace the file if it is there
    #[arg(long)]
    pub(super) overwrite: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MemoImportArguments {
    /// The Parquet file to read
    #[arg(value_name = "FILE.parquet")]
    pub(super) from: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Since {
    /// That long ago.
    Age(Duration),
    /// That moment: milliseconds since 1970-01-01 UTC.
    Moment(u64),
}

impl Since {
    /// The moment, where it is now `now`.
    pub(super) fn moment(self, now: u64) -> u64 {
        match self {
            Self::Age(age) => now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            Self::Moment(moment) => moment,
        }
    }
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(age) = parse_duration(text) {
        return Ok(Since::Age(age));
    }
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let moment = day().map(|day| day.timestamp()).or_else(|| text.parse::<jiff::Timestamp>().ok());
    let millis = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    millis
        .map(Since::Moment)
        .ok_or_else(|| format!("`{text}` is neither an age such as 30d nor a day such as 2026-01-31"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_an_age_a_day_or_a_moment() {
        assert_eq!(parse_since("2d").map(|since| since.moment(200_000_000)), Ok(200_000_000 - 172_800_000));
        assert_eq!(parse_since("1970-01-02"), Ok(Since::Moment(86_400_000)));
        assert_eq!(parse_since("1970-01-01T00:00:01Z"), Ok(Since::Moment(1000)));
        assert!(parse_since("yesterday").is_err());
    }
}
