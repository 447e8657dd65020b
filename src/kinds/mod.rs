//! What stages can do: one file per kind, and the registry.

use crate::stage::StageKind;

/// Every kind, by name.
pub const KINDS: &[&dyn StageKind] = &[];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn StageKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
