//! The filter, the split and the baselines on real data: the numbers that a
//! loader, a 5-core, a leave-last-out split and each baseline must give on
//! HetRec's timestamped tags.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::testing::{Ran, real_data, run};
use super::{
    content_similarity::ContentSimilarity, ease::Ease, embed::Embed, evaluate::Evaluate, filter_k_core::FilterKCore,
    ials::Ials, item_knn::ItemKnn, read_table::ReadTable, split_leave_last_out::SplitLeaveLastOut, sql::Sql,
};
use crate::model::{MINILM, Models};
use crate::stage::StageKind;
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

fn the_split() -> Option<Table> {
    let core = five_core()?.outputs["interactions"].clone();
    Some(run(&SplitLeaveLastOut, &json!({}), vec![("interactions", core)]).unwrap().outputs["split"].clone())
}

/// HR@10 and NDCG@10 on test of what a kind makes of a split.
fn measured(kind: &dyn StageKind, with: &serde_json::Value, inputs: Vec<(&str, Table)>) -> [f64; 2] {
    let split = inputs[0].1.clone();
    let model = run(kind, with, inputs).unwrap().outputs["model"].clone();
    let rows = run(&Evaluate, &json!({}), vec![("split", split), ("model", model)]).unwrap().rows("metrics");
    let value = |metric: &str| {
        let start = format!("test|all|{metric}|10|");
        let row = rows.iter().find_map(|row| row.strip_prefix(&start)).unwrap();
        row.split('|').next().unwrap().parse().unwrap()
    };
    let found = [value("hr"), value("ndcg")];
    println!("{} {with}: HR@10 {:.6}, NDCG@10 {:.6}", kind.name(), found[0], found[1]);
    found
}

fn near(found: [f64; 2], expected: [f64; 2], tolerance: [f64; 2]) {
    for ((found, expected), tolerance) in found.into_iter().zip(expected).zip(tolerance) {
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
    }
}

#[test]
fn item_knn_is_that_of_the_reference() {
    let Some(split) = the_split() else { return };
    for (neighbours, expected) in [(50, [0.108_257, 0.055_790]), (100, [0.099_083, 0.053_993])] {
        let found = measured(&ItemKnn, &json!({"neighbours": neighbours}), vec![("split", split.clone())]);
        near(found, expected, [0.002, 0.001]);
    }
}

#[test]
fn ease_is_that_of_the_reference() {
    let Some(split) = the_split() else { return };
    for (lambda, expected) in [(100, [0.114_679, 0.064_165]), (500, [0.108_257, 0.062_671])] {
        let found = measured(&Ease, &json!({"lambda": lambda}), vec![("split", split.clone())]);
        near(found, expected, [0.002, 0.001]);
    }
}

#[test]
fn ials_is_that_of_the_reference() {
    let Some(split) = the_split() else { return };
    near(measured(&Ials, &json!({}), vec![("split", split)]), [0.120, 0.063], [0.01, 0.005]);
}

#[test]
fn content_similarity_is_that_of_the_reference() {
    let Some(split) = the_split() else { return };
    if MINILM.files.iter().any(|file| !MINILM.folder(&Models::default().folder).join(file.name).exists()) {
        println!("skipped: the weights of MiniLM are not on this machine (refrain model fetch)");
        return;
    }
    let path = real_data("hetrec2011-lastfm-2k/artists.dat").unwrap();
    let with = json!({"path": path, "format": "tsv", "quote": false});
    let artists = run(&ReadTable, &with, vec![]).unwrap().outputs["table"].clone();
    let query = "with ids as (select distinct item_id from split), names as (select cast(id as varchar) as item_id, \
                 name as text from artists) select ids.item_id, names.text from ids left join names on names.item_id \
                 = ids.item_id order by ids.item_id";
    let inputs = vec![("split", split.clone()), ("artists", artists)];
    let names = run(&Sql, &json!({"query": query}), inputs).unwrap().outputs["table"].clone();
    let vectors = run(&Embed, &json!({}), vec![("texts", names)]).unwrap().outputs["vectors"].clone();
    let found = measured(&ContentSimilarity, &json!({}), vec![("split", split), ("vectors", vectors)]);
    near(found, [0.037_615, 0.019_275], [0.002, 0.001]);
}
