//! Users and items as numbers: what the columns `user_id` and `item_id` become,
//! with a third column beside them, before rows are sorted by those numbers.

use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use rayon::prelude::*;

use super::interner::Interner;
use super::visit::{visit_parquet, visit_table};
use super::{Ids, Table, TableError};

/// About how many rows are sorted at once: so many stay in a core's cache.
const ROWS_OF_RUN: usize = 1 << 14;
/// Most places that a thread writes to in turn.
const MOST_RUNS: usize = 1 << 11;

/// Bits of the digits by which they are sorted.
const DIGIT: u32 = 10;
/// Below so many rows, comparing is faster than counting digits.
const FEW_PAIRS: usize = 512;

/// Where rows come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Memory(&'a Table),
    File(&'a Path),
}

/// Rows of users and items, by their places among the ids, and with each what
/// its third column became; in pieces, in the order of the rows.
pub(super) struct Dense<V> {
    pub(super) users: Ids,
    pub(super) items: Ids,
    pub(super) pieces: Vec<Piece<V>>,
}

/// Some rows. All three are equally long.
pub(super) struct Piece<V> {
    users: Vec<u32>,
    items: Vec<u32>,
    pub(super) values: V,
}

/// A column of ids on its way to numbers.
struct Side {
    name: &'static str,
    interner: Interner,
    nulls: usize,
    /// The dictionary that came last, and the numbers of what was used of it.
    known: Option<(ArrayRef, Vec<u32>)>,
}

struct Share<V> {
    users: Side,
    items: Side,
    pieces: Vec<Piece<V>>,
}

impl<V: Send> Dense<V> {
    /// Reads `user_id`, `item_id` and the column named `third`, which `read`
    /// makes values of.
    pub(super) fn read<E: Send + From<TableError>>(
        source: Source<'_>,
        third: &str,
        read: impl Fn(&ArrayRef) -> Result<V, E> + Sync,
    ) -> Result<Self, E> {
        let new = || Share { users: Side::new("user_id"), items: Side::new("item_id"), pieces: Vec::new() };
        let visit = |share: &mut Share<V>, batch: &RecordBatch| -> Result<(), E> {
            let column = |name: &str| {
                let missing = || TableError::NoColumn {
                    column: name.to_owned(),
                    columns: batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
                };
                batch.column_by_name(name).ok_or_else(missing)
            };
            let users = share.users.numbers(column("user_id")?)?;
            let items = share.items.numbers(column("item_id")?)?;
            share.pieces.push(Piece { users, items, values: read(column(third)?)? });
            Ok(())
        };
        let shares = match source {
            Source::Memory(table) => {
                for name in ["user_id", "item_id", third] {
                    table.index_of(name)?;
                }
                visit_table(table, new, visit)?
            }
            Source::File(path) => {
                visit_parquet(path, &["user_id", "item_id", third], &["user_id", "item_id", "part"], new, visit)?
            }
        };
        Ok(Self::of_shares(shares)?)
    }

    fn of_shares(shares: Vec<Share<V>>) -> Result<Self, TableError> {
        let (mut users, mut items, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        let mut nulls = [0, 0];
        for share in shares {
            nulls[0] += share.users.nulls;
            nulls[1] += share.items.nulls;
            users.push(share.users.interner);
            items.push(share.items.interner);
            pieces.push(share.pieces);
        }
        for (nulls, name) in nulls.into_iter().zip(["user_id", "item_id"]) {
            if nulls > 0 {
                return Err(TableError::Nulls { column: name.to_owned(), nulls });
            }
        }
        let merge = |interners: Vec<Interner>| Ids::merged(&interners);
        let ((users, of_users), (items, of_items)) = rayon::join(|| merge(users), || merge(items));
        pieces.par_iter_mut().zip(&of_users).zip(&of_items).for_each(|((pieces, users), items)| {
            let renumber = |numbers: &mut Vec<u32>, places: &[u32]| {
                for number in numbers {
                    *number = places[*number as usize];
                }
            };
            for piece in pieces {
                renumber(&mut piece.users, users);
                renumber(&mut piece.items, items);
            }
        });
        Ok(Self { users, items, pieces: pieces.into_iter().flatten().collect() })
    }
}

impl Side {
    fn new(name: &'static str) -> Self {
        Self { name, interner: Interner::new(), nulls: 0, known: None }
    }

    /// The numbers of a column's ids; none, and the nulls counted, if some are missing.
    fn numbers(&mut self, column: &ArrayRef) -> Result<Vec<u32>, TableError> {
        let nulls = column.logical_null_count();
        if nulls > 0 || self.nulls > 0 {
            self.nulls += nulls;
            return Ok(Vec::new());
        }
        match column.data_type() {
            DataType::Utf8 => Ok(self.of_texts(column.as_string())),
            DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
                let dictionary = column.as_dictionary::<Int32Type>();
                Ok(self.of_dictionary(dictionary.keys().values(), dictionary.values()))
            }
            _ => {
                let wrong = || TableError::WrongType {
                    column: self.name.to_owned(),
                    actual: column.data_type().to_string(),
                    expected: "text",
                };
                let texts = cast(column, &DataType::Utf8).map_err(|_| wrong())?;
                if texts.null_count() > 0 { Err(wrong()) } else { Ok(self.of_texts(texts.as_string())) }
            }
        }
    }

