//! What a run would do, as a value: for each instance whether it is up to date,
//! and if not, why. Making it is `planner`'s part.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::cause::Cause;
use super::field::Field;
use super::forecast::LimiterForecast;
use super::options::Failure;
use super::reason::Reason;
use crate::ground::{ContentHash, InstanceId};
use crate::stage::Known;
use crate::store::{Blessing, Manifest};

/// What a run would do now.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// The identity of the sandbox world that would answer, if one would.
    pub sandbox: Option<String>,
    /// The wanted instances, in the pipeline's topological order.
    pub stages: Vec<Planned>,
    /// What the stages that ask will take, by limiter, in the order of the
    /// stages; only in a plan that is made to be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limiters: Vec<LimiterForecast>,
    /// What was noticed in the store while looking, such as damage that was set aside.
    pub warnings: Vec<String>,
}

impl Plan {
    /// How many instances are up to date.
    #[must_use]
    pub fn fresh(&self) -> usize {
        self.stages.iter().filter(|stage| matches!(stage.state, State::Fresh { .. })).count()
    }

    /// How many must run.
    #[must_use]
    pub fn stale(&self) -> usize {
        self.stages.iter().filter(|stage| matches!(stage.state, State::Stale { .. })).count()
    }

    /// How many wait for what others give.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.stages.iter().filter(|stage| matches!(stage.state, State::Undecided { .. })).count()
    }
}

/// One instance in a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// Its place in `Pipeline::instances`.
    #[serde(skip)]
    pub index: usize,
    /// Which instance it is.
    #[serde(rename = "stage", serialize_with = "displayed")]
    pub id: InstanceId,
    /// Its kind.
    pub kind: &'static str,
    /// Whether it must run.
    #[serde(flatten)]
    pub state: State,
    /// How many of its rows are known already, if it must run and counts rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Known>,
    /// How long asking for the rest will take at the limiter's rates, in
    /// seconds, if anything limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// Whether it, or something above it, is made from a sandbox's answers.
    pub synthetic: bool,
    /// How long it took when it ran last, in seconds, if that is known.
    pub last_seconds: Option<f64>,
    /// Whether a cluster would do the work, as the pipeline's `engine:` says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_cluster: bool,
}

fn displayed<S: Serializer>(id: &InstanceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn blessings<S: Serializer>(manifest: &Arc<Manifest>, serializer: S) -> Result<S::Ok, S::Error> {
    manifest.blessed.serialize(serializer)
}

fn is_not_blessed(manifest: &Arc<Manifest>) -> bool {
    manifest.blessed.is_empty()
}

/// Whether an instance must run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Its result is there.
    Fresh {
        /// The result's name.
        key: ContentHash,
        /// Whether it is not the result this instance had last: settings were
        /// switched back, or another instance has done the same.
        restored: bool,
        /// Whether it was made on another machine, and comes from the shared store.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pulled: bool,
        /// What there is: artifacts by output, warnings, when it was made. As
        /// JSON only how it was blessed, if it was.
        #[serde(rename = "blessed", serialize_with = "blessings", skip_serializing_if = "is_not_blessed")]
        manifest: Arc<Manifest>,
    },
    /// It must run.
    Stale {
        /// The name its result will have.
        key: ContentHash,
        /// Why, most telling first; at least one.
        reasons: Vec<Cause>,
    },
    /// Not known before the instances above it have run.
    Undecided {
        /// The instances it waits for, as they display.
        waiting_for: Vec<String>,
        /// What is known to have changed already; if nothing is, it may turn
        /// out to be up to date.
        reasons: Vec<Cause>,
    },
    /// It cannot run: a file cannot be read, an input lacks a column.
    Blocked {
        /// Why, and what to do.
        #[serde(flatten)]
        failure: Failure,
    },
}

impl State {
    /// The key of the result that is there.
    #[must_use]
    pub fn fresh_key(&self) -> Option<ContentHash> {
        match self {
            Self::Fresh { key, .. } => Some(*key),
            Self::Stale { .. } | Self::Undecided { .. } | Self::Blocked { .. } => None,
        }
    }

    /// The reasons to run that are known, in a user's words.
    #[must_use]
    pub fn reasons(&self) -> &[Cause] {
        match self {
            Self::Stale { reasons, .. } | Self::Undecided { reasons, .. } => reasons,
            Self::Fresh { .. } | Self::Blocked { .. } => &[],
        }
    }
}

/// Why one instance would or would not run: the answer to `refrain why`.
#[derive(Debug, Clone, Serialize)]
pub struct Why {
    /// The instance and its state.
    #[serde(flatten)]
    pub planned: Planned,
    /// Everything that differs between what its last result was made from and
    /// what it would be made from now.
    pub changes: Vec<Reason>,
    /// Every field of both fingerprints side by side, changed or not.
    pub fields: Vec<Field>,
    /// How its last result came to stand for its key, if it was blessed.
    pub blessed: Vec<Blessing>,
    /// When its last result was made, in milliseconds since 1970-01-01 UTC.
    pub made_at_millis: Option<u64>,
    /// The fingerprint of its last result.
    pub before: Option<serde_json::Value>,
    /// The fingerprint now; inputs that are not known yet are left out.
    pub now: Option<serde_json::Value>,
}
