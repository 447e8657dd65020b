//! The shape of `store:` in a pipeline. It decides no key.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long the shared store is waited for where nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a claim holds whose run gives no sign of life.
const DEFAULT_EXPIRY: Duration = Duration::from_mins(10);

/// When results are sent to the shared store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    /// As soon as a stage has made one, and at the end of a run what is not there yet.
    #[default]
    OnSuccess,
    /// Only by `refrain push`.
    Never,
}

/// When results are taken from the shared store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pull {
    /// Whenever one is needed that is not here.
    #[default]
    Auto,
    /// Only by `refrain pull`.
    Never,
}

/// A store that a lab shares, beside the one in the artifacts folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Where it is: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `https://host/path` (only read), or a folder.
    pub remote: String,
    /// When results are sent there: `on_success` (default) or `never`.
    #[serde(default)]
    pub push: Push,
    /// When results are taken from there: `auto` (default) or `never`.
    #[serde(default)]
    pub pull: Pull,
    /// Whether answers of APIs and vectors of texts are shared as well (default).
    /// Answers may name the people that were asked about.
    #[serde(default = "yes")]
    pub memo: bool,
    /// Whether runs on several machines share the work: each claims what it makes (default).
    #[serde(default = "yes")]
    pub claims: bool,
    /// How long a claim holds whose run gives no sign of life, such as `1h`; 10 min if not given.
    #[serde(default)]
    pub claims_expire: Option<String>,
    /// How long an answer of the store is waited for, such as `30s`; 10 s if not given.
    #[serde(default)]
    pub timeout: Option<String>,
}

fn yes() -> bool {
    true
}

/// What a run does with a shared store, all settings taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// Where it is, as the user wrote it.
    pub remote: String,
    /// When results are sent there.
    pub push: Push,
    /// When results are taken from there.
    pub pull: Pull,
    /// Whether memos are shared as well.
    pub memo: bool,
    /// Whether work is claimed there.
    pub claims: bool,
    /// How long a claim of this run's holds without a sign of life.
    pub claims_expire: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

impl Sharing {
    /// What holds where only an address is given.
    #[must_use]
    pub fn at(remote: &str) -> Self {
        Self {
            remote: remote.to_owned(),
            push: Push::default(),
            pull: Pull::default(),
            memo: true,
            claims: true,
            claims_expire: DEFAULT_EXPIRY,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// What a pipeline says; the durations are its own, read already.
    #[must_use]
    pub fn of(settings: &StoreSettings, timeout: Option<Duration>, claims_expire: Option<Duration>) -> Self {
        Self {
            push: settings.push,
            pull: settings.pull,
            memo: settings.memo,
            claims: settings.claims,
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            claims_expire: claims_expire.unwrap_or(DEFAULT_EXPIRY),
            ..Self::at(&settings.remote)
        }
    }
}
