//! The model against PyTorch: `scripts/make_two_tower_golden.py` says how.

use serde_json::Value;

use super::loss::Pairs;
use super::options::{Activation, Loss, TrainingOptions, Widths};
use super::parameters::Weight;
use super::sample::Batch;
use super::tower::{Category, Features, TextVectors};
use super::train::Network;
use crate::ground::Seed;

/// How far a tensor may be off, and the loss: `|ours - theirs| / |theirs|`, of norms over all of it.
const TOLERANCE: f64 = 1e-5;
/// The same of weights after Adam's steps: Adam moves by a whole step where a gradient
/// is but rounding.
const TOLERANCE_AFTER_ADAM: f64 = 1e-4;
/// PyTorch's own worst error in 32 bits in a case, times this, is allowed where it is
/// more: the gradients of positives and negatives may nearly cancel.
const OF_SINGLE: f64 = 2.0;
/// Signs that a tensor is projected on.
const PROJECTIONS: usize = 8;
const NEGATIVES: usize = 3;

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
        last if last.contains("_tower.mlp.6.") => (8.0 / (inputs as f64).sqrt(), 0.0),
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

fn numbers(known: &Value) -> Vec<f64> {
    known.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Checks a whole tensor: the root of the mean square of how far its projections are off
/// estimates the norm of the difference. `least` is the norm below which the known one
/// counts as nothing.
fn check_tensor(what: &str, ours: &[f32], known: &Value, tolerance: f64, least: f64) {
    let known = numbers(known);
    let projection = |k: usize| {
        let is_negative = |at: usize| (scramble((at * PROJECTIONS + k) as u32) >> 16) & 1 == 1;
        let signed = ours.iter().enumerate().map(|(at, value)| if is_negative(at) { -*value } else { *value });
        signed.map(f64::from).sum::<f64>()
    };
    let square: f64 = (0..PROJECTIONS).map(|k| (projection(k) - known[1 + k]).powi(2)).sum();
    let norm = if known[0] > least { known[0] } else { least / TOLERANCE };
    let off = (square / PROJECTIONS as f64).sqrt() / norm;
    assert!(off <= tolerance, "{what} is off by {off:.1e}, more than {tolerance:.1e}");
}

/// PyTorch's worst error in 32 bits in a group of tensors, but for those that count as nothing.
fn single(group: &Value, least: impl Fn(&str) -> f64) -> f64 {
    let tensors = group.as_object().unwrap().iter().map(|(name, known)| (name, numbers(known)));
    let errors = tensors.filter(|(name, known)| known[0] > least(name)).map(|(_, known)| known[1 + PROJECTIONS]);
    errors.fold(0.0, f64::max)
}

/// The norm below which a gradient counts as nothing: a hundred-thousandth of its
/// layer's. That of the score's last bias is a sum whose terms cancel in most losses.
fn least(name: &str, gradients: &Value) -> f64 {
    TOLERANCE * numbers(&gradients[&name.replace(".bias", ".weight")])[0]
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn options(case: &Value) -> TrainingOptions {
    let two = |value: &Value| [size(&value[0]), size(&value[1])];
    let widths = &case["widths"];
    let temperature = case["temperature"].as_f64().unwrap() as f32;
    TrainingOptions {
        widths: Widths {
            embedding: size(&widths["embedding"]),
            hidden: two(&widths["hidden"]),
            tower: size(&widths["tower"]),
            compress: size(&widths["compress"]),
            scorer_hidden: two(&widths["scorer_hidden"]),
        },
        activation: if case["relu"] == true { Activation::Relu } else { Activation::Gelu },
        compress: case["compress"] == true,
        activated: case["gelu"] == true,
        loss: match case["loss"].as_str().unwrap() {
            "margin" => Loss::Margin(1.0),
            loss => Loss::SampledSoftmax { temperature, logq: loss == "softmax_logq" },
        },
        ..TrainingOptions::default()
    }
}

fn batch(case: &Value) -> Batch {
    let [users, items, positives] = ["users", "items", "positives"].map(|key| size(&case["size"][key]));
    let below = |place: usize, bound: usize| scramble(place as u32) % bound as u32;
    let width = 1 + NEGATIVES;
    let places: Vec<usize> = (0..positives).flat_map(|at| (0..width).map(move |slot| at * 64 + slot)).collect();
    let correction =
        |place: usize| if place.is_multiple_of(64) { 0.0 } else { -(below(place + 11, 32) as f32) / 8.0 - 0.125 };
    let corrected = case["loss"] == "softmax_logq";
    let pairs = Pairs {
        users: (0..positives).map(|at| below(at * 3 + 1, users)).collect(),
        items: places.iter().map(|place| below(place + 7, items)).collect(),
        width,
        corrections: places.iter().filter(|_| corrected).map(|place| correction(*place)).collect(),
    };
    Batch { users: (0..users as u32).collect(), items: (0..items as u32).collect(), pairs }
}

fn check(number: usize, case: &Value) {
    let options = options(case);
    let [of_users, of_items, text] = ["users", "items", "text"].map(|key| size(&case["size"][key]));
    let (users, items) = (features(of_users, 3, 2, 0), features(of_items, 4, 3, text));
    let mut network = Network::new(&users, &items, &options, Seed::of_stage(0, "golden"));
    let mut inputs = 1;
    for weight in network.weights() {
        // A bias follows its weight and is scaled by the same number of inputs.
        inputs = if weight.tensor.shape.len() == 2 { weight.tensor.shape[1] } else { inputs };
        refill(weight, inputs);
    }
    let batch = batch(case);
    let vectors = network.vectors(&users, &items, [of_users, of_items]);
    let tensors = vectors.tensors();
    for tensor in &tensors[..2] {
        let what = format!("case {number}: {}", tensor.name);
        check_tensor(&what, &tensor.values, &case["forward"][&tensor.name], TOLERANCE, 0.0);
    }
    let prepared = vectors.prepare();
    let rows = batch.pairs.users.iter().zip(batch.pairs.items.chunks(batch.pairs.width));
    let scores = rows.flat_map(|(user, row)| {
        let all = prepared.scores(&[*user]);
        row.iter().map(|item| all[*item as usize]).collect::<Vec<_>>()
    });
    let scores: Vec<f32> = scores.collect();
    check_tensor(&format!("case {number}: the scores"), &scores, &case["forward"]["scores"], TOLERANCE, 0.0);
    let terms = options.loss.terms(batch.pairs.users.len(), NEGATIVES) as f64;
    for (step, known) in numbers(&case["losses"]).into_iter().enumerate() {
        let loss = network.gradients(&users, &items, &batch).loss_sum / terms;
        let tolerance = if step == 0 { TOLERANCE } else { TOLERANCE_AFTER_ADAM };
        assert!((loss - known).abs() <= tolerance * known, "case {number}: loss {step} is {loss}, not {known}");
        if step == 0 {
            check_gradients(number, &mut network, &case["gradients"]);
        }
        network.step(0.0001);
    }
    let mut weights = network.tensors();
    weights.extend(network.scorer.tensors().into_iter().filter(|tensor| tensor.name != "scorer.relu"));
    assert_eq!(weights.len(), case["weights"].as_object().unwrap().len());
    let allowed = TOLERANCE_AFTER_ADAM.max(OF_SINGLE * single(&case["weights"], |_| 0.0));
    for tensor in weights {
        let what = format!("case {number}: {} after Adam", tensor.name);
        check_tensor(&what, &tensor.values, &case["weights"][&tensor.name], allowed, 0.0);
    }
}

fn check_gradients(number: usize, network: &mut Network, known: &Value) {
    let weights = network.weights();
    assert_eq!(weights.len(), known.as_object().unwrap().len());
    let allowed = TOLERANCE.max(OF_SINGLE * single(known, |name| least(name, known)));
    for weight in weights {
        let name = &weight.tensor.name;
        let what = format!("case {number}: the gradient of {name}");
        check_tensor(&what, &weight.gradient, &known[name], allowed, least(name, known));
    }
}

#[test]
fn the_model_its_gradients_and_adam_agree_with_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/data/two_tower_golden.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    cases.iter().enumerate().for_each(|(number, case)| check(number, case));
}
