//! Which processor tensors are computed on: decided at run time, so that one
//! binary serves machines with and without an NVIDIA GPU.
//!
//! Nothing here computes anything but the probe: a small product that shows
//! whether the driver, the compiler of kernels and the device work together.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use burn::backend::cuda::CudaDevice;
use burn::tensor::Tensor;

use super::failure::message_of;

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
    /// The GPU of this number; it is an error if it does not work.
    Cuda(usize),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => {
                let index = other.strip_prefix("cuda:").and_then(|index| index.parse().ok());
                index.map(Self::Cuda).ok_or_else(|| DeviceError::Unknown { given: other.to_owned() })
            }
        }
    }
}

/// Why there is no device to compute on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The user asked for the GPU and it cannot be used.
    #[error("the device `{asked}` was asked for, but {why}")]
    NoCuda {
        /// What was asked for: `cuda:1`.
        asked: String,
        /// What is missing or broken.
        why: String,
    },
    /// A device of that name is not known.
    #[error("`{given}` is not a device; the devices are auto, cpu, cuda and cuda:N, N counting GPUs from 0")]
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
    /// The NVIDIA GPU of this number, counted from 0: Burn's CUDA backend.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("the processor"),
            Self::Cuda(index) => write!(f, "GPU {index}"),
        }
    }
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
    /// The device for this choice. A GPU is tried once per process, which
    /// takes up to some seconds where there is one and no time where there is none.
    ///
    /// # Errors
    /// [`DeviceError::NoCuda`] if the GPU was asked for and does not work.
    pub fn select(self) -> Result<Selection, DeviceError> {
        static PROBES: Mutex<BTreeMap<usize, Result<(), String>>> = Mutex::new(BTreeMap::new());
        let on_cpu = |note: String| Selection { device: Device::Cpu, note };
        let index = match self {
            Self::Cpu => return Ok(on_cpu("computing on the CPU, as asked".to_owned())),
            Self::Auto => 0,
            Self::Cuda(index) => index,
        };
        let mut probes = PROBES.lock().unwrap_or_else(PoisonError::into_inner);
        match (probes.entry(index).or_insert_with(|| probe_cuda(index)), self) {
            (Ok(()), _) => {
                Ok(Selection { device: Device::Cuda(index), note: format!("computing on NVIDIA GPU {index}") })
            }
            (Err(why), Self::Cuda(_)) => Err(DeviceError::NoCuda { asked: self.to_string(), why: why.clone() }),
            (Err(why), _) => Ok(on_cpu(format!("computing on the CPU: {why}"))),
        }
    }
}

/// Burn's name of the GPU of this number.
pub(crate) fn cuda(index: usize) -> CudaDevice {
    CudaDevice { index }
}

/// How long the probe may take: it compiles one kernel.
const PROBE_LIMIT: Duration = Duration::from_mins(2);

/// Whether CUDA works, or why not.
///
/// The CUDA libraries are loaded while running and the code that does so panics
/// where it finds none. So it is called only where they seem to be there, and
/// on a thread whose panics are caught.
fn probe_cuda(index: usize) -> Result<(), String> {
    if cfg!(target_os = "linux") {
        if !["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"].iter().any(|path| Path::new(path).exists()) {
            return Err("there is no NVIDIA device on this machine".to_owned());
        }
        for (library, of) in [("libcuda.so", "NVIDIA's driver"), ("libnvrtc.so", "the CUDA toolkit 12 or newer")] {
            if !is_library_there(library) {
                return Err(format!("{library} was not found; it comes with {of}"));
            }
        }
        headers_are_there(&|path| path.exists(), std::env::var_os("CUDA_PATH").map(PathBuf::from))?;
    }
    crate::kept::configure();
    quietly(|| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let sum = std::panic::catch_unwind(|| {
                let device = cuda(index);
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
            Ok(Err(panic)) => Err(failure(index, message_of(panic.as_ref()))),
            Err(_) => Err(format!("the GPU did not answer within {} s", PROBE_LIMIT.as_secs())),
        }
    })
}

/// What a panic of the CUDA libraries means.
fn failure(index: usize, message: &str) -> String {
    if message.contains("INVALID_DEVICE") {
        return format!("there is no GPU {index}; `nvidia-smi -L` lists them, and CUDA_VISIBLE_DEVICES may hide some");
    }
    format!("CUDA could not be started ({message})")
}

