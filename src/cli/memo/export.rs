//! `refrain memo export`: answers, or vectors, as one Parquet file. Rows stand in
//! the order of their keys, and row groups end where the rows say, so that the
//! same memo gives the same bytes; no more than one group is in memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::super::arguments::{Global, Reading};
use super::super::errors::{Exit, Mistake};
use super::super::project;
use super::super::terminal::{Style, bytes, count, say, thousands};
use super::arguments::MemoExportArguments;
use super::progress_bar;
use super::rows::{KeptVector, table_of_answers, table_of_vectors};
use crate::engine::{self, TraceOptions, TracedRows};
use crate::ground::files::{self, FileError};
use crate::ground::{Clock, ContentHash, Environment, SystemClock};
use crate::memo::{Memo, Stamp};
use crate::store::Store;
use crate::table::{ParquetWriter, Table};
use crate::web::{Kept, KeptAnswers, Tracing};

/// A row group has at most so many rows or bytes of bodies.
const GROUP_ROWS: usize = 16_384;
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Exports answers or vectors.
///
/// # Errors
/// If there is no store, the file is there, or something cannot be read or written.
pub(super) fn export(global: &Global, arguments: &MemoExportArguments) -> anyhow::Result<Exit> {
    let store = project::existing_store(global)?;
    if arguments.to.exists() && !arguments.overwrite {
        let mistake = Mistake::new(format!("`{}` is there already", arguments.to.display()));
        return Err(mistake.hint("name another file, or replace it with --overwrite").into());
    }
    let since = arguments.since.map_or(0, |since| since.moment(SystemClock.now_millis()));
    let style = Style::of_stderr(global.color);
    if arguments.vectors {
        return vectors(&store, &arguments.to, since, style);
    }
    let of_stages = match keys_of_stages(global, arguments, &store)? {
        Ok(keys) => keys,
        Err(exit) => return Ok(exit),
    };
    let memo = KeptAnswers::read_only(store.memo_folder().join("http"), Arc::new(SystemClock));
    let mut stamps = memo.stamps();
    stamps.retain(|stamp| stamp.at >= since && of_stages.as_ref().is_none_or(|keys| keys.contains(&stamp.key)));
    let wanted = |kept: &Kept| {
        !kept.rejected
            && (arguments.provider.is_empty() || arguments.provider.iter().any(|name| name == kept.provider()))
            && !(arguments.live && kept.is_synthetic())
    };
    let mut synthetic = 0_u64;
    let find = |stamp: &Stamp| {
        memo.find(stamp.key).filter(|kept| wanted(kept)).inspect(|kept| synthetic += u64::from(kept.is_synthetic()))
    };
    let written = write(&arguments.to, &stamps, find, |kept| kept.body.len() + kept.request.len(), table_of_answers)?;
    warn(&memo.take_warnings(), style);
    say(&told(written, "answer", &arguments.to));
    if synthetic > 0 {
        let what = format!(
            "{} of them are a sandbox's, made up by a program: publish none of them as data",
            thousands(synthetic)
        );
        say(&style.yellow(&what));
    }
    Ok(Exit::Done)
}

