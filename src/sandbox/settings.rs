//! The shape of `sandbox:` in a pipeline.

use std::collections::BTreeMap;
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

/// What one provider's server allows, in any second, minute or day; more is
/// answered with 429. Every limit that is given holds at the same time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerLimits {
    /// Requests per second.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Requests per minute.
    #[serde(default)]
    pub per_minute: Option<f64>,
    /// Requests per day.
    #[serde(default)]
    pub per_day: Option<f64>,
    /// Tokens (prompt and completion) per minute.
    #[serde(default)]
    pub tokens_per_minute: Option<f64>,
    /// Tokens (prompt and completion) per day.
    #[serde(default)]
    pub tokens_per_day: Option<f64>,
}

impl ServerLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn not_positive(&self) -> Option<&'static str> {
        let given = [
            ("per_second", self.per_second),
            ("per_minute", self.per_minute),
            ("per_day", self.per_day),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
        ];
        let bad = |value: f64| !(value.is_finite() && value > 0.0);
        given.into_iter().find(|(_, value)| value.is_some_and(bad)).map(|(name, _)| name)
    }
}

/// The providers that the servers speak for.
pub(super) const PROVIDERS: &[&str] = &["lastfm", "lyricsovh", "lrclib", "deezer", "chat"];

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
    /// Share of artists who do not sing in English, 0 to 1; 0 if not given.
    #[serde(default)]
    pub other_languages: f64,
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
    /// What the servers allow, by provider (`lastfm`, `lyricsovh`, `lrclib`,
    /// `deezer`, `chat`). Where something is limited, the pipeline's `limiters:`
    /// hold for the sandbox as well; else it is asked as fast as it answers.
    #[serde(default)]
    pub limits: BTreeMap<String, ServerLimits>,
}

impl SandboxSettings {
    /// What is wrong with `limits` and `per_second`: which provider's, and what.
    #[must_use]
    pub fn wrong_limits(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            wrong.push("`per_second` must be more than 0".to_owned());
        }
        for (provider, limits) in &self.limits {
            if !PROVIDERS.contains(&provider.as_str()) {
                wrong.push(format!("`limits` knows no `{provider}`, but {}", PROVIDERS.join(", ")));
            }
            if let Some(name) = limits.not_positive() {
                wrong.push(format!("`{name}` of `{provider}` must be more than 0"));
            }
        }
        wrong
    }

    /// The providers whose servers allow only so much.
    #[must_use]
    pub fn limited(&self) -> Vec<String> {
        let limited = |provider: &str| {
            self.per_second.is_some() || self.limits.get(provider).is_some_and(|limits| !limits.is_empty())
        };
        PROVIDERS.iter().filter(|provider| limited(provider)).map(|provider| (*provider).to_owned()).collect()
    }
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
            other_languages: 0.0,
            faults: 0.0,
            fault_kinds: Vec::new(),
            stall_secs: default_stall_secs(),
            giant_bytes: default_giant_bytes(),
            revoke_after: None,
            per_second: None,
            limits: BTreeMap::new(),
        }
    }
}
