//! Compiled kernels and what was found out by tuning them, kept between runs:
//! without that each process compiles every kernel it uses, some seconds of them.
//!
//! Burn's own places for both are the folder that the program was started in,
//! or `target/` above it. Here they lie in one folder of the user's.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Says in which folder kernels are kept. It counts if it comes before the
/// first use of a GPU, and the first time; else Burn's own places are used.
pub fn keep_kernels_in(folder: &Path) {
    FOLDER.get_or_init(|| folder.to_owned());
}

/// Tells Burn where kernels are kept, before it looks itself.
pub(crate) fn configure() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(folder) = FOLDER.get()
            && CubeClRuntimeConfig::storage().lock().is_none()
        {
            let machine = machine(Path::new("/proc/driver/nvidia"));
            CubeClRuntimeConfig::set(config(folder, machine.as_deref()).override_from_env());
        }
    });
}

/// What Burn is told. A folder that cannot be used is not named: the run goes
/// on and keeps nothing.
fn config(folder: &Path, machine: Option<&str>) -> CubeClRuntimeConfig {
    let mut config = CubeClRuntimeConfig::default();
    let usable = |folder: PathBuf| is_usable(&folder).then_some(CacheConfig::File(folder));
    let machine = machine.map(|machine| folder.join(machine));
    config.compilation.cache = machine.clone().and_then(usable);
    // There is no way to keep none of these: what cannot be kept is lost in a folder for what is temporary.
    let elsewhere = || CacheConfig::File(std::env::temp_dir().join("refrain-kernels"));
    config.autotune.cache = usable(machine.unwrap_or_else(|| folder.join("any"))).unwrap_or_else(elsewhere);
    config
}

/// A name for the driver and the cards of this machine, as the driver's folder
/// tells them: a kernel that was compiled for one card may not run on another.
/// None where that is not known; then no kernel is kept.
fn machine(driver: &Path) -> Option<String> {
    let version = fs::read_to_string(driver.join("version")).ok()?;
    let cards = fs::read_dir(driver.join("gpus")).ok()?.flatten();
    let mut models: Vec<String> = cards
        .filter_map(|card| {
            let told = fs::read_to_string(card.path().join("information")).ok()?;
            told.lines().find(|line| line.starts_with("Model:")).map(str::to_owned)
        })
        .collect();
    models.sort_unstable();
    models.dedup();
    if models.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    (version, models, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    Some(format!("{:016x}", hasher.finish()))
}

/// Whether files can be made in a folder and those in it can be read and added to.
fn is_usable(folder: &Path) -> bool {
    let probe = folder.join(format!("probe-{}", std::process::id()));
    let made = fs::create_dir_all(folder).is_ok() && File::create(&probe).is_ok();
    made && fs::remove_file(&probe).is_ok() && files_are_usable(folder)
}

fn files_are_usable(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().map(|entry| entry.path()).all(|path| {
        if path.is_dir() {
            files_are_usable(&path)
        } else {
            OpenOptions::new().read(true).append(true).open(path).is_ok()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, empty.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("refrain-kept-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::Write::write_all(&mut File::create(path).unwrap(), text.as_bytes()).unwrap();
    }

    fn compiled(config: &CubeClRuntimeConfig) -> Option<PathBuf> {
        config.compilation.cache.as_ref().map(CacheConfig::root)
    }

    #[test]
    fn burn_is_told_the_folder_that_was_named() {
        let folder = folder("named");
        let kept = config(&folder, Some("card"));
        assert_eq!(compiled(&kept), Some(folder.join("card")));
        assert_eq!(kept.autotune.cache.root(), folder.join("card"));
        assert!(fs::read_dir(folder.join("card")).unwrap().next().is_none(), "nothing is left there");
        keep_kernels_in(&folder);
        configure();
        let told = CubeClRuntimeConfig::get();
        assert!(told.autotune.cache.root().starts_with(&folder), "{told:?}");
        // A second time changes nothing and is no error.
        keep_kernels_in(Path::new("/elsewhere"));
        configure();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_not_named_and_stops_nothing() {
        let folder = folder("broken");
        assert_eq!(compiled(&config(&folder, None)), None, "the card is not known");
        put(&folder.join("file"), "");
        let below_a_file = config(&folder.join("file"), Some("card"));
        assert_eq!(compiled(&below_a_file), None);
        assert!(below_a_file.autotune.cache.root().starts_with(std::env::temp_dir()));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_card_or_driver_has_another_folder() {
        let driver = folder("driver");
        assert_eq!(machine(&driver), None);
        put(&driver.join("version"), "NVRM version: 570.1");
        assert_eq!(machine(&driver), None, "no card");
        put(&driver.join("gpus/0000:01:00.0/information"), "Model: \t\t NVIDIA H200\nIRQ: 7\n");
        let one = machine(&driver);
        put(&driver.join("gpus/0000:02:00.0/information"), "Model: \t\t NVIDIA H200\nIRQ: 9\n");
        assert_eq!(machine(&driver), one, "two of a kind");
        put(&driver.join("version"), "NVRM version: 580.2");
        let other = machine(&driver);
        assert!(one.is_some() && other.is_some() && one != other);
        fs::remove_dir_all(&driver).unwrap();
    }
}
