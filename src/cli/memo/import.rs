//! `refrain memo import`: takes in what another machine has exported. What is
//! there already stays, so importing again finishes what was interrupted.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::super::arguments::Global;
use super::super::errors::{Exit, Mistake};
use super::super::project;
use super::super::terminal::{Style, count, data, say, thousands};
use super::arguments::MemoImportArguments;
use super::progress_bar;
use super::rows::{KeptVector, Row, answers_of, vectors_of};
use crate::ground::files::FileError;
use crate::ground::{Clock, ContentHash, SystemClock};
use crate::memo::{Memo, Stamp};
use crate::store::Store;
use crate::table::{Table, describe_parquet, read_parts};
use crate::web::{Kept, KeptAnswers};

/// So many rows are read at a time.
const ROWS: usize = 1024;
/// How many refused rows are named.
const NAMED: usize = 10;
/// Clocks of machines differ by this much at most, in milliseconds.
const LEEWAY_MILLIS: u64 = 86_400_000;

/// What came of an import.
#[derive(Debug, Default, Serialize)]
struct Imported {
    /// Rows of the file.
    rows: u64,
    /// Rows that were taken in.
    new: u64,
    /// Rows that were there already, as new or newer.
    known: u64,
    /// Rows whose key was found to be that of their request.
    proven: u64,
    /// Rows of those taken in that a sandbox made up.
    synthetic: u64,
    /// Rows that are not as they must be.
    refused: u64,
    /// The first of those: the row's number, from 1, and what is wrong with it.
    first_refused: Vec<(u64, String)>,
}

/// Imports a file.
///
/// # Errors
/// If the file cannot be read or is no export, or the memo cannot be written.
pub(super) fn import(global: &Global, arguments: &MemoImportArguments) -> anyhow::Result<Exit> {
    let columns = describe_parquet(&arguments.from)?.1;
    let has = |wanted: &str| columns.iter().any(|(name, _)| name == wanted);
    let store = project::open_store(global)?;
    // Nothing of the memo may be forgotten meanwhile.
    let _guard = store.guard()?;
    let is_vectors = has("vector") && !has("body");
    let imported = if is_vectors { vectors(&store, &arguments.from)? } else { answers(&store, &arguments.from)? };
    if arguments.json {
        data(&serde_json::to_string_pretty(&imported)?)?;
    }
    let style = Style::of_stderr(global.color);
    for line in told(&imported, is_vectors, style) {
        say(&line);
    }
    Ok(if imported.refused == 0 { Exit::Done } else { Exit::Failed })
}

fn answers(store: &Store, from: &Path) -> anyhow::Result<Imported> {
    let memo = KeptAnswers::new(store.memo_folder().join("http"), Arc::new(SystemClock));
    let into = Into {
        rows: answers_of,
        stamp: |kept: &Kept| Stamp { key: kept.key, at: kept.at },
        newest: |keys: &[ContentHash]| memo.newest(keys),
        append: |answers: &[Kept]| memo.append(answers),
    };
    let count = |imported: &mut Imported, kept: &Kept, is_new: bool| {
        imported.proven += u64::from(kept.is_proven());
        imported.synthetic += u64::from(is_new && kept.is_synthetic());
    };
    let imported = into.all(from, count)?;
    memo.flush()?;
    Ok(imported)
}

fn vectors(store: &Store, from: &Path) -> anyhow::Result<Imported> {
    let memo: Memo<Stamp> = Memo::new(store.memo_folder().join("vectors"), Arc::new(SystemClock));
    let append = |vectors: &[KeptVector]| {
        let bodies: Vec<Vec<u8>> =
            vectors.iter().map(|(_, vector)| vector.iter().flat_map(|number| number.to_le_bytes()).collect()).collect();
        memo.append(vectors.iter().zip(&bodies).map(|((stamp, _), body)| (stamp, body.as_slice())))
    };
    let into = Into {
        rows: vectors_of,
        stamp: |(stamp, _): &KeptVector| *stamp,
        newest: |keys: &[ContentHash]| memo.newest(keys),
        append,
    };
    let imported = into.all(from, |_, _, _| ())?;
    memo.flush()?;
    Ok(imported)
}

/// Where rows of one sort go.
struct Into<R, S, N, A> {
    rows: R,
    stamp: S,
    newest: N,
    append: A,
}

impl<R, S, N, A> Into<R, S, N, A> {
    /// Takes in all rows of a file that are newer than what is there.
    fn all<T>(&self, from: &Path, count: impl Fn(&mut Imported, &T, bool)) -> anyhow::Result<Imported>
    where
        R: Fn(&Table, u64) -> Result<Vec<Row<T>>, Mistake>,
        S: Fn(&T) -> Stamp,
        N: Fn(&[ContentHash]) -> Vec<Option<u64>>,
        A: Fn(&[T]) -> Result<(), FileError>,
    {
        let latest = SystemClock.now_millis().saturating_add(LEEWAY_MILLIS);
        let parts = read_parts(from, ROWS)?;
        let bar = progress_bar(parts.rows());
        let mut imported = Imported::default();
        for part in parts {
            let mut good = Vec::new();
            for row in (self.rows)(&part?, latest)? {
                imported.rows += 1;
                match row {
                    Ok(row) => good.push(row),
                    Err(why) => {
                        imported.refused += 1;
                        if imported.first_refused.len() < NAMED {
                            imported.first_refused.push((imported.rows, why));
                        }
                    }
                }
            }
            let stamps: Vec<Stamp> = good.iter().map(&self.stamp).collect();
            let keys: Vec<ContentHash> = stamps.iter().map(|stamp| stamp.key).collect();
            let newest = (self.newest)(&keys);
            let is_new: Vec<bool> =
                stamps.iter().zip(newest).map(|(stamp, there)| there.is_none_or(|there| there < stamp.at)).collect();
            for (row, is_new) in good.iter().zip(&is_new) {
                count(&mut imported, row, *is_new);
            }
            let mut of_row = is_new.iter();
            good.retain(|_| of_row.next().copied().unwrap_or(false));
            imported.new += good.len() as u64;
            imported.known += is_new.iter().filter(|is_new| !**is_new).count() as u64;
            (self.append)(&good)?;
            bar.set_position(imported.rows);
        }
        bar.finish_and_clear();
        Ok(imported)
    }
}

fn told(imported: &Imported, is_vectors: bool, style: Style) -> Vec<String> {
    let what = if is_vectors { "vector" } else { "answer" };
    let mut lines = vec![format!(
        "imported {}; {} were there already",
        count(imported.new, &format!("new {what}")),
        thousands(imported.known)
    )];
    let good = imported.new + imported.known;
    if !is_vectors && good > 0 {
        lines.push(format!(
            "the keys of {} of {} were found to be those of their requests; the others cannot be checked",
            thousands(imported.proven),
            thousands(good)
        ));
    }
    if imported.synthetic > 0 {
        let synthetic = thousands(imported.synthetic);
        lines.push(
            style.yellow(&format!("{synthetic} of the new ones are a sandbox's; only the same sandbox uses them")),
        );
    }
    lines.extend(imported.first_refused.iter().map(|(row, why)| style.red(&format!("row {row} was refused: {why}"))));
    let more = imported.refused - imported.first_refused.len() as u64;
    if more > 0 {
        lines.push(style.red(&format!("and {} more", thousands(more))));
    }
    lines
}
