//! Failures of a device: what Burn and the driver report, and what they panic with
//! (a launch that is refused, memory that runs out), as one sort of error.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::device::Device;

/// An error that a device's failure becomes.
pub(crate) trait Failing: Sized {
    /// The error of a failure told in these words.
    fn of_device(words: String) -> Self;

    /// The words of a device's failure; else the error.
    ///
    /// # Errors
    /// The error itself if it is not a device's.
    fn of_device_words(self) -> Result<String, Self>;
}

/// Has a device do something. A failure, also one that Burn panics with, says
/// which device failed at what.
///
/// # Errors
/// That of the work.
pub(crate) fn guarded<T, E: Failing>(device: Device, doing: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // After a failure the network is not used any more.
    let why = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error.of_device_words()?,
        Err(panic) => message_of(panic.as_ref()).to_owned(),
    };
    Err(E::of_device(format!("{device} failed while {doing}: {why}")))
}

/// The first line of a panic's message.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    let whole = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    whole.and_then(|text| text.lines().next()).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EncoderError;
    use crate::recommender::RecommenderError;

    #[test]
    fn a_panic_of_the_device_is_an_error_that_says_which_and_at_what() {
        let refused = |work: fn() -> Result<(), RecommenderError>| {
            guarded(Device::Cuda(1), "ranking", work).unwrap_err().to_string()
        };
        assert_eq!(
            refused(|| panic!("OutOfMemory {{ requested: {} }}\nbacktrace", 3)),
            "GPU 1 failed while ranking: OutOfMemory { requested: 3 }"
        );
        assert_eq!(refused(|| std::panic::panic_any(7)), "GPU 1 failed while ranking: no reason given");
        let told = || Err(RecommenderError::Device("the launch was refused".to_owned()));
        assert_eq!(refused(told), "GPU 1 failed while ranking: the launch was refused");
        let weights = || Err(RecommenderError::Weights("x".to_owned()));
        assert_eq!(refused(weights), "there is no weight `x`");
    }

    #[test]
    fn what_goes_well_and_what_is_wrong_with_weights_passes() {
        assert_eq!(guarded(Device::Cpu, "embedding", || Ok::<_, EncoderError>(7)).ok(), Some(7));
        let weights = guarded(Device::Cpu, "embedding", || Err::<(), _>(EncoderError::Weights("bad".to_owned())));
        assert_eq!(weights.unwrap_err().to_string(), "could not use the model's weights: bad");
        let failed = guarded(Device::Cpu, "embedding", || -> Result<(), EncoderError> { panic!("fell over") });
        assert_eq!(failed.unwrap_err().to_string(), "the processor failed while embedding: fell over");
        assert_eq!(message_of(&"first\nsecond"), "first");
    }
}
