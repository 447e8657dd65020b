//! Where single targets were ranked: how HR@k depends on k, on how popular the
//! target is, and on how long its text is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gather::{Gatherer, ReportError};
use super::{Slice, texts};
use crate::ground::ContentHash;
use crate::table::Split;

/// The bins of popularity hold about as many targets each.
const POPULARITY_BINS: usize = 5;
/// The upper ends of the bins of words.
const WORDS: [u64; 7] = [0, 5, 10, 25, 50, 100, 200];
/// The k at which a rank distribution is taken.
const RANKS: [u64; 17] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// One held-out item of one user, as one model ranked it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    rank: u64,
    /// Train interactions of the item.
    pub(super) popularity: u32,
    /// Words of the item's text; none for a model without texts.
    pub(super) words: Option<u64>,
}

/// The targets of one row of a leaderboard, over all its seeds.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Vec<Target>,
}

/// How many train interactions each item of a split has.
type Degrees = Arc<BTreeMap<String, u32>>;
/// How many words each item's text has.
type Words = Arc<BTreeMap<String, u64>>;

/// What was read of splits and texts, by artifact.
#[derive(Debug, Default)]
pub(super) struct Splits {
    degrees: BTreeMap<ContentHash, Degrees>,
    words: BTreeMap<ContentHash, Words>,
}

/// A bin: values from the first to the second, both included.
pub(super) type Bin = (u64, u64);

impl Splits {
    fn degrees(&mut self, gatherer: &Gatherer<'_>, split: usize) -> Result<Degrees, ReportError> {
        let Some(hash) = gatherer.main(split).map(|artifact| artifact.hash) else { return Ok(Degrees::default()) };
        if let Some(known) = self.degrees.get(&hash) {
            return Ok(Arc::clone(known));
        }
        let degrees = gatherer.split(split)?.map(|split| by_item(&split)).unwrap_or_default();
        Ok(Arc::clone(self.degrees.entry(hash).or_insert(Arc::new(degrees))))
    }

    fn words(&mut self, gatherer: &Gatherer<'_>, stage: usize) -> Result<Words, ReportError> {
        let Some(hash) = gatherer.main(stage).map(|artifact| artifact.hash) else { return Ok(Words::default()) };
        if let Some(known) = self.words.get(&hash) {
            return Ok(Arc::clone(known));
        }
        let texts = texts::read(gatherer, stage)?;
        let count = |text: Option<String>| text.map_or(0, |text| text.split_whitespace().count() as u64);
        let words = texts.into_iter().map(|(item, (text, _))| (item, count(text))).collect();
        Ok(Arc::clone(self.words.entry(hash).or_insert(Arc::new(words))))
    }
}

fn by_item(split: &Split) -> BTreeMap<String, u32> {
    split.items.iter().map(str::to_owned).zip(split.degrees()).collect()
}

