//! The failing disk and clock of `tests/torture/faults.c`: built once, and the
//! orders that it is given through the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is to go wrong in one run: variables of `faults.c` by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(BTreeMap<String, String>);

impl Fault {
    /// Nothing goes wrong; operations are counted.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// The fault `what` strikes operation `at`.
    pub(super) fn strike(what: &str, at: u64) -> Self {
        Self::none().with("DO", what).with("AT", at)
    }

    /// Another order.
    pub(super) fn with(mut self, name: &str, value: impl ToString + Copy) -> Self {
        self.0.insert(format!("FAULTS_{name}"), value.to_string());
        self
    }

    /// An order that was given.
    pub(super) fn order(&self, name: &str) -> Option<&str> {
        self.0.get(&format!("FAULTS_{name}")).map(String::as_str)
    }

    /// Reads what `Display` has written.
    pub(super) fn parse(text: &str) -> Self {
        let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(text.split_whitespace().filter_map(pair).collect())
    }

    /// Puts a command under these orders, for the files below `root`.
    pub(super) fn apply(&self, command: &mut Command, root: &Path, log: &Path, undo: &Path) {
        command.env("LD_PRELOAD", library()).env("FAULTS_ROOT", root).env("FAULTS_LOG", log);
        if self.order("DO") == Some("cut") {
            command.env("FAULTS_UNDO", undo);
        }
        command.envs(&self.0);
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

/// The library, built by the C compiler that building Refrain needs as well.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/faults.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-U_FORTIFY_SOURCE", "-o"];
        let built = Command::new("cc").args(options).arg(&library).arg(source).arg("-lpthread").output();
        let built = built.expect("a C compiler (cc) is needed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        library
    })
}

/// Chance that can be repeated (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
