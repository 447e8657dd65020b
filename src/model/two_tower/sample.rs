//! What a training step sees: positives in random order, and for each a fixed
//! number of negatives ("mixed negative sampling", PAPER.md).
//!
//! - Out of batch: drawn independently, uniform over the items that the user
//!   has no excluded interaction with.
//! - In batch: the items of other positives of the batch, drawn by position
//!   without repeats among those that the user has no excluded interaction
//!   with. Where there are too few, draws out of batch take their places, so
//!   every positive has the same number of negatives.

use rayon::prelude::*;

use super::draw::Draw;
use super::loss::Pairs;
use super::options::{Loss, TrainingOptions};
use crate::ground::Seed;
use crate::model::interactions::{Interactions, ItemSets, Part};

/// Positives that one stream of draws serves.
const CHUNK: usize = 64;

/// Draws the batches of a training.
pub(super) struct Sampler {
    positives: Vec<(u32, u32)>,
    excluded: ItemSets,
    items: usize,
    users: usize,
    out_of_batch: usize,
    in_batch: usize,
    popularity: Option<Popularity>,
    seed: Seed,
}

/// How often items are drawn in batch: as often as they stand in train.
struct Popularity {
    /// Share of the positives that are each item's.
    shares: Vec<f64>,
    /// Share of the positives whose items each user cannot be given.
    excluded: Vec<f64>,
}

/// A step's distinct users and items, and its pairs over them.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    /// Distinct users, in order of appearance.
    pub(super) users: Vec<u32>,
    /// Distinct items, in order of appearance.
    pub(super) items: Vec<u32>,
    pub(super) pairs: Pairs,
}

impl Sampler {
    /// A sampler over the train pairs of a split. Users who have every item
    /// have no negatives: their pairs are left out.
    pub(super) fn new(interactions: &Interactions, options: &TrainingOptions, seed: Seed) -> Self {
        let excluded = interactions.sets(&options.excluded);
        let items = interactions.items.len();
        let usable = |pair: &(u32, u32)| excluded.of_user(pair.0).len() < items;
        let positives: Vec<_> = interactions.part(Part::Train).iter().copied().filter(usable).collect();
        let users = interactions.users.len();
        let corrected = matches!(options.loss, Loss::SampledSoftmax { logq: true, .. });
        let popularity = corrected.then(|| Popularity::of(&positives, &excluded, users, items));
        let (out_of_batch, in_batch, seed) = (options.out_of_batch, options.in_batch, seed.purpose("batches"));
        Self { positives, excluded, items, users, out_of_batch, in_batch, popularity, seed }
    }

    /// How many positives an epoch has.
    pub(super) fn positives(&self) -> usize {
        self.positives.len()
    }

    /// The positives of an epoch in random order.
    pub(super) fn epoch(&self, epoch: u32) -> Vec<(u32, u32)> {
        let mut order = self.positives.clone();
        Draw::of(self.seed.purpose(&format!("order {epoch}"))).shuffle(&mut order);
        order
    }

