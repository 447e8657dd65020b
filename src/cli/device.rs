//! `refrain device`: which device models would compute on, and why; with
//! `--check` whether it gives what the processor gives, and how fast.

use std::fmt::Write as _;

use super::arguments::DeviceArguments;
use super::errors::{Exit, Mistake};
use super::terminal::{data, say};
use crate::model::two_tower::{CheckSize, Comparison, TIMED_EPOCHS, check};
use crate::model::{Device, DeviceChoice, MINILM, ModelFiles, Models, Precision, TextEncoder, TextVectors};

/// Texts that are embedded on both.
const TEXTS: usize = 2000;

/// What a card can do at most.
#[derive(Debug, Clone, Copy)]
struct Limits {
    gflops: f64,
    gigabytes: f64,
}

impl Limits {
    /// `; 12 % of the limits`: the time that so many GFLOP and GB take at the least, as a share of that taken.
    fn share(limits: Option<Self>, gflop: f64, gigabytes: f64, secs: f64) -> String {
        let Some(limits) = limits else { return String::new() };
        let least = f64::max(gflop / limits.gflops, gigabytes / limits.gigabytes);
        format!("; {:.1} % of the limits", 100.0 * least / secs.max(1e-9))
    }
}

/// Whether what was compared agrees; `embedding` is nothing where it could not be compared.
fn verdict(agrees: bool, embedding: Option<bool>) -> String {
    match (agrees && embedding != Some(false), embedding) {
        (false, _) => "the device does NOT agree with the processor".to_owned(),
        (true, Some(_)) => "the device agrees with the processor".to_owned(),
        (true, None) => {
            "training and ranking on the device agree with the processor; the embedding was NOT CHECKED".to_owned()
        }
    }
}

/// The lowest cosine to the processor's vectors that will do.
fn least_cosine(precision: Precision) -> f64 {
    if precision == Precision::F32 { 0.9999 } else { 0.999 }
}

/// Says which device would be used.
///
/// # Errors
/// If a device was insisted on and cannot be used, or the check could not be made.
pub(super) fn device(arguments: &DeviceArguments) -> anyhow::Result<Exit> {
    let models = Models { device: arguments.device, ..Models::default() };
    let selection = models.device().map_err(|error| {
        Mistake::new(error.to_string()).hint("`--device auto` computes on the processor where there is no GPU")
    })?;
    data(&selection.note)?;
    if !arguments.check {
        return Ok(Exit::Done);
    }
    let size = if arguments.full { CheckSize::APPLE } else { CheckSize::SMALL };
    let what = format!(
        "{} users, {} items, {} interactions each; batches of 1,024 with 40 negatives; 3 epochs, the last is timed",
        size.users, size.items, size.per_user
    );
    say(&what);
    let comparisons = check(selection.device, size, 3).map_err(|error| Mistake::new(error.to_string()))?;
    let limits = arguments.limits.map(|[gflops, gigabytes]| Limits { gflops, gigabytes });
    for comparison in &comparisons {
        data(&lines(comparison, limits))?;
    }
    let agrees = comparisons.iter().all(Comparison::agrees);
    // The processor embeds with kernels of its own: there is nothing to compare.
    let embedding = match selection.device {
        Device::Cpu => Some(true),
        Device::Cuda(_) => embedding(&models, if arguments.full { TEXTS } else { TEXTS / 50 })?,
    };
    data(&verdict(agrees, embedding))?;
    Ok(if agrees && embedding != Some(false) { Exit::Done } else { Exit::Failed })
}

