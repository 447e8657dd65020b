//! The encoder against sentence-transformers, on 200 texts of all sorts. The
//! golden vectors are made by `scripts/make_minilm_golden.py`.
//!
//! The tests need the weights and say so where these are not on this machine.

use std::ops::ControlFlow;

use super::{DeviceChoice, MINILM, ModelError, ModelFiles, Models, Precision, TextEncoder};

/// The encoder on a device, if the weights are on this machine.
fn encoder(choice: DeviceChoice) -> Option<TextEncoder> {
    let models = Models::default();
    let folders = [MINILM.folder(&models.folder)].into_iter().chain(models.minilm);
    let Some(files) = folders.into_iter().find_map(|folder| ModelFiles::read(&MINILM, &folder).ok()) else {
        println!("skipped: the weights of MiniLM are not on this machine (refrain model fetch)");
        return None;
    };
    let selection = choice.select().map_err(|error| println!("skipped: {error}")).ok()?;
    Some(TextEncoder::new(&files, selection, Precision::F32).expect("the files are of this model"))
}

fn texts() -> Vec<String> {
    serde_json::from_str(include_str!("../../tests/data/minilm_texts.json")).expect("the texts are JSON")
}

fn golden() -> Vec<f32> {
    let bytes = include_bytes!("../../tests/data/minilm_golden.f32");
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn agrees_with_sentence_transformers(choice: DeviceChoice) {
    let Some(encoder) = encoder(choice) else { return };
    let (texts, golden, width) = (texts(), golden(), encoder.width());
    assert_eq!(golden.len(), texts.len() * width);
    let vectors = encoder.embed(&texts, &|_| ControlFlow::Continue(())).expect("the texts can be embedded");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for (index, (text, expected)) in texts.iter().zip(golden.chunks_exact(width)).enumerate() {
        let vector = vectors.vector(index);
        let norm = dot(vector, vector).sqrt();
        let cosine = dot(vector, expected) / (norm * dot(expected, expected).sqrt());
        let start: String = text.chars().take(40).collect();
        assert!(cosine >= 0.99999, "text {index} ({start:?}): cosine {cosine}");
        assert!((norm - 1.0).abs() <= 1e-5, "text {index} ({start:?}): norm {norm}");
    }
}

#[test]
fn vectors_agree_with_sentence_transformers_on_the_cpu() {
    agrees_with_sentence_transformers(DeviceChoice::Cpu);
}

#[test]
fn vectors_agree_with_sentence_transformers_on_the_gpu() {
    agrees_with_sentence_transformers(DeviceChoice::Cuda(0));
}

#[test]
fn a_vector_does_not_depend_on_the_batch_or_the_threads() {
    let Some(encoder) = encoder(DeviceChoice::Cpu) else { return };
    let mut texts = texts();
    // Enough texts of one length for full batches, and each text with other neighbours.
    texts.extend((0..300).map(|number| format!("song number {number}")));
    let go_on = |_| ControlFlow::Continue(());
    let together = encoder.embed(&texts, &go_on).expect("the texts can be embedded");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread can be had");
    pool.install(|| {
        for (index, text) in texts.iter().enumerate().filter(|(index, _)| index % 5 != 1) {
            let alone = encoder.embed(&[text], &go_on).expect("a text can be embedded");
            assert_eq!(alone.vector(0), together.vector(index), "text {index} ({text:.40?})");
        }
    });
}

#[test]
fn embedding_stops_when_told() {
    let Some(encoder) = encoder(DeviceChoice::Cpu) else { return };
    let stopped = encoder.embed(&["one", "and two", "and then three"], &|_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ModelError::Stopped)));
}