    /// The batch of these positives; `step` numbers the steps of the training.
    pub(super) fn batch(&self, positives: &[(u32, u32)], step: u64) -> Batch {
        let width = 1 + self.out_of_batch + self.in_batch;
        let seed = self.seed.purpose(&format!("step {step}"));
        let mut items = vec![0; positives.len() * width];
        items.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, rows)| {
            let mut draw = Draw::stream(seed, chunk as u64);
            for (at, row) in rows.chunks_exact_mut(width).enumerate() {
                self.fill(&mut draw, positives, chunk * CHUNK + at, row);
            }
        });
        let corrections = self.corrections(positives, &items);
        let (users, user_indices) = distinct(positives.iter().map(|pair| pair.0), self.users);
        let (items, item_indices) = distinct(items.into_iter(), self.items);
        Batch { users, items, pairs: Pairs { users: user_indices, items: item_indices, width, corrections } }
    }

    /// For each pair `ln E`, where `E` is how often the item is expected among the
    /// user's negatives: `out / (items - excluded) + in * p / (1 - P)`, with the
    /// item's share `p` of the positives and that of the user's excluded items
    /// `P`. 0 for the positive, which is there once for certain.
    fn corrections(&self, positives: &[(u32, u32)], items: &[u32]) -> Vec<f32> {
        let Some(popularity) = &self.popularity else { return Vec::new() };
        let mut corrections = vec![0.0; items.len()];
        let width = 1 + self.out_of_batch + self.in_batch;
        let rows = items.par_chunks(width).zip(corrections.par_chunks_mut(width)).zip(positives);
        rows.for_each(|((items, corrections), (user, _))| {
            let free = self.items - self.excluded.of_user(*user).len();
            let uniform = self.out_of_batch as f64 / free as f64;
            let rest = 1.0 - popularity.excluded[*user as usize];
            // A user whose items are all that was ever liked gets uniform draws only.
            let alone = rest < 1e-12;
            for (item, correction) in items[1..].iter().zip(&mut corrections[1..]) {
                let share = if alone { 1.0 / free as f64 } else { popularity.shares[*item as usize] / rest };
                // Draws that fill up a batch may give an item that the batch never has.
                let expected = (uniform + self.in_batch as f64 * share).max(1.0 / self.items as f64);
                *correction = expected.ln() as f32;
            }
        });
        corrections
    }

    fn fill(&self, draw: &mut Draw, positives: &[(u32, u32)], at: usize, row: &mut [u32]) {
        let (user, item) = positives[at];
        let excluded = self.excluded.of_user(user);
        row[0] = item;
        for slot in &mut row[1..=self.out_of_batch] {
            *slot = nth_outside(excluded, draw.below(self.items - excluded.len()));
        }
        let found = self.others_in_batch(draw, positives, at);
        for (number, slot) in row[1 + self.out_of_batch..].iter_mut().enumerate() {
            *slot = match found.get(number) {
                Some(position) => positives[*position].1,
                None => nth_outside(excluded, draw.below(self.items - excluded.len())),
            };
        }
    }

    /// Up to `in_batch` positions of the batch, all sets of them equally likely.
    fn others_in_batch(&self, draw: &mut Draw, positives: &[(u32, u32)], at: usize) -> Vec<usize> {
        if self.in_batch == 0 {
            return Vec::new();
        }
        let excluded = self.excluded.of_user(positives[at].0);
        let fits = |position: usize, found: &[usize]| {
            position != at && !found.contains(&position) && excluded.binary_search(&positives[position].1).is_err()
        };
        let mut found = Vec::with_capacity(self.in_batch);
        for _ in 0..4 * self.in_batch {
            if found.len() == self.in_batch {
                return found;
            }
            let position = draw.below(positives.len());
            if fits(position, &found) {
                found.push(position);
            }
        }
        // Few fit: list them all and draw from the list.
        let mut rest: Vec<usize> = (0..positives.len()).filter(|position| fits(*position, &found)).collect();
        while found.len() < self.in_batch && !rest.is_empty() {
            found.push(rest.swap_remove(draw.below(rest.len())));
        }
        found
    }
}

impl Popularity {
    fn of(positives: &[(u32, u32)], excluded: &ItemSets, users: usize, items: usize) -> Self {
        let mut shares = vec![0.0; items];
        for (_, item) in positives {
            shares[*item as usize] += 1.0 / positives.len() as f64;
        }
        let of_user = |user: usize| excluded.of_user(user as u32).iter().map(|item| shares[*item as usize]).sum();
        let excluded = (0..users).map(of_user).collect();
        Self { shares, excluded }
    }
}

/// The item with `nth` items below it that are not excluded.
fn nth_outside(excluded: &[u32], nth: usize) -> u32 {
    let (mut low, mut high) = (0, excluded.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if excluded[middle] as usize - middle <= nth { low = middle + 1 } else { high = middle }
    }
    (nth + low) as u32
}

/// The distinct values in order of appearance, and for each value its place there.
fn distinct(values: impl Iterator<Item = u32>, bound: usize) -> (Vec<u32>, Vec<u32>) {
    let mut places = vec![u32::MAX; bound];
    let mut all = Vec::new();
    let place_of = |value: u32| {
        let place = &mut places[value as usize];
        if *place == u32::MAX {
            *place = all.len() as u32;
            all.push(value);
        }
        *place
    };
    let indices = values.map(place_of).collect();
    (all, indices)
}

#[cfg(test)]
mod tests {
    use super::super::test_data::random_split;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sampler(users: usize, items: usize, per_user: usize, seed: u64) -> (Interactions, Sampler) {
        let split = random_split(users, items, per_user, seed);
        let sampler = Sampler::new(&split, &TrainingOptions::default(), Seed::of_stage(seed, "sample"));
        (split, sampler)
    }

