//! `refrain device`: which device models would compute on, and why; with
//! `--check` whether it gives what the processor gives, and how fast.

use std::fmt::Write as _;

use super::arguments::DeviceArguments;
use super::errors::{Exit, Mistake};
use super::terminal::{data, say};
use crate::ground::Environment;
use crate::model::two_tower::{CheckSize, Comparison, check};
use crate::model::{Device, DeviceChoice, MINILM, ModelFiles, Models, TextEncoder};

/// Texts that are embedded on both, and the lowest cosine that will do.
const TEXTS: usize = 2000;
const LEAST_COSINE: f64 = 0.9999;

/// Says which device would be used.
///
/// # Errors
/// If a device was insisted on and cannot be used, or the check could not be made.
pub(super) fn device(arguments: &DeviceArguments) -> anyhow::Result<Exit> {
    let selection = arguments.device.select().map_err(|error| {
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
        good &= embedding(arguments.device, if arguments.full { TEXTS } else { TEXTS / 50 })?;
    }
    data(if good { "the device agrees with the processor" } else { "the device does NOT agree with the processor" })?;
    Ok(if good { Exit::Done } else { Exit::Failed })
}

fn lines(comparison: &Comparison) -> String {
    let Comparison { scorer, kernels, device, .. } = comparison;
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
    write!(text, "  {} of {} ranks of the processor's model differ", comparison.other_ranks, comparison.ranks).ok();
    text
}

/// Embeds texts on both; whether the vectors agree. Without the weights there is
/// nothing to compare.
fn embedding(choice: DeviceChoice, count: usize) -> anyhow::Result<bool> {
    let models = Models::of_environment(&Environment::of_process());
    let folders = [MINILM.folder(&models.folder)].into_iter().chain(models.minilm);
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
    let embed = |choice: DeviceChoice| -> anyhow::Result<_> {
        let encoder = TextEncoder::new(&files, choice.select()?)?;
        encoder.embed(&texts[..count.min(64)], &|_| std::ops::ControlFlow::Continue(()))?;
        let started = std::time::Instant::now();
        let vectors = encoder.embed(&texts, &|_| std::ops::ControlFlow::Continue(()))?;
        Ok((vectors, started.elapsed().as_secs_f64()))
    };
    let (own, own_secs) = embed(DeviceChoice::Cpu)?;
    let (theirs, secs) = embed(choice)?;
    let cosine = |at: usize| -> f64 {
        own.vector(at).iter().zip(theirs.vector(at)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let least = (0..count).map(cosine).fold(1.0, f64::min);
    let (own, theirs) = (count as f64 / own_secs, count as f64 / secs);
    data(&format!(
        "embedding {count} texts of 26 words\n  processor {own:.0}/s  device {theirs:.0}/s  lowest cosine {least:.6}, at least {LEAST_COSINE}"
    ))?;
    Ok(least >= LEAST_COSINE)
}
