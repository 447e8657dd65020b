//! All of Burn: the device to compute on, and the networks of the sentence
//! encoder and of the recommender on it.
//!
//! A crate of its own for one reason: whoever names a CUDA tensor compiles
//! Burn's kernels with it, eight minutes of a processor. Here that is done once;
//! nothing generic leaves this crate, so refrain itself stays quick to build.
//! Texts, files and weights' whereabouts are the `model` module's part.

mod architecture;
mod bert;
mod device;
mod failure;
mod kept;
mod kernels;
mod precision;
pub mod recommender;

use burn::backend::flex::FlexDevice;

pub use architecture::{Architecture, Pooling};
pub use device::{Device, DeviceChoice, DeviceError, Selection};
pub use kept::keep_kernels_in;
pub use precision::Precision;

use bert::Bert;
use device::{CpuBackend, CudaBackend};
use failure::{Failing, guarded};

/// A failure of the network or of its weights.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The device failed: which, at what and why.
    #[error("{0}")]
    Device(String),
    /// The weights are not of this model.
    #[error("could not use the model's weights: {0}")]
    Weights(String),
}

impl Failing for EncoderError {
    fn of_device(words: String) -> Self {
        Self::Device(words)
    }

    fn of_device_words(self) -> Result<String, Self> {
        if let Self::Device(words) = self { Ok(words) } else { Err(self) }
    }
}

/// A BERT with its weights on a device. On [`Device::Cpu`] it runs on Burn's
/// flex backend: to compare with, not to be fast.
#[derive(Debug)]
pub struct Encoder {
    network: OnDevice,
    device: Device,
}

#[derive(Debug)]
enum OnDevice {
    Cpu(Box<Bert<CpuBackend>>),
    Cuda(Box<Bert<CudaBackend>>),
}

impl Encoder {
    /// The network with weights from the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`EncoderError::Weights`] if the file is not of this architecture;
    /// [`EncoderError::Device`] if the device fails.
    pub fn read(
        weights: &[u8],
        architecture: &Architecture,
        device: Device,
        precision: Precision,
    ) -> Result<Self, EncoderError> {
        let network = guarded(device, "taking the encoder's weights", || {
            Ok(match device {
                Device::Cpu => OnDevice::Cpu(Box::new(Bert::read(weights, architecture, &FlexDevice, precision)?)),
                Device::Cuda(index) => {
                    OnDevice::Cuda(Box::new(Bert::read(weights, architecture, &device::cuda(index), precision)?))
                }
            })
        })?;
        Ok(Self { network, device })
    }

    /// Where it computes.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The vectors of texts that all have `length` tokens; a text's vector does
    /// not depend on its neighbours.
    ///
    /// # Shapes
    /// `ids` has `texts * length` token ids, text after text; the result
    /// `texts * hidden` numbers.
    ///
    /// # Errors
    /// [`EncoderError::Device`] if the device fails.
    pub fn encode(&self, ids: &[u32], length: usize) -> Result<Vec<f32>, EncoderError> {
        guarded(self.device, "embedding texts", || match &self.network {
            OnDevice::Cpu(bert) => bert.encode(ids, length),
            OnDevice::Cuda(bert) => bert.encode(ids, length),
        })
    }
}
