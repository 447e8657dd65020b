//! The two-tower recommender (PAPER: "Model"): features to a vector on both
//! sides, a scorer, a loss over mixed negatives, Adam.
//!
//! Forward and backward are written out over plain slices (`crates/kernels`), each
//! distinct user and item of a step goes through its tower once, and the scorer
//! runs in its factored form. Results do not depend on the number of threads.

mod check;
mod device;
mod draw;
mod embedding;
#[cfg(test)]
mod golden;
mod initial;
mod loss;
mod objective;
mod options;
mod parameters;
mod sample;
mod scorer;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod test_data;
mod tower;
mod train;
#[cfg(test)]
mod train_tests;
mod vectors;

pub use check::{CheckSize, Comparison, Measured, TIMED_EPOCHS, check};
pub use device::Computer;
pub(in crate::model) use device::named;
pub use initial::SELECTED_ON_TEST;
pub use options::{Activation, Decay, Loss, Selection, TrainingOptions, Widths};
pub use parameters::Tensor;
pub use tower::{Category, Features, TextVectors};
pub use train::{Epoch, Observer, Trained, TrainingError, train};
pub(crate) use vectors::PreparedScorer;
pub use vectors::VectorScorer;