fn vectors(store: &Store, to: &Path, since: u64, style: Style) -> anyhow::Result<Exit> {
    let memo: Memo<Stamp> = Memo::read_only(store.memo_folder().join("vectors"), Arc::new(SystemClock));
    let mut stamps = memo.stamps();
    stamps.retain(|stamp| stamp.at >= since);
    let find = |stamp: &Stamp| {
        let (stamp, body) = memo.find(stamp.key, None)?;
        let (numbers, rest) = body.as_chunks::<4>();
        rest.is_empty().then(|| (stamp, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    };
    let written = write(to, &stamps, find, |(_, vector): &KeptVector| vector.len() * 4, table_of_vectors)?;
    warn(&memo.take_warnings(), style);
    say(&told(written, "vector", to));
    Ok(Exit::Done)
}

fn warn(warnings: &[String], style: Style) {
    for warning in warnings {
        say(&style.yellow(&format!("! {warning}")));
    }
}

/// The keys of the answers that the stages of `--stage` are made of; none if all
/// answers are wanted, an exit code if the pipeline has mistakes.
fn keys_of_stages(
    global: &Global,
    arguments: &MemoExportArguments,
    store: &Store,
) -> anyhow::Result<Result<Option<BTreeSet<ContentHash>>, Exit>> {
    if arguments.stage.is_empty() {
        return Ok(Ok(None));
    }
    let pipeline = match project::read(global, arguments.pipeline.clone(), &arguments.reading)? {
        Ok(pipeline) => pipeline,
        Err(exit) => return Ok(Err(exit)),
    };
    let mut keys = BTreeSet::new();
    for stage in &arguments.stage {
        let options = trace_options(&arguments.reading, Tracing::All, TracedRows::All, true);
        let trace = engine::trace(&pipeline, store, stage, &options).map_err(project::refused)?;
        let calls = trace.rows.into_iter().filter_map(|row| row.calls).flatten();
        keys.extend(calls.filter(|call| call.answered).map(|call| call.key));
    }
    Ok(Ok(Some(keys)))
}

/// How a stage is looked at.
pub(super) fn trace_options(reading: &Reading, calls: Tracing, rows: TracedRows, as_made: bool) -> TraceOptions {
    let plan = project::plan_options(reading, &[], &[]);
    TraceOptions { plan, environment: Environment::of_process(), calls, rows, as_made }
}

/// What was written: rows, and the bytes of the file.
#[derive(Clone, Copy)]
struct Written {
    rows: u64,
    bytes: u64,
}

fn told(written: Written, what: &str, to: &Path) -> String {
    format!("exported {} to `{}`, {}", count(written.rows, what), to.display(), bytes(written.bytes))
}

/// Writes what is found of each of `stamps` to a file that appears whole or not at all.
fn write<T>(
    to: &Path,
    stamps: &[Stamp],
    mut find: impl FnMut(&Stamp) -> Option<T>,
    size: impl Fn(&T) -> usize,
    table: impl Fn(&[T]) -> Result<Table, crate::table::TableError>,
) -> anyhow::Result<Written> {
    let temporary = beside(to);
    let file = File::create(&temporary).map_err(FileError::with("create", &temporary))?;
    let mut writer = ParquetWriter::new(BufWriter::new(file));
    let bar = progress_bar(stamps.len() as u64);
    let (mut group, mut group_bytes, mut rows) = (Vec::new(), 0, 0_u64);
    let mut all = || -> anyhow::Result<()> {
        // Even without a row the file has its columns.
        writer.append(&table(&[])?)?;
        for (place, stamp) in stamps.iter().enumerate() {
            if let Some(found) = find(stamp) {
                group_bytes += size(&found);
                group.push(found);
                rows += 1;
            }
            if group.len() >= GROUP_ROWS || group_bytes >= GROUP_BYTES {
                writer.append(&table(&group)?)?;
                writer.end_group()?;
                group.clear();
                group_bytes = 0;
                bar.set_position(place as u64);
            }
        }
        Ok(writer.append(&table(&group)?)?)
    };
    let written = all().and_then(|()| {
        let file =
            writer.finish()?.into_inner().map_err(|error| FileError::with("write", &temporary)(error.into_error()))?;
        (&file).flush().and_then(|()| file.sync_all()).map_err(FileError::with("write", &temporary))?;
        files::publish(&temporary, to)?;
        Ok(Written { rows, bytes: files::size(to)? })
    });
    bar.finish_and_clear();
    if written.is_err() {
        // Best effort: the next export overwrites it.
        fs::remove_file(&temporary).ok();
    }
    written.with_context(|| format!("could not export to `{}`", to.display()))
}

/// Where a file is written before it takes its name.
fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}
