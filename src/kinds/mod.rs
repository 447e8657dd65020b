//! What stages can do: one file per kind, and the registry.

mod filter_k_core;
#[cfg(test)]
mod hetrec_tests;
mod match_tracks;
mod read_table;
#[cfg(test)]
mod registry_tests;
mod split_leave_last_out;
mod sql;
#[cfg(test)]
mod testing;
mod truncate_words;

use crate::stage::StageKind;

/// Every kind, by name.
pub const KINDS: &[&dyn StageKind] = &[
    &filter_k_core::FilterKCore,
    &match_tracks::MatchTracks,
    &read_table::ReadTable,
    &split_leave_last_out::SplitLeaveLastOut,
    &sql::Sql,
    &truncate_words::TruncateWords,
];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn StageKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
