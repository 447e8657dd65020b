//! Seeds: every random choice is a function of the pipeline's seed, the
//! stage's name and a purpose, so that adding a stage or a draw elsewhere never
//! moves another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::hash::Hasher;

/// A 256-bit seed from which streams of random numbers are derived by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of one stage of a pipeline.
    #[must_use]
    pub fn of_stage(pipeline_seed: u64, stage: &str) -> Self {
        let hash = Hasher::new("refrain seed v1").field(&pipeline_seed.to_le_bytes()).field(stage.as_bytes()).finish();
        Self(*hash.as_bytes())
    }

    /// The seed for one purpose below this one.
    #[must_use]
    pub fn purpose(&self, purpose: &str) -> Self {
        Self(*Hasher::new("refrain seed v1").field(&self.0).field(purpose.as_bytes()).finish().as_bytes())
    }

    /// A random number generator that is the same on every platform.
    #[must_use]
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    /// 64 bits of the seed, for libraries that take an integer.
    #[must_use]
    pub fn as_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(bytes)
    }
}
