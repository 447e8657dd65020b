//! What a user can do about a store that was damaged, and what `verify` and
//! `gc` promise, through the real binary.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

use crate::lab::{Answer, Lab, Sandbox, files_below};

const SONGS: &str = "artist,title,plays\nA,one,3\nA,two,5\nB,three,8\n";

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT title FROM songs WHERE plays > 4 ORDER BY title\" }
";

fn after_a_run() -> Lab {
    let lab = Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", SONGS)]);
    assert_eq!(lab.ran(""), ["some", "songs"]);
    lab
}

/// Changes one byte in place and sets the time of the file back.
fn damage(path: &Path) {
    let before = fs::metadata(path).expect("a file").modified().expect("a file");
    // The times of files are as fine as the kernel's clock ticks.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut file = OpenOptions::new().write(true).open(path).expect("a file");
    file.seek(SeekFrom::Start(12)).expect("a file");
    file.write_all(b"\xff\xfe").expect("a file");
    file.set_modified(before).expect("a file");
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:#?}"))
}

/// The troubles named, with the last part of each path.
fn troubles(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let findings = json_of(answer)["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().map(|f| (text(&f["trouble"]), name(&text(&f["path"])))).collect()
}

#[test]
fn an_artifact_altered_in_place_is_found_at_its_next_use_though_its_time_was_set_back() {
    let lab = after_a_run();
    let path = lab.artifact("some");
    let good = fs::read(&path).unwrap();
    damage(&path);
    let answer = lab.line("run --jobs 1");
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stderr.contains("is damaged") && answer.stderr.contains("1 ran, 1 cached"), "{answer:#?}");
    assert_eq!(fs::read(&path).unwrap(), good);
    assert_eq!(lab.line("verify").code, 0);
}

#[cfg(unix)]
#[test]
fn verify_names_everything_and_repair_heals_what_can_be_made_again() {
    let lab = after_a_run();
    let clean = lab.line("verify");
    assert_eq!((clean.code, clean.stdout.as_str()), (0, ""));
    assert_eq!(clean.stderr.lines().last().map(|l| l.ends_with("all is as it was written")), Some(true), "{clean:#?}");

    damage(&lab.artifact("some"));
    fs::remove_file(lab.artifact("songs")).unwrap();
    lab.write("artifacts/notes.txt", "mine");
    lab.write("artifacts/objects-v1/ab/notes.parquet", "mine");
    std::os::unix::fs::symlink(lab.path("songs.csv"), lab.path("artifacts/objects-v1/link")).unwrap();
    let torn = files_below(&lab.path("artifacts/manifests-v1"), ".json").into_iter().next().unwrap();

    let found = lab.line("verify --json");
    assert_eq!(found.code, 1, "{found:#?}");
    let names = |answer: &Answer, trouble: &str| troubles(answer).iter().filter(|(t, _)| t == trouble).count();
    assert_eq!((names(&found, "damaged"), names(&found, "missing"), names(&found, "foreign")), (1, 2, 3), "{found:#?}");
    // It changes nothing by itself, and says what it would do.
    let said = lab.line("verify");
    assert_eq!(said.stdout.lines().count(), 6, "{said:#?}");
    assert!(said.stdout.contains("foreign  notes.txt: refrain did not write it"), "{said:#?}");
    assert!(said.stdout.contains("`some` of `songs` is made again"), "{said:#?}");
    assert!(said.stderr.contains("3 files damaged or missing; `refrain verify --repair` heals"), "{said:#?}");

    OpenOptions::new().write(true).open(&torn).unwrap().set_len(100).unwrap();
    let repaired = lab.line("verify --repair");
    assert_eq!(repaired.code, 0, "{repaired:#?}");
    assert!(repaired.stderr.contains("run again to make 2 results again"), "{repaired:#?}");
    assert_eq!(files_below(&lab.path("artifacts/set-aside"), "").len(), 3, "an artifact and two records");
    let again = lab.line("verify --json");
    assert_eq!((again.code, troubles(&again).len(), names(&again, "foreign")), (0, 3, 3), "{again:#?}");
    assert_eq!(fs::read_to_string(lab.path("artifacts/notes.txt")).unwrap(), "mine");

    assert_eq!(lab.ran(""), ["some", "songs"]);
    assert_eq!(troubles(&lab.line("verify --json")).len(), 3);
    let empty = Lab::new();
    let none = empty.line("verify");
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("there is no store in `artifacts`") && !empty.path("artifacts").exists(), "{none:#?}");
}

#[cfg(unix)]
#[test]
fn what_a_killed_process_held_needs_no_hand() {
    let crawl = "pipeline: crawl\nstages:\n  users:\n    kind: crawl_users\n    with: { max_users: 120 }\n";
    let lab = Lab::with(&[("pipeline.yaml", crawl)]);
    let sandbox = Sandbox::start(&lab, "--users 300 --songs 100");
    let line = format!("run --json --sandbox={}", sandbox.url);
    let mut command = lab.command(line.split_whitespace());
    let mut run = command.stdout(std::process::Stdio::null()).spawn().expect("the binary starts");
    let held = || files_below(&lab.path("artifacts/locks"), ".lock").len();
    while held() < 2 || sandbox.stats()["total"]["received"].as_u64().unwrap_or_default() < 10 {
        assert!(run.try_wait().expect("a process").is_none(), "the run ended before it could be killed");
    }
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    assert!(held() >= 2, "the lock of the key and the guard are still there");
    assert_eq!(lab.line("verify").code, 0);
    let collected = lab.line("gc --yes");
    assert_eq!(collected.code, 0, "{collected:#?}");
    assert_eq!(lab.line(&line).code, 0);
}