    fn of_texts(&mut self, texts: &StringArray) -> Vec<u32> {
        // Sorted tables have the same id in many rows on end.
        let mut last: Option<(&str, u32)> = None;
        let number = |text| match last {
            Some((same, number)) if same == text => number,
            _ => last.insert((text, self.interner.number(text))).1,
        };
        texts.iter().flatten().map(number).collect()
    }

    fn of_dictionary(&mut self, keys: &[i32], values: &ArrayRef) -> Vec<u32> {
        const UNUSED: u32 = u32::MAX;
        let known = self.known.take().filter(|(dictionary, _)| std::sync::Arc::ptr_eq(dictionary, values));
        let mut numbers = known.map_or_else(|| vec![UNUSED; values.len()], |(_, numbers)| numbers);
        let texts = values.as_string::<i32>();
        // What no row has is no id.
        let mut used = vec![false; numbers.len()];
        for key in keys {
            used[*key as usize] = true;
        }
        let new: Vec<usize> = (0..used.len()).filter(|key| used[*key] && numbers[*key] == UNUSED).collect();
        let mut places = new.iter();
        self.interner.numbers(new.iter().map(|key| texts.value(*key)), |number| {
            if let Some(key) = places.next() {
                numbers[*key] = number;
            }
        });
        let of_rows = keys.iter().map(|key| numbers[*key as usize]).collect();
        self.known = Some((std::sync::Arc::clone(values), numbers));
        of_rows
    }
}

/// What is sorted: a user and an item, and what may come with them.
///
/// Tuples of numbers, because memory for them comes zeroed from the system, and
/// is first touched by the thread that fills it.
pub(super) trait Row: Ord + Copy + Default + Send + Sync {
    /// The user and the item.
    fn pair(&self) -> (u32, u32);
}

impl Row for (u32, u32) {
    fn pair(&self) -> (u32, u32) {
        *self
    }
}

impl<T: Ord + Copy + Default + Send + Sync> Row for ((u32, u32), T) {
    fn pair(&self) -> (u32, u32) {
        self.0
    }
}

/// Rows ascending by user, item and what comes with them, of each user and item
/// one; in runs with gaps between them.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "a run is what it is called everywhere")]
pub(super) struct Runs<R> {
    pub(super) rows: Vec<R>,
    /// Where each run lies in `rows`.
    pub(super) runs: Vec<Range<usize>>,
    /// The first run has all rows of the first so many users, and so on.
    pub(super) width: usize,
}

impl<R: Copy> Runs<R> {
    /// The rows without gaps.
    pub(super) fn joined(self) -> Vec<R> {
        let (mut rows, mut end) = (self.rows, 0);
        for run in self.runs {
            let length = run.len();
            if run.start != end {
                rows.copy_within(run, end);
            }
            end += length;
        }
        rows.truncate(end);
        rows
    }
}

impl<V: Sync> Dense<V> {
    /// The rows of which `value` gives something, as `make` makes them, ascending;
    /// of rows with the same user and item the last.
    ///
    /// Rows are put into runs of users, and each run is sorted by itself.
    pub(super) fn sorted<'a, T, I, R>(
        &'a self,
        values: impl Fn(&'a V) -> I + Sync,
        make: impl Fn((u32, u32), T) -> R + Sync,
    ) -> Runs<R>
    where
        I: Iterator<Item = Option<T>>,
        R: Row,
    {
        let rows: usize = self.pieces.iter().map(|piece| piece.users.len()).sum();
        let wanted = (rows / ROWS_OF_RUN).clamp(1, MOST_RUNS);
        let width = self.users.len().div_ceil(wanted).max(1).next_power_of_two();
        let (shift, runs) = (width.trailing_zeros(), self.users.len().div_ceil(width).max(1));
        let shares: Vec<&[Piece<V>]> =
            self.pieces.chunks(self.pieces.len().div_ceil(rayon::current_num_threads()).max(1)).collect();
        let sizes: Vec<Vec<usize>> =
            shares.par_iter().map(|pieces| sizes_of_runs(pieces, shift, runs, &values)).collect();
        let ends = ends_of_runs(&sizes, runs);
        let mut sorted = vec![R::default(); ends.last().copied().unwrap_or_default()];
        let places = places_of_shares(&mut sorted, &sizes, runs);
        shares.into_par_iter().zip(places).for_each(|(pieces, mut places)| {
            for piece in pieces {
                for ((user, item), value) in piece.users.iter().zip(&piece.items).zip(values(&piece.values)) {
                    let Some(value) = value else { continue };
                    let place = &mut places[(user >> shift) as usize];
                    if let Some((first, rest)) = std::mem::take(place).split_first_mut() {
                        *first = make((*user, *item), value);
                        *place = rest;
                    }
                }
            }
        });
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut rest = sorted.as_mut_slice();
        let mut runs = Vec::with_capacity(runs);
        for (start, end) in starts.zip(&ends) {
            let (run, after) = rest.split_at_mut(end - start);
            runs.push((start, run));
            rest = after;
        }
        let runs = runs
            .into_par_iter()
            .map_init(Vec::new, |other, (start, run)| start..start + sort_run(run, other, shift, self.items.len()));
        let runs = runs.collect();
        Runs { rows: sorted, runs, width }
    }
}

