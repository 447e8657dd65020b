//! Which processor tensors are computed on: decided at run time, so that one
//! binary serves machines with and without an NVIDIA GPU.
//!
//! Nothing here computes anything but the probe: a small product that shows
//! whether the driver, the compiler of kernels and the device work together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use burn::tensor::Tensor;

/// The backend that computes on the processor's cores.
pub(crate) type CpuBackend = burn::backend::Flex;

/// The backend that computes on an NVIDIA GPU, in 32-bit floats.
pub(crate) type CudaBackend = burn::backend::Cuda;

/// What the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU where one works, else the cores.
    #[default]
    Auto,
    /// The cores, even where there is a GPU.
    Cpu,
    /// The GPU; it is an error if it does not work.
    Cuda,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            other => Err(DeviceError::Unknown { given: other.to_owned() }),
        }
    }
}

/// Why there is no device to compute on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The user asked for the GPU and it cannot be used.
    #[error("the device `cuda` was asked for, but {why}")]
    NoCuda {
        /// What is missing or broken.
        why: String,
    },
    /// A device of that name is not known.
    #[error("`{given}` is not a device; the devices are auto, cpu and cuda")]
    Unknown {
        /// The name given.
        given: String,
    },
}

/// Where tensors are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor: Burn's flex backend.
    Cpu,
    /// The first NVIDIA GPU: Burn's CUDA backend.
    Cuda,
}

/// The device that is used, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Where to compute.
    pub device: Device,
    /// One line for people: `computing on the CPU: there is no NVIDIA device`.
    pub note: String,
}

impl DeviceChoice {
    /// The device for this choice. The GPU is tried once per process, which
    /// takes up to some seconds where there is one and no time where there is none.
    ///
    /// # Errors
    /// [`DeviceError::NoCuda`] if the GPU was asked for and does not work.
    pub fn select(self) -> Result<Selection, DeviceError> {
        static PROBE: OnceLock<Result<(), String>> = OnceLock::new();
        let on_cpu = |note: String| Selection { device: Device::Cpu, note };
        if self == Self::Cpu {
            return Ok(on_cpu("computing on the CPU, as asked".to_owned()));
        }
        match (PROBE.get_or_init(probe_cuda), self) {
            (Ok(()), _) => Ok(Selection { device: Device::Cuda, note: "computing on the first NVIDIA GPU".to_owned() }),
            (Err(why), Self::Cuda) => Err(DeviceError::NoCuda { why: why.clone() }),
            (Err(why), _) => Ok(on_cpu(format!("computing on the CPU: {why}"))),
        }
    }
}

/// How long the probe may take: it compiles one kernel.
const PROBE_LIMIT: Duration = Duration::from_mins(2);

/// Whether CUDA works, or why not.
///
/// The CUDA libraries are loaded while running and the code that does so panics
/// where it finds none. So it is called only where they seem to be there, and
/// on a thread whose panics are caught.
fn probe_cuda() -> Result<(), String> {
    if cfg!(target_os = "linux") {
        if !["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"].iter().any(|path| Path::new(path).exists()) {
            return Err("there is no NVIDIA device on this machine".to_owned());
        }
        for (library, of) in [("libcuda.so", "NVIDIA's driver"), ("libnvrtc.so", "the CUDA toolkit 12 or newer")] {
            if !is_library_there(library) {
                return Err(format!("{library} was not found; it comes with {of}"));
            }
        }
    }
    quietly(|| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let sum = std::panic::catch_unwind(|| {
                let device = burn::backend::cuda::CudaDevice::default();
                let ones = Tensor::<CudaBackend, 2>::ones([64, 64], &device);
                ones.clone().matmul(ones).try_into_data().ok().and_then(|data| data.to_vec::<f32>().ok())
            });
            // The receiver may have stopped waiting.
            drop(sender.send(sum));
        });
        match receiver.recv_timeout(PROBE_LIMIT) {
            Ok(Ok(Some(product))) if product.iter().all(|&value| (value - 64.0).abs() < 1e-3) => Ok(()),
            Ok(Ok(Some(_))) => Err("the GPU gave a wrong product".to_owned()),
            Ok(Ok(None)) => Err("the GPU refused a small product".to_owned()),
            Ok(Err(panic)) => Err(format!("CUDA could not be started ({})", message_of(panic.as_ref()))),
            Err(_) => Err(format!("the GPU did not answer within {} s", PROBE_LIMIT.as_secs())),
        }
    })
}

/// Runs `work` without printing the panics of the CUDA libraries; those of
/// other threads are printed as ever.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let before = Arc::new(std::panic::take_hook());
    let forward = Arc::clone(&before);
    std::panic::set_hook(Box::new(move |info| {
        let of_cuda = |file: &str| ["cubecl", "cudarc", "burn"].iter().any(|name| file.contains(name));
        if !info.location().is_some_and(|at| of_cuda(at.file())) {
            forward(info);
        }
    }));
    let result = work();
    std::panic::set_hook(Box::new(move |info| before(info)));
    result
}

/// The first line of a panic's message.
fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let whole = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    whole.and_then(|text| text.lines().next()).unwrap_or("no reason given")
}

/// Whether the dynamic linker would find a library whose name starts so: in
/// `LD_LIBRARY_PATH`, in its cache, or in the usual folders.
fn is_library_there(name: &str) -> bool {
    let listed = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let usual = ["/lib64", "/usr/lib64", "/usr/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"];
    let folders = std::env::split_paths(&listed).chain(usual.iter().map(PathBuf::from));
    let in_folder = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(name))
    };
    let in_cache = || {
        let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
        cache.windows(name.len()).any(|window| window == name.as_bytes())
    };
    folders.into_iter().any(in_folder) || in_cache()
}

// `DeviceChoice::select` is tested in refrain's `model`: a test of it here would
// compile the CUDA kernels once more.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let refused = "tpu".parse::<DeviceChoice>().unwrap_err();
        assert_eq!(refused.to_string(), "`tpu` is not a device; the devices are auto, cpu and cuda");
    }

    #[test]
    fn a_panic_of_the_work_is_its_own_and_the_hook_comes_back() {
        let caught = quietly(|| std::panic::catch_unwind(|| 7));
        assert_eq!(caught.ok(), Some(7));
        assert_eq!(message_of(&"first\nsecond"), "first");
    }

    #[test]
    fn libraries_are_found_by_the_start_of_their_name() {
        assert!(!is_library_there("libnothing-of-this-name.so"));
        assert!(cfg!(not(target_os = "linux")) || is_library_there("libc.so"));
    }
}
