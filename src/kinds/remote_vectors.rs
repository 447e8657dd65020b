//! The vectors of texts by a server: what is remembered is not asked for, the
//! rest is asked for in batches, and a batch that is refused in halves. No kind
//! by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use rayon::prelude::*;

use super::rows;
use super::vectors::unkept_vectors;
use crate::ground::ContentHash;
use crate::memo::vector_key;
use crate::stage::{StageContext, StageError};
use crate::web::embeddings::{Embeddings, NoVectors, parse_embeddings};

/// After so many texts without a vector, and none with one, the server is given up.
const MOST_IN_VAIN: usize = 64;

/// What the requests of a stage share.
pub(super) struct Asking<'a> {
    pub(super) context: &'a StageContext,
    pub(super) server: &'a Embeddings,
    /// What stands for all that decides a text's vector besides the text.
    pub(super) identity: ContentHash,
    /// The most texts in one request.
    pub(super) batch_texts: usize,
    /// The most bytes of text in one request of several.
    pub(super) batch_bytes: usize,
}

/// How many texts were asked for in vain, until one was not.
struct Hope(AtomicUsize);

impl Hope {
    /// One that nothing takes away any more.
    const CERTAIN: usize = usize::MAX / 2;

    fn found(&self) {
        self.0.store(Self::CERTAIN, Ordering::Relaxed);
    }

    /// Whether a server that has given no vector is still worth asking.
    fn lost(&self, texts: usize) -> bool {
        (MOST_IN_VAIN..Self::CERTAIN).contains(&(self.0.fetch_add(texts, Ordering::Relaxed) + texts))
    }
}

/// What came of one text: its vector, or why there is none.
type Outcome = Result<Vec<f32>, String>;

/// What came of all of them.
#[derive(Default)]
pub(super) struct Found {
    /// For each text, which of the distinct ones it is.
    pub(super) of_text: Vec<usize>,
    /// Why a distinct text has no vector.
    pub(super) failed: BTreeMap<usize, String>,
    /// How many numbers a vector has, if there is one.
    pub(super) width: Option<usize>,
    keys: Vec<ContentHash>,
    /// The vectors, where there is no memo to hold them.
    held: BTreeMap<usize, Vec<f32>>,
}

impl Found {
    /// The vector of a distinct text.
    pub(super) fn vector(&self, context: &StageContext, text: usize) -> Option<Vec<f32>> {
        let recalled = || context.vectors.as_ref()?.find(self.keys[text]);
        self.held.get(&text).cloned().or_else(recalled)
    }

    /// All vectors of one stage have as many numbers.
    fn check_width(&mut self, width: usize) -> Result<(), StageError> {
        match *self.width.get_or_insert(width) {
            first if first == width => Ok(()),
            first => Err(StageError::with_hint(
                format!("the server gave vectors of {first} numbers before and of {width} now"),
                "another model answers under this name: name it otherwise, or set `dimensions`",
            )),
        }
    }
}

