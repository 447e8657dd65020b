//! The kernels against their definitions, and against themselves on other vectors.

use crate::*;
use proptest::prelude::*;

/// Numbers in [-1, 1) that a seed decides.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// GELU by the error function's series, in 64 bits.
fn exact_gelu(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while f64::abs(term) > 1e-18 {
        n += 1.0;
        term *= -x * x / (2.0 * n) * (2.0 * n - 1.0) / (2.0 * n + 1.0);
        sum += term;
    }
    x * (0.5 + sum / std::f64::consts::TAU.sqrt())
}

#[test]
fn gelu_and_its_slope_are_exact_to_single_precision() {
    let x: Vec<f32> = (-800..=800).map(|step| step as f32 / 160.0).chain([-40.0, 40.0]).collect();
    let (mut out, mut slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    gelu_and_slope(&x, &mut out, &mut slope);
    for (at, x) in x.iter().map(|x| f64::from(*x)).enumerate().take(1601) {
        let expected = exact_gelu(x);
        let expected_slope = (exact_gelu(x + 1e-5) - exact_gelu(x - 1e-5)) / 2e-5;
        assert!((f64::from(out[at]) - expected).abs() < 1e-6, "gelu({x}) = {} not {expected}", out[at]);
        assert!((f64::from(slope[at]) - expected_slope).abs() < 2e-6, "slope at {x}");
    }
    assert!(out[1601].abs() < 1e-5 && (out[1602] - 40.0).abs() < 1e-5, "{:?}", &out[1601..]);
    assert!(slope[1601].abs() < 1e-5 && (slope[1602] - 1.0).abs() < 1e-6);
}

proptest! {
    #[test]
    fn products_are_the_sums_of_products(rows in 1usize..20, depth in 1usize..40, columns in 1usize..40, seed in 0u64..99) {
        let (left, right) = (noise(seed, rows * depth), noise(seed + 100, depth * columns));
        let bias = noise(seed + 200, columns);
        let turned = |matrix: &[f32], height: usize, width: usize| -> Vec<f32> {
            (0..width).flat_map(|c| (0..height).map(move |r| matrix[r * width + c])).collect()
        };
        let mut packed = Packed::default();
        packed.pack_transposed(&turned(&right, depth, columns), depth, columns);
        let mut out = vec![0.0; rows * columns];
        packed.product(Left::Plain(&left), rows, &mut out, Mode::Bias(&bias));
        packed.pack(&right, depth, columns);
        packed.product(Left::Transposed(&turned(&left, rows, depth)), rows, &mut out, Mode::Add);
        for row in 0..rows {
            for column in 0..columns {
                let sum: f32 = (0..depth).map(|d| left[row * depth + d] * right[d * columns + column]).sum();
                prop_assert!((out[row * columns + column] - 2.0 * sum - bias[column]).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn a_long_depth_is_one_chain_to_the_last_bit() {
    let [rows, depth, columns] = [200, 1_000, 50];
    let (left, right, bias) = (noise(1, rows * depth), noise(2, depth * columns), noise(3, columns));
    let mut packed = Packed::default();
    packed.pack(&right, depth, columns);
    let mut out = vec![f32::NAN; rows * columns];
    packed.product(Left::Plain(&left), rows, &mut out, Mode::Bias(&bias));
    let before = out.clone();
    packed.product(Left::Plain(&left), rows, &mut out, Mode::Add);
    for (place, (one, both)) in before.iter().zip(&out).enumerate() {
        let (row, column) = (place / columns, place % columns);
        let term = |sum: f32, d: usize| left[row * depth + d].mul_add(right[d * columns + column], sum);
        let sum = (0..depth).fold(0.0, term);
        assert_eq!([*one, *both].map(f32::to_bits), [sum + bias[column], sum + bias[column] + sum].map(f32::to_bits));
    }
}

/// The products of MiniLM, on one thread.
#[test]
#[ignore = "measures: some seconds"]
fn speed_of_products() {
    for [rows, depth, columns] in [[384, 384, 1_152], [384, 384, 384], [112, 384, 1_536], [112, 1_536, 384]] {
        let (left, right, bias) = (noise(1, rows * depth), noise(2, depth * columns), noise(3, columns));
        let mut packed = Packed::default();
        packed.pack(&right, depth, columns);
        let mut out = vec![0.0; rows * columns];
        let operations = 2 * rows * depth * columns;
        let mut round = || {
            let start = std::time::Instant::now();
            let times = 2_000_000_000 / operations;
            (0..times).for_each(|_| packed.product(Left::Plain(&left), rows, &mut out, Mode::Bias(&bias)));
            (operations * times) as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        let best = (0..20).map(|_| round()).fold(0.0, f64::max);
        println!("[{rows}, {depth}] times [{depth}, {columns}]: {best:.0} thousand million operations a second");
    }
}

/// Parameters with both moments that went through all steps, one by one.
fn step_by_step(rates: &[f64], touched: &[usize], mut state: [Vec<f32>; 3], gradient: &[f32]) -> [Vec<f32>; 3] {
    let mut steps = AdamSteps::default();
    for (at, rate) in rates.iter().enumerate() {
        let mut gradients = if touched.contains(&at) { gradient.to_vec() } else { vec![0.0; gradient.len()] };
        let [values, first, second] = &mut state;
        adam(steps.push(*rate), values, &mut gradients, first, second);
    }
    state
}

/// The same, where steps without a gradient are made up for before the next with one.
fn made_up_for(rates: &[f64], touched: &[usize], mut state: [Vec<f32>; 3], gradient: &[f32]) -> [Vec<f32>; 3] {
    let (mut steps, mut from) = (AdamSteps::default(), 0);
    let [values, first, second] = &mut state;
    for (at, rate) in rates.iter().enumerate() {
        if touched.contains(&at) {
            adam_idle(&steps, from, values, first, second);
        }
        let step = steps.push(*rate);
        if touched.contains(&at) {
            adam(step, values, &mut gradient.to_vec(), first, second);
            from = steps.len();
        }
        // As at the end of an epoch.
        if at % 1_000 == 999 {
            adam_idle(&steps, from, values, first, second);
            steps.clear();
            from = 0;
        }
    }
    adam_idle(&steps, from, values, first, second);
    state
}

fn bits(state: &[Vec<f32>; 3]) -> Vec<u32> {
    state.iter().flatten().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn idle_steps_can_be_made_up_for(
        width in 1usize..40,
        count in 1usize..2_500,
        touched in proptest::collection::vec(0usize..2_500, 0..6),
        sizes in (-120i32..10, -75i32..10),
        (rate, shape) in (-6i32..4, 0usize..5),
        seed in 0u64..1_000,
    ) {
        let rate = 10f64.powi(rate);
        let rates: Vec<f64> = (0..count).map(|at| match shape {
            0 => rate,
            1 => rate * (1.0 - at as f64 / count as f64),
            2 => rate * 0.5f64.powi((at / 200) as i32),
            3 => rate * at as f64,
            _ => rate * [1.0, 0.0, 1e4][at * 7 / count % 3],
        }).collect();
        let values: Vec<f32> = noise(seed, width).iter().map(|v| if *v > 0.9 { 0.0 } else { v * 2f32.powi(sizes.0) }).collect();
        let gradient: Vec<f32> = noise(seed + 1, width).iter().map(|v| v * 2f32.powi(sizes.1)).collect();
        let state = [values, vec![0.0; width], vec![0.0; width]];
        let one_by_one = step_by_step(&rates, &touched, state.clone(), &gradient);
        prop_assert!(bits(&one_by_one) == bits(&made_up_for(&rates, &touched, state, &gradient)));
    }
}

#[test]
fn idle_steps_of_what_is_no_number_and_of_wild_rates_are_the_same() {
    for (value, slope, rate) in [
        (f32::NAN, 1.0, 0.1),
        (1.0, f32::NAN, 0.1),
        (1.0, f32::INFINITY, 0.1),
        (1.0, 0.5, 1e30),
        (1.0, 1e-30, f64::MAX),
    ] {
        let state = [vec![value, -0.0, 3.0], vec![0.0; 3], vec![0.0; 3]];
        let gradient = [slope, 0.0, 1e-20];
        let rates = [rate; 300];
        let [one, other] = [step_by_step, made_up_for].map(|way| way(&rates, &[20, 40], state.clone(), &gradient));
        // What is no number need not be the same one.
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(one.iter().flatten().zip(other.iter().flatten()).all(same), "{one:?} {other:?}");
    }
}

/// Everything that a processor's vectors could change, as bits.
#[cfg(target_arch = "x86_64")]
fn all_results<S: crate::wide::Wide>(simd: S, panel: usize, [rows, depth, columns]: [usize; 3], seed: u64) -> Vec<u32> {
    let (left, right) = (noise(seed, rows * depth), noise(seed + 1, depth * columns));
    let wider: Vec<f32> = noise(seed + 2, rows * columns).iter().map(|v| v * 8.0).collect();
    let mut all = Vec::new();
    let mut out = wider.clone();
    crate::product::product_in_panels(simd, panel, &right, &left, [rows, depth, columns], &mut out);
    all.extend_from_slice(&out);
    let mut slope = wider.clone();
    crate::gelu::gelu_and_slope_on(simd, &wider, &mut out, &mut slope);
    all.extend(out.iter().chain(&slope));
    crate::gelu::gelu_on(simd, &wider, &mut out);
    all.extend_from_slice(&out);
    let mut scales = vec![0.0; rows];
    crate::rows::normalize_rows_on(simd, &mut out, columns, &mut scales);
    let mut gradients = wider.clone();
    crate::rows::normalize_rows_backward_on(simd, &mut gradients, &out, columns, &scales);
    all.extend(out.iter().chain(&gradients).chain(&scales));
    all.extend([crate::rows::dot_on(simd, &left, &left), crate::rows::sum_on(simd, &left)]);
    let mut moments = [wider.clone(), wider.iter().map(|v| v * v).collect(), gradients];
    let [first, second, slopes] = &mut moments;
    crate::adam::adam_on(simd, AdamStep { rate: 0.01, root: 0.7 }, &mut out, slopes, first, second);
    all.extend(out.iter().chain(moments.iter().flatten()));
    let mut steps = AdamSteps::default();
    for _ in 0..400 {
        steps.push(0.01);
    }
    let [first, second, _] = &mut moments;
    crate::adam::adam_idle_on(simd, &steps, 3, &mut out, first, second);
    all.extend(out.iter().chain(moments.iter().flatten()));
    all.iter().map(|value| value.to_bits()).collect()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn all_vectors_give_the_same_bits() {
    use crate::wide::Portable;
    let shapes = [[1, 1, 1], [5, 7, 3], [16, 33, 40], [29, 20, 64], [40, 130, 97]];
    for (seed, shape) in (0..).zip(shapes) {
        let plain = all_results(Portable::<true>, 16, shape, seed);
        if let Some(simd) = pulp::x86::V3::try_new() {
            assert_eq!(simd.vectorize(crate::wide::Call(|| all_results(simd, 16, shape, seed))), plain, "V3 {shape:?}");
        }
        if let Some(simd) = pulp::x86::V4::try_new() {
            assert_eq!(simd.vectorize(crate::wide::Call(|| all_results(simd, 32, shape, seed))), plain, "V4 {shape:?}");
        }
    }
}

/// A block of pairs forward, alone and in training, and back, as bits.
#[cfg(target_arch = "x86_64")]
fn pair_results<S: crate::wide::Wide>(
    simd: S,
    height: usize,
    [first, second]: [usize; 2],
    rectified: bool,
) -> Vec<u32> {
    use crate::pairs::{backward_on, forward_on, score_on};
    let factors: [Vec<f32>; 5] = std::array::from_fn(|at| noise(at as u64, first));
    let [bias, factor, shift] = [6, 7, 8].map(|seed| noise(seed, first));
    let [second_bias, second_factor, second_shift, last] = [9, 10, 11, 12].map(|seed| noise(seed, second));
    let weights = PairWeights {
        factors: factors.each_ref().map(Vec::as_slice),
        first_bias: &bias,
        norms: [[&factor, &shift], [&second_factor, &second_shift]],
        second: &noise(13, first * second),
        second_bias: &second_bias,
        last: &last,
        last_bias: 0.25,
        rectified,
    };
    let net = PairNet::with_height(&weights, height);
    let numbers: [BlockRow; NUMBERS] = std::array::from_fn(|at| {
        let mut row = BlockRow::default();
        row.as_flattened_mut().copy_from_slice(&noise(20 + at as u64, BLOCK));
        row
    });
    let (mut trace, mut gradients) = (PairTrace::default(), PairGradients::zero(&net));
    let mut all = forward_on(simd, &net, &numbers, &mut trace).as_flattened().to_vec();
    let back = backward_on(simd, &net, &numbers, &trace, &numbers[2], &mut gradients);
    all.extend(back.iter().flatten().flatten());
    let weights = gradients.finish();
    all.extend(weights.factors.iter().chain(weights.norms.iter().flatten()).flatten());
    all.extend(weights.first_bias.iter().chain(&weights.second).chain(&weights.second_bias).chain(&weights.last));
    let mut scores = noise(30, 2 * BLOCK + 5);
    let (squares, sums) = (noise(31, scores.len()), noise(32, scores.len()));
    score_on(simd, &net, [0.5, 0.25], &mut scores, &squares, &sums, &mut PairScratch::default());
    all.extend(scores);
    all.iter().map(|value| value.to_bits()).collect()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn pairs_have_the_same_bits_on_all_vectors() {
    use crate::wide::{Call, Portable};
    for (shape, rectified) in [([128, 64], false), ([20, 33], false), ([7, 9], true)] {
        let plain = pair_results(Portable::<true>, 6, shape, rectified);
        if let Some(simd) = pulp::x86::V3::try_new() {
            assert_eq!(simd.vectorize(Call(|| pair_results(simd, 6, shape, rectified))), plain, "V3 {shape:?}");
        }
        if let Some(simd) = pulp::x86::V4::try_new() {
            assert_eq!(simd.vectorize(Call(|| pair_results(simd, 8, shape, rectified))), plain, "V4 {shape:?}");
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let (mut out, mut slope) = ([0.0; 2], [0.0; 2]);
    gelu_and_slope(&[f32::NAN, f32::INFINITY], &mut out, &mut slope);
    assert!(out[0].is_nan() && out[1] == f32::INFINITY, "{out:?}");
}