    #[test]
    fn corrections_say_how_often_a_negative_is_really_drawn() {
        let split = random_split(60, 12, 5, 1);
        let loss = Loss::SampledSoftmax { temperature: 1.0, logq: true };
        let options = TrainingOptions { loss, out_of_batch: 4, in_batch: 4, ..TrainingOptions::default() };
        let sampler = Sampler::new(&split, &options, Seed::of_stage(1, "sample"));
        let (mut drawn, mut expected) = (BTreeMap::new(), BTreeMap::new());
        let rounds = 400;
        for round in 0..rounds {
            let positives = sampler.epoch(round);
            let batch = sampler.batch(&positives, u64::from(round));
            for (at, row) in batch.pairs.items.chunks(9).enumerate() {
                assert!(batch.pairs.corrections[at * 9].abs() < f32::EPSILON);
                for (slot, item) in row.iter().enumerate().skip(1) {
                    let pair = (positives[at].0, batch.items[*item as usize]);
                    *drawn.entry(pair).or_insert(0.0) += 1.0;
                    expected.insert(pair, batch.pairs.corrections[at * 9 + slot].exp());
                }
            }
        }
        let of_user = |user: u32| split.part(Part::Train).iter().filter(|pair| pair.0 == user).count();
        for (pair, count) in drawn {
            let share = count / (rounds as usize * of_user(pair.0)) as f32;
            assert!((share / expected[&pair] - 1.0).abs() < 0.25, "{pair:?}: {share}, not {}", expected[&pair]);
        }
    }

    #[test]
    fn without_negatives_in_batch_all_are_the_uniform_draws_in_their_order() {
        let split = random_split(9, 30, 6, 4);
        let options = TrainingOptions { out_of_batch: 5, in_batch: 0, ..TrainingOptions::default() };
        let sampler = Sampler::new(&split, &options, Seed::of_stage(4, "sample"));
        let positives = &sampler.epoch(0)[..30];
        let batch = sampler.batch(positives, 3);
        let mut draw = Draw::stream(sampler.seed.purpose("step 3"), 0);
        let train = split.sets(&[Part::Train]);
        let expected = positives.iter().flat_map(|(user, item)| {
            let excluded = train.of_user(*user);
            let mut row = vec![*item];
            row.extend((0..5).map(|_| nth_outside(excluded, draw.below(30 - excluded.len()))));
            row
        });
        let found = batch.pairs.items.iter().map(|item| batch.items[*item as usize]);
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        let few = TrainingOptions { out_of_batch: 0, in_batch: 2, ..TrainingOptions::default() };
        let sampler = Sampler::new(&split, &few, Seed::of_stage(4, "sample"));
        assert_eq!(sampler.batch(positives, 3).pairs.items.len(), 30 * 3);
    }

    #[test]
    fn the_nth_item_outside_skips_the_excluded() {
        let left: Vec<u32> = (0..5).map(|nth| nth_outside(&[0, 1, 4, 7], nth)).collect();
        assert_eq!(left, [2, 3, 5, 6, 8]);
        assert_eq!(nth_outside(&[], 3), 3);
    }

    #[test]
    fn draws_out_of_batch_are_uniform_over_what_is_allowed() {
        let (split, sampler) = sampler(4, 30, 6, 3);
        let positives = sampler.epoch(0);
        let mut seen = [0u32; 30];
        for step in 0..300 {
            let batch = sampler.batch(&positives[..1], step);
            batch.pairs.items[1..].iter().for_each(|item| seen[batch.items[*item as usize] as usize] += 1);
        }
        let excluded = split.sets(&[Part::Train]).of_user(positives[0].0).to_vec();
        let expected = 300.0 * 40.0 / (30 - excluded.len()) as f64;
        for (item, count) in seen.iter().enumerate() {
            let allowed = !excluded.contains(&(item as u32));
            assert!(if allowed { (f64::from(*count) / expected - 1.0).abs() < 0.25 } else { *count == 0 });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_positive_has_its_item_and_forty_that_the_user_does_not_have(
            users in 1usize..20, items in 8usize..60, per_user in 3usize..7, seed in 0u64..50,
        ) {
            let (split, sampler) = sampler(users, items, per_user, seed);
            let train = split.sets(&[Part::Train]);
            let positives = sampler.epoch(1);
            let batch = sampler.batch(&positives, 9);
            prop_assert_eq!(batch.pairs.items.len(), positives.len() * 41);
            for ((user, item), row) in positives.iter().zip(batch.pairs.items.chunks(41)) {
                prop_assert_eq!(batch.items[row[0] as usize], *item);
                for negative in &row[1..] {
                    prop_assert!(train.of_user(*user).binary_search(&batch.items[*negative as usize]).is_err());
                }
            }
            let again = sampler.batch(&positives, 9);
            prop_assert_eq!(&again.pairs.items, &batch.pairs.items);
            prop_assert_ne!(&sampler.batch(&positives, 10).pairs.items, &batch.pairs.items);
            let mut sorted = positives.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, split.part(Part::Train));
        }
    }
}
