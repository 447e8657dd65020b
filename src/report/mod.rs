//! What a run came to, as something to look at and to publish: the paper's
//! tables and figures from the artifacts of a pipeline, with its own variants in
//! them.
//!
//! [`gather()`] reads the artifacts and gives a [`Report`]: plain facts, which as
//! JSON are one of the formats. [`html()`], [`markdown()`] and [`latex()`] are
//! pure functions of it.

mod board;
mod cautions;
mod data;
mod gather;
mod html;
mod latex;
mod markdown;
mod published;
mod songs;
mod stages;
mod summary;
mod tables;
mod targets;
mod texts;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub use gather::{ReportError, ReportOptions, gather};
pub use html::html;
pub use latex::latex;
pub use markdown::markdown;
pub use published::Published;

use crate::ground::ContentHash;

/// Everything that a report says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The layout of this record, 1.
    pub format: u32,
    /// What stands above it: the pipeline's name if the file gives no title.
    pub title: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's file, as it was named; without its folder where that is absolute.
    pub file: String,
    /// The version of refrain that wrote it.
    pub version: &'static str,
    /// The last run of the pipeline, if one has left its record.
    pub run: Option<RunFacts>,
    /// The identity of the sandbox world that results were made from: then every
    /// number is synthetic, and every page, table and figure must say so.
    pub synthetic: Option<String>,
    /// What came out, in sentences.
    pub summary: Vec<String>,
    /// Sentences on what is missing or no longer up to date; empty if all is as
    /// the file says.
    pub gaps: Vec<String>,
    /// What is to be known before a number is used: the warnings of stages, with
    /// the stages' names in front, and that verdicts rest on one seed.
    pub cautions: Vec<String>,
    /// Table 1 of the paper: each split's data.
    pub data: Vec<DataFacts>,
    /// The leaderboards, Tables 2 and 3 of the paper among them.
    pub boards: Vec<Board>,
    /// Figure 2 of the paper: songs with their texts side by side.
    pub songs: Vec<Song>,
    /// How training went.
    pub curves: Vec<Curve>,
    /// Every stage, in the order of the pipeline: each after all that it reads.
    pub stages: Vec<StageFacts>,
}

/// The last run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFacts {
    /// Its name.
    pub run: String,
    /// When it began: milliseconds since 1970-01-01 UTC.
    pub at_millis: u64,
    /// `complete`, `failed`, `stopped`, `crashed` or `running`.
    pub state: &'static str,
    /// How many instances it was about.
    pub stages: usize,
    /// How many did their work.
    pub ran: usize,
    /// How many had their result already.
    pub cached: usize,
    /// How many failed.
    pub failed: usize,
    /// Time, in seconds, if it has ended.
    pub seconds: Option<f64>,
}

/// A row of Table 1: what is left of the data after filtering.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataFacts {
    /// The instance that made the split.
    pub stage: String,
    /// Distinct users.
    pub users: u64,
    /// Distinct items.
    pub items: u64,
    /// Interactions of all parts.
    pub feedback: u64,
    /// The share of user-item pairs without an interaction, 0 to 1.
    pub sparsity: f64,
    /// The paper's counts for the catalog that the pipeline names.
    pub published: Option<PublishedData>,
}

/// Counts of the paper's Table 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PublishedData {
    /// Users.
    pub users: u64,
    /// Items.
    pub items: u64,
    /// Interactions.
    pub feedback: u64,
    /// The sparsity that follows from these counts; the paper prints those of its two catalogs swapped.
    pub sparsity: f64,
}

/// A leaderboard: one `compare` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// The instance that compared.
    pub stage: String,
    /// The k of HR@k and NDCG@k.
    pub k: u32,
    /// `test` or `validation`.
    pub part: String,
    /// The variant that the others are held against.
    pub baseline: Option<String>,
    /// One row per variant or baseline model, best first.
    pub rows: Vec<BoardRow>,
    /// What of gains is left without a part, in sentences.
    pub ablations: Vec<String>,
    /// The name of a number in which the variants differ, such as `words`, if
    /// the rows can be plotted against it.
    pub along: Option<String>,
    /// The bins of [`BoardRow::by_popularity`], as words: train interactions of the target.
    pub popularity_bins: Vec<String>,
    /// The bins of [`BoardRow::by_words`], as words: words of the target's text.
    pub words_bins: Vec<String>,
    /// The k at which [`BoardRow::found`] is taken, ascending.
    pub ranks: Vec<u64>,
    /// The columns by which targets were measured apart, such as `country`, with
    /// the values in the order of how many users they have.
    pub groupings: BTreeMap<String, Vec<String>>,
}

