//! The memo of text vectors: a text that a model has turned into a vector once
//! is not computed again.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Head, Memo, Stamp};
use crate::ground::files::FileError;
use crate::ground::{Clock, ContentHash, Hasher};

impl Head for Stamp {
    const MAGIC: [u8; 12] = *b"refrain-vect";

    fn stamp(&self) -> Stamp {
        *self
    }
}

/// What a vector is filed under. `model` stands for all that decides the bits
/// of a text's vector besides the text.
#[must_use]
pub fn vector_key(model: &ContentHash, text: &str) -> ContentHash {
    Hasher::new("refrain vector v1").raw(model.as_bytes()).field(text.as_bytes()).finish()
}

/// The vectors in one folder; the numbers are kept as 32-bit floats, little-endian.
#[derive(Debug)]
pub struct VectorMemo {
    memo: Memo<Stamp>,
    clock: Arc<dyn Clock>,
}

impl VectorMemo {
    /// The memo in a folder, which need not exist yet. Reads nothing.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { memo: Memo::new(folder, Arc::clone(&clock)), clock }
    }

    /// The same, never to be written.
    pub fn read_only(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { memo: Memo::read_only(folder, Arc::clone(&clock)), clock }
    }

    /// The vector of that key.
    #[must_use]
    pub fn find(&self, key: ContentHash) -> Option<Vec<f32>> {
        let (_, body) = self.memo.find(key, None)?;
        let (numbers, rest) = body.as_chunks::<4>();
        rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }

    /// For each key whether its vector is there.
    #[must_use]
    pub fn known(&self, keys: &[ContentHash]) -> Vec<bool> {
        self.memo.known(keys, None)
    }

    /// Keeps vectors, all or none.
    ///
    /// # Errors
    /// [`FileError`] if they could not be written.
    pub fn append(&self, vectors: &[(ContentHash, &[f32])]) -> Result<(), FileError> {
        let at = self.clock.now_millis();
        let bytes = |vector: &[f32]| vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let records: Vec<_> = vectors.iter().map(|(key, vector)| (Stamp { key: *key, at }, bytes(vector))).collect();
        self.memo.append(records.iter().map(|(head, body)| (head, body.as_slice())))
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// [`FileError`] if it could not be synced.
    pub fn flush(&self) -> Result<(), FileError> {
        self.memo.flush()
    }

    /// The damage found since the last call.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        self.memo.take_warnings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ManualClock;

    #[test]
    fn vectors_come_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        let model = ContentHash::of(b"model");
        let (one, other) = (vector_key(&model, "rain"), vector_key(&ContentHash::of(b"other"), "rain"));
        let vector = [0.1, -0.0, f32::MIN_POSITIVE, 1.0 / 3.0, f32::NAN];
        let memo = VectorMemo::new(path.clone(), Arc::new(ManualClock::at(7)));
        memo.append(&[(one, &vector), (vector_key(&model, ""), &[])]).unwrap();
        drop(memo);
        let memo = VectorMemo::read_only(path, Arc::new(ManualClock::at(7)));
        let bits = |vector: &[f32]| vector.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&memo.find(one).unwrap()), bits(&vector));
        assert_eq!(memo.known(&[one, other, vector_key(&model, "")]), [true, false, true]);
        assert!(memo.append(&[(one, &vector)]).unwrap_err().to_string().starts_with("could not write"));
    }
}
