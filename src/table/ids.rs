//! The ids of users or items: distinct, in a stated order, each known by its
//! place in it.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray};
use arrow::compute::concat;
use rayon::prelude::*;

use super::interner::Interner;

/// Texts that are copied by one thread at once.
const AT_ONCE: usize = 1 << 14;

/// Distinct ids in ascending order: numeric if every one is an integer (`9`
/// before `10`; ties, as of `1` and `01`, by their bytes), else by bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Ids {
    texts: LargeStringArray,
    numeric: bool,
}

impl Eq for Ids {}

impl Ids {
    /// The distinct ids among those given.
    pub fn of<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut interner = Interner::new();
        for id in ids {
            interner.number(id);
        }
        Self::merged(&[interner]).0
    }

    /// The distinct ids of all the interners, and for each of these the places
    /// of its numbers.
    pub(super) fn merged(interners: &[Interner]) -> (Self, Vec<Vec<u32>>) {
        let numbers_of = |interner: &Interner| 0..interner.len() as u32;
        let numeric = interners.par_iter().all(|interner| {
            numbers_of(interner).into_par_iter().all(|number| interner.text(number).parse::<i64>().is_ok())
        });
        let entries = interners.par_iter().enumerate().flat_map(|(of, interner)| {
            let entry = move |number| {
                let (start, whole) = start(interner.bytes_of(number), numeric);
                Entry { start, of: of as u32, number, whole }
            };
            numbers_of(interner).into_par_iter().map(entry)
        });
        let mut entries: Vec<Entry> = entries.collect();
        let bytes = |entry: &Entry| interners[entry.of as usize].bytes_of(entry.number);
        // Whatever is equal here is the same text.
        let order = |a: &Entry, b: &Entry| {
            let rest = || if a.whole && b.whole { Ordering::Equal } else { bytes(a).cmp(bytes(b)) };
            a.start.cmp(&b.start).then_with(rest)
        };
        entries.par_sort_unstable_by(order);
        let mut places: Vec<Vec<u32>> = interners.iter().map(|interner| vec![0; interner.len()]).collect();
        let mut firsts: Vec<Entry> = Vec::with_capacity(interners.iter().map(Interner::len).max().unwrap_or(0));
        for entry in entries {
            if firsts.last().is_none_or(|last| order(last, &entry) != Ordering::Equal) {
                firsts.push(entry);
            }
            places[entry.of as usize][entry.number as usize] = firsts.len() as u32 - 1;
        }
        let text = |entry: &Entry| interners[entry.of as usize].text(entry.number);
        let texts = |entries: &[Entry]| LargeStringArray::from_iter_values(entries.iter().map(text));
        (Self { texts: joined(&firsts.par_chunks(AT_ONCE).map(texts).collect::<Vec<_>>()), numeric }, places)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The index of an id.
    #[must_use]
    pub fn index_of(&self, id: &str) -> Option<u32> {
        let (mut from, mut to) = (0, self.len() as u32);
        while from < to {
            let middle = from.midpoint(to);
            match compare(self.numeric, self.get(middle), id) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
            }
        }
        None
    }

    /// The id of an index.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn get(&self, index: u32) -> &str {
        self.texts.value(index as usize)
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.texts.value(index))
    }

    /// The ids, ascending.
    pub(super) fn to_array(&self) -> ArrayRef {
        Arc::new(self.texts.clone())
    }
}

/// The same texts in one array.
fn joined(parts: &[LargeStringArray]) -> LargeStringArray {
    let arrays: Vec<&dyn Array> = parts.iter().map(|part| -> &dyn Array { part }).collect();
    // There is no other reason not to join than that there is nothing.
    concat(&arrays).map_or_else(|_| LargeStringArray::new_null(0), |all| all.as_string().clone())
}

/// One interner's text: what almost always decides its place, and where it is.
#[derive(Clone, Copy)]
struct Entry {
    start: u128,
    of: u32,
    number: u32,
    /// Whether no other text has this start.
    whole: bool,
}

/// A number in the order of the ids, as far as it goes, and whether it tells
/// the id from all others that are whole: of the rest the bytes decide.
fn start(id: &[u8], numeric: bool) -> (u128, bool) {
    if numeric {
        let number = std::str::from_utf8(id).ok().and_then(|id| id.parse::<i64>().ok()).unwrap_or_default();
        let plain = matches!(id, [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] | [b'0']);
        return (u128::from(number.cast_unsigned() ^ 1 << 63), plain);
    }
    (first_bytes(id), id.len() <= 16 && !id.contains(&0))
}

/// The first 16 bytes of a text as a number, zeros where it ends: of different numbers the lower one
/// is the text that comes first.
pub(super) fn first_bytes(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(16);
    bytes[..length].copy_from_slice(&text[..length]);
    u128::from_be_bytes(bytes)
}

fn compare(numeric: bool, a: &str, b: &str) -> Ordering {
    let numbers = || match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => Ordering::Equal,
    };
    if numeric { numbers().then_with(|| a.cmp(b)) } else { a.cmp(b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_in_numeric_order_only_if_all_are_integers() {
        let ids = |texts: &[&'static str]| Ids::of(texts.iter().copied()).iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(ids(&["10", "9", "-1", "9", "09"]), ["-1", "09", "9", "10"]);
        assert_eq!(ids(&["10", "9", "a"]), ["10", "9", "a"]);
        assert!(ids(&[]).is_empty());
        let ids = Ids::of(["30", "4", "100"]);
        assert_eq!((ids.index_of("100"), ids.index_of("5"), ids.index_of("x")), (Some(2), None, None));
    }

    fn some_ids() -> impl Strategy<Value = Vec<String>> {
        let any = prop_oneof!["-?[0-9]{1,3}", "[ab\0]{0,18}"];
        prop_oneof![
            proptest::collection::vec("-?[0-9]{1,3}".prop_map(|id| id), 0..40),
            proptest::collection::vec(any, 0..40)
        ]
    }

    proptest! {
        #[test]
        fn ids_of_several_parts_are_those_of_the_whole(parts in proptest::collection::vec(some_ids(), 1..4)) {
            let mut all: Vec<&str> = parts.iter().flatten().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
            if let Some(numbers) = all.iter().map(|id| id.parse::<i64>().ok()).collect::<Option<Vec<_>>>() {
                let mut numbered: Vec<_> = numbers.into_iter().zip(all).collect();
                numbered.sort_unstable();
                all = numbered.into_iter().map(|(_, id)| id).collect();
            }
            let mut interners = Vec::new();
            for part in &parts {
                let mut interner = Interner::new();
                for id in part {
                    interner.number(id);
                }
                interners.push(interner);
            }
            let (ids, places) = Ids::merged(&interners);
            prop_assert_eq!(ids.iter().collect::<Vec<_>>(), all.clone());
            for (interner, places) in interners.iter().zip(places) {
                for (number, place) in places.into_iter().enumerate() {
                    prop_assert_eq!(interner.text(number as u32), all[place as usize]);
                    prop_assert_eq!(ids.index_of(all[place as usize]), Some(place));
                }
            }
        }
    }
}