fn lines(comparison: &Comparison, limits: Option<Limits>) -> String {
    let Comparison { scorer, kernels, device, other_ranks, ranks, other_lists, lists, .. } = comparison;
    let mut text = format!("{scorer}\n");
    let mut row = |what: &str, own: String, theirs: String, note: String| {
        writeln!(text, "  {what:<10} processor {own:>10}  device {theirs:>10}  {note}").ok();
    };
    let within = format!("within {:.4}", comparison.tolerance());
    let number = |value: f64| format!("{value:.5}");
    row("loss", number(kernels.loss), number(device.loss), within.clone());
    row("HR@10", number(kernels.metrics[0]), number(device.metrics[0]), within.clone());
    row("NDCG@10", number(kernels.metrics[1]), number(device.metrics[1]), within.clone());
    let millis = |secs: f64| format!("{:.3} ms", secs * 1e3);
    let rate = |work: f64, secs: f64| work / secs.max(1e-9) / 1e9;
    let note = format!(
        "{:.2} GFLOP and {:.3} GB a step: {:.0} GFLOP/s and {:.0} GB/s{}",
        comparison.step_flops / 1e9,
        comparison.step_bytes / 1e9,
        rate(comparison.step_flops, device.step_secs),
        rate(comparison.step_bytes, device.step_secs),
        Limits::share(limits, comparison.step_flops / 1e9, comparison.step_bytes / 1e9, device.step_secs)
    );
    row("a step", millis(kernels.step_secs), millis(device.step_secs), note);
    let note = format!(
        "{:.1} GFLOP: {:.0} GFLOP/s{}",
        comparison.ranking_flops / 1e9,
        rate(comparison.ranking_flops, device.ranking_secs),
        Limits::share(limits, comparison.ranking_flops / 1e9, 0.0, device.ranking_secs)
    );
    row("ranking", millis(kernels.ranking_secs), millis(device.ranking_secs), note);
    let note =
        format!("{TIMED_EPOCHS} epochs, an evaluation after each; at the paper's size 5 s are the bar on an H200");
    row("training", "-".to_owned(), format!("{:.2} s", comparison.training_secs), note);
    write!(text, "  {other_ranks} of {ranks} ranks and {other_lists} of {lists} lists of the processor's model differ")
        .ok();
    text
}

/// Embeds texts on both, on the device in each precision; whether the vectors
/// agree. Nothing without the weights: then there is nothing to compare.
fn embedding(models: &Models, count: usize) -> anyhow::Result<Option<bool>> {
    let folders = [MINILM.folder(&models.folder)].into_iter().chain(models.minilm.clone());
    let Some(files) = folders.into_iter().find_map(|folder| ModelFiles::read(&MINILM, &folder).ok()) else {
        data(
            "embedding: NOT CHECKED, the weights are not on this machine (`refrain model fetch`; docs/gpu.md says how \
              to bring them)",
        )?;
        return Ok(None);
    };
    let words = ["night", "river", "golden", "radio", "heart", "dance", "slow", "winter", "city", "blue", "fire"];
    let text = |at: usize| {
        let word = |n: usize| words[(at * 31 + n * 17 + n * n * at) % words.len()];
        (0..25).map(word).collect::<Vec<_>>().join(" ") + &format!(" {at}")
    };
    let texts: Vec<String> = (0..count).map(text).collect();
    let embed = |choice: DeviceChoice, precision: Precision| -> anyhow::Result<_> {
        let encoder = TextEncoder::new(&files, choice.select()?, precision)?;
        // A device compiles for each size of a batch, so it warms up with those that are timed.
        let warm = if choice == DeviceChoice::Cpu { &texts[..count.min(64)] } else { &texts };
        encoder.embed(warm, &|_| std::ops::ControlFlow::Continue(()))?;
        let started = std::time::Instant::now();
        let vectors = encoder.embed(&texts, &|_| std::ops::ControlFlow::Continue(()))?;
        Ok((vectors, count as f64 / started.elapsed().as_secs_f64()))
    };
    let (own, rate) = embed(DeviceChoice::Cpu, Precision::F32)?;
    data(&format!("embedding {count} texts of 26 words\n  processor  f32   {rate:>9.0}/s"))?;
    let mut good = true;
    for precision in Precision::ALL {
        let (theirs, rate) = embed(models.device, precision)?;
        let (lowest, least) = (lowest_cosine(&own, &theirs), least_cosine(precision));
        good &= lowest >= least;
        let name = precision.name();
        data(&format!("  device     {name:<4}  {rate:>9.0}/s  lowest cosine {lowest:.6}, at least {least}"))?;
    }
    Ok(Some(good))
}

