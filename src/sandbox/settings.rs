//! The shape of `sandbox:` in a pipeline.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FaultKind;

/// When a pipeline's sandbox stands in for the real services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SandboxStart {
    /// In every run.
    #[default]
    Always,
    /// In runs with `--sandbox`.
    OnRequest,
}

/// A world to generate, and how its servers behave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxSettings {
    /// When the world stands in for the real services: `always` (default), or
    /// `on_request`: only with `--sandbox`.
    #[serde(default)]
    pub start: SandboxStart,
    /// The world's seed; 0 if not given.
    #[serde(default)]
    pub seed: u64,
    /// How many listeners there are.
    #[serde(default = "default_users")]
    pub users: usize,
    /// How many songs there are; with a catalog, how many of its songs at most.
    #[serde(default)]
    pub songs: Option<usize>,
    /// A CSV file whose songs the world is made over.
    #[serde(default)]
    pub catalog: Option<PathBuf>,
    /// The catalog's column of artists: `artistName` or `artists` is found by itself.
    #[serde(default)]
    pub artist_column: Option<String>,
    /// The catalog's column of titles: `trackName` or `track_name` is found by itself.
    #[serde(default)]
    pub title_column: Option<String>,
    /// Loved tracks per listener, on average.
    #[serde(default = "default_loved")]
    pub loved_per_user: usize,
    /// Share of requests that fail as real servers fail, 0 to 1.
    #[serde(default)]
    pub faults: f64,
    /// How they fail: `[reset, html]`; in every way that passes if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fault_kinds: Vec<FaultKind>,
    /// How long an answer stalls, in seconds; 3 if not given.
    #[serde(default = "default_stall_secs")]
    pub stall_secs: f64,
    /// The length of an answer of the fault `giant`, in bytes; 200 MB if not given.
    #[serde(default = "default_giant_bytes")]
    pub giant_bytes: u64,
    /// After how many requests Last.fm's key is suspended, until `/__restore` is
    /// asked; never if not given.
    #[serde(default)]
    pub revoke_after: Option<u64>,
    /// Requests per second that each provider's server allows before it answers 429; none if not given.
    #[serde(default)]
    pub per_second: Option<f64>,
}

fn default_users() -> usize {
    600
}

fn default_loved() -> usize {
    30
}

fn default_stall_secs() -> f64 {
    3.0
}

fn default_giant_bytes() -> u64 {
    200_000_000
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            start: SandboxStart::Always,
            seed: 0,
            users: default_users(),
            songs: None,
            catalog: None,
            artist_column: None,
            title_column: None,
            loved_per_user: default_loved(),
            faults: 0.0,
            fault_kinds: Vec::new(),
            stall_secs: default_stall_secs(),
            giant_bytes: default_giant_bytes(),
            revoke_after: None,
            per_second: None,
        }
    }
}
