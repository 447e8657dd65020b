//! The filter and the split on real data: the exact numbers that a loader, a
//! 5-core and a leave-last-out split must give on HetRec's timestamped tags.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::testing::{Ran, real_data, run};
use super::{filter_k_core::FilterKCore, read_table::ReadTable, split_leave_last_out::SplitLeaveLastOut};
use crate::table::Table;

fn counts(table: &Table) -> (usize, usize, usize) {
    let distinct =
        |name: &str| table.strings(name).unwrap().iter().flatten().map(str::to_owned).collect::<BTreeSet<_>>().len();
    (distinct("user_id"), distinct("item_id"), table.rows())
}

fn five_core() -> Option<Ran> {
    let path = real_data("hetrec2011-lastfm-2k/user_taggedartists-timestamps.dat")?;
    let columns = json!({"user_id": "userID", "item_id": "artistID", "at": "timestamp"});
    let with = json!({"path": path, "format": "tsv", "columns": columns});
    let read = run(&ReadTable, &with, vec![]).unwrap();
    let tags = read.outputs["table"].clone();
    let all = run(&FilterKCore, &json!({"min_per_user": 1, "min_per_item": 1}), vec![("interactions", tags.clone())])
        .unwrap();
    assert_eq!(counts(&all.outputs["interactions"]), (1_892, 12_523, 71_064));
    Some(run(&FilterKCore, &json!({"min_per_user": 5, "min_per_item": 5}), vec![("interactions", tags)]).unwrap())
}

#[test]
fn the_five_core_and_the_split_are_those_of_the_reference() {
    let Some(core) = five_core() else { return };
    let core = core.outputs["interactions"].clone();
    assert_eq!(counts(&core), (1_090, 3_646, 52_551));
    assert_eq!(core.integers("at").unwrap().values().iter().min(), Some(&-405_133_200_000));

    let split = run(&SplitLeaveLastOut, &json!({}), vec![("interactions", core)]).unwrap();
    let table = &split.outputs["split"];
    let (users, items, parts) =
        (table.strings("user_id").unwrap(), table.strings("item_id").unwrap(), table.strings("part").unwrap());
    let mut held_out: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for ((user, item), part) in users.iter().flatten().zip(items.iter().flatten()).zip(parts.iter().flatten()) {
        *sizes.entry(part).or_default() += 1;
        match part {
            "test" => held_out.entry(user).or_default().0 = item,
            "validation" => held_out.entry(user).or_default().1 = item,
            _ => {}
        }
    }
    assert_eq!(sizes, BTreeMap::from([("test", 1_090), ("train", 50_371), ("validation", 1_090)]));
    let expected = [
        ("2", "9322", "6177"),
        ("4", "64", "918"),
        ("5", "197", "216"),
        ("9", "8", "5731"),
        ("10", "196", "418"),
        ("11", "468", "471"),
    ];
    for (user, test, validation) in expected {
        assert_eq!(held_out[user], (test, validation), "user {user}");
    }
    assert!(
        split.warnings[0].starts_with("for 699 of 1090 users a cut falls between equal times"),
        "{:?}",
        split.warnings
    );
}
