//! The model against PyTorch: `scripts/make_two_tower_golden.py` says how.

use serde_json::Value;

use super::loss::Pairs;
use super::options::TrainingOptions;
use super::parameters::Weight;
use super::sample::Batch;
use super::tower::{Category, Features, TextVectors};
use super::train::Network;
use crate::ground::Seed;

const POSITIVES: [(u32, u32); 4] = [(0, 1), (3, 6), (4, 0), (0, 2)];
const NEGATIVES: [[u32; 3]; 4] = [[3, 4, 6], [0, 1, 0], [5, 2, 3], [6, 5, 5]];

fn scramble(x: u32) -> u32 {
    let x = x.wrapping_mul(2_654_435_761);
    let x = (x ^ (x >> 15)).wrapping_mul(2_246_822_519);
    x ^ (x >> 13)
}

/// The script's formula.
fn fill(name: &str, count: usize, scale: f64, centre: f64) -> Vec<f32> {
    let salt = name.bytes().zip(1usize..).map(|(byte, at)| at * usize::from(byte)).sum::<usize>() % 1009;
    let value =
        |at: usize| (f64::from(scramble((at * 1009 + salt) as u32)) / 4_294_967_296.0 - 0.5) * 2.0 * scale + centre;
    (0..count).map(|at| value(at) as f32).collect()
}

fn refill(weight: &mut Weight, inputs: usize) {
    let (name, count) = (weight.tensor.name.clone(), weight.tensor.values.len());
    let (scale, centre) = match name.as_str() {
        "scorer.compress.weight" => (0.05, 0.0),
        "scorer.compress.bias" => (0.1, 0.0),
        "scorer.mlp.1.weight" | "scorer.mlp.4.weight" => (0.3, 1.5),
        "scorer.mlp.6.weight" => (0.5, 0.0),
        "scorer.mlp.6.bias" => (0.1, 4.5),
        "scorer.mlp.1.bias" | "scorer.mlp.4.bias" => (0.3, 0.0),
        embedding if embedding.contains(".embeddings.") => (1.0, 0.0),
        _ => (1.0 / (inputs as f64).sqrt(), 0.0),
    };
    weight.tensor.values = fill(&name, count, scale, centre);
}

fn features(count: usize, kinds: usize, stride: usize, text: usize) -> Features {
    let id = Category { name: "id".to_owned(), codes: (0..count as u32).collect(), size: count };
    let codes = (0..count).map(|at| (at * stride % kinds) as u32).collect();
    let kind = Category { name: "kind".to_owned(), codes, size: kinds };
    let text = (text > 0).then(|| TextVectors { width: text, values: fill("text", count * text, 0.5, 0.0) });
    Features { columns: vec![id, kind], text }
}

fn weights(network: &mut Network) -> Vec<&mut Weight> {
    let mut all = network.users.weights();
    all.extend(network.items.weights());
    all.extend(network.scorer.compress.iter_mut().flat_map(super::scorer::Compress::weights));
    all
}

fn close(found: f32, expected: &Value, scale: f64, tolerance: f64) -> bool {
    (f64::from(found) - expected.as_f64().unwrap()).abs() <= tolerance * scale
}

fn check(case: &Value) {
    let compress = case["compress"] == true;
    let options = TrainingOptions { compress, activated: compress, ..TrainingOptions::default() };
    let (users, items) = (features(5, 3, 2, 0), features(7, 4, 3, 10));
    let mut network = Network::new(&users, &items, &options, Seed::of_stage(0, "golden"));
    let mut inputs = 1;
    for weight in weights(&mut network) {
        // A bias follows its weight and is scaled by the same number of inputs.
        inputs = if weight.tensor.shape.len() == 2 { weight.tensor.shape[1] } else { inputs };
        refill(weight, inputs);
    }
    let pairs = POSITIVES.iter().zip(NEGATIVES);
    let pairs = Pairs {
        users: POSITIVES.iter().map(|pair| pair.0).collect(),
        items: pairs.flat_map(|((_, item), negatives)| [*item, negatives[0], negatives[1], negatives[2]]).collect(),
        width: 4,
        corrections: Vec::new(),
    };
    let batch = Batch { users: (0..5).collect(), items: (0..7).collect(), pairs };

    let vectors = network.vectors(&users, &items, [5, 7]);
    let tensors = vectors.tensors();
    for (vector, row, key) in [(&tensors[0], 3, "user_vector"), (&tensors[1], 6, "item_vector")] {
        for (at, expected) in case[key].as_array().unwrap().iter().enumerate() {
            assert!(close(vector.values[row * 192 + at], expected, 1.0, 1e-5), "{key} {at}");
        }
    }
    let prepared = vectors.prepare();
    for ((at, item), expected) in batch.pairs.items.iter().enumerate().zip(case["scores"].as_array().unwrap()) {
        let score = prepared.scores(&[batch.pairs.users[at / 4]])[*item as usize];
        let scale = expected.as_f64().unwrap().abs().max(1.0);
        assert!(close(score, expected, scale, 1e-5), "score {at}: {score}, not {expected}");
    }
    for (step, expected) in case["losses"].as_array().unwrap().iter().enumerate() {
        let loss_sum = network.gradients(&users, &items, &batch).loss_sum;
        let tolerance = if step == 0 { 1e-5 } else { 1e-3 };
        assert!(close((loss_sum / 12.0) as f32, expected, 1.0, tolerance), "loss {step}: {}", loss_sum / 12.0);
        if step == 0 {
            check_gradients(&mut network, &case["gradients"]);
        }
        network.step(0.0001);
    }
}

fn check_gradients(network: &mut Network, expected: &Value) {
    let weights = weights(network);
    assert_eq!(weights.len(), expected.as_object().unwrap().len());
    for weight in weights {
        let (name, known) = (&weight.tensor.name, &expected[&weight.tensor.name]);
        let norm = weight.gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let scale = known["norm"].as_f64().unwrap();
        assert!(close(norm as f32, &known["norm"], scale, 1e-3), "norm of {name}: {norm}, not {scale}");
        let places = known["places"].as_array().unwrap().iter().zip(known["entries"].as_array().unwrap());
        for (place, entry) in places {
            let found = weight.gradient[place.as_u64().unwrap() as usize];
            assert!(close(found, entry, scale, 1e-3), "gradient of {name} at {place}: {found}, not {entry}");
        }
    }
}

#[test]
fn the_model_its_gradients_and_adam_agree_with_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/data/two_tower_golden.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    cases.iter().for_each(check);
}