#[test]
fn gc_deletes_only_when_told_to_and_only_what_nothing_refers_to() {
    let lab = after_a_run();
    lab.edit("pipeline.yaml", "plays > 4", "plays > 7");
    assert_eq!(lab.ran(""), ["some"]);
    let objects = || files_below(&lab.path("artifacts/objects-v1"), ".parquet").len();
    // The first run is of today.
    let kept = lab.line("gc");
    assert!(kept.stderr.contains("nothing to delete"), "{kept:#?}");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let shown = lab.line("gc --keep-days 0");
    assert_eq!((shown.code, objects()), (0, 3), "{shown:#?}");
    assert!(shown.stderr.contains("nothing was deleted; `refrain gc --yes` deletes this"), "{shown:#?}");
    for part in ["artifacts", "records of results", "records of runs", "some of songs", "pipeline.yaml", "because of"] {
        assert!(shown.stdout.contains(part), "`{part}` is not said: {shown:#?}");
    }
    let dry = json_of(&lab.line("gc --keep-days 0 --dry-run --json"));
    assert!(dry["bytes"].as_u64().is_some_and(|bytes| bytes > 0) && dry["collected"].is_null(), "{dry}");
    // A file that names the old settings keeps them, wherever it is.
    lab.write("elsewhere/old.yaml", PIPELINE);
    let named = json_of(&lab.line("gc --keep-days 0 --json elsewhere/old.yaml"));
    let groups: Vec<&Value> = named["going"].as_array().unwrap().iter().map(|going| &going["group"]).collect();
    assert_eq!(groups, ["run", "run"]);
    let done = lab.line("gc --keep-days 0 --yes");
    assert!(done.stderr.contains("deleted 4 files"), "{done:#?}");
    assert_eq!(objects(), 2);
    assert!(lab.ran("").is_empty());
    assert_eq!(lab.ran("elsewhere/old.yaml"), ["some"]);
}

#[cfg(unix)]
#[test]
fn gc_follows_no_symlink_and_touches_nothing_foreign() {
    let lab = after_a_run();
    let outside = lab.path("outside");
    lab.write("outside/ab/keep.parquet", "mine");
    lab.write("artifacts/set-aside/notes", "mine");
    lab.write("artifacts/runs-v1/19700101T000000Z-x/mine.txt", "mine");
    let name = "ab".repeat(32);
    File::create(outside.join(format!("ab/{name}.parquet"))).unwrap();
    std::os::unix::fs::symlink(outside.join("ab"), lab.path("artifacts/objects-v1/ab")).ok();
    let done = lab.line("gc --keep-days 0 --yes");
    assert_eq!(done.code, 0, "{done:#?}");
    assert_eq!(files_below(&outside, ".parquet").len(), 2);
    for path in ["artifacts/set-aside/notes", "artifacts/runs-v1/19700101T000000Z-x/mine.txt"] {
        assert!(lab.path(path).is_file(), "{path}");
    }
    assert!(lab.ran("").is_empty());
}

#[test]
fn gc_refuses_while_a_pipeline_in_reach_does_not_load() {
    let lab = after_a_run();
    lab.write("pipelines/broken.yaml", "pipeline: broken\nstages:\n  a:\n    kind: red_table\n");
    lab.write("compose.yaml", "services: {}\n");
    let refused = lab.line("gc --keep-days 0 --yes");
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert!(refused.stderr.contains("nobody knows which results pipelines/broken.yaml refers to"), "{refused:#?}");
    assert!(refused.stderr.contains("read_table") && !refused.stderr.contains("compose"), "{refused:#?}");
    assert_eq!(lab.line("gc --keep-days 0 --yes --ignore-broken").code, 0);
    assert!(lab.ran("").is_empty());
}

#[test]
fn the_memo_is_verified_repaired_and_forgotten_only_when_asked() {
    let crawl = "pipeline: crawl\nstages:\n  users:\n    kind: crawl_users\n    with: { max_users: 40 }\n";
    let lab = Lab::with(&[("pipeline.yaml", crawl)]);
    assert_eq!(lab.line("run --sandbox").code, 0);
    let segment = files_below(&lab.path("artifacts/memo-v1"), ".segment").into_iter().next().expect("a segment");
    let mut file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(200)).unwrap();
    file.write_all(b"\xff\xfe\xfd").unwrap();
    drop(file);
    let found = lab.line("verify");
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.stdout.contains("damaged  memo-v1/"), "{found:#?}");
    let repaired = lab.line("verify --repair");
    assert!(repaired.code == 0 && repaired.stderr.contains("repaired; no result is lost"), "{repaired:#?}");
    assert_eq!(troubles(&lab.line("verify --json")), []);

    let young = json_of(&lab.line("gc --memo-older-than 90d --json"));
    assert_eq!(young["memo"]["records"], 0);
    let shown = lab.line("gc --memo-older-than 0s");
    assert!(shown.stdout.contains("memo: ") && shown.stderr.contains("nothing was deleted"), "{shown:#?}");
    let done = json_of(&lab.line("gc --memo-older-than 0s --yes --json"));
    assert!(done["forgotten"]["records"].as_u64().is_some_and(|records| records > 10), "{done}");
    assert_eq!(json_of(&lab.line("gc --memo-older-than 0s --json"))["memo"]["records"], 0);
    assert_eq!(lab.line("verify").code, 0);
    assert!(lab.ran("--sandbox").is_empty(), "what was made of the answers stays");
}