/// The lowest cosine of a text's two vectors, which have length 1; none where one
/// has a number that is none.
fn lowest_cosine(one: &TextVectors, other: &TextVectors) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let cosines = (0..one.len()).map(|at| dot(one.vector(at), other.vector(at)));
    cosines.fold(1.0, |lowest, cosine| if cosine.is_finite() { f64::min(lowest, cosine) } else { f64::NEG_INFINITY })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::two_tower::Measured;

    #[test]
    fn what_was_not_checked_is_not_told_as_agreeing() {
        assert_eq!(verdict(true, Some(true)), "the device agrees with the processor");
        assert!(verdict(true, None).ends_with("the embedding was NOT CHECKED"));
        for (agrees, embedding) in [(false, None), (false, Some(true)), (true, Some(false))] {
            assert_eq!(verdict(agrees, embedding), "the device does NOT agree with the processor");
        }
    }

    #[test]
    fn a_vector_with_a_number_that_is_none_does_not_agree() {
        let vectors = |values: &[f32]| TextVectors::new(2, values.to_vec(), vec![0, 1]);
        let own = vectors(&[1.0, 0.0, 0.0, 1.0]);
        assert!((lowest_cosine(&own, &vectors(&[1.0, 0.0, 0.6, 0.8])) - 0.8).abs() < 1e-6);
        let broken = lowest_cosine(&own, &vectors(&[1.0, 0.0, f32::NAN, 1.0]));
        assert!(broken < least_cosine(Precision::F16));
    }

    #[test]
    fn the_time_of_the_nearer_limit_is_held_against_the_time_taken() {
        let limits = Some(Limits { gflops: 1000.0, gigabytes: 100.0 });
        assert_eq!(Limits::share(limits, 10.0, 0.1, 0.1), "; 10.0 % of the limits");
        assert_eq!(Limits::share(limits, 10.0, 5.0, 0.1), "; 50.0 % of the limits");
        assert_eq!(Limits::share(None, 10.0, 5.0, 0.1), "");
    }

    #[test]
    fn lines_tell_both_and_the_whole_training() {
        let measured = Measured { loss: 0.5, metrics: [0.25, 0.125], step_secs: 0.001, ranking_secs: 0.01 };
        let comparison = Comparison {
            scorer: "dot",
            kernels: measured,
            device: measured,
            other_ranks: 1,
            ranks: 1000,
            other_lists: 2,
            lists: 1000,
            step_flops: 1e9,
            step_bytes: 1e9,
            ranking_flops: 1e9,
            training_secs: 4.0,
        };
        let limits = Some(Limits { gflops: 67_000.0, gigabytes: 4000.0 });
        insta::assert_snapshot!(lines(&comparison, limits), @"
        dot
          loss       processor    0.50000  device    0.50000  within 0.0010
          HR@10      processor    0.25000  device    0.25000  within 0.0010
          NDCG@10    processor    0.12500  device    0.12500  within 0.0010
          a step     processor   1.000 ms  device   1.000 ms  1.00 GFLOP and 1.000 GB a step: 1000 GFLOP/s and 1000 GB/s; 25.0 % of the limits
          ranking    processor  10.000 ms  device  10.000 ms  1.0 GFLOP: 100 GFLOP/s; 0.1 % of the limits
          training   processor          -  device     4.00 s  5 epochs, an evaluation after each; at the paper's size 5 s are the bar on an H200
          1 of 1000 ranks and 2 of 1000 lists of the processor's model differ
        ");
    }
}