impl Targets {
    /// Adds what one instance measured.
    pub(super) fn add(
        &mut self,
        gatherer: &Gatherer<'_>,
        evaluation: usize,
        part: &str,
        splits: &mut Splits,
    ) -> Result<(), ReportError> {
        let Some(table) = gatherer.table(evaluation, "ranks", &["item_id", "part", "rank"])? else { return Ok(()) };
        let degrees = match gatherer.source(evaluation, "split") {
            Some(split) => splits.degrees(gatherer, split)?,
            None => Degrees::default(),
        };
        let text = gatherer.source(evaluation, "model").and_then(|model| texts::source(gatherer, model));
        let words = text.map(|text| splits.words(gatherer, text)).transpose()?;
        let columns = || -> Result<_, crate::table::TableError> {
            Ok((table.strings("item_id")?, table.strings("part")?, table.integers("rank")?))
        };
        let (items, parts, ranks) =
            columns().map_err(|error| gatherer.unreadable(evaluation, "ranks".into(), error))?;
        for row in (0..table.rows()).filter(|row| parts.value(*row) == part) {
            let item = items.value(row);
            self.all.push(Target {
                rank: ranks.value(row).unsigned_abs(),
                popularity: degrees.get(item).copied().unwrap_or_default(),
                words: words.as_ref().map(|words| words.get(item).copied().unwrap_or_default()),
            });
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many are among the first `k`.
    pub(super) fn hits(&self, k: u64) -> u64 {
        self.all.iter().filter(|target| target.rank <= k).count() as u64
    }

    /// The share that is among the first k, for each k; nothing without targets.
    pub(super) fn found(&self, ks: &[u64]) -> Vec<f64> {
        if self.all.is_empty() {
            return Vec::new();
        }
        ks.iter().map(|k| self.hits(*k) as f64 / self.all.len() as f64).collect()
    }

    /// HR@k of the targets in each bin; nothing where no target has a value.
    pub(super) fn by(&self, bins: &[Bin], k: u64, value: impl Fn(&Target) -> Option<u64>) -> Vec<Option<Slice>> {
        let valued: Vec<(u64, bool)> =
            self.all.iter().filter_map(|target| Some((value(target)?, target.rank <= k))).collect();
        if valued.is_empty() {
            return Vec::new();
        }
        let slice = |(low, high): &Bin| {
            let here: Vec<bool> =
                valued.iter().filter(|(value, _)| (low..=high).contains(&value)).map(|(_, hit)| *hit).collect();
            let hits = here.iter().filter(|hit| **hit).count();
            (!here.is_empty()).then(|| Slice { hr: hits as f64 / here.len() as f64, of: here.len() as u64 })
        };
        bins.iter().map(slice).collect()
    }
}

/// Bins of popularity that hold about as many targets each.
pub(super) fn popularity_bins(all: &[Targets]) -> Vec<Bin> {
    let Some(most) = all.iter().max_by_key(|targets| targets.all.len()) else { return Vec::new() };
    let mut values: Vec<u64> = most.all.iter().map(|target| u64::from(target.popularity)).collect();
    values.sort_unstable();
    let (Some(&lowest), Some(&highest)) = (values.first(), values.last()) else { return Vec::new() };
    let mut bins = Vec::new();
    let mut low = lowest;
    for part in 1..=POPULARITY_BINS {
        let high = if part == POPULARITY_BINS { highest } else { values[values.len() * part / POPULARITY_BINS] };
        if high >= low {
            bins.push((low, high));
            low = high + 1;
        }
    }
    bins
}

/// Bins of words, of which the empty ones at either end are left out.
pub(super) fn words_bins(all: &[Targets]) -> Vec<Bin> {
    let words: Vec<u64> = all.iter().flat_map(|targets| &targets.all).filter_map(|target| target.words).collect();
    let (Some(least), Some(most)) = (words.iter().min(), words.iter().max()) else { return Vec::new() };
    let lows = std::iter::once(0).chain(WORDS.iter().map(|end| end + 1));
    let highs = WORDS.iter().copied().chain([u64::MAX]);
    lows.zip(highs).filter(|(low, high)| high >= least && low <= most).collect()
}

/// The k up to the first at which every model has found every target.
pub(super) fn ranks(all: &[Targets]) -> Vec<u64> {
    let last = all.iter().flat_map(|targets| &targets.all).map(|target| target.rank).max().unwrap_or_default();
    let mut ks: Vec<u64> = RANKS.iter().copied().take_while(|k| *k < last).collect();
    if last > 0 {
        ks.push(last);
    }
    ks
}

/// Bins as words: `0`, `1–5`, `more than 200`.
pub(super) fn names(bins: &[Bin]) -> Vec<String> {
    let name = |(low, high): &Bin| match (low, high) {
        (low, high) if low == high => low.to_string(),
        (low, &u64::MAX) => format!("more than {}", low - 1),
        (low, high) => format!("{low}–{high}"),
    };
    bins.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(rows: &[(u64, u32, Option<u64>)]) -> Targets {
        Targets { all: rows.iter().map(|&(rank, popularity, words)| Target { rank, popularity, words }).collect() }
    }

    #[test]
    fn bins_of_popularity_hold_all_targets_and_do_not_overlap() {
        let some = targets(&(0..100).map(|i| (1, i / 3, None)).collect::<Vec<_>>());
        let bins = popularity_bins(&[some]);
        assert_eq!(bins.len(), 5);
        assert_eq!((bins[0].0, bins[4].1), (0, 33));
        assert!(bins.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1), "{bins:?}");
    }

    #[test]
    fn equal_popularity_is_one_bin() {
        assert_eq!(popularity_bins(&[targets(&[(1, 4, None), (9, 4, None)])]), [(4, 4)]);
        assert_eq!(popularity_bins(&[]), []);
    }

    #[test]
    fn a_share_is_over_the_targets_of_its_bin() {
        let some = targets(&[(1, 1, Some(3)), (20, 1, Some(0)), (2, 9, Some(30))]);
        let words = words_bins(std::slice::from_ref(&some));
        assert_eq!(names(&words), ["0", "1–5", "6–10", "11–25", "26–50"]);
        let by = some.by(&words, 10, |target| target.words);
        assert_eq!(
            by.iter().map(|slice| slice.map(|s| s.hr)).collect::<Vec<_>>(),
            [Some(0.0), Some(1.0), None, None, Some(1.0)]
        );
        assert_eq!(some.found(&[1, 2, 20]), [1.0 / 3.0, 2.0 / 3.0, 1.0]);
    }

    #[test]
    fn a_model_without_texts_has_no_bins_of_words() {
        let some = targets(&[(1, 1, None)]);
        assert!(words_bins(std::slice::from_ref(&some)).is_empty());
        assert!(some.by(&[(0, 5)], 10, |target| target.words).is_empty());
    }
}
