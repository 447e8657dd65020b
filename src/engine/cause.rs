//! A reason with what a plan knows beside it: where in the file, or on the
//! command line, the user wrote what did it, and why an input changed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::field::Field;
use super::plan::{Plan, State};
use super::reason::Reason;
use super::runs::last_reasons;
use crate::ground::InstanceId;
use crate::pipeline::{Origin, Origins, Pipeline};
use crate::store::Store;

/// Why an instance must run, and where that comes from. Displays in a user's
/// words, without the place and what was behind it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    /// The difference.
    #[serde(flatten)]
    pub reason: Reason,
    /// Where what changed is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Origin>,
    /// Of an input: why the stage that it comes from ran in the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self { reason, at: None, since: None }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// Adds to every cause of a plan what can be said besides.
pub(super) fn explain(pipeline: &Pipeline, store: &Store, plan: &mut Plan) {
    // Parsed and read once, and only if something asks for it.
    let mut origins = None;
    let mut last = None;
    for planned in &mut plan.stages {
        let (State::Stale { reasons: causes, .. } | State::Undecided { reasons: causes, .. }) = &mut planned.state
        else {
            continue;
        };
        for cause in causes.iter_mut().filter(|cause| is_written(&cause.reason)) {
            let origins = origins.get_or_insert_with(|| pipeline.origins());
            cause.at = origins.as_ref().and_then(|origins| origin_of(&cause.reason, &planned.id, origins));
            if let Reason::InputColumn { from: Some(from), .. } = &cause.reason {
                let last = last.get_or_insert_with(|| last_reasons(store, &pipeline.name));
                cause.since = since(last, from);
            }
        }
    }
}

/// Adds to the changed fields of an instance where they are written, and why
/// what its inputs come from ran.
pub(super) fn place_fields(fields: &mut [Field], pipeline: &Pipeline, store: &Store, id: &InstanceId) {
    let Some(origins) = pipeline.origins() else { return };
    let mut last = None;
    for field in fields.iter_mut().filter(|field| field.is_changed()) {
        field.at = field.reason().and_then(|reason| origin_of(&reason, id, &origins));
        if let Some(from) = &field.from {
            let last = last.get_or_insert_with(|| last_reasons(store, &pipeline.name));
            field.since = since(last, from);
        }
    }
}

/// Why an instance ran in the last run, unless it was its first time.
fn since(last: &BTreeMap<String, Vec<String>>, instance: &str) -> Option<String> {
    let never = Reason::NeverRan.to_string();
    last.get(instance)?.first().filter(|why| **why != never).cloned()
}

/// Whether a file or a command line can say what is behind a reason.
fn is_written(reason: &Reason) -> bool {
    match reason {
        Reason::Setting { .. }
        | Reason::InputAdded { .. }
        | Reason::InputRemoved { .. }
        | Reason::InputColumn { .. }
        | Reason::ColumnOrder { .. }
        | Reason::Kind { .. }
        | Reason::RefreshDue { .. }
        | Reason::Seed { .. } => true,
        Reason::NeverRan
        | Reason::Forced
        | Reason::ArtifactMissing { .. }
        | Reason::ArtifactDamaged { .. }
        | Reason::RecordLost
        | Reason::KindVersion { .. }
        | Reason::File { .. }
        | Reason::FileCount { .. }
        | Reason::Fact { .. }
        | Reason::World { .. }
        | Reason::Format { .. } => false,
    }
}

/// Where what is behind a reason is written.
fn origin_of(reason: &Reason, id: &InstanceId, origins: &Origins<'_>) -> Option<Origin> {
    let port = |input: &str| input.split('[').next().unwrap_or_default().to_owned();
    match reason {
        Reason::Setting { path, before, .. } => origins.setting(id, path, before.as_ref()),
        Reason::InputAdded { input }
        | Reason::InputRemoved { input }
        | Reason::InputColumn { input, .. }
        | Reason::ColumnOrder { input } => origins.input(id, &port(input)),
        Reason::Kind { .. } => origins.key(id, "kind"),
        Reason::RefreshDue { .. } => origins.key(id, "refresh"),
        Reason::Seed { .. } => origins.seed(id),
        _ => None,
    }
}
