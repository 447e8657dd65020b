//! Cuts the rows of a stage's input into shards, and puts the results of the
//! shards together again.
//!
//! A row belongs to the shard that the hash of its key says, so that new rows
//! change few shards. Each shard's rows are an artifact of their own, and the
//! cut itself is a result in the store: it is found again like any other. What
//! is put together is the table that the stage would have written uncut.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::compute::{interleave_record_batch, take_record_batch};
use serde_json::{Value, json};

use super::fingerprint::InputPrint;
use super::options::Failure;
use super::planner::Work;
use crate::ground::{ContentHash, hash_json};
use crate::stage::{Input, Sharding};
use crate::store::{Artifact, ArtifactWriter, Store, StoreError};
use crate::table::{Table, TableError, TableParts, read_parts};

/// Rows that are read at once.
const ROWS: usize = 65_536;
/// The least rows of one shard's result that are read at once.
const LEAST_ROWS: usize = 1_024;

/// The rows of a stage, cut.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) sharding: Sharding,
    /// Each shard's rows.
    pub(super) shards: Vec<Artifact>,
}

/// Why rows cannot be cut or put together.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutError {
    /// A row that belongs to no shard, or to no row.
    #[error("{what}")]
    Rows { what: String, hint: &'static str },
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl CutError {
    pub(super) fn failure(&self) -> Failure {
        let hint = match self {
            Self::Rows { hint, .. } => Some((*hint).to_owned()),
            _ => None,
        };
        Failure::of(self, hint)
    }
}

/// What decides how the rows of a stage are cut; its hash is the cut's key.
pub(super) fn fingerprint(work: &Work, sharding: &Sharding, shards: u32) -> Value {
    let print = work.assembled.fingerprint.inputs.get(&sharding.port).and_then(|labels| labels.get(""));
    let columns = work.assembled.inputs[&sharding.port][0].readable();
    json!({ "format": 1, "kind": "cut", "read": print, "columns": columns, "key": sharding.key, "shards": shards })
}

/// The cut's key.
pub(super) fn key(fingerprint: &Value) -> ContentHash {
    hash_json(fingerprint)
}

/// Which shard a row belongs to.
fn shard_of(row_key: &str, shards: u32) -> (usize, u128) {
    let hash = ContentHash::of(row_key.as_bytes());
    let bytes: [u8; 16] = hash.as_bytes()[..16].try_into().unwrap_or_default();
    let number = u128::from_le_bytes(bytes);
    ((number % u128::from(shards)) as usize, number)
}

/// Cuts an input into the tables of its shards, each with the rows in the order
/// of the input.
///
/// # Errors
/// [`CutError`] if a row has no key or that of another, or a table cannot be
/// read or written.
pub(super) fn write(
    store: &Store,
    input: &Input,
    sharding: &Sharding,
    shards: u32,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<ArtifactWriter>, CutError> {
    let path = input.path().ok_or_else(|| TableError::Refused("the input is in no file: this is a bug".to_owned()))?;
    let parts = read_parts(path, ROWS)?;
    let mut writers = (0..shards).map(|_| store.writer()).collect::<Result<Vec<_>, _>>()?;
    let mut seen: Vec<Vec<u128>> = vec![Vec::new(); shards as usize];
    let readable = |table: Table| match input.readable() {
        Some(columns) => table.select(columns),
        None => Ok(table),
    };
    let empty = readable(parts.empty())?;
    writers.iter_mut().try_for_each(|writer| writer.append(&empty))?;
    for part in parts {
        if is_cancelled() {
            return Err(CutError::Stopped);
        }
        let batch = readable(part?)?.single_batch()?;
        let keys = row_keys(&batch, &sharding.key)?;
        let mut rows: Vec<Vec<u64>> = vec![Vec::new(); shards as usize];
        for row in 0..keys.len() {
            if keys.is_null(row) {
                let what = format!(
                    "a row of the input `{}` has no `{}`, by which it is cut into shards",
                    sharding.port, sharding.key
                );
                return Err(CutError::Rows { what, hint: "leave such rows out above, or remove `shards:`" });
            }
            let (shard, number) = shard_of(keys.value(row), shards);
            rows[shard].push(row as u64);
            seen[shard].push(number);
        }
        for (writer, rows) in writers.iter_mut().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            writer.append(&chosen(&batch, rows)?)?;
        }
    }
    for numbers in &mut seen {
        numbers.sort_unstable();
        let before = numbers.len();
        numbers.dedup();
        if numbers.len() < before {
            let (port, key, twice) = (&sharding.port, &sharding.key, before - numbers.len());
            let what = format!("the input `{port}` has {twice} rows or more whose `{key}` another row has");
            return Err(CutError::Rows { what, hint: "make them one above, or remove `shards:`" });
        }
    }
    Ok(writers)
}

fn row_keys(batch: &RecordBatch, name: &str) -> Result<StringArray, TableError> {
    Table::new(batch.schema(), vec![batch.clone()]).strings(name)
}

fn chosen(batch: &RecordBatch, rows: Vec<u64>) -> Result<Table, TableError> {
    let rows = arrow::array::UInt64Array::from(rows);
    let taken = take_record_batch(batch, &rows).map_err(|source| TableError::Arrow { action: "cut", source })?;
    Ok(Table::new(batch.schema(), vec![taken]))
}

/// What a shard reads of its rows, for its fingerprint, and the rows themselves.
pub(super) fn shard_input(store: &Store, whole: &Input, print: &InputPrint, rows: &Artifact) -> (InputPrint, Input) {
    let columns = rows.columns.iter().filter(|column| print.columns.contains_key(&column.name));
    let columns: BTreeMap<String, ContentHash> = columns.map(|column| (column.name.clone(), column.hash)).collect();
    let print = InputPrint { columns, order: print.order.clone() };
    let readable = whole.readable().map(<[String]>::to_vec);
    (print, Input::of_file("", &store.object_path(&rows.hash), readable, rows.rows))
}

/// Puts the tables that shards made of an output together, in the order of the
/// rows that they were made from, and gives them to `write` in parts.
///
/// # Errors
/// [`CutError`] if a table cannot be read or has a row of no row of the input.
pub(super) fn join(
    input: &Input,
    sharding: &Sharding,
    results: &[impl AsRef<Path>],
    is_cancelled: &dyn Fn() -> bool,
    write: &mut dyn FnMut(&Table) -> Result<(), CutError>,
) -> Result<(), CutError> {
    let path = input.path().ok_or_else(|| TableError::Refused("the input is in no file: this is a bug".to_owned()))?;
    let rows = (ROWS / results.len().max(1)).max(LEAST_ROWS);
    let open = |path: &Path| Ok::<_, CutError>(Cursor::new(read_parts(path, rows)?, &sharding.key));
    let mut cursors = results.iter().map(|path| open(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = cursors.first() {
        write(&first.parts.empty())?;
    }
    for part in read_parts(path, ROWS)? {
        if is_cancelled() {
            return Err(CutError::Stopped);
        }
        let keys = row_keys(&part?.select(&[&sharding.key])?.single_batch()?, &sharding.key)?;
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(keys.len());
        let mut batches: Vec<RecordBatch> = Vec::new();
        for key in keys.iter().flatten() {
            let (shard, _) = shard_of(key, cursors.len() as u32);
            let cursor = &mut cursors[shard];
            while cursor.is_at(key)? {
                places.push((cursor.place_in(&mut batches), cursor.row));
                cursor.row += 1;
            }
        }
        for cursor in &mut cursors {
            cursor.place = None;
        }
        if !places.is_empty() {
            let batches: Vec<&RecordBatch> = batches.iter().collect();
            let refused = |source| TableError::Arrow { action: "put together", source };
            let joined = interleave_record_batch(&batches, &places).map_err(refused)?;
            write(&Table::new(joined.schema(), vec![joined]))?;
        }
    }
    for cursor in &mut cursors {
        if let Some(key) = cursor.next_key()? {
            let what = format!("a shard wrote a row `{key}` that is not among its rows, or not in their order");
            return Err(CutError::Rows { what, hint: "remove `shards:`: the stage does not work row by row" });
        }
    }
    Ok(())
}

/// How far one shard's result has been read.
struct Cursor<'a> {
    parts: TableParts,
    key: &'a str,
    batch: Option<(RecordBatch, StringArray)>,
    row: usize,
    /// Where the batch stands among those in use.
    place: Option<usize>,
}

impl<'a> Cursor<'a> {
    fn new(parts: TableParts, key: &'a str) -> Self {
        Self { parts, key, batch: None, row: 0, place: None }
    }

    /// The key of the next row.
    fn next_key(&mut self) -> Result<Option<&str>, CutError> {
        while self.batch.as_ref().is_none_or(|(_, keys)| self.row == keys.len()) {
            let Some(part) = self.parts.next() else { return Ok(None) };
            let batch = part?.single_batch()?;
            let keys = row_keys(&batch, self.key)?;
            (self.batch, self.row, self.place) = (Some((batch, keys)), 0, None);
        }
        let key = self.batch.as_ref().map(|(_, keys)| if keys.is_null(self.row) { "" } else { keys.value(self.row) });
        Ok(key)
    }

    fn is_at(&mut self, key: &str) -> Result<bool, CutError> {
        Ok(self.next_key()? == Some(key))
    }

    fn place_in(&mut self, batches: &mut Vec<RecordBatch>) -> usize {
        let batch = self.batch.as_ref();
        *self.place.get_or_insert_with(|| {
            batches.extend(batch.map(|(batch, _)| batch.clone()));
            batches.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn songs(rows: i64) -> Table {
        let ids: ArrayRef = Arc::new((0..rows).map(|row| Some(format!("s{row}"))).collect::<StringArray>());
        let plays: ArrayRef = Arc::new((0..rows).collect::<Int64Array>());
        Table::of_columns([("item_id", ids), ("plays", plays)]).expect("a table")
    }

    fn kept(store: &Store, table: &Table) -> PathBuf {
        let mut writer = store.writer().expect("a writer");
        writer.append(table).expect("rows");
        store.object_path(&writer.finish().expect("an artifact").hash)
    }

    fn cut(store: &Store, table: &Table, shards: u32) -> Result<(Input, Vec<Artifact>), CutError> {
        let path = kept(store, table);
        let input = Input::of_file("", &path, None, table.rows() as u64);
        let writers = write(store, &input, &Sharding::new("texts", "item_id"), shards, &|| false)?;
        Ok((input, writers.into_iter().map(|writer| writer.finish().expect("an artifact")).collect()))
    }

    #[test]
    fn what_is_cut_and_put_together_is_what_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        for (rows, shards) in [(0, 3), (1, 4), (10_000, 1), (10_000, 7), (200_000, 5)] {
            let table = songs(rows);
            let (input, artifacts) = cut(&store, &table, shards).expect("shards");
            assert_eq!(artifacts.iter().map(|artifact| artifact.rows).sum::<u64>(), rows as u64);
            let paths: Vec<PathBuf> = artifacts.iter().map(|artifact| store.object_path(&artifact.hash)).collect();
            let mut writer = store.writer().expect("a writer");
            let mut keep = |part: &Table| Ok(writer.append(part)?);
            join(&input, &Sharding::new("texts", "item_id"), &paths, &|| false, &mut keep).expect("one table");
            assert_eq!(Some(store.object_path(&writer.finish().expect("an artifact").hash).as_path()), input.path());
        }
    }

    #[test]
    fn new_rows_change_few_shards() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let of = |rows| cut(&store, &songs(rows), 64).expect("shards").1;
        let (before, after) = (of(10_000), of(10_003));
        let changed = before.iter().zip(&after).filter(|(one, other)| one.hash != other.hash).count();
        assert!((1..=3).contains(&changed), "{changed}");
    }

    #[test]
    fn rows_that_are_not_told_apart_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let with = |ids: Vec<Option<&str>>| {
            Table::of_columns([("item_id", Arc::new(StringArray::from(ids)) as ArrayRef)]).expect("a table")
        };
        let twice = cut(&store, &with(vec![Some("a"), Some("b"), Some("a")]), 2).expect_err("refused");
        assert_eq!(twice.to_string(), "the input `texts` has 1 rows or more whose `item_id` another row has");
        let none = cut(&store, &with(vec![Some("a"), None]), 2).expect_err("refused");
        assert!(none.to_string().starts_with("a row of the input `texts` has no `item_id`"));
    }

    #[test]
    fn a_row_that_a_shard_made_up_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let (input, _) = cut(&store, &songs(3), 1).expect("shards");
        let other = [kept(&store, &songs(4))];
        let error = join(&input, &Sharding::new("texts", "item_id"), &other, &|| false, &mut |_| Ok(()));
        assert!(error.expect_err("refused").to_string().contains("a row `s3`"));
    }
}
