//! What a store keeps of people, and where: names as the pipeline says, real
//! names nowhere.

use std::path::Path;

use refrain::table::read_parquet;

use crate::lab::{Lab, files_below};

const CRAWL: &str = "\
pipeline: people
sandbox: { users: 60, songs: 60, seed: 3 }
stages:
  users:
    kind: crawl_users
    with: { max_users: 40, user_names: hashed }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 20, min_per_user: 1 }
";

/// Whether a text stands in some file below a folder.
fn holds(folder: &Path, text: &str) -> bool {
    let files = files_below(folder, "");
    assert!(!files.is_empty(), "{} has no file", folder.display());
    let bytes = files.iter().map(|file| std::fs::read(file).expect("a file"));
    bytes.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// Whether some cell of some artifact is that text.
fn is_in_an_artifact(lab: &Lab, text: &str) -> bool {
    let files = files_below(&lab.path("artifacts/objects-v1"), ".parquet");
    assert!(files.len() >= 2, "{files:?}");
    files.iter().any(|file| {
        let table = read_parquet(file, None).expect("an artifact");
        let columns = table.column_names();
        columns
            .iter()
            .any(|name| table.strings(name).is_ok_and(|cells| cells.iter().flatten().any(|cell| cell == text)))
    })
}

/// The names in the store's own list.
fn names(lab: &Lab) -> Vec<String> {
    let text = std::fs::read_to_string(lab.path("artifacts/people-v1/names.jsonl")).expect("the names");
    let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    text.lines().map(|line| read(line)["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn hashed_names_are_in_no_artifact_and_the_crawl_goes_on_with_them() {
    let lab = Lab::with(&[("people.yaml", CRAWL)]);
    let planned = lab.line("plan people.yaml");
    assert_eq!(planned.code, 0, "{planned:#?}");
    let first = lab.line("run people.yaml --json");
    assert_eq!((first.code, &first.finished()["ran"]), (0, &2.into()), "{first:#?}");
    let names = names(&lab);
    assert_eq!(names.len(), 40);
    for name in names.iter().filter(|name| name.len() > 3) {
        assert!(!is_in_an_artifact(&lab, name), "`{name}` stands in an artifact");
        assert!(!holds(&lab.path("artifacts/manifests-v1"), name), "`{name}` stands in a manifest");
        assert!(holds(&lab.path("artifacts/memo-v1/http"), name), "the memo has `{name}`, in its requests");
    }
    let lacking = lab.line("memo lacks people.yaml loved");
    assert!(lacking.code == 0 && lacking.stderr.contains("has all answers"), "{lacking:#?}");
    let shown = lab.line("show people.yaml loved");
    assert!(shown.stdout.contains('~'), "{}", shown.stdout);
    assert_eq!(lab.ran("people.yaml"), [""; 0]);
    assert!(!lab.line("gc people.yaml --dry-run").stdout.contains("people-v1"));

    // Without its salt the store makes others, for which it asks nothing.
    std::fs::remove_dir_all(lab.path("artifacts/people-v1")).expect("the names");
    let again = lab.line("run people.yaml --json");
    assert_eq!((&again.finished()["ran"], &again.finished()["requests"]), (&2.into(), &0.into()), "{again:#?}");

    lab.edit("people.yaml", ", user_names: hashed", "");
    let named = lab.line("run people.yaml --json");
    assert_eq!((&named.finished()["ran"], &named.finished()["requests"]), (&2.into(), &0.into()), "{named:#?}");
    assert!(is_in_an_artifact(&lab, &names[1]));
}

#[test]
fn pseudonyms_whose_names_are_lost_are_told_with_what_to_do() {
    let lab = Lab::with(&[("people.yaml", CRAWL)]);
    assert_eq!(lab.line("run people.yaml --target users").code, 0);
    lab.write("artifacts/people-v1/names.jsonl", "");
    let answer = lab.line("run people.yaml");
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("nobody knows whom the pseudonym `~"), "{}", answer.stderr);
    assert!(answer.stderr.contains("crawl the users again"), "{}", answer.stderr);
    let mended = lab.line("run people.yaml --force users --json");
    assert_eq!((mended.code, &mended.finished()["requests"]), (0, &serde_json::json!(40)), "{mended:#?}");
}
