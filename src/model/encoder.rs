//! The sentence encoder: texts to vectors, the same as sentence-transformers
//! gives, by all-MiniLM-L6-v2 or another BERT.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use refrain_gpu::{Architecture, Device, Encoder, Pooling, Precision, Selection};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::bert::Bert;
use super::description::describe;
use super::error::ModelError;
use super::weights::ModelFiles;
use crate::ground::{ContentHash, Hasher};

/// MiniLM cuts longer texts to so many tokens, `[CLS]` and `[SEP]` included.
const MINILM_TOKENS: usize = 256;
/// Tokens in one batch on the CPU: its activations stay in the caches.
const CPU_BATCH_TOKENS: usize = 384;
/// Tokens in one batch on a GPU: enough to keep it busy.
const CUDA_BATCH_TOKENS: usize = 32_768;

/// Raised when the same text would have another vector.
const VECTOR_VERSION: u32 = 2;

/// The sizes of all-MiniLM-L6-v2.
const MINILM_SIZES: Architecture = Architecture {
    layers: 6,
    heads: 12,
    hidden: 384,
    intermediate: 1536,
    vocabulary: 30_522,
    positions: 512,
    types: 2,
    epsilon: 1e-12,
    pooling: Pooling::Mean,
    unit_length: true,
};

/// The network where it runs.
enum Network {
    Cpu(Bert),
    Gpu(Encoder),
}

/// The vectors of a list of texts; equal texts share one.
#[derive(Debug, Clone, PartialEq)]
pub struct TextVectors {
    width: usize,
    values: Vec<f32>,
    of_text: Vec<usize>,
}

impl TextVectors {
    /// Vectors of `width` numbers one after the other, and for each text which of
    /// them is its.
    #[must_use]
    pub fn new(width: usize, values: Vec<f32>, of_text: Vec<usize>) -> Self {
        Self { width, values, of_text }
    }

    /// The length of each vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of_text.len()
    }

    /// Whether there is no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of_text.is_empty()
    }

    /// The vector of the text at `index`: `width` numbers.
    ///
    /// # Panics
    /// If there is no such text.
    #[must_use]
    pub fn vector(&self, index: usize) -> &[f32] {
        let start = self.of_text[index] * self.width;
        &self.values[start..start + self.width]
    }
}

/// The encoder on a device, ready to use.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    width: usize,
    network: Network,
    selection: Selection,
}

/// Told of some texts' places and their vectors; may stop the work.
pub type OnBatch<'a> = dyn Fn(&[usize], &[f32]) -> ControlFlow<()> + Sync + 'a;

/// Texts of one length, by their index among the distinct texts.
struct Batch {
    length: usize,
    texts: Vec<usize>,
}

impl TextEncoder {
    /// all-MiniLM-L6-v2 from its files, on the selected device. The precision is a
    /// GPU's: the processor computes in 32 bits.
    ///
    /// # Errors
    /// [`ModelError`] if the files are not of this model.
    pub fn new(files: &ModelFiles, selection: Selection, precision: Precision) -> Result<Self, ModelError> {
        Self::open(files, (&MINILM_SIZES, MINILM_TOKENS), selection, precision)
    }

    /// A sentence-transformers model of one BERT, whose files
    /// ([`BERT_FILES`](super::BERT_FILES)) say what it is, on the selected device.
    ///
    /// # Errors
    /// [`ModelError`] if the files are not of such a model.
    pub fn described(files: &ModelFiles, selection: Selection, precision: Precision) -> Result<Self, ModelError> {
        let (architecture, most_tokens) = describe(files)?;
        Self::open(files, (&architecture, most_tokens), selection, precision)
    }

