//! The kernels' BERT and the one on Burn's tensors hold each other: a small model
//! of twelve layers that takes the first token, and one that takes the mean.

use std::collections::BTreeMap;

use refrain_gpu::{Architecture, Device, Encoder, Pooling, Precision};
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::Bert;

/// Numbers in [-1, 1) that a name decides.
fn noise(name: &str, count: usize) -> Vec<f32> {
    let mut state = name
        .bytes()
        .fold(1_469_598_103_934_665_603_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn architecture(layers: usize, pooling: Pooling, unit_length: bool) -> Architecture {
    Architecture {
        layers,
        heads: 4,
        hidden: 40,
        intermediate: 72,
        vocabulary: 30,
        positions: 16,
        types: 2,
        epsilon: 1e-12,
        pooling,
        unit_length,
    }
}

/// A safetensors file of random weights for these sizes.
fn weights(of: &Architecture) -> Vec<u8> {
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut add = |name: String, shape: &[usize], scale: f32, centre: f32| {
        let values = noise(&name, shape.iter().product());
        let bytes = values.iter().flat_map(|value| (value * scale + centre).to_le_bytes()).collect();
        tensors.insert(name, (shape.to_vec(), bytes));
    };
    for (name, rows) in [("word", of.vocabulary), ("position", of.positions), ("token_type", of.types)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, of.hidden], 1.0, 0.0);
    }
    let layers = (0..of.layers).map(|layer| format!("encoder.layer.{layer}"));
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in layers {
        let linears = [
            ("attention.self.query", of.hidden, of.hidden),
            ("attention.self.key", of.hidden, of.hidden),
            ("attention.self.value", of.hidden, of.hidden),
            ("attention.output.dense", of.hidden, of.hidden),
            ("intermediate.dense", of.intermediate, of.hidden),
            ("output.dense", of.hidden, of.intermediate),
        ];
        for (part, outputs, inputs) in linears {
            add(format!("{layer}.{part}.weight"), &[outputs, inputs], 0.3, 0.0);
            add(format!("{layer}.{part}.bias"), &[outputs], 0.1, 0.0);
        }
        norms.extend([format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]);
    }
    for norm in norms {
        add(format!("{norm}.weight"), &[of.hidden], 0.2, 1.0);
        add(format!("{norm}.bias"), &[of.hidden], 0.1, 0.0);
    }
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of this shape"))
    });
    serialize(views, None).expect("a safetensors file")
}

#[test]
fn kernels_and_tensors_give_the_same_vectors_for_any_sizes() {
    for (layers, pooling, unit_length) in [(12, Pooling::First, true), (2, Pooling::Mean, false)] {
        let of = architecture(layers, pooling, unit_length);
        let bytes = weights(&of);
        let ids: Vec<u32> = (0..3 * 7).map(|at| at * 11 % 30).collect();
        let ours = Bert::read(&bytes, &of).expect("weights of these sizes").encode(&ids, 7);
        let theirs = on_tensors(&bytes, &of, Precision::F32, &ids);
        assert_eq!((ours.len(), theirs.len()), (3 * of.hidden, 3 * of.hidden));
        let furthest = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-4, "{layers} layers: {furthest}");
        let length: f32 = ours[..of.hidden].iter().map(|value| value * value).sum();
        assert_eq!((length - 1.0).abs() < 1e-5, unit_length, "{length}");
    }
}

fn on_tensors(weights: &[u8], of: &Architecture, precision: Precision, ids: &[u32]) -> Vec<f32> {
    let encoder = Encoder::read(weights, of, Device::Cpu, precision).expect("weights of these sizes");
    encoder.encode(ids, 7).expect("the processor does not fail")
}

#[test]
fn half_the_bits_give_nearly_the_same_vectors() {
    let of = architecture(6, Pooling::Mean, true);
    let bytes = weights(&of);
    let ids: Vec<u32> = (0..20 * 7).map(|at| (at * at * 7 + at) % 30).collect();
    let exact = on_tensors(&bytes, &of, Precision::F32, &ids);
    for precision in [Precision::F16, Precision::BF16] {
        let half = on_tensors(&bytes, &of, precision, &ids);
        assert_ne!(half, exact, "{precision} is less than f32");
        for (a, b) in exact.chunks_exact(of.hidden).zip(half.chunks_exact(of.hidden)) {
            let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.999, "{precision}: {cosine}");
            let length: f32 = b.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-5, "{precision}: {length}");
        }
    }
}

#[test]
fn weights_of_other_sizes_are_refused_by_name() {
    let of = architecture(2, Pooling::Mean, true);
    let bytes = weights(&of);
    let deeper = Architecture { layers: 3, ..of.clone() };
    let error = Bert::read(&bytes, &deeper).unwrap_err().to_string();
    assert!(error.contains("no tensor `encoder.layer.2.attention.self.query.weight`"), "{error}");
    let wider = Architecture { intermediate: 80, ..of };
    let error = Bert::read(&bytes, &wider).unwrap_err().to_string();
    assert!(error.contains("`encoder.layer.0.intermediate.dense.weight` is [72, 40], not [80, 40]"), "{error}");
}
