//! What stages can do: one file per kind, and the registry.

mod embed;

use crate::stage::StageKind;

/// Every kind, by name.
pub const KINDS: &[&dyn StageKind] = &[&embed::Embed];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn StageKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