impl Asking<'_> {
    /// The vectors of some texts: those that are remembered, and the others asked for.
    ///
    /// # Errors
    /// [`StageError`] if the server cannot be asked at all, or vectors cannot be kept.
    pub(super) async fn vectors(&self, texts: &[&str]) -> Result<Found, StageError> {
        let rows::Distinct { keys: texts, of_row, rows } = rows::distinct(texts.iter().copied());
        let keys = texts.par_iter().map(|text| vector_key(&self.identity, text)).collect();
        let mut found = Found { of_text: of_row, keys, ..Found::default() };
        let missing = self.recall(&rows, &mut found)?;
        let hope = Hope(AtomicUsize::new(if found.width.is_some() { Hope::CERTAIN } else { 0 }));
        let keys = found.keys.clone();
        let ask = |batch| self.ask(&texts, &keys, &hope, batch);
        let width = self.context.web.concurrency(&self.server.limiter, "chat") * 2;
        let batches = self.batches(&texts, &missing).into_iter().map(ask);
        let mut answers = futures::stream::iter(batches).buffer_unordered(width.max(1));
        while let Some(answered) = answers.next().await {
            self.context.check_cancelled()?;
            for (text, outcome) in answered? {
                self.context.progress.advance(rows[text]);
                match outcome {
                    Ok(vector) => {
                        found.check_width(vector.len())?;
                        if self.context.vectors.is_none() {
                            found.held.insert(text, vector);
                        }
                    }
                    Err(why) => drop(found.failed.insert(text, why)),
                }
            }
        }
        drop(answers);
        self.context.vectors.as_ref().map_or(Ok(()), |memo| memo.flush()).map_err(|error| unkept_vectors(&error))?;
        Ok(found)
    }

    /// Looks for what is remembered, and gives the texts that are not.
    fn recall(&self, rows: &[u64], found: &mut Found) -> Result<Vec<usize>, StageError> {
        let width_of = |key: &ContentHash| Some(self.context.vectors.as_ref()?.find(*key)?.len());
        let widths: Vec<Option<usize>> = found.keys.par_iter().map(width_of).collect();
        let mut missing = Vec::new();
        for (text, width) in widths.into_iter().enumerate() {
            match width {
                Some(width) => {
                    found.check_width(width)?;
                    self.context.progress.advance(rows[text]);
                }
                None => missing.push(text),
            }
        }
        Ok(missing)
    }

    /// The texts put together into requests.
    fn batches(&self, texts: &[&str], missing: &[usize]) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut bytes = 0;
        for &text in missing {
            let length = texts[text].len();
            let fits = |batch: &&mut Vec<usize>| batch.len() < self.batch_texts && bytes + length <= self.batch_bytes;
            if let Some(batch) = batches.last_mut().filter(fits) {
                batch.push(text);
                bytes += length;
            } else {
                batches.push(vec![text]);
                bytes = length;
            }
        }
        batches
    }

    /// Asks for some texts in one request, and in halves if that is refused.
    async fn ask(
        &self,
        texts: &[&str],
        keys: &[ContentHash],
        hope: &Hope,
        batch: Vec<usize>,
    ) -> Result<Vec<(usize, Outcome)>, StageError> {
        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(batch.len());
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            let asked: Vec<&str> = batch.iter().map(|text| texts[*text]).collect();
            let status = match self.context.web.ask(&self.server.embed(&asked)).await {
                Err(error) => rows::row_status(error)?,
                Ok(answer) => match parse_embeddings(&answer, asked.len()) {
                    Ok(vectors) => {
                        hope.found();
                        self.keep(keys, &batch, &vectors)?;
                        outcomes.extend(batch.into_iter().zip(vectors.into_iter().map(Ok)));
                        continue;
                    }
                    Err(NoVectors::Refused(_)) if batch.len() > 1 => {
                        waiting.push(batch.split_off(batch.len() / 2));
                        waiting.push(batch);
                        continue;
                    }
                    Err(why) => rows::failed(&why.to_string()),
                },
            };
            if hope.lost(batch.len()) {
                let what = format!("the first texts have no vector, the last one: {status}");
                return Err(StageError::with_hint(what, "check `model:`, `extra:` and the server"));
            }
            outcomes.extend(batch.into_iter().map(|text| (text, Err(status.clone()))));
        }
        Ok(outcomes)
    }

    /// Remembers the vectors of a batch, so that they are not asked for again.
    fn keep(&self, keys: &[ContentHash], batch: &[usize], vectors: &[Vec<f32>]) -> Result<(), StageError> {
        let Some(memo) = &self.context.vectors else { return Ok(()) };
        let records: Vec<_> = batch.iter().map(|text| keys[*text]).zip(vectors.iter().map(Vec::as_slice)).collect();
        memo.append(&records).map_err(|error| unkept_vectors(&error))
    }
}