    fn open(
        files: &ModelFiles,
        (architecture, max_length): (&Architecture, usize),
        selection: Selection,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let refused =
            |error: tokenizers::Error| ModelError::Tokenizer { action: "read tokenizer.json", why: error.to_string() };
        let mut tokenizer = Tokenizer::from_bytes(files.file("tokenizer.json")).map_err(refused)?;
        let truncation = TruncationParams {
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(refused)?;
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default() as usize;
        if highest >= architecture.vocabulary {
            let why = format!("it has a token {highest}, but the model has {} tokens", architecture.vocabulary);
            return Err(ModelError::Description { name: "tokenizer.json", why });
        }
        let weights = files.file("model.safetensors");
        let network = match selection.device {
            Device::Cpu => Network::Cpu(Bert::read(weights, architecture)?),
            device @ Device::Cuda(_) => Network::Gpu(Encoder::read(weights, architecture, device, precision)?),
        };
        Ok(Self { tokenizer, width: architecture.hidden, network, selection })
    }

    /// What stands for all that decides the bits of a text's vector: the names
    /// and SHA-256 of the model's files, how they are used, and what computes.
    /// All CPUs with a fused multiply-add give the same bits, whatever their
    /// vectors. On a GPU it is the class and the precision: its products may
    /// differ in the last bits from batch to batch and card to card.
    #[must_use]
    pub fn identity<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        device: Device,
        precision: Precision,
    ) -> ContentHash {
        let mut hasher = Hasher::new("refrain encoder");
        hasher.raw(&VECTOR_VERSION.to_le_bytes());
        for (name, sha256) in files {
            hasher.field(name.as_bytes()).field(sha256.as_bytes());
        }
        match device {
            Device::Cuda(_) if precision == Precision::F32 => hasher.field(b"cuda"),
            Device::Cuda(_) => hasher.field(b"cuda").field(precision.name().as_bytes()),
            Device::Cpu => hasher.field(b"cpu").field(if fuses() { b"fused" } else { b"plain" }),
        };
        hasher.finish()
    }

    /// The length of a text's vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The device in use, and why.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The vectors of some texts, as sentence-transformers' `encode` gives
    /// them. An empty text has a vector like any other.
    ///
    /// A text's vector does not depend on the other texts or, on the CPU, on
    /// the number of threads, to the last bit. `on_done` is told how many more
    /// texts are done, from any thread, and may stop the work.
    ///
    /// # Errors
    /// [`ModelError::Stopped`] if `on_done` said so, else the tokenizer's or the device's failure.
    pub fn embed<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        on_done: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Result<TextVectors, ModelError> {
        let (distinct, of_text) = distinct(texts);
        let mut times = vec![0; distinct.len()];
        for &index in &of_text {
            times[index] += 1;
        }
        let width = self.width;
        let values = Mutex::new(vec![0.0; distinct.len() * width]);
        self.embed_each(&distinct, &|texts, vectors| {
            let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
            for (&text, vector) in texts.iter().zip(vectors.chunks_exact(width)) {
                values[text * width..(text + 1) * width].copy_from_slice(vector);
            }
            drop(values);
            on_done(texts.iter().map(|&text| times[text]).sum())
        })?;
        Ok(TextVectors::new(width, values.into_inner().unwrap_or_else(PoisonError::into_inner), of_text))
    }

