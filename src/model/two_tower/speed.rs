//! Measurements of the whole model, run by `make bench`: one JSON object a line.

use std::time::Instant;

use super::draw::Draw;
use super::options::TrainingOptions;
use super::sample::Sampler;
use super::test_data::features;
use super::train::Network;
use crate::ground::Seed;
use crate::model::interactions::{Interactions, Part};
use crate::model::scoring::ScoringModel;

/// How large the world is: `REFRAIN_SPEED=users,items,interactions`, else the
/// paper's Apple data.
fn sizes() -> [usize; 3] {
    let given = std::env::var("REFRAIN_SPEED").unwrap_or_default();
    let sizes: Vec<usize> = given.split(',').filter_map(|size| size.parse().ok()).collect();
    sizes.try_into().unwrap_or([8000, 6800, 114_000])
}

/// Random pairs, and one more of each user as its target.
fn world([users, items, interactions]: [usize; 3]) -> Interactions {
    let mut draw = Draw::of(Seed::of_stage(1, "world"));
    let mut pair = |user: usize| (user as u32, draw.below(items) as u32);
    let train = (0..interactions).map(|number| pair(number % users)).collect();
    let test = (0..users).map(pair).collect();
    Interactions::of_pairs(users as u32, items as u32, train, test)
}

/// The median, in seconds.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// As in the midst of a training: all moments are there, and the rows have been
/// left out of as many steps as a user is between two batches.
fn age(network: &mut Network, users: usize) {
    for weight in network.weights() {
        weight.first.iter_mut().enumerate().for_each(|(at, value)| *value = if at % 2 == 0 { 1e-4 } else { -1e-4 });
        weight.second.fill(1e-8);
    }
    (0..users / 1024).for_each(|_| network.step(2e-5));
}

#[test]
#[ignore = "a measurement"]
fn speed_of_the_two_towers() {
    let sizes = sizes();
    let [users, items, _] = sizes;
    let start = Instant::now();
    let split = world(sizes);
    println!("{{\"what\": \"world\", \"seconds\": {:.3}}}", start.elapsed().as_secs_f64());
    // Three embeddings a side, and text on the items' side, as in the paper.
    let third = |mut features: super::Features, seed| {
        features.columns.extend(self::features(features.columns[0].size, 4000, 0, seed).columns.into_iter().skip(1));
        features
    };
    let of_users = third(features(users, 8000, 0, 1), 2);
    let of_items = third(features(items, 800, 384, 3), 4);
    for compress in [true, false] {
        let options = TrainingOptions { compress, activated: compress, ..TrainingOptions::default() };
        let scorer = if compress { "dot_compress" } else { "dot" };
        let seed = Seed::of_stage(0, "speed");
        let sampler = Sampler::new(&split, &options, seed);
        let mut network = Network::new(&of_users, &of_items, &options, seed);
        age(&mut network, users);
        let order = sampler.epoch(1);
        let (mut seconds, warm) = (Vec::new(), 5);
        for (step, positives) in order.chunks(1024).take(warm + 30).enumerate() {
            let start = Instant::now();
            let batch = sampler.batch(positives, step as u64);
            network.gradients(&of_users, &of_items, &batch);
            network.step(2e-5);
            seconds.push(start.elapsed().as_secs_f64());
        }
        let step = median(seconds.split_off(warm));
        println!("{{\"what\": \"step\", \"scorer\": \"{scorer}\", \"seconds\": {step:.5}}}");
        let start = Instant::now();
        let model = ScoringModel::Vectors(Box::new(network.vectors(&of_users, &of_items, [users, items])));
        println!(
            "{{\"what\": \"vectors\", \"scorer\": \"{scorer}\", \"seconds\": {:.5}}}",
            start.elapsed().as_secs_f64()
        );
        // A sample of the users, where all would take hours.
        let ranked = (8000 * 6800 / items).clamp(100, 8000).min(users);
        let targets = &split.part(Part::Test)[..ranked];
        let excluded = split.sets(&[Part::Train]);
        let rank = || {
            let start = Instant::now();
            model.rank(items, targets, &excluded, &|_| true).expect("nothing stops it");
            start.elapsed().as_secs_f64()
        };
        let evaluation = median((0..3).map(|_| rank()).collect());
        println!(
            "{{\"what\": \"evaluation\", \"scorer\": \"{scorer}\", \"users\": {ranked}, \"seconds\": {evaluation:.5}}}"
        );
    }
}
