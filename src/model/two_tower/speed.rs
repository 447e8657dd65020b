//! Measurements, run by hand: `cargo test --release -- --ignored --nocapture speed`.

use std::time::Instant;

use super::options::TrainingOptions;
use super::sample::Sampler;
use super::test_data::{features, random_split};
use super::train::Network;
use crate::ground::Seed;
use crate::model::interactions::Part;
use crate::model::scoring::ScoringModel;

/// The paper's options.
fn options(compress: bool) -> TrainingOptions {
    TrainingOptions { compress, activated: compress, ..TrainingOptions::default() }
}

#[test]
#[ignore = "a measurement"]
fn speed_at_apple_size() {
    let (users, items) = (8000, 6800);
    let split = random_split(users, items, 14, 1);
    // Three embeddings a side, and text on the items' side, as in the paper.
    let third = |mut features: super::Features, seed| {
        features.columns.extend(self::features(features.columns[0].size, 4000, 0, seed).columns.into_iter().skip(1));
        features
    };
    let of_users = third(features(users, 8000, 0, 1), 2);
    let of_items = third(features(items, 800, 384, 3), 4);
    for compress in [true, false] {
        let seed = Seed::of_stage(0, "speed");
        let sampler = Sampler::new(&split, &options(compress), seed);
        let mut network = Network::new(&of_users, &of_items, &options(compress), seed);
        let order = sampler.epoch(1);
        let [mut sampling, mut gradients, mut adam] = [0.0; 3];
        let steps = 20;
        for (step, positives) in order.chunks(1024).take(steps).enumerate() {
            let start = Instant::now();
            let batch = sampler.batch(positives, step as u64);
            sampling += start.elapsed().as_secs_f64();
            let start = Instant::now();
            network.gradients(&of_users, &of_items, &batch);
            gradients += start.elapsed().as_secs_f64();
            let start = Instant::now();
            network.step(2e-5);
            adam += start.elapsed().as_secs_f64();
        }
        let each = |total: f64| total / steps as f64;
        println!(
            "compress {compress}: a step {:.4} s (sampling {:.4}, forward and backward {:.4}, adam {:.4})",
            each(sampling + gradients + adam),
            each(sampling),
            each(gradients),
            each(adam)
        );
        let start = Instant::now();
        let model = ScoringModel::Vectors(Box::new(network.vectors(&of_users, &of_items, [users, items])));
        println!("vectors of all: {:.2} s", start.elapsed().as_secs_f64());
        let start = Instant::now();
        let targets: Vec<_> = split.part(Part::Test).iter().chain(split.part(Part::Validation)).copied().collect();
        let ranked = model.rank(items, &targets, &split.sets(&[Part::Train]), &|_| true).unwrap();
        println!("ranking {} targets: {:.2} s", ranked.ranks.len(), start.elapsed().as_secs_f64());
    }
}
