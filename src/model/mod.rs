//! The sentence encoder, the two-tower recommender, the choice of device, and
//! the weights on this machine. Knows nothing of stages and of the network; what
//! touches Burn is in `crates/gpu`.

#[cfg(test)]
mod baseline_tests;
mod bert;
mod description;
mod device_ranking;
pub mod ease;
mod encoder;
mod error;
pub mod features;
#[cfg(test)]
mod golden;
pub mod ials;
pub mod interactions;
pub mod item_knn;
pub mod item_weights;
pub mod model_table;
pub mod ranking;
pub mod scoring;
pub mod two_tower;
mod weights;

use std::path::PathBuf;

pub use refrain_gpu::{Device, DeviceChoice, DeviceError, EncoderError, Precision, Selection};

pub use description::{PROMPTS_FILE, check_prompts};
pub use encoder::{OnBatch, TextEncoder, TextVectors};
pub use error::ModelError;
pub use weights::{BERT_FILES, MINILM, ModelFile, ModelFiles, ModelSource};

use crate::ground::Environment;

/// Weights on this machine and the device to compute on.
#[derive(Debug, Clone)]
pub struct Models {
    /// Where weights are kept: `<folder>/<model's name>/model.safetensors`.
    pub folder: PathBuf,
    /// Where kernels for GPUs are kept between runs.
    pub kernels: PathBuf,
    /// A folder with the files of MiniLM that is used instead, if given.
    pub minilm: Option<PathBuf>,
    /// What the user asked for.
    pub device: DeviceChoice,
    /// Whether weights that are not on this machine may not be fetched.
    pub offline: bool,
}

impl Models {
    /// The same, with nothing to be fetched.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// The folders that the environment names: `REFRAIN_MODELS` and `REFRAIN_KERNELS`,
    /// else `refrain/models` and `refrain/kernels-v1` in the user's cache folder
    /// (`XDG_CACHE_HOME`, else `~/.cache`), and `REFRAIN_MODEL_MINILM`; any device.
    #[must_use]
    pub fn of_environment(environment: &Environment) -> Self {
        let path = |name| environment.var(name).map(PathBuf::from);
        let cache = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
        let below = |name: &str| cache().unwrap_or_else(std::env::temp_dir).join("refrain").join(name);
        Self {
            folder: path("REFRAIN_MODELS").unwrap_or_else(|| below("models")),
            kernels: path("REFRAIN_KERNELS").unwrap_or_else(|| below("kernels-v1")),
            minilm: path("REFRAIN_MODEL_MINILM"),
            device: DeviceChoice::Auto,
            offline: false,
        }
    }

    /// For a pipeline whose `device:` is given here: `REFRAIN_DEVICE` goes before it.
    #[must_use]
    pub fn of_pipeline(environment: &Environment, device: Option<DeviceChoice>) -> Self {
        let named = environment.var("REFRAIN_DEVICE").and_then(|name| name.parse().ok());
        Self { device: named.or(device).unwrap_or_default(), ..Self::of_environment(environment) }
    }

    /// The device to compute on, and one line that says why it is this one.
    ///
    /// # Errors
    /// [`DeviceError`] if the GPU was insisted on and does not work.
    pub fn device(&self) -> Result<Selection, DeviceError> {
        refrain_gpu::keep_kernels_in(&self.kernels);
        self.device.select()
    }
}

impl Default for Models {
    fn default() -> Self {
        Self::of_environment(&Environment::of_process())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_from_the_environment() {
        let folder =
            |pairs: &[(&str, &str)]| Models::of_environment(&Environment::from_pairs(pairs.iter().copied())).folder;
        assert_eq!(folder(&[("HOME", "/h")]), PathBuf::from("/h/.cache/refrain/models"));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), PathBuf::from("/c/refrain/models"));
        assert_eq!(folder(&[("HOME", "/h"), ("REFRAIN_MODELS", "/m")]), PathBuf::from("/m"));
        let kernels =
            |pairs: &[(&str, &str)]| Models::of_environment(&Environment::from_pairs(pairs.iter().copied())).kernels;
        assert_eq!(kernels(&[("HOME", "/h")]), PathBuf::from("/h/.cache/refrain/kernels-v1"));
        assert_eq!(kernels(&[("HOME", "/h"), ("REFRAIN_KERNELS", "/k")]), PathBuf::from("/k"));
    }

    #[test]
    fn the_environment_goes_before_a_pipelines_device() {
        let device = |pairs: &[(&str, &str)], device| {
            Models::of_pipeline(&Environment::from_pairs(pairs.iter().copied()), device).device
        };
        let cpu = [("REFRAIN_DEVICE", "cpu")];
        assert_eq!(device(&cpu, Some(DeviceChoice::Cuda(1))), DeviceChoice::Cpu);
        assert_eq!(device(&[], Some(DeviceChoice::Cuda(1))), DeviceChoice::Cuda(1));
        assert_eq!(device(&[], None), DeviceChoice::Auto);
    }

    #[test]
    fn there_is_always_a_device_unless_the_gpu_was_insisted_on() {
        assert_eq!(DeviceChoice::Cpu.select().map(|s| s.device), Ok(Device::Cpu));
        let auto = DeviceChoice::Auto.select().expect("auto always finds a device");
        match DeviceChoice::Cuda(0).select() {
            Ok(selection) => assert_eq!((selection.device, auto.device), (Device::Cuda(0), Device::Cuda(0))),
            Err(error) => {
                assert_eq!(auto.device, Device::Cpu);
                assert!(error.to_string().starts_with("the device `cuda` was asked for, but "), "{error}");
            }
        }
    }
}
