//! `refrain device`: which device models would compute on, and why; with
//! `--check` whether it gives what the processor gives, and how fast.

use std::fmt::Write as _;

use super::arguments::DeviceArguments;
use super::errors::{Exit, Mistake};
use super::terminal::{data, say};
use crate::model::two_tower::{CheckSize, Comparison, check};
use crate::model::{Device, DeviceChoice, MINILM, ModelFiles, Models, Precision, TextEncoder, TextVectors};

/// Texts that are embedded on both.
const TEXTS: usize = 2000;

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
    let mut good = true;
    for comparison in &comparisons {
        good &= comparison.agrees();
        data(&lines(comparison))?;
    }
    if selection.device != Device::Cpu {
        good &= embedding(&models, if arguments.full { TEXTS } else { TEXTS / 50 })?;
    }
    data(if good { "the device agrees with the processor" } else { "the device does NOT agree with the processor" })?;
    Ok(if good { Exit::Done } else { Exit::Failed })
}

fn lines(comparison: &Comparison) -> String {
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
        "{:.2} GFLOP and {:.3} GB a step: {:.0} GFLOP/s and {:.0} GB/s",
        comparison.step_flops / 1e9,
        comparison.step_bytes / 1e9,
        rate(comparison.step_flops, device.step_secs),
        rate(comparison.step_bytes, device.step_secs)
    );
    row("a step", millis(kernels.step_secs), millis(device.step_secs), note);
    let note = format!(
        "{:.1} GFLOP: {:.0} GFLOP/s",
        comparison.ranking_flops / 1e9,
        rate(comparison.ranking_flops, device.ranking_secs)
    );
    row("ranking", millis(kernels.ranking_secs), millis(device.ranking_secs), note);
    write!(text, "  {other_ranks} of {ranks} ranks and {other_lists} of {lists} lists of the processor's model differ")
        .ok();
    text
}

/// Embeds texts on both, on the device in each precision; whether the vectors
/// agree. Without the weights there is nothing to compare.
fn embedding(models: &Models, count: usize) -> anyhow::Result<bool> {
    let folders = [MINILM.folder(&models.folder)].into_iter().chain(models.minilm.clone());
    let Some(files) = folders.into_iter().find_map(|folder| ModelFiles::read(&MINILM, &folder).ok()) else {
        data("embedding: not compared, the weights are not on this machine (`refrain model fetch`)")?;
        return Ok(true);
    };
    let words = ["night", "river", "golden", "radio", "heart", "dance", "slow", "winter", "city", "blue", "fire"];
    let text = |at: usize| {
        let word = |n: usize| words[(at * 31 + n * 17 + n * n * at) % words.len()];
        (0..25).map(word).collect::<Vec<_>>().join(" ") + &format!(" {at}")
    };
    let texts: Vec<String> = (0..count).map(text).collect();
    let embed = |choice: DeviceChoice, precision: Precision| -> anyhow::Result<_> {
        let encoder = TextEncoder::new(&files, choice.select()?, precision)?;
        encoder.embed(&texts[..count.min(64)], &|_| std::ops::ControlFlow::Continue(()))?;
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
    Ok(good)
}

/// The lowest cosine of a text's two vectors, which have length 1.
fn lowest_cosine(one: &TextVectors, other: &TextVectors) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    (0..one.len()).map(|at| dot(one.vector(at), other.vector(at))).fold(1.0, f64::min)
}
