//! The cache, seen from outside: after each edit, which stages did their work
//! and how the others came to their results.

use std::fs;

use crate::lab::{Lab, files_below};

/// Six listeners and eight songs; every listener has at least three songs.
const LISTENS: &str = "\
user_id,item_id,at,note
u1,i1,1,a
u1,i2,2,b
u1,i3,3,c
u2,i1,4,d
u2,i2,5,e
u2,i4,6,f
u3,i1,7,g
u3,i3,8,h
u3,i4,9,i
u4,i2,10,j
u4,i3,11,k
u4,i4,12,l
u5,i1,13,m
u5,i2,14,n
u5,i5,15,o
u6,i6,16,p
";

const PIPELINE: &str = "\
pipeline: listens
stages:
  listens:
    kind: read_table
    with: { path: listens.csv }
  core:
    kind: filter_k_core
    inputs: { interactions: listens }
    with: { min_per_user: 2, min_per_item: 2 }
  split:
    kind: split_leave_last_out
    inputs: { interactions: core }
  counts:
    kind: sql
    inputs: { listens: listens }
    with: { query: \"SELECT item_id, COUNT(*) AS users FROM listens GROUP BY item_id ORDER BY item_id\" }
  parts:
    kind: sql
    inputs: { split: split }
    with: { query: \"SELECT part, COUNT(*) AS rows FROM split GROUP BY part ORDER BY part\" }
";

const ALL: [&str; 5] = ["core", "counts", "listens", "parts", "split"];

fn lab() -> Lab {
    Lab::with(&[("p.yaml", PIPELINE), ("listens.csv", LISTENS)])
}

/// A lab in which the pipeline has run once.
fn after_a_run() -> Lab {
    let lab = lab();
    assert_eq!(lab.ran("p.yaml"), ALL);
    lab
}

#[test]
fn nothing_runs_when_nothing_changed() {
    let lab = after_a_run();
    let answer = lab.line("run p.yaml --json");
    assert_eq!(answer.outcomes(&["cached"]), ALL);
    let last = answer.finished();
    assert_eq!((&last["stages"], &last["ran"], &last["cached"]), (&5.into(), &0.into(), &5.into()));
}

#[test]
fn a_changed_setting_runs_its_stage_and_what_it_changes() {
    let lab = after_a_run();
    lab.edit("p.yaml", "min_per_user: 2", "min_per_user: 3");
    assert_eq!(lab.ran("p.yaml"), ["core", "parts", "split"]);
}

#[test]
fn a_changed_layout_of_the_file_runs_nothing() {
    let lab = after_a_run();
    lab.edit(
        "p.yaml",
        "with: { min_per_user: 2, min_per_item: 2 }",
        "with:\n      min_per_item: 2 # two\n      min_per_user: 2",
    );
    assert!(lab.ran("p.yaml").is_empty());
}

#[test]
fn a_changed_input_file_runs_what_reads_what_changed() {
    let lab = after_a_run();
    lab.edit("listens.csv", "u5,i5,15,o", "u5,i6,15,o");
    let ran = lab.ran("p.yaml");
    assert_eq!(ran.iter().filter(|stage| ["listens", "core", "counts"].contains(&stage.as_str())).count(), 3);
}

#[test]
fn a_stage_that_does_not_read_a_changed_column_does_not_run() {
    let lab = after_a_run();
    lab.edit("listens.csv", "u1,i1,1,a", "u1,i1,1,other");
    let outcomes = lab.run_outcomes("p.yaml");
    assert_eq!(outcomes["listens"], "ran");
    // `core` reads user_id, item_id and at, and the query of `counts` item_id.
    assert!(["core", "split", "counts", "parts"].iter().all(|stage| outcomes[*stage] == "cut_off"), "{outcomes:?}");
    lab.edit("listens.csv", "user_id,item_id,at,note", "user_id,item_id,at,remark");
    assert_eq!(lab.ran("p.yaml"), ["listens"]);
    lab.edit("listens.csv", "u1,i1,1,other", "u7,i1,1,other");
    let ran = lab.ran("p.yaml");
    assert!(ran.contains(&"core".to_owned()) && !ran.contains(&"counts".to_owned()), "{ran:?}");
    lab.edit("p.yaml", "SELECT item_id, COUNT(*)", "SELECT item_id, MIN(at) AS first, COUNT(*)");
    assert_eq!(lab.ran("p.yaml"), ["counts"]);
    lab.edit("listens.csv", "u1,i2,2,b", "u1,i2,99,b");
    assert!(lab.ran("p.yaml").contains(&"counts".to_owned()));
}

#[test]
fn another_setting_with_the_same_result_runs_one_stage() {
    let lab = after_a_run();
    lab.edit("p.yaml", "SELECT part, COUNT(*)", "SELECT  part, COUNT(*)");
    lab.edit("p.yaml", "SELECT item_id, COUNT(*)", "SELECT  item_id, COUNT(*)");
    let outcomes = lab.run_outcomes("p.yaml");
    assert_eq!((outcomes["counts"].as_str(), outcomes["parts"].as_str()), ("unchanged", "unchanged"));
    assert_eq!(outcomes.values().filter(|outcome| *outcome == "cached").count(), 3);
}

#[test]
fn a_rerun_with_the_same_result_makes_nothing_below_it_stale() {
    let lab = after_a_run();
    // A blank line at the end: other bytes, the same rows.
    let text = fs::read_to_string(lab.path("listens.csv")).unwrap();
    lab.write("listens.csv", &text.replace("u1,i1,1,a", "\"u1\",i1,1,a"));
    let outcomes = lab.run_outcomes("p.yaml");
    assert_eq!(outcomes["listens"], "unchanged");
    assert!(["core", "counts", "parts", "split"].iter().all(|stage| outcomes[*stage] == "cut_off"), "{outcomes:?}");
}

#[test]
fn a_deleted_artifact_is_made_again_and_only_that() {
    let lab = after_a_run();
    fs::remove_file(lab.artifact("p.yaml core")).unwrap();
    let outcomes = lab.run_outcomes("p.yaml");
    assert_eq!(outcomes["core"], "unchanged");
    assert_eq!(outcomes.values().filter(|outcome| *outcome == "unchanged").count(), 1, "{outcomes:?}");
    assert!(lab.artifact("p.yaml core").is_file());
}

#[test]
fn a_flipped_byte_is_found_reported_and_healed() {
    let lab = after_a_run();
    let path = lab.artifact("p.yaml counts");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(&path, &bytes);
    let answer = lab.line("run p.yaml --jobs 1");
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stderr.contains("damaged"), "{answer:#?}");
    assert!(answer.stderr.contains("1 ran, 4 cached"), "{answer:#?}");
    assert_eq!(files_below(&lab.path("artifacts/set-aside"), ".parquet").len(), 1);
    assert!(lab.ran("p.yaml").is_empty());
}

#[expect(clippy::disallowed_methods, reason = "to damage a file is the point")]
fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file");
}

