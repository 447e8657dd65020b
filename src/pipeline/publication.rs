//! The `report:` block of a pipeline: what `refrain report` is to show of it.
//! Decides nothing about any result, and is in no fingerprint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a pipeline says about its report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportSettings {
    /// What stands above the report; the pipeline's name by default.
    #[serde(default)]
    pub title: Option<String>,
    /// The catalog of the paper whose published numbers stand beside this pipeline's own; none by default.
    #[serde(default)]
    pub published: Option<Catalog>,
    /// The songs whose texts are shown side by side, each an item's id or `Artist - Title`; by default two that have
    /// every text.
    #[serde(default)]
    pub songs: Vec<String>,
}

/// A catalog of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Catalog {
    /// The Apple Music catalog of 10,000 tracks.
    Apple,
    /// The Spotify catalog of 114,000 rows.
    Spotify,
}
