//! What can go wrong with the sentence encoder and its weights.

use std::path::PathBuf;

use refrain_gpu::{DeviceError, EncoderError};

use crate::ground::files::FileError;

/// A failure of the sentence encoder, or of its weights.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No device to compute on.
    #[error(transparent)]
    NoDevice(#[from] DeviceError),
    /// The network or its weights failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The weights are not of this model.
    #[error("could not use the model's weights: {0}")]
    Weights(String),
    /// A file that describes the model says what cannot be used here.
    #[error("could not use the model's `{name}`: {why}")]
    Description {
        /// The file's name.
        name: &'static str,
        /// What it says, and what would be right.
        why: String,
    },
    /// The tokenizer's file, or a text, was refused by the tokenizer.
    #[error("could not {action} with the tokenizer: {why}")]
    Tokenizer {
        /// What was attempted.
        action: &'static str,
        /// The tokenizer's reason.
        why: String,
    },
    /// A file of the model is not there.
    #[error("there is no `{}`", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of the model is not what it must be.
    #[error("`{name}` {place} has the SHA-256 {actual}, not {expected}")]
    Damaged {
        /// The file's name.
        name: String,
        /// Where it came from: `in /folder`, `in the archive`.
        place: String,
        /// The hash it has.
        actual: String,
        /// The hash it must have.
        expected: String,
    },
    /// A wheel or other ZIP archive could not be read, or lacks a file.
    #[error("could not take {name} out of the archive: {why}")]
    Archive {
        /// The file sought.
        name: String,
        /// Why.
        why: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}
