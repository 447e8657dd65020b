//! What can be said of the values of a column in little memory: how many
//! different ones there are, and which are frequent. Parts of a column are
//! looked at on their own and put together; how it is cut changes no answer.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

/// So many different values are counted exactly. Of more, the smallest hashes are
/// kept: the larger the numbers that they leave out, the fewer values there are.
/// The standard error is one in the root of it, 0.4 %.
const HASHES: usize = 65_536;

/// Twice so many different values are counted exactly. Of more, each that makes
/// up more than this part of the rows is among those that are kept.
const FREQUENT: usize = 4_096;

/// The hash of a text.
pub(super) fn hash_of_text(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The hash of a number's bits: another for each, mixed as in `SplitMix64`.
pub(super) fn hash_of_bits(bits: u64) -> u64 {
    let mut hash = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The hash of a number; zero is zero, whatever its sign.
pub(super) fn hash_of_float(value: f64) -> u64 {
    hash_of_bits((value + 0.0).to_bits())
}

/// How many different values there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distinct {
    /// The number, nulls left out.
    pub count: u64,
    /// Whether it is exact; else its standard error is 0.4 %.
    pub exact: bool,
}

/// Counts different values by their hashes.
#[derive(Debug)]
pub(in crate::table) struct DistinctSketch {
    hashes: HashSet<u64>,
    /// Hashes from here on are not kept, if any were left out.
    end: Option<u64>,
}

impl DistinctSketch {
    pub(in crate::table) fn new() -> Self {
        Self { hashes: HashSet::new(), end: None }
    }

    pub(in crate::table) fn add(&mut self, hash: u64) {
        if self.end.is_none_or(|end| hash < end) && self.hashes.insert(hash) && self.hashes.len() == 2 * HASHES {
            self.shrink();
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.end = self.end.into_iter().chain(other.end).min();
        let end = self.end;
        self.hashes.extend(other.hashes);
        self.hashes.retain(|hash| end.is_none_or(|end| *hash < end));
        if self.hashes.len() > HASHES {
            self.shrink();
        }
    }

    pub(in crate::table) fn finish(mut self) -> Distinct {
        if self.hashes.len() > HASHES {
            self.shrink();
        }
        match self.end {
            None => Distinct { count: self.hashes.len() as u64, exact: true },
            // The hashes are spread evenly: so many lie below the end.
            Some(end) => {
                let share = end as f64 / u64::MAX as f64;
                Distinct { count: (self.hashes.len() as f64 / share).round() as u64, exact: false }
            }
        }
    }

    /// Keeps the smallest hashes.
    fn shrink(&mut self) {
        let mut all: Vec<u64> = self.hashes.iter().copied().collect();
        let (_, end, _) = all.select_nth_unstable(HASHES);
        let end = *end;
        self.end = Some(end);
        self.hashes.retain(|hash| *hash < end);
    }
}

/// Finds the values that are frequent: what Misra and Gries count, of parts that
/// are counted exactly, cut down to few values, and put together.
#[derive(Debug)]
pub(super) struct FrequentSketch {
    counts: HashMap<Box<str>, u64>,
    /// How much too small a count may be; a value that is left out may stand
    /// there so often.
    missed: u64,
}

impl FrequentSketch {
    pub(super) fn new() -> Self {
        Self { counts: HashMap::new(), missed: 0 }
    }

    /// Adds some rows: different values, and how often each stands there.
    pub(super) fn add<'a>(&mut self, values: impl Iterator<Item = (&'a str, u64)> + Clone) {
        let mut times: Vec<u64> = values.clone().map(|(_, times)| times).collect();
        let taken = excess(&mut times);
        self.missed += taken;
        for (value, times) in values.filter(|(_, times)| *times > taken) {
            match self.counts.get_mut(value) {
                Some(count) => *count += times - taken,
                None => drop(self.counts.insert(value.into(), times - taken)),
            }
        }
        self.shrink();
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.missed += other.missed;
        for (value, count) in other.counts {
            *self.counts.entry(value).or_default() += count;
        }
        self.shrink();
    }

    /// The values with their counts if these are exact.
    pub(super) fn exact(&self) -> Option<BTreeMap<&str, u64>> {
        (self.missed == 0).then(|| self.counts.iter().map(|(value, count)| (&**value, *count)).collect())
    }

    /// The values that may stand in more than so many rows, to be counted again.
    pub(super) fn candidates(&self, rows: u64) -> impl Iterator<Item = &str> {
        let missed = self.missed;
        self.counts.iter().filter(move |(_, count)| **count + missed > rows).map(|(value, _)| &**value)
    }

    /// Takes from each count as much as leaves few values, if there are too many.
    fn shrink(&mut self) {
        if self.counts.len() > 2 * FREQUENT {
            let taken = excess(&mut self.counts.values().copied().collect::<Vec<_>>());
            self.missed += taken;
            self.counts.retain(|_, count| {
                *count = count.saturating_sub(taken);
                *count > 0
            });
        }
    }
}