/// How many of these rows go into each run.
fn sizes_of_runs<'a, V, T, I: Iterator<Item = Option<T>>>(
    pieces: &'a [Piece<V>],
    shift: u32,
    runs: usize,
    values: &impl Fn(&'a V) -> I,
) -> Vec<usize> {
    let mut sizes = vec![0; runs];
    for piece in pieces {
        for (user, value) in piece.users.iter().zip(values(&piece.values)) {
            sizes[(user >> shift) as usize] += usize::from(value.is_some());
        }
    }
    sizes
}

/// Where each run ends, given its size in each share.
fn ends_of_runs(sizes: &[Vec<usize>], runs: usize) -> Vec<usize> {
    let sizes = (0..runs).map(|run| sizes.iter().map(|of_share| of_share[run]).sum());
    sizes
        .scan(0, |end, size: usize| {
            *end += size;
            Some(*end)
        })
        .collect()
}

/// For each share its place in each run.
fn places_of_shares<'a, R>(rows: &'a mut [R], sizes: &[Vec<usize>], runs: usize) -> Vec<Vec<&'a mut [R]>> {
    let mut places: Vec<Vec<&mut [R]>> = sizes.iter().map(|_| Vec::with_capacity(runs)).collect();
    let mut rest = rows;
    for run in 0..runs {
        for (sizes, places) in sizes.iter().zip(&mut places) {
            let (place, after) = std::mem::take(&mut rest).split_at_mut(sizes[run]);
            places.push(place);
            rest = after;
        }
    }
    places
}

/// Sorts a run, moves the last row of each user and item to its start, and gives
/// how many they are. `other` is memory to work in.
fn sort_run<R: Row>(run: &mut [R], other: &mut Vec<R>, user_bits: u32, items: usize) -> usize {
    if run.len() < FEW_PAIRS {
        run.sort_unstable();
        return keep_last(run, None);
    }
    if other.len() < run.len() {
        other.resize(run.len(), R::default());
    }
    let other = &mut other[..run.len()];
    if sort_pairs(run, other, user_bits, items) { keep_last(run, Some(other)) } else { keep_last(run, None) }
}

/// Of rows with the same user and item, which stand together, the greatest goes to the next place
/// of `run`. The rows are those of `from`, else of `run` itself.
fn keep_last<R: Row>(run: &mut [R], from: Option<&[R]>) -> usize {
    let mut kept = 0_usize;
    for at in 0..run.len() {
        let row: R = from.map_or_else(|| run[at], |from| from[at]);
        match kept.checked_sub(1) {
            Some(last) if run[last].pair() == row.pair() => run[last] = run[last].max(row),
            _ => {
                run[kept] = row;
                kept += 1;
            }
        }
    }
    kept
}

/// Sorts rows by user, as far as the lowest `user_bits` tell, and item: digit
/// by digit from the lowest, into the other memory and back. Whether they are in
/// `other` in the end.
fn sort_pairs<R: Row>(rows: &mut [R], other: &mut [R], user_bits: u32, items: usize) -> bool {
    let item_bits = usize::BITS - items.saturating_sub(1).leading_zeros();
    let bits = item_bits + user_bits;
    let passes = bits.div_ceil(DIGIT).max(1);
    let width = bits.div_ceil(passes).max(1);
    let users = (1_u64 << user_bits) - 1;
    let (mut from, mut to) = (rows, other);
    for pass in 0..passes {
        let digit = |row: &R| {
            let (user, item) = row.pair();
            let key = (u64::from(user) & users) << item_bits | u64::from(item);
            (key >> (pass * width)) as usize & ((1 << width) - 1)
        };
        let mut next = [0_u32; 1 << DIGIT];
        for row in from.iter() {
            next[digit(row)] += 1;
        }
        let mut total = 0;
        for place in &mut next[..1 << width] {
            (*place, total) = (total, total + *place);
        }
        for row in from.iter() {
            let place = &mut next[digit(row)];
            to[*place as usize] = *row;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    passes % 2 == 1
}