#[test]
fn switching_back_restores() {
    let lab = after_a_run();
    lab.edit("p.yaml", "min_per_user: 2", "min_per_user: 3");
    lab.ran("p.yaml");
    lab.edit("p.yaml", "min_per_user: 3", "min_per_user: 2");
    let answer = lab.line("run p.yaml --json");
    assert_eq!(answer.finished()["ran"], 0);
    assert!(answer.outcomes(&["restored"]).contains(&"core".to_owned()), "{answer:#?}");
}

#[test]
fn force_runs_a_stage_and_its_equal_result_runs_nothing_else() {
    let lab = after_a_run();
    assert_eq!(lab.ran("p.yaml --force core"), ["core"]);
}

#[test]
fn a_target_runs_what_it_needs_and_no_more() {
    let lab = lab();
    assert_eq!(lab.ran("p.yaml --target core"), ["core", "listens"]);
    assert_eq!(lab.ran("p.yaml --target split"), ["split"]);
    assert_eq!(lab.ran("p.yaml"), ["counts", "parts"]);
}

#[test]
fn stores_do_not_know_each_other_and_copies_of_a_store_do() {
    let lab = after_a_run();
    assert_eq!(lab.ran("p.yaml --artifacts elsewhere"), ALL);
    fs::rename(lab.path("artifacts"), lab.path("moved")).unwrap();
    assert!(lab.ran("p.yaml --artifacts moved").is_empty());
}

const VARIANTS: &str = "\
pipeline: variants
stages:
  listens:
    kind: read_table
    with: { path: listens.csv }
  chosen:
    kind: sql
    inputs: { listens: listens }
    with: { query: \"SELECT item_id FROM listens WHERE item_id >= '${variant.from}' ORDER BY item_id\" }
  counted:
    kind: sql
    inputs: { chosen: chosen }
    with: { query: \"SELECT COUNT(*) AS rows FROM chosen\" }
  all:
    kind: sql
    inputs: { a: counted@A, b: counted@B }
    with: { query: \"SELECT a.rows AS a, b.rows AS b FROM a CROSS JOIN b\" }
variants:
  A: { from: i1 }
  B: { from: i3 }
";

#[test]
fn a_new_variant_costs_its_own_stages_and_nothing_else() {
    let lab = Lab::with(&[("v.yaml", VARIANTS), ("listens.csv", LISTENS)]);
    let all = ["all", "chosen@A", "chosen@B", "counted@A", "counted@B", "listens"];
    assert_eq!(lab.ran("v.yaml"), all);
    lab.edit("v.yaml", "  B: { from: i3 }\n", "  B: { from: i3 }\n  C: { from: i5 }\n");
    assert_eq!(lab.ran("v.yaml"), ["chosen@C", "counted@C"]);
    // A variant that says the same as another is the same.
    lab.edit("v.yaml", "  C: { from: i5 }\n", "  C: { from: i5 }\n  D: { from: i3 }\n");
    assert!(lab.ran("v.yaml").is_empty());
}

#[test]
fn results_do_not_depend_on_how_many_stages_run_at_once() {
    let one = lab();
    one.ran("p.yaml --jobs 1");
    let many = lab();
    many.ran("p.yaml --jobs 8");
    let names = |lab: &Lab| {
        let files = files_below(&lab.path("artifacts/objects-v1"), ".parquet");
        files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect::<Vec<_>>()
    };
    assert_eq!(names(&one).len(), 5);
    assert_eq!(names(&one), names(&many));
}
