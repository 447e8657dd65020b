//! Texts by their keys: a column of `Dictionary(UInt32, LargeUtf8)`, as rows come
//! from [`PackedTables`](super::packed::PackedTables). It is written and hashed without
//! putting its texts together first; everywhere else it becomes plain texts.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray};
use arrow::datatypes::{DataType, Field, UInt32Type};

/// Rows that become texts at once: few enough to stay in the cache.
const AT_ONCE: usize = 1 << 13;
/// Bytes that are copied whatever a text's length.
const SHORT: usize = 16;

/// A column of keys, none of them null, and the texts they stand for.
#[derive(Clone, Copy)]
pub(super) struct Keyed<'a> {
    pub(super) keys: &'a [u32],
    pub(super) texts: &'a LargeStringArray,
}

impl<'a> Keyed<'a> {
    /// The column, unless it is of another type or has nulls.
    pub(super) fn of(column: &'a ArrayRef) -> Option<Self> {
        let dictionary = column.as_dictionary_opt::<UInt32Type>()?;
        let texts = dictionary.values().as_string_opt::<i64>()?;
        let whole = dictionary.null_count() == 0 && texts.null_count() == 0;
        whole.then(|| Self { keys: dictionary.keys().values(), texts })
    }

    /// Where the text of a key lies.
    pub(super) fn range(&self, key: u32) -> Range<usize> {
        let ends = self.texts.value_offsets();
        ends[key as usize] as usize..ends[key as usize + 1] as usize
    }

    /// Hands out the texts in pieces: their lengths, and their bytes one after the other.
    pub(super) fn pieces(&self, mut take: impl FnMut(&[u64], &[u8])) {
        let (mut lengths, mut bytes) = (Vec::with_capacity(AT_ONCE), Vec::new());
        for keys in self.keys.chunks(AT_ONCE) {
            lengths.clear();
            lengths.extend(keys.iter().map(|key| self.range(*key).len() as u64));
            gather(self.texts, keys.iter().copied(), &mut bytes);
            take(&lengths, &bytes);
        }
    }
}

/// What the metadata of a field say of a column in which no two keys have the same text.
const DISTINCT: (&str, &str) = ("refrain.texts", "distinct");

/// A column of texts by their keys, no two of which have the same text.
pub(super) fn distinct_field(name: &str) -> Field {
    let data_type = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::LargeUtf8));
    let metadata = HashMap::from([(DISTINCT.0.to_owned(), DISTINCT.1.to_owned())]);
    Field::new(name, data_type, true).with_metadata(metadata)
}

/// Whether a column was made with [`distinct_field`].
pub(super) fn is_distinct(field: &Field) -> bool {
    field.metadata().get(DISTINCT.0).is_some_and(|texts| texts == DISTINCT.1)
}

/// The bytes of the texts at some places, one after the other, in place of what was there.
///
/// Most are short: so many bytes are copied whatever their length, and the next
/// text is written over what is too much.
pub(super) fn gather(texts: &LargeStringArray, places: impl Iterator<Item = u32> + Clone, copied: &mut Vec<u8>) {
    let (ends, bytes) = (texts.value_offsets(), texts.value_data());
    let range = |place: u32| ends[place as usize] as usize..ends[place as usize + 1] as usize;
    let total: usize = places.clone().map(|place| range(place).len()).sum();
    copied.resize(total + SHORT, 0);
    let mut end = 0;
    for place in places {
        let range = range(place);
        match bytes.get(range.start..range.start + SHORT) {
            Some(short) if range.len() <= SHORT => copied[end..end + SHORT].copy_from_slice(short),
            _ => copied[end..end + range.len()].copy_from_slice(&bytes[range.clone()]),
        }
        end += range.len();
    }
    copied.truncate(total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_copied_whole() {
        let texts: Vec<String> = (0..40).map(|n| "äbc".chars().cycle().take(n * 7 % 40).collect()).collect();
        let array = LargeStringArray::from_iter_values(&texts);
        let places: Vec<u32> = (0..20_000).map(|n| n * 13 % 40).chain([39, 0, 39]).collect();
        let expected: Vec<&str> = places.iter().map(|place| texts[*place as usize].as_str()).collect();
        let mut copied = Vec::new();
        gather(&array, places.iter().copied(), &mut copied);
        assert_eq!(copied, expected.concat().as_bytes());
        let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
        Keyed { keys: &places, texts: &array }.pieces(|of_piece, piece| {
            lengths.extend_from_slice(of_piece);
            bytes.extend_from_slice(piece);
        });
        assert_eq!(bytes, copied);
        assert_eq!(lengths, expected.iter().map(|text| text.len() as u64).collect::<Vec<_>>());
        gather(&array, std::iter::empty(), &mut copied);
        assert!(copied.is_empty());
    }
}