/// Whether the headers are there that kernels are compiled with: in `include`
/// of `CUDA_PATH`, else of `/usr/local/cuda`, else of `/opt/cuda`, else of `/usr`
/// where `nvcc` is; the same places in the same order as Burn's compiler.
fn headers_are_there(exists: &dyn Fn(&Path) -> bool, named: Option<PathBuf>) -> Result<(), String> {
    let usual = [("/usr/local/cuda", "/usr/local/cuda"), ("/opt/cuda", "/opt/cuda"), ("/usr/bin/nvcc", "/usr")];
    let usual = || usual.iter().find(|(sign, _)| exists(Path::new(sign))).map(|(_, folder)| PathBuf::from(folder));
    let Some(folder) = named.or_else(usual) else {
        return Err("the CUDA toolkit's headers were not found; install the toolkit, or set CUDA_PATH to its folder \
                    (that whose `include` has cuda_runtime.h)"
            .to_owned());
    };
    for header in ["cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "mma.h"] {
        let path = folder.join("include").join(header);
        if !exists(&path) {
            return Err(format!(
                "{} was not found, and kernels are compiled with it; set CUDA_PATH to the CUDA toolkit's folder",
                path.display()
            ));
        }
    }
    Ok(())
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
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let refused = "tpu".parse::<DeviceChoice>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`tpu` is not a device; the devices are auto, cpu, cuda and cuda:N, N counting GPUs from 0"
        );
    }

    #[test]
    fn a_panic_of_the_work_is_its_own_and_the_hook_comes_back() {
        let caught = quietly(|| std::panic::catch_unwind(|| 7));
        assert_eq!(caught.ok(), Some(7));
    }

    /// What a user reads where only these paths exist.
    fn told(there: &[&str], named: Option<&str>) -> Result<(), String> {
        headers_are_there(&|path| there.iter().any(|of| Path::new(of) == path), named.map(PathBuf::from))
    }

    const HEADERS: [&str; 4] = ["cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "mma.h"];

    #[test]
    fn a_machine_without_the_toolkit_is_told_how_to_name_it() {
        assert_eq!(
            told(&[], None).unwrap_err(),
            "the CUDA toolkit's headers were not found; install the toolkit, or set CUDA_PATH to its folder (that \
             whose `include` has cuda_runtime.h)"
        );
    }

    #[test]
    fn each_header_that_is_missing_is_named_where_it_was_looked_for() {
        for missing in HEADERS {
            let there: Vec<String> = HEADERS.iter().map(|header| format!("/c/include/{header}")).collect();
            let there: Vec<&str> = there.iter().map(String::as_str).filter(|path| !path.ends_with(missing)).collect();
            assert_eq!(
                told(&there, Some("/c")).unwrap_err(),
                format!(
                    "/c/include/{missing} was not found, and kernels are compiled with it; set CUDA_PATH to the CUDA \
                     toolkit's folder"
                )
            );
        }
    }

    #[test]
    fn headers_are_looked_for_where_the_compiler_does() {
        for (sign, folder) in
            [("/usr/local/cuda", "/usr/local/cuda"), ("/opt/cuda", "/opt/cuda"), ("/usr/bin/nvcc", "/usr")]
        {
            let mut there: Vec<String> = HEADERS.iter().map(|header| format!("{folder}/include/{header}")).collect();
            there.push(sign.to_owned());
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            assert_eq!(told(&there, None), Ok(()));
            // What is named goes before what is usual, also if it is wrong.
            assert!(told(&there, Some("/c")).unwrap_err().starts_with("/c/include/cuda_runtime.h was not found"));
        }
    }

    #[test]
    fn a_number_that_no_gpu_has_is_told_from_other_failures() {
        assert!(failure(3, "CUDA_ERROR_INVALID_DEVICE").starts_with("there is no GPU 3; `nvidia-smi -L` lists them"));
        assert_eq!(failure(0, "no driver"), "CUDA could not be started (no driver)");
    }

    #[test]
    fn libraries_are_found_by_the_start_of_their_name() {
        assert!(!is_library_there("libnothing-of-this-name.so"));
        assert!(cfg!(not(target_os = "linux")) || is_library_there("libc.so"));
    }
}
