//! What makes one BERT different from another: sizes, and what becomes of the
//! tokens' vectors.

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    First,
}

/// The sizes of a BERT and how it is used.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Layers of attention and feed-forward.
    pub layers: usize,
    /// Heads of each layer's attention; they divide `hidden`.
    pub heads: usize,
    /// Length of a token's vector, and of a text's.
    pub hidden: usize,
    /// Inner width of the feed-forward part.
    pub intermediate: usize,
    /// How many tokens there are.
    pub vocabulary: usize,
    /// How many places a text may have.
    pub positions: usize,
    /// How many token types there are; texts are of type 0.
    pub types: usize,
    /// Added to the variance in layer normalisation.
    pub epsilon: f32,
    /// From tokens to a text.
    pub pooling: Pooling,
    /// Whether a text's vector is scaled to Euclidean length 1.
    pub unit_length: bool,
}
