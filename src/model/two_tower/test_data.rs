//! Small splits and features for the tests of this folder.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use super::draw::Draw;
use super::tower::{Category, Features, TextVectors};
use crate::ground::Seed;
use crate::model::interactions::Interactions;
use crate::table::Table;

/// A split in which each user has `per_user` distinct items: the last is test,
/// the one before validation.
pub(super) fn random_split(users: usize, items: usize, per_user: usize, seed: u64) -> Interactions {
    let mut draw = Draw::of(Seed::of_stage(seed, "split"));
    let mut rows: [Vec<String>; 3] = [const { Vec::new() }; 3];
    for user in 0..users {
        let mut all: Vec<usize> = (0..items).collect();
        for at in 0..per_user {
            let other = at + draw.below(items - at);
            all.swap(at, other);
        }
        for (at, item) in all[..per_user].iter().enumerate() {
            let part = if at + 1 == per_user {
                "test"
            } else if at + 2 == per_user {
                "validation"
            } else {
                "train"
            };
            rows[0].push(user.to_string());
            rows[1].push(item.to_string());
            rows[2].push(part.to_owned());
        }
    }
    // Every item is known, so that index and id agree.
    for item in 0..items {
        rows[0].push("0".to_owned());
        rows[1].push(item.to_string());
        rows[2].push("test".to_owned());
    }
    let columns = ["user_id", "item_id", "part"].into_iter().zip(rows);
    let arrays = columns.map(|(name, values)| (name, Arc::new(StringArray::from(values)) as ArrayRef));
    Interactions::of_table(&Table::of_columns(arrays).unwrap()).unwrap()
}

/// The id, one category of `kinds`, and text of `width` if it is not 0.
pub(super) fn features(count: usize, kinds: usize, width: usize, seed: u64) -> Features {
    let mut draw = Draw::of(Seed::of_stage(seed, "features"));
    let id = Category { name: "id".to_owned(), codes: (0..count as u32).collect(), size: count };
    let codes = (0..count).map(|_| draw.below(kinds) as u32).collect();
    let kind = Category { name: "kind".to_owned(), codes, size: kinds };
    let text = (width > 0).then(|| TextVectors { width, values: draw.normal(count * width, 0.05) });
    Features { columns: vec![id, kind], text }
}
