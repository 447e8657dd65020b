//! Users and items as numbers: what the columns `user_id` and `item_id` become,
//! with a third column beside them, before rows are sorted by those numbers.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use rayon::prelude::*;

use super::interner::Interner;
use super::visit::{visit_parquet, visit_table};
use super::{Ids, Table, TableError};

/// About how many rows are sorted at once: so many stay in a core's cache.
const ROWS_OF_BUCKET: usize = 1 << 14;
/// Most places that a thread writes to in turn.
const MOST_BUCKETS: usize = 1 << 11;

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

/// A user, an item and what comes with them.
pub(super) type Row<T> = ((u32, u32), T);

impl<V: Sync> Dense<V> {
    /// The rows of which `value` gives something, ascending by user, item and
    /// that; of rows with the same user and item the last, as `make` makes them.
    ///
    /// Rows are put into buckets of users, and each bucket is sorted by itself.
    pub(super) fn sorted<'a, T, I, R>(
        &'a self,
        values: impl Fn(&'a V) -> I + Sync,
        make: impl Fn(Row<T>) -> R + Sync,
    ) -> Vec<R>
    where
        T: Ord + Copy + Default + Send + Sync,
        I: Iterator<Item = Option<T>>,
        R: Copy + Default + Send,
    {
        let rows: usize = self.pieces.iter().map(|piece| piece.users.len()).sum();
        let wanted = (rows / ROWS_OF_BUCKET).clamp(1, MOST_BUCKETS);
        let width = self.users.len().div_ceil(wanted).max(1).next_power_of_two();
        let (shift, buckets) = (width.trailing_zeros(), self.users.len().div_ceil(width).max(1));
        let length = self.pieces.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts: Vec<Part<T>> =
            self.pieces.par_chunks(length).map(|pieces| Part::of(pieces, shift, buckets, &values)).collect();
        let sizes: Vec<usize> =
            (0..buckets).map(|at| parts.iter().map(|part| part.of_bucket(at).len()).sum()).collect();
        // By all threads: memory that is new costs as much as the sorting.
        let mut sorted: Vec<R> = (0..sizes.iter().sum()).into_par_iter().map(|_: usize| R::default()).collect();
        let mut rest = sorted.as_mut_slice();
        let mut places = Vec::with_capacity(buckets);
        for size in &sizes {
            let (place, after) = rest.split_at_mut(*size);
            places.push(place);
            rest = after;
        }
        let kept: Vec<usize> = places
            .into_par_iter()
            .enumerate()
            .map_init(Default::default, |(rows, other): &mut (Vec<Row<T>>, Vec<Row<T>>), (at, place)| {
                rows.clear();
                for part in &parts {
                    rows.extend_from_slice(part.of_bucket(at));
                }
                sort_pairs(rows, other, shift, self.items.len());
                let last = rows.chunk_by(|one, other| one.0 == other.0).filter_map(|same| same.iter().max());
                last.zip(place).map(|(row, place)| *place = make(*row)).count()
            })
            .collect();
        drop(parts);
        close_gaps(&mut sorted, &sizes, &kept);
        sorted
    }
}

/// Sorts rows by user, as far as the lowest `user_bits` tell, and item: digit
/// by digit from the lowest, for few rows by comparison.
fn sort_pairs<T: Copy + Default>(rows: &mut Vec<Row<T>>, other: &mut Vec<Row<T>>, user_bits: u32, items: usize) {
    if rows.len() < FEW_PAIRS {
        rows.sort_unstable_by_key(|row| row.0);
        return;
    }
    let item_bits = usize::BITS - items.saturating_sub(1).leading_zeros();
    let bits = item_bits + user_bits;
    let passes = bits.div_ceil(DIGIT).max(1);
    let width = bits.div_ceil(passes).max(1);
    other.resize(rows.len(), Row::default());
    let users = (1_u64 << user_bits) - 1;
    for pass in 0..passes {
        let digit = |row: &Row<T>| {
            let key = (u64::from(row.0.0) & users) << item_bits | u64::from(row.0.1);
            (key >> (pass * width)) as usize & ((1 << width) - 1)
        };
        let mut next = [0_u32; 1 << DIGIT];
        for row in rows.iter() {
            next[digit(row)] += 1;
        }
        let mut total = 0;
        for place in &mut next[..1 << width] {
            (*place, total) = (total, total + *place);
        }
        for row in rows.iter() {
            let place = &mut next[digit(row)];
            other[*place as usize] = *row;
            *place += 1;
        }
        std::mem::swap(rows, other);
    }
}

/// Moves what was kept of each bucket to the end of what was kept before it.
fn close_gaps<R: Copy>(rows: &mut Vec<R>, sizes: &[usize], kept: &[usize]) {
    let (mut from, mut to) = (0, 0);
    for (size, kept) in sizes.iter().zip(kept) {
        if from != to {
            rows.copy_within(from..from + kept, to);
        }
        from += size;
        to += kept;
    }
    rows.truncate(to);
}

/// Rows in the order of their buckets.
struct Part<T> {
    rows: Vec<Row<T>>,
    /// Where each bucket ends.
    ends: Vec<usize>,
}

impl<T: Copy + Default> Part<T> {
    fn of<'a, V, I: Iterator<Item = Option<T>>>(
        pieces: &'a [Piece<V>],
        shift: u32,
        buckets: usize,
        values: &impl Fn(&'a V) -> I,
    ) -> Self {
        let mut ends = vec![0; buckets];
        for piece in pieces {
            for (user, value) in piece.users.iter().zip(values(&piece.values)) {
                ends[(user >> shift) as usize] += usize::from(value.is_some());
            }
        }
        let mut total = 0;
        for end in &mut ends {
            (*end, total) = (total, total + *end);
        }
        let mut rows = vec![Row::<T>::default(); total];
        for piece in pieces {
            for ((user, item), value) in piece.users.iter().zip(&piece.items).zip(values(&piece.values)) {
                let Some(value) = value else { continue };
                let end = &mut ends[(user >> shift) as usize];
                rows[*end] = ((*user, *item), value);
                *end += 1;
            }
        }
        Self { rows, ends }
    }

    fn of_bucket(&self, at: usize) -> &[Row<T>] {
        &self.rows[at.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[at]]
    }
}
