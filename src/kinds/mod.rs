//! What stages can do: one file per kind, and the registry.

mod compare;
mod evaluate;
mod popularity;
#[cfg(test)]
mod recommend_tests;
mod train_two_tower;

use crate::stage::StageKind;

/// Every kind, by name.
#[rustfmt::skip]
pub const KINDS: &[&dyn StageKind] = &[
    &compare::Compare,
    &evaluate::Evaluate,
    &popularity::Popularity,
    &train_two_tower::TrainTwoTower,
];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn StageKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