    /// As [`TextEncoder::embed`], but each text is computed, and `on_batch` is given
    /// the vectors as they come, from any thread: the places of some texts, and
    /// their vectors one after the other. It may stop the work.
    ///
    /// # Errors
    /// As [`TextEncoder::embed`].
    pub fn embed_each(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError> {
        let ids = texts.par_iter().map(|text| self.tokens(text)).collect::<Result<Vec<_>, _>>()?;
        let budget = match self.network {
            Network::Cpu(_) => CPU_BATCH_TOKENS,
            Network::Gpu(_) => CUDA_BATCH_TOKENS,
        };
        let stopped = AtomicBool::new(false);
        let run = |batch: &Batch| {
            if stopped.load(Ordering::Relaxed) {
                return Err(ModelError::Stopped);
            }
            let joined: Vec<u32> = batch.texts.iter().flat_map(|&text| ids[text].iter().copied()).collect();
            let vectors = match &self.network {
                Network::Cpu(bert) => bert.encode(&joined, batch.length),
                Network::Gpu(encoder) => encoder.encode(&joined, batch.length)?,
            };
            if on_batch(&batch.texts, &vectors).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            Ok(())
        };
        let batches = batches(&ids, budget);
        // Whole batches side by side, each on one core: faster than splitting
        // each product over the cores, and the same whatever their number.
        match self.network {
            Network::Cpu(_) => batches.par_iter().with_max_len(1).map(run).collect::<Result<(), _>>()?,
            Network::Gpu(_) => batches.iter().try_for_each(run)?,
        }
        if stopped.into_inner() { Err(ModelError::Stopped) } else { Ok(()) }
    }

    /// A text's token ids, `[CLS]` and `[SEP]` included.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.tokenizer.encode_fast(text, true);
        let refused =
            |error: tokenizers::Error| ModelError::Tokenizer { action: "encode a text", why: error.to_string() };
        let ids = encoding.map_err(refused)?.get_ids().to_vec();
        if ids.is_empty() {
            let why = "it gives no token; it must put one before and after each text".to_owned();
            return Err(ModelError::Tokenizer { action: "encode a text", why });
        }
        Ok(ids)
    }
}

/// Whether this processor multiplies and adds with one rounding.
fn fuses() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx2")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        cfg!(target_arch = "aarch64")
    }
}

/// The texts without repetition, in order of first appearance, and for each
/// text the index of its like.
fn distinct<S: AsRef<str>>(texts: &[S]) -> (Vec<&str>, Vec<usize>) {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
    let mut distinct = Vec::new();
    let of_text = texts.iter().map(AsRef::as_ref).map(|text| {
        *seen.entry(text).or_insert_with(|| {
            distinct.push(text);
            distinct.len() - 1
        })
    });
    let of_text = of_text.collect();
    (distinct, of_text)
}

/// Texts of equal length together, at most `budget` tokens in a batch, the
/// longest first: what is left for the end is short.
fn batches(ids: &[Vec<u32>], budget: usize) -> Vec<Batch> {
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (text, ids) in ids.iter().enumerate() {
        by_length.entry(ids.len()).or_default().push(text);
    }
    let of_length = |(length, texts): (usize, Vec<usize>)| {
        let size = (budget / length.max(1)).max(1);
        texts.chunks(size).map(|texts| Batch { length, texts: texts.to_vec() }).collect::<Vec<_>>()
    };
    by_length.into_iter().rev().flat_map(of_length).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_precision_is_a_gpus_and_that_of_32_bits_is_as_it_was() {
        let of = |device, precision| TextEncoder::identity([("weights", "0")], device, precision).to_string();
        for precision in Precision::ALL {
            assert_eq!(of(Device::Cpu, precision), of(Device::Cpu, Precision::F32));
        }
        let on_gpu = Precision::ALL.map(|precision| of(Device::Cuda(0), precision));
        assert!(on_gpu[0] != on_gpu[1] && on_gpu[1] != on_gpu[2] && on_gpu[0] != on_gpu[2]);
        insta::assert_snapshot!(on_gpu[0], @"ccf16668f93450b09b002279dae0a59ba1d7f5ecf0afd581c1dc44e3a556dc47");
    }

    #[test]
    fn equal_texts_are_embedded_once() {
        let (distinct, of_text) = distinct(&["b", "a", "b", "", "a"]);
        assert_eq!((distinct, of_text), (vec!["b", "a", ""], vec![0, 1, 0, 2, 1]));
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_of_its_length_within_the_budget(lengths in prop::collection::vec(2_usize..40, 0..60), budget in 1_usize..200) {
            let ids: Vec<Vec<u32>> = lengths.iter().map(|&length| vec![0; length]).collect();
            let batches = batches(&ids, budget);
            let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.texts.clone()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(batch.texts.iter().all(|&text| lengths[text] == batch.length));
                prop_assert!(batch.texts.len() == 1 || batch.texts.len() * batch.length <= budget);
            }
            prop_assert!(batches.is_sorted_by(|a, b| a.length >= b.length));
        }
    }
}
