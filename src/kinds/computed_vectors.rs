//! Vectors of texts that an encoder on this machine computes: each once, and kept in the
//! store as it comes.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::on_device::{NO_DEVICE, device_failed};
use super::rows;
use super::vectors::unkept_vectors;
use crate::ground::ContentHash;
use crate::memo::vector_key;
use crate::model::{EncoderError, ModelError, OnBatch, TextEncoder, TextVectors};
use crate::stage::{StageContext, StageError};

/// What computes vectors, told as they come.
pub(super) trait Encode {
    /// The length of each vector.
    fn width(&self) -> usize;
    fn encode(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError>;
}

impl Encode for TextEncoder {
    fn width(&self) -> usize {
        self.width()
    }

    fn encode(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError> {
        self.embed_each(texts, on_batch)
    }
}

/// The vectors of some texts: those that are remembered, and the others computed by an encoder,
/// which is opened only if a text is not remembered.
pub(super) async fn vectors_by<E: Encode>(
    context: &StageContext,
    model: &ContentHash,
    texts: &[&str],
    open: impl AsyncFnOnce() -> Result<E, StageError>,
) -> Result<TextVectors, StageError> {
    let distinct = rows::distinct(texts.iter().copied());
    let keys: Vec<ContentHash> = distinct.keys.par_iter().map(|text| vector_key(model, text)).collect();
    let first = keys.first().and_then(|key| Some(context.vectors.as_ref()?.find(*key)?.len())).filter(|n| *n > 0);
    // Without a remembered vector the encoder says how long they are.
    let (encoder, width, open) = if let Some(width) = first {
        (None, width, Some(open))
    } else {
        let encoder = open().await?;
        let width = encoder.width();
        (Some(encoder), width, None)
    };
    let mut values = vec![0.0; keys.len() * width];
    let recall = |(key, place): (&ContentHash, &mut [f32])| {
        let vector = context.vectors.as_ref()?.find(*key).filter(|vector| vector.len() == place.len())?;
        place.copy_from_slice(&vector);
        Some(())
    };
    let places = keys.par_iter().zip(values.par_chunks_exact_mut(width));
    let recalled: Vec<bool> = places.map(|pair| recall(pair).is_some()).collect();
    let (known, missing): (Vec<usize>, Vec<usize>) = (0..keys.len()).partition(|text| recalled[*text]);
    context.progress.advance(known.iter().map(|text| distinct.rows[*text]).sum());
    if !missing.is_empty() {
        let encoder = match (encoder, open) {
            (Some(encoder), _) => encoder,
            (None, Some(open)) => open().await?,
            (None, None) => unreachable!("the encoder is open or can be opened"),
        };
        compute(
            context,
            &encoder,
            &Wanted { distinct: &distinct, keys: &keys, missing: &missing },
            width,
            &mut values,
        )?;
    }
    Ok(TextVectors::new(width, values, distinct.of_row))
}

/// Texts whose vectors are computed, by their place among the distinct texts.
struct Wanted<'a> {
    distinct: &'a rows::Distinct<&'a str>,
    keys: &'a [ContentHash],
    missing: &'a [usize],
}

/// Computes vectors into their places, and keeps them as they come.
fn compute<E: Encode>(
    context: &StageContext,
    encoder: &E,
    wanted: &Wanted<'_>,
    width: usize,
    values: &mut [f32],
) -> Result<(), StageError> {
    let values = Mutex::new(values);
    let (unkept, overflown) = (Mutex::new(None), Mutex::new(None));
    let on_batch = |batch: &[usize], vectors: &[f32]| {
        let batch: Vec<usize> = batch.iter().map(|text| wanted.missing[*text]).collect();
        let vectors: Vec<&[f32]> = vectors.chunks_exact(width).collect();
        // What the memo has it has for good.
        if let Some(at) = vectors.iter().position(|vector| !vector.iter().all(|value| value.is_finite())) {
            *overflown.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted.distinct.keys[batch[at]]);
            return ControlFlow::Break(());
        }
        let records: Vec<_> = batch.iter().map(|text| wanted.keys[*text]).zip(vectors.iter().copied()).collect();
        if let Err(error) = context.vectors.as_ref().map_or(Ok(()), |memo| memo.append(&records)) {
            *unkept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            return ControlFlow::Break(());
        }
        let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
        for (text, vector) in batch.iter().zip(vectors) {
            values[text * width..(text + 1) * width].copy_from_slice(vector);
        }
        drop(values);
        context.progress.advance(batch.iter().map(|text| wanted.distinct.rows[*text]).sum());
        if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let texts: Vec<&str> = wanted.missing.iter().map(|text| wanted.distinct.keys[*text]).collect();
    let ended = encoder.encode(&texts, &on_batch);
    if let Some(error) = unkept.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(unkept_vectors(&error));
    }
    if let Some(text) = overflown.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(not_finite(text));
    }
    ended.map_err(failed)?;
    context.vectors.as_ref().map_or(Ok(()), |memo| memo.flush()).map_err(|error| unkept_vectors(&error))
}

/// Some numbers of a text's vector are infinite or no numbers.
fn not_finite(text: &str) -> StageError {
    let beginning: String = text.chars().take(40).collect();
    let rest = if beginning.len() < text.len() { "…" } else { "" };
    StageError::with_hint(
        format!("could not embed the texts: the vector of {:?} is not finite", beginning + rest),
        "`precision: f16` cannot go beyond 65,504, as this model does: set `precision: bf16` or `f32`; if it is `f32` \
         already, the model's weights are damaged",
    )
}

/// A stage's error of a model's.
pub(super) fn failed(error: ModelError) -> StageError {
    match error {
        ModelError::Stopped => StageError::Cancelled,
        ModelError::NoDevice(error) => StageError::with_hint(error.to_string(), NO_DEVICE),
        ModelError::Encoder(EncoderError::Device(words)) => {
            device_failed(format!("could not embed the texts: {words}"))
        }
        other => StageError::failed(format!("could not embed the texts: {other}")),
    }
}
