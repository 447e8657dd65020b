//! What runs again after an edit, and what does not.

use std::time::Duration;

use super::lab::{Lab, Toy, outcome, pipeline};
use crate::engine::{Outcome, State, resolve, why};
use crate::ground::files;
use crate::pipeline::Refresh;

/// `users` and `songs`, `loved` from both, `report` from `loved`.
fn toys(lab: &Lab) -> Vec<Toy> {
    vec![
        lab.toy("users", 1),
        lab.toy("songs", 2),
        lab.toy("loved", 10).reading(&["users", "songs"]),
        lab.toy("report", 100).reading(&["loved"]),
    ]
}

#[test]
fn the_first_run_runs_all_and_the_second_nothing() {
    let lab = Lab::new();
    let toys = pipeline(&toys(&lab));
    assert_eq!(lab.run(&toys), ["loved", "report", "songs", "users"]);
    assert_eq!(lab.run(&toys), [""; 0]);
    let summary = lab.summary(&toys);
    assert_eq!((summary.stages, summary.cached, summary.ran), (4, 4, 0));
    assert_eq!(outcome(&summary, "report"), Outcome::Cached);
}

#[test]
fn a_setting_reruns_its_stage_and_what_is_below_and_switching_back_restores() {
    let lab = Lab::new();
    let mut edited = toys(&lab);
    let before = pipeline(&edited);
    lab.run(&before);
    edited[2].add = 20;
    let after = pipeline(&edited);
    assert_eq!(lab.reasons(&after, "loved"), ["setting add: 10 -> 20"]);
    assert_eq!(lab.run(&after), ["loved", "report"]);
    assert_eq!(lab.run(&before), [""; 0]);
    let summary = lab.summary(&after);
    assert_eq!(outcome(&summary, "loved"), Outcome::Restored);
    assert_eq!(outcome(&summary, "users"), Outcome::Cached);
    assert_eq!(outcome(&lab.summary(&after), "loved"), Outcome::Cached, "it is its last result from then on");
}

#[test]
fn a_result_that_is_the_same_runs_nothing_below() {
    let lab = Lab::new();
    let mut edited = toys(&lab);
    edited[2].step = 10;
    lab.run(&pipeline(&edited));
    edited[0].add = 3;
    let edited = pipeline(&edited);
    let plan = lab.plan(&edited);
    assert!(
        matches!(&plan.stages[3].state, State::Undecided { waiting_for, reasons } if waiting_for == &["loved"] && reasons.is_empty())
    );
    let summary = lab.summary(&edited);
    assert_eq!(lab.ran(), ["loved", "users"]);
    assert_eq!(outcome(&summary, "users"), Outcome::Ran);
    assert_eq!(outcome(&summary, "loved"), Outcome::Unchanged);
    assert_eq!(outcome(&summary, "report"), Outcome::CutOff);
}

#[test]
fn a_column_that_is_not_read_makes_nothing_stale() {
    let lab = Lab::new();
    let mut edited = toys(&lab);
    lab.run(&pipeline(&edited));
    edited[0].noise = 7;
    assert_eq!(lab.run(&pipeline(&edited)), ["users"]);
    edited[2].reads.push("noise".to_owned());
    lab.run(&pipeline(&edited));
    edited[0].noise = 8;
    assert_eq!(lab.run(&pipeline(&edited)), ["loved", "report", "users"]);
}

#[test]
fn another_version_of_the_kind_reruns() {
    let lab = Lab::new();
    let mut edited = toys(&lab);
    lab.run(&pipeline(&edited));
    edited[3].version = 2;
    let edited = pipeline(&edited);
    assert_eq!(lab.reasons(&edited, "report"), ["the kind `toy` changed: version 1 -> 2"]);
    assert_eq!(lab.run(&edited), ["report"]);
}

#[test]
fn inputs_come_and_go() {
    let lab = Lab::new();
    let mut edited = toys(&lab);
    lab.run(&pipeline(&edited));
    edited[2] = lab.toy("loved", 10).reading(&["users"]);
    let fewer = pipeline(&edited);
    assert_eq!(lab.reasons(&fewer, "loved"), ["input `b` was removed"]);
    assert_eq!(lab.run(&fewer), ["loved", "report"]);
    edited[2] = lab.toy("loved", 10).reading(&["users", "users"]);
    assert_eq!(lab.reasons(&pipeline(&edited), "loved"), ["input `b` was added"]);
}

