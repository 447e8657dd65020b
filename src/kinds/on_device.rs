//! The device that a stage computes on: which it is, and what to do where it fails.

use crate::model::Selection;
use crate::stage::{StageContext, StageError};

/// What to do where the device that was asked for does not work.
pub(super) const NO_DEVICE: &str = "use the device auto or cpu";

/// The device that the user chose.
pub(super) fn device_of(context: &StageContext) -> Result<Selection, StageError> {
    context.models.device().map_err(|error| StageError::with_hint(error.to_string(), NO_DEVICE))
}

/// What to do where a device failed while it computed.
pub(super) const DEVICE_FAILED: &str = "run again with `--device cpu`, or give the GPU more free memory: `nvidia-smi` \
                                        says what else uses it; what has been made is kept";

/// A failure of the device, with what to do.
pub(super) fn device_failed(words: impl Into<String>) -> StageError {
    StageError::with_hint(words, DEVICE_FAILED)
}
