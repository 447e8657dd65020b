//! `run_command` with programs of the shell: what they are given, what is
//! checked of what they write, and what is said when they fail.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float64Array};
use serde_json::{Value, json};

use super::run_command::RunCommand;
use super::testing::{Ran, numbers, refused, run, stage, texts};
use crate::ground::Environment;
use crate::stage::{Input, OutputSink, Resource, StageContext, StageError, StageKind};
use crate::table::{Table, TableError};

fn songs() -> Table {
    let scores: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.25, 1.0]));
    Table::of_columns([("item_id", texts(&["b", "c", "a"])), ("score", scores)]).unwrap()
}

/// Settings for a program of the shell that writes `scored`, a table as `songs` is.
fn shell(script: &str) -> Value {
    json!({
        "run": ["sh", "-c", script],
        "outputs": { "scored": { "columns": { "item_id": "str", "score": "f64" } } },
    })
}

const COPY: &str = "cp \"$REFRAIN_INPUT_SONGS\" \"$REFRAIN_OUTPUT_SCORED\"";

fn ask(with: &Value) -> Result<Ran, StageError> {
    run(&RunCommand, with, vec![("songs", songs())])
}

fn failure(with: &Value) -> (String, String) {
    match ask(with) {
        Err(StageError::Failed { what, hint }) => (what, hint.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_program_writes_is_the_output() {
    let ran = ask(&shell(COPY)).unwrap();
    assert_eq!(ran.rows("scored"), ["b|0.5", "c|0.25", "a|1.0"]);
    insta::assert_snapshot!(ran.golden(), @r"
    scored.item_id bc241e8bf50d
    scored.score 336a84badd3c
    ");
}

#[test]
fn rows_are_sorted_where_that_is_declared() {
    let mut with = shell(COPY);
    with["outputs"]["scored"]["order_by"] = json!(["item_id"]);
    assert_eq!(ask(&with).unwrap().rows("scored"), ["a|1.0", "b|0.5", "c|0.25"]);
}

#[test]
fn it_is_told_its_seed_its_settings_and_its_files() {
    let script = format!("{COPY}; echo \"$REFRAIN_SEED $REFRAIN_SETTINGS\"; cat \"$REFRAIN_JOB\"; echo; pwd");
    let mut with = shell(&script);
    with["settings"] = json!({ "words": ["a b", 1] });
    let notes = ask(&with).unwrap().notes;
    assert!(notes[0].ends_with(" {\"words\":[\"a b\",1]}") && notes[0].starts_with(|c: char| c.is_ascii_digit()));
    let job: Value = serde_json::from_str(&notes[1]).unwrap();
    assert_eq!(job["settings"], with["settings"]);
    assert_eq!(
        (&job["inputs"]["songs"]["rows"], &job["outputs"]["scored"]["columns"]["score"]),
        (&json!(3), &json!("f64"))
    );
    assert_eq!(notes[2], std::env::current_dir().unwrap().display().to_string());
}

#[test]
fn what_is_not_as_declared_is_told_with_what_there_is() {
    let mut with = shell(COPY);
    with["outputs"]["scored"]["columns"] = json!({ "item_id": "str", "score": "f32", "rank": "i64" });
    let (what, hint) = failure(&with);
    assert_eq!(
        what,
        "the output `scored` is not as declared: the column `score` is f64, and declared as f32; the column `rank` is missing"
    );
    assert_eq!(hint, "it has item_id: str, score: f64: correct the program, or `outputs.scored.columns`");
    with["outputs"]["scored"]["columns"] = json!({ "item_id": "str" });
    assert!(failure(&with).0.ends_with("the column `score` is not declared"));
}

#[test]
fn a_key_that_stands_for_several_rows_is_refused() {
    let mut with = shell(COPY);
    with["outputs"]["scored"]["key"] = json!(["item_id"]);
    assert!(ask(&with).is_ok());
    let twice = Table::of_columns([("item_id", texts(&["a", "a", "-", "-"])), ("n", numbers(&[1, 2, 3, 4]))]).unwrap();
    with["outputs"]["scored"]["columns"] = json!({ "item_id": "str", "n": "i64" });
    let error = run(&RunCommand, &with, vec![("songs", twice)]).unwrap_err().to_string();
    assert_eq!(error, "the output `scored` has 2 rows whose key (item_id) another row has");
}

#[test]
fn a_program_that_fails_is_told_with_its_last_lines() {
    let (what, _) = failure(&shell("echo one; echo two >&2; sleep 0.1; exit 7"));
    let (head, lines) = what.split_once("; its last lines were").unwrap();
    assert!(head.ends_with("ended with exit code 7"), "{what}");
    let mut lines: Vec<&str> = lines.split_whitespace().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
    let (what, hint) = failure(&shell("true"));
    assert_eq!(what, "the program ended well and did not write its output `scored`, and it printed nothing");
    assert!(hint.contains("REFRAIN_OUTPUT_SCORED"));
    let (what, hint) = failure(&shell("echo no > \"$REFRAIN_OUTPUT_SCORED\""));
    assert!(what.starts_with("the output `scored` cannot be read: "), "{what}");
    assert_eq!(hint, "the program must write a Parquet file");
    let mut with = shell(COPY);
    with["run"] = json!(["no-such-program"]);
    assert_eq!(failure(&with).1, "there is no program `no-such-program` on the PATH");
    let mut with = shell("sleep 60");
    with["timeout"] = json!("1s");
    assert!(failure(&with).0.contains("was stopped after 1s"));
}

/// Collects nothing, and has a folder.
struct Folder(tempfile::TempDir);

impl OutputSink for Folder {
    fn append(&mut self, _port: &str, _table: &Table) -> Result<(), TableError> {
        Ok(())
    }

    fn folder(&mut self) -> Result<std::path::PathBuf, TableError> {
        Ok(self.0.path().to_owned())
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl crate::stage::Progress for Lines {
    fn total(&self, _rows: u64) {}
    fn advance(&self, _rows: u64) {}
    fn ended(&self, _end: crate::stage::RowEnd<'_>) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn warn(&self, _text: &str) {}
}

#[test]
fn it_sees_the_variables_that_are_named_and_no_others_and_secrets_are_not_shown() {
    let inputs = vec![("songs", vec![Input::of_table("songs", songs())])];
    let sink = Folder(tempfile::tempdir().unwrap());
    let mut context = StageContext::for_test(inputs, Box::new(sink));
    let lines = Arc::new(Lines::default());
    context.progress = Arc::<Lines>::clone(&lines);
    let pairs = [("TOKEN", "sesame-open"), ("OTHER", "hidden"), ("PATH", &std::env::var("PATH").unwrap())];
    context.environment = Environment::from_pairs(pairs);
    let mut with = shell(&format!("{COPY}; echo \"[$TOKEN] [$OTHER] [$PATH]\""));
    with["env"] = json!(["TOKEN"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(stage(&RunCommand, &with).run(&context)).unwrap();
    let line = lines.0.lock().unwrap()[0].clone();
    assert!(line.starts_with("[${env.TOKEN}] [] [/"), "{line}");
    assert!(!stage(&RunCommand, &with).settings().to_string().contains("sesame"));
}

#[test]
fn versions_are_facts_and_one_that_cannot_be_told_fails_the_stage() {
    let mut with = shell(COPY);
    with["versions"] = json!({ "tool": ["echo", "tool 1.2"] });
    let facts = stage(&RunCommand, &with).facts();
    assert_eq!(facts.get("version of tool").map(String::as_str), Some("tool 1.2"));
    with["versions"] = json!({ "tool": ["no-such-tool"] });
    assert!(stage(&RunCommand, &with).facts()["version of tool"].starts_with("not to be had: "));
    let (what, hint) = failure(&with);
    assert!(what.starts_with("could not tell the version of `tool`: `no-such-tool` cannot be started"), "{what}");
    assert_eq!(hint, "correct `versions.tool`");
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let problem = |with: Value| {
        let problem = refused(&RunCommand, &with).remove(0);
        (problem.path, problem.hint.unwrap_or_default())
    };
    let mut with = shell(COPY);
    with["run"] = json!("python3 x.py | tee y");
    let (path, hint) = problem(with.clone());
    assert_eq!(path, "run");
    assert_eq!(
        hint,
        "write `[python3, x.py, |, tee, y]`, or `[sh, -c, \"python3 x.py | tee y\"]` if a shell is to read it"
    );
    with["run"] = json!([]);
    assert_eq!(problem(with.clone()).0, "run");
    let mut with = shell(COPY);
    with["outputs"]["scored"]["columns"]["score"] = json!("float64");
    assert_eq!(problem(with.clone()).0, "outputs.scored.columns.score");
    with["outputs"]["scored"]["columns"]["score"] = json!("list<list<f32>>");
    assert!(RunCommand.parse(&with).is_ok());
    with["outputs"]["scored"]["order_by"] = json!(["scoer"]);
    assert_eq!(problem(with).0, "outputs.scored.order_by");
    for (setting, value) in [("env", json!(["REFRAIN_SEED"])), ("timeout", json!("soon")), ("outputs", json!({}))] {
        let mut with = shell(COPY);
        with[setting] = value;
        assert_eq!(problem(with).0, setting);
    }
}

#[test]
fn what_it_occupies_and_how_it_is_told_are_no_part_of_the_fingerprint() {
    let mut with = shell(COPY);
    let before = stage(&RunCommand, &with).settings();
    with["cpus"] = json!(3);
    with["timeout"] = json!("2h");
    assert_eq!(stage(&RunCommand, &with).resource(), Resource::Cpu(3));
    with["gpu"] = json!(true);
    assert_eq!(stage(&RunCommand, &with).resource(), Resource::Gpu);
    assert_eq!(stage(&RunCommand, &with).settings(), before);
}