#[test]
fn the_labels_of_a_port_that_takes_many_matter_and_others_do_not() {
    let lab = Lab::new();
    let build = |second: &str, port: &str| {
        pipeline(&[
            lab.toy("first@A", 1),
            lab.toy(second, 2),
            lab.toy("sum", 0).with(|toy| {
                toy.inputs = vec![(port.to_owned(), "first@A".to_owned())];
                if port == "many" {
                    toy.inputs.push((port.to_owned(), second.to_owned()));
                }
            }),
        ])
    };
    lab.run(&build("second@B", "many"));
    assert_eq!(lab.run(&build("second@C", "many")), ["sum"], "second@C does what second@B did");
    lab.run(&build("second@B", "one"));
    assert_eq!(lab.run(&build("second@C", "one")), [""; 0]);
}

#[test]
fn a_deleted_artifact_is_made_again_and_nothing_else() {
    let lab = Lab::new();
    let toys = pipeline(&toys(&lab));
    lab.run(&toys);
    std::fs::remove_file(lab.artifact(&toys, "loved")).unwrap();
    assert_eq!(lab.reasons(&toys, "loved"), ["the artifact of output `main` is missing"]);
    assert_eq!(lab.run(&toys), ["loved"]);
    assert_eq!(lab.run(&toys), [""; 0]);
}