/// What is to be taken from each of these counts so that few are left; nothing
/// if they are not too many.
fn excess(counts: &mut [u64]) -> u64 {
    if counts.len() <= 2 * FREQUENT {
        return 0;
    }
    let place = counts.len() - 1 - FREQUENT;
    *counts.select_nth_unstable(place).1
}

/// A value that stands in more rows than this is among the candidates.
pub(super) fn surely_found(rows: u64) -> u64 {
    rows / FREQUENT as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distinct(numbers: impl Iterator<Item = u64>) -> DistinctSketch {
        let mut sketch = DistinctSketch::new();
        numbers.for_each(|number| sketch.add(hash_of_bits(number)));
        sketch
    }

    #[test]
    fn few_values_are_counted_exactly_and_many_nearly() {
        assert_eq!(distinct((0..100_000).map(|i| i % 50_000)).finish(), Distinct { count: 50_000, exact: true });
        assert_eq!(distinct(0..HASHES as u64).finish(), Distinct { count: HASHES as u64, exact: true });
        let many = distinct((0..2_000_000).map(|i| i % 1_000_000)).finish();
        assert!(!many.exact && many.count.abs_diff(1_000_000) < 15_000, "{many:?}");
    }

    #[test]
    fn parts_give_what_the_whole_gives() {
        let whole = distinct(0..300_000).finish();
        for cut in [1, 70_000, 299_999] {
            let mut parts = distinct(0..cut);
            parts.merge(distinct(cut / 2..300_000));
            assert_eq!(parts.finish(), whole, "{cut}");
        }
    }

    #[test]
    fn frequent_values_are_found_among_many_others() {
        let mut parts = [FrequentSketch::new(), FrequentSketch::new()];
        let rows = 200_000_u64;
        for start in (0..rows).step_by(20_000) {
            let mut values: Vec<(String, u64)> = (start..start + 19_800).map(|i| (format!("once {i}"), 1)).collect();
            values.push(("often".to_owned(), 200));
            parts[(start / 20_000 % 2) as usize].add(values.iter().map(|(value, times)| (value.as_str(), *times)));
        }
        let [mut one, other] = parts;
        one.merge(other);
        let surely = surely_found(rows);
        assert!(one.exact().is_none() && surely < 200 * 10);
        assert_eq!(one.candidates(surely).collect::<Vec<_>>(), ["often"]);
    }

    #[test]
    fn few_values_have_exact_counts() {
        let mut sketch = FrequentSketch::new();
        let values: Vec<String> = (0..3_000).map(|i| i.to_string()).collect();
        (0..3).for_each(|_| sketch.add(values.iter().map(|value| (value.as_str(), 2))));
        assert_eq!(sketch.exact().unwrap()["17"], 6);
    }
}
