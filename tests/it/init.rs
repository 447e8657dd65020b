//! `refrain init`: a pipeline of one's own, which runs at once and whose
//! comments are true.

use std::fmt::Write as _;
use std::fs;

use insta::assert_snapshot;

use crate::lab::{Lab, files_below, ok};

#[test]
fn a_new_pipeline_runs_at_once_and_then_not_again() {
    let lab = Lab::new();
    let answer = lab.line("init");
    assert_snapshot!(answer.seen(), @r"
    exit code 0
    wrote pipeline.yaml
    wrote refrain.schema.json
    wrote listens.csv
    wrote .gitignore
    ");
    assert_snapshot!(ok(answer), @r"
    next:
      refrain plan
      refrain run
      refrain show leaderboard
    ");
    assert!(ok(lab.line("plan")).contains("10 stages: 0 up to date"), "{:#?}", lab.line("plan"));
    ok(lab.line("check"));
    assert_eq!(lab.ran("").len(), 10);
    assert!(lab.ran("").is_empty(), "nothing changed");
    let shown = ok(lab.line("show leaderboard"));
    assert!(shown.contains("kNN") && shown.contains("popularity"), "{shown}");
    assert!(ok(lab.line("path leaderboard")).trim().ends_with(".parquet"));
    // As a comment in it says: writing the file again changes nothing, other content does.
    let listens = fs::read_to_string(lab.path("listens.csv")).unwrap();
    lab.write("listens.csv", &listens);
    assert!(lab.ran("").is_empty());
    lab.write("listens.csv", &format!("{listens}user-00,calm-00,1760000000\n"));
    assert!(lab.ran("").contains(&"events".to_owned()));
    // And another.
    lab.edit("pipeline.yaml", "neighbours: 20", "neighbours: 30");
    assert!(ok(lab.line("plan")).contains("setting neighbours: 20 -> 30"));
}

#[test]
fn what_is_there_stays_as_it_is() {
    let lab = Lab::new();
    lab.write("mine/pipeline.yaml", "pipeline: mine\n");
    lab.write("mine/.gitignore", "/target\n");
    let answer = lab.line("init mine");
    assert_snapshot!(answer.seen(), @r"
    exit code 2
    error: in `mine` there is already `pipeline.yaml`
      hint: nothing was written; name another folder: `refrain init FOLDER`
    ");
    assert_eq!(files_below(&lab.path("mine"), "").len(), 2, "nothing is written");
    fs::remove_file(lab.path("mine/pipeline.yaml")).unwrap();
    let answer = lab.line("init mine");
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stderr.contains("`/artifacts/` should stand in it"), "{answer:#?}");
    assert_eq!(fs::read_to_string(lab.path("mine/.gitignore")).unwrap(), "/target\n");
    assert!(answer.stdout.contains("cd mine && refrain plan"), "{answer:#?}");
    ok(lab.line("check mine/pipeline.yaml"));
}

#[test]
fn a_table_of_ones_own_is_read_by_its_columns() {
    let lab = Lab::new();
    let mut rows = "UserID;Artist Name;rating;date\n".to_owned();
    for row in 0..60 {
        writeln!(rows, "u{};artist {};3.5;2026-01-{:02}", row % 6, row % 5 + row / 20, row % 28 + 1).expect("text");
    }
    lab.write("ratings.txt", &rows);
    let answer = lab.line("init --csv ratings.txt");
    assert_eq!(answer.code, 0, "{answer:#?}");
    let text = fs::read_to_string(lab.path("pipeline.yaml")).unwrap();
    for line in [
        "path: ratings.txt",
        "format: csv",
        "delimiter: \";\"",
        "user_id: UserID",
        "item_id: \"Artist Name\"",
        "happened: date",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    assert!(!lab.path("listens.csv").exists());
    assert_eq!(lab.ran("").len(), 10);
    let shown = ok(lab.line("show interactions -n 1"));
    assert!(shown.contains("202601"), "days are whole numbers: {shown}");
}

#[test]
fn a_table_without_users_and_items_is_counted() {
    let lab = Lab::with(&[("Some Data.csv", "Place,on,3rd\nParis,true,1\nParis,false,2\nRome,true,3\n")]);
    let answer = lab.refrain(["init", "--csv", "Some Data.csv"]);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stderr.contains("no column seems to hold users, nor items, nor times"), "{answer:#?}");
    let text = fs::read_to_string(lab.path("pipeline.yaml")).unwrap();
    for line in ["place: Place   # text", "on: \"on\"   # true or false", "column_3: \"3rd\"   # whole numbers"] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    assert_eq!(lab.ran(""), ["counted", "data"]);
    assert!(ok(lab.line("show counted")).contains("Paris"));
    let answer = lab.refrain(["init", "other", "--csv", "Some Data.csv", "--template", "recommender"]);
    assert_snapshot!(answer.seen(), @r"
    exit code 2
    error: no column of the file seems to hold users, nor items, nor times
      hint: a recommender needs columns such as `user_id`, `item_id` and `timestamp`: rename them, or start with --template minimal
    ");
    assert!(!lab.path("other").exists());
}

#[test]
fn data_that_cannot_be_read_is_named() {
    let lab = Lab::with(&[("empty.csv", ""), ("binary.csv", "PAR1\0\0\0")]);
    for name in ["nowhere.csv", "empty.csv", "binary.csv"] {
        let answer = lab.line(&format!("init new --csv {name}"));
        assert_eq!(answer.code, 2, "{answer:#?}");
        assert!(answer.stderr.contains(name) && !lab.path("new").exists(), "{answer:#?}");
    }
}

#[test]
fn the_smaller_template_runs_as_well() {
    let lab = Lab::new();
    ok(lab.line("init small --template minimal"));
    let text = fs::read_to_string(lab.path("small/pipeline.yaml")).unwrap();
    assert!(text.contains("pipeline: small\n"), "{text}");
    let mut command = lab.command(["run", "--json"]);
    let output = command.current_dir(lab.path("small")).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
