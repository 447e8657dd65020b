//! Users, items and what happened between them, as indices: what a split's
//! table becomes before anything is trained, scored or ranked. The type is
//! `table`'s, which filters and splits share.

pub use crate::table::{Ids, ItemSets, Part, Parts, Split as Interactions, SplitError};