/// One line of a leaderboard.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BoardRow {
    /// The variant's name, or the stage's where it has no variant.
    pub variant: String,
    /// Whether its epoch was picked on the test part: then its numbers read too
    /// high, and its name bears a mark wherever it stands.
    pub on_test: bool,
    /// How many seeds it was trained with.
    pub seeds: u64,
    /// How many users were measured.
    pub users: u64,
    /// HR@k, the mean over seeds.
    pub hr: Measure,
    /// NDCG@k, the mean over seeds.
    pub ndcg: Measure,
    /// HR@k of warm items.
    pub warm_hr: Option<f64>,
    /// HR@k of cold items.
    pub cold_hr: Option<f64>,
    /// What is measured beyond accuracy.
    pub beyond: Beyond,
    /// The verdict of the paired test against the baseline, in its words.
    pub verdict: Option<String>,
    /// The p of that test, corrected for how many were made.
    pub p: Option<f64>,
    /// The paper's numbers.
    pub published: Option<Published>,
    /// In how many of `of` cases the target was among the first k: what HR@k is
    /// the share of; over all seeds.
    pub hits: u64,
    /// How many targets were ranked, over all seeds.
    pub of: u64,
    /// The instances that measured it, one per seed.
    pub evaluated_by: Vec<String>,
    /// The instances that the measured models come from, one per seed.
    pub trained_by: Vec<String>,
    /// The instance that its texts come from, if it reads texts.
    pub text: Option<String>,
    /// The numbers that the file gives for the variant, by name.
    pub numbers: BTreeMap<String, f64>,
    /// The share of targets ranked no lower than each of [`Board::ranks`].
    pub found: Vec<f64>,
    /// HR@k and number of targets by popularity of the target; a bin without
    /// targets is null.
    pub by_popularity: Vec<Option<Slice>>,
    /// The same by words of the target's text; empty without texts.
    pub by_words: Vec<Option<Slice>>,
    /// The same by column and value, as `evaluate` measured them.
    pub by_group: BTreeMap<String, BTreeMap<String, Slice>>,
}

/// What is measured beside HR and NDCG, means over seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Beyond {
    /// The mean of 1 / rank.
    pub mrr: Option<f64>,
    /// The share of a user's held-out items among the first k.
    pub recall: Option<f64>,
    /// The share of all items that is in somebody's first k.
    pub coverage: Option<f64>,
    /// The mean number of train interactions of the items in the first k.
    pub popularity: Option<f64>,
}

/// A mean and its interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Measure {
    /// The mean.
    pub value: Option<f64>,
    /// The low end of its 95 % interval.
    pub low: Option<f64>,
    /// The high end.
    pub high: Option<f64>,
}

/// HR@k of some of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slice {
    /// HR@k.
    pub hr: f64,
    /// How many targets or, of groups, users it is over.
    pub of: u64,
}

/// A song and every text that stages have for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Song {
    /// Its id.
    pub item_id: String,
    /// Its artist, if a table has one.
    pub artist: Option<String>,
    /// Its title, if a table has one.
    pub title: Option<String>,
    /// Its tag, if a table has one.
    pub tag: Option<String>,
    /// Its texts, in the order of the pipeline.
    pub texts: Vec<SongText>,
}

/// One text of a song.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SongText {
    /// The instance that has it.
    pub stage: String,
    /// The variants that are known by it.
    pub variants: Vec<String>,
    /// The text; none where the stage has none for this song.
    pub text: Option<String>,
    /// Why there is none, or how it ended, where the stage says so.
    pub status: Option<String>,
}

/// How a training went, epoch by epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// The instance that trained.
    pub stage: String,
    /// The variant, or the stage's name.
    pub variant: String,
    /// Whether it was measured on the test part (`select: test_best`), not on validation.
    pub on_test: bool,
    /// What was measured after each epoch.
    pub epochs: Vec<Epoch>,
}

/// One epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// The mean loss.
    pub loss: Option<f64>,
    /// HR@10 on validation (on test with `select: test_best`).
    pub hr: Option<f64>,
    /// NDCG@10 on the same.
    pub ndcg: Option<f64>,
    /// Whether the model is that of this epoch.
    pub selected: bool,
}

/// A stage and what it made last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageFacts {
    /// The instance: `stage`, `stage@VARIANT`, `stage@VARIANT#SEED`.
    pub id: String,
    /// Its stage's name.
    pub stage: String,
    /// Its kind.
    pub kind: &'static str,
    /// What the kind does, in a line.
    pub kind_summary: &'static str,
    /// The line of the file at which the stage stands.
    pub line: Option<u64>,
    /// `fresh`, `stale`, `undecided`, `blocked`.
    pub state: &'static str,
    /// Why it would run again, in sentences.
    pub reasons: Vec<String>,
    /// Its settings, defaults filled in; what comes from the environment is blank.
    pub settings: Value,
    /// What it reads.
    pub inputs: Vec<StageInput>,
    /// Its result's name; none if it was never made.
    pub key: Option<ContentHash>,
    /// When that was made: milliseconds since 1970-01-01 UTC.
    pub made_at_millis: Option<u64>,
    /// How long that took, in seconds.
    pub seconds: Option<f64>,
    /// How many requests that sent.
    pub requests: u64,
    /// What this stage has spent over all runs, in tokens.
    pub tokens: u64,
    /// What this stage has spent over all runs, in dollars, if anything had a price.
    pub usd: Option<f64>,
    /// How it ended in the last run: `ran`, `cached`, `failed`, `skipped`.
    pub outcome: Option<&'static str>,
    /// Rows of its main output.
    pub rows: u64,
    /// Whether it, or something above it, is made from a sandbox's answers.
    pub synthetic: bool,
    /// What the user should know whenever the result is used.
    pub warnings: Vec<String>,
    /// What it made, the main output first.
    pub outputs: Vec<OutputFacts>,
}

/// One table that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageInput {
    /// The port.
    pub port: String,
    /// The index of the instance in [`Report::stages`].
    pub from: usize,
    /// Which of that instance's outputs.
    pub output: String,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputFacts {
    /// The port's name.
    pub name: String,
    /// The BLAKE3 of its bytes.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its columns: name and type.
    pub columns: Vec<(String, String)>,
    /// The first rows: values as text, in the order of the columns.
    pub first_rows: Vec<Vec<String>>,
}

#[cfg(test)]
mod fixture;