#[test]
fn a_flipped_byte_is_found_and_the_artifact_made_again() {
    let lab = Lab::new();
    let toys = pipeline(&toys(&lab));
    lab.run(&toys);
    let path = lab.artifact(&toys, "songs");
    let mut bytes = files::read_bytes(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files::write_atomically(&path, &bytes).unwrap();
    let plan = lab.plan(&toys);
    assert!(plan.warnings.iter().any(|warning| warning.contains("damaged")), "{:?}", plan.warnings);
    assert_eq!(lab.run(&toys), ["songs"]);
    assert_eq!(lab.run(&toys), [""; 0]);
}

#[test]
fn a_lost_record_is_made_again() {
    let lab = Lab::new();
    let toys = pipeline(&toys(&lab));
    lab.run(&toys);
    let key = resolve(&toys, &lab.store(), None, "users").unwrap().manifest.key;
    std::fs::remove_file(lab.store().root().join("manifests-v1").join(format!("{key}.json"))).unwrap();
    assert_eq!(lab.reasons(&toys, "users"), ["the record of its result is gone from the store"]);
    assert_eq!(lab.run(&toys), ["users"]);
}

#[test]
fn a_refresh_is_due_when_its_time_has_come() {
    let lab = Lab::new();
    let toys = pipeline(&[
        lab.toy("weekly", 1).with(|toy| toy.refresh = Refresh::After(Duration::from_hours(168))),
        lab.toy("below", 1).reading(&["weekly"]),
    ]);
    lab.run(&toys);
    lab.clock.advance(Duration::from_hours(167));
    assert_eq!(lab.run(&toys), [""; 0]);
    lab.clock.advance(Duration::from_hours(1));
    assert_eq!(lab.reasons(&toys, "weekly"), ["refresh: its result is 7d old, and 7d is allowed"]);
    assert_eq!(lab.run(&toys), ["weekly"]);
    assert_eq!(lab.run(&toys), [""; 0]);
}

#[test]
fn always_is_once_in_every_run() {
    let lab = Lab::new();
    let toys = pipeline(&[
        lab.toy("one@A", 1).with(|toy| toy.refresh = Refresh::Always),
        lab.toy("one@B", 1).with(|toy| toy.refresh = Refresh::Always),
        lab.toy("below", 1).reading(&["one@A"]),
    ]);
    assert_eq!(lab.run(&toys).len(), 2, "A and B are the same work");
    assert_eq!(lab.run(&toys).len(), 1);
    lab.clock.advance(Duration::from_secs(5));
    assert_eq!(lab.run(&toys).len(), 1);
}

#[test]
fn a_file_counts_by_its_content() {
    let lab = Lab::new();
    let path = lab.folder.path().join("songs.csv");
    let write = |text: &str| files::write_atomically(&path, text.as_bytes()).unwrap();
    write("one");
    let toys = pipeline(&[lab.toy("read", 1).with(|toy| toy.files = vec![path.clone()])]);
    lab.run(&toys);
    write("one");
    assert_eq!(lab.run(&toys), [""; 0]);
    write("two");
    assert_eq!(lab.reasons(&toys, "read"), [format!("the content of `{}` changed", path.display())]);
    assert_eq!(lab.run(&toys), ["read"]);
}

#[test]
fn seeds_matter_only_to_stages_that_draw() {
    let lab = Lab::new();
    let build = |seed: u64| pipeline(&[lab.toy("plain", 1), lab.toy("drawn", 1).with(|toy| toy.seed = Some(seed))]);
    lab.run(&build(0));
    assert_eq!(lab.reasons(&build(1), "drawn"), ["seed: 0 -> 1"]);
    assert_eq!(lab.run(&build(1)), ["drawn"]);
}

#[test]
fn equal_work_is_done_once_across_variants() {
    let lab = Lab::new();
    let toys = pipeline(&[
        lab.toy("text@A", 5),
        lab.toy("text@B", 5),
        lab.toy("text@C", 6),
        lab.toy("end@A", 1).reading(&["text@B"]),
    ]);
    assert_eq!(lab.run(&toys).len(), 3);
    assert_eq!(lab.run(&toys), [""; 0]);
    assert_eq!(outcome(&lab.summary(&toys), "text@B"), Outcome::Cached);
}

#[test]
fn targets_leave_out_the_rest_and_force_runs_what_is_fresh() {
    let mut lab = Lab::new();
    let toys = pipeline(&toys(&lab));
    lab.options.plan.targets = vec!["loved".to_owned()];
    assert_eq!(lab.run(&toys), ["loved", "songs", "users"]);
    lab.options.plan.targets.clear();
    assert_eq!(lab.run(&toys), ["report"]);
    lab.options.plan.force = vec!["users".to_owned()];
    assert_eq!(lab.reasons(&toys, "users"), ["asked for with --force"]);
    assert_eq!(lab.run(&toys), ["users"], "its result is the same, so nothing below runs");
    lab.options.plan.targets = vec!["reprot".to_owned()];
    let error = lab.try_run(&toys).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `report`?"));
    assert!(error.is_users());
}

#[test]
fn why_tells_every_difference_and_keeps_secrets() {
    let lab = Lab::new();
    let mut edited = toys(&lab);
    assert_eq!(why(&pipeline(&edited), &lab.store(), "report", &lab.options.plan).unwrap().changes.len(), 1);
    lab.run(&pipeline(&edited));
    edited[3].add = 7;
    edited[3].step = 5;
    edited[2].noise = 1;
    let why = why(&pipeline(&edited), &lab.store(), "report", &lab.options.plan).unwrap();
    let changes: Vec<String> = why.changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["setting add: 100 -> 7", "setting step: 1 -> 5"]);
    assert_eq!(why.made_at_millis, Some(1_000_000_000));
    assert_eq!(why.before.unwrap()["settings"]["key"], "${env}");
}

#[test]
fn a_reference_finds_its_artifact_or_says_what_to_do() {
    let lab = Lab::new();
    let toys = pipeline(&[lab.toy("text@A", 1), lab.toy("text@B", 2)]);
    let ask = |text: &str| resolve(&toys, &lab.store(), None, text);
    assert!(ask("text@A").unwrap_err().hint().unwrap().contains("refrain run --target text@A"));
    lab.run(&toys);
    let found = ask("text.main@A").unwrap();
    assert_eq!((found.artifact.rows, found.output.as_str(), found.sandbox), (1, "main", None));
    assert!(found.path.exists());
    assert_eq!(ask("text").unwrap_err().to_string(), "`text` is 2 stages: text@A, text@B");
    assert!(ask("text.other@A").is_err());
    assert!(ask("text@C").is_err());
}
