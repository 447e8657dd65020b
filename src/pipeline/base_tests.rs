//! Pipelines over others: what is taken over, what is given anew, and where
//! mistakes and settings are said to stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::fixtures::{KINDS, lines};
use super::{Pipeline, load};
use crate::ground::{InstanceId, Problems};

const BASE: &str = r#"pipeline: whole
seed: 7
vars: { least: 5, folder: data }
limiters: { api: { per_second: 1 } }
stages:
  loved: { kind: read_table, with: { path: "${var.folder}/loved.csv" } }
  core:
    kind: filter_k_core
    inputs: { interactions: loved }
    with: { min_per_user: "${var.least}" }
  model:
    kind: train_model
    inputs: { split: core }
    with: { tower: "${variant.tower}" }
variants:
  CF: { tower: ids }
"#;

/// A folder with the base and files of these names and texts.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("base.yaml", BASE)].iter().chain(files) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::ground::files::write_atomically(&path, text.as_bytes()).unwrap();
    }
    folder
}

fn read(folder: &TempDir, name: &str) -> Result<Pipeline, Problems> {
    load(&folder.path().join(name), &BTreeMap::new(), KINDS)
}

fn over_base(text: &str) -> Result<Pipeline, String> {
    let folder = folder(&[("own.yaml", text)]);
    let within = format!("{}/", folder.path().display());
    read(&folder, "own.yaml").map_err(|problems| problems.to_string().replace(&within, ""))
}

fn wrong(text: &str) -> String {
    over_base(text).unwrap_err()
}

#[test]
fn what_a_file_does_not_give_is_that_of_its_base() {
    let own = "pipeline: own\nbase: base.yaml\nvars: { least: 9 }\nlimiters: { other: { per_second: 2 } }\n\
               stages:\n  extra: { kind: filter_k_core, inputs: { interactions: core }, with: { min_per_user: 2 } }\n\
               variants:\n  A: { tower: ids }\n  B: { tower: text }\n";
    let pipeline = over_base(own).unwrap();
    assert_eq!((pipeline.name.as_str(), pipeline.seed), ("own", 7));
    assert_eq!(pipeline.variants, ["A", "B"]);
    assert_eq!(pipeline.limiters.keys().collect::<Vec<_>>(), ["api", "other"]);
    let of = |id: &str| pipeline.instances.iter().find(|instance| instance.id.to_string() == id).unwrap();
    assert_eq!(of("core").stage.settings()["min_per_user"], 9);
    assert_eq!(of("loved").stage.settings()["path"], "data/loved.csv");
    insta::assert_snapshot!(lines(&pipeline).join("\n"), @"
    loved
    core <- interactions: loved=loved.table
    model@A <- split: core=core.interactions
    model@B <- split: core=core.interactions
    extra <- interactions: core=core.interactions
    ");
}

#[test]
fn a_stage_is_given_anew_as_a_whole_or_taken_away() {
    let own = "pipeline: own\nbase: base.yaml\nstages:\n  core: { kind: filter_k_core, inputs: { interactions: loved }, with: { min_per_user: 2 } }\n\
               \x20 model: none\nvariants: {}\n";
    let pipeline = over_base(own).unwrap();
    let ids: Vec<String> = pipeline.instances.iter().map(|instance| instance.id.to_string()).collect();
    assert_eq!(ids, ["loved", "core"]);
    assert_eq!(pipeline.instances[1].stage.settings()["min_per_user"], 2);
}

#[test]
fn mistakes_are_shown_in_the_file_that_they_stand_in() {
    let below = wrong("pipeline: own\nbase: base.yaml\nstages:\n  loved: none\n");
    assert!(below.contains("there is no stage `loved`") && below.contains("--> base.yaml:9:29"), "{below}");
    insta::assert_snapshot!(wrong("base: base.yaml\nvars: { least: many }\nstages:\n  modle: none\n"), @r#"
    error: the pipeline has no name
     --> own.yaml:1:1
      |
    1 | base: base.yaml
      | ^
      hint: add `pipeline: NAME` at the top

    error: the stage `core`: invalid type: string "many", expected a whole number, at least 0
     --> own.yaml:2:16
      |
    2 | vars: { least: many }
      |                ^
      hint: min_per_user: Fewest rows per user.

    error: the base has no stage `modle` to take away
     --> own.yaml:4:3
      |
    4 |   modle: none
      |   ^
      hint: did you mean `model`?
    "#);
}

#[test]
fn a_base_that_cannot_be_read_is_said_where_it_is_named() {
    insta::assert_snapshot!(wrong("pipeline: own\nbase: bsae.yaml\n"), @r#"
    error: the base: could not read `bsae.yaml`: No such file or directory (os error 2)
     --> own.yaml:2:7
      |
    2 | base: bsae.yaml
      |       ^
      hint: did you mean `base.yaml`?
    "#);
    insta::assert_snapshot!(wrong("pipeline: own\nbase: \"${var.x}\"\n"), @r#"
    error: `base` must be the path of a pipeline file, and this is the text `${var.x}`
     --> own.yaml:2:7
      |
    2 | base: "${var.x}"
      |       ^
      hint: it is relative to this file, and holds no reference: `base: demo.yaml`
    "#);
    insta::assert_snapshot!(wrong("pipeline: own\nbase: own.yaml\n"), @r#"
    error: the base `own.yaml` is this file or leads back to it
     --> own.yaml:2:7
      |
    2 | base: own.yaml
      |       ^
      hint: remove one of the `base:` lines of own.yaml -> own.yaml
    "#);
}

#[test]
fn bases_have_bases_and_circles_are_refused() {
    let files = [
        ("deep/own.yaml", "pipeline: own\nbase: ../middle.yaml\nseed: 3\n"),
        ("middle.yaml", "pipeline: middle\nbase: base.yaml\nseed: 2\nvars: { folder: there }\n"),
        ("a.yaml", "pipeline: a\nbase: ./b.yaml\n"),
        ("b.yaml", "pipeline: b\nbase: deep/../a.yaml\n"),
    ];
    let folder = folder(&files);
    let pipeline = read(&folder, "deep/own.yaml").unwrap();
    assert_eq!(pipeline.seed, 3);
    assert_eq!(pipeline.instances[0].stage.settings()["path"], "there/loved.csv");
    let names = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(pipeline.files().map(names).collect::<Vec<_>>(), ["own.yaml", "middle.yaml", "base.yaml"]);
    let circle = read(&folder, "a.yaml").unwrap_err().to_string();
    assert!(circle.contains("leads back to it") && circle.contains("b.yaml:2:7"), "{circle}");
}

#[test]
fn settings_are_found_in_the_file_that_gives_them() {
    let folder = folder(&[("own.yaml", "pipeline: own\nbase: base.yaml\nvars:\n  least: 9\n")]);
    let pipeline = read(&folder, "own.yaml").unwrap();
    let origins = pipeline.origins().unwrap();
    let core = InstanceId { stage: "core".into(), variant: None, seed: None };
    let at = |path: &str| {
        let shown = origins.setting(&core, path, None).unwrap().to_string();
        shown.replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!([at("min_per_user"), at("depth")], ["own.yaml:4 (var least)", "base.yaml:10 (left out)"]);
    assert_eq!(pipeline.instances[0].location.file, PathBuf::from(folder.path()).join("base.yaml"));
}

#[test]
fn variants_that_differ_by_one_number_have_an_axis() {
    let own = |variants: &str| {
        let text = format!(
            "pipeline: own\nbase: base.yaml\nstages:\n  core:\n    kind: filter_k_core\n    inputs: {{ interactions: loved }}\n    \
             with: {{ min_per_user: \"${{variant.least}}\" }}\nvariants:\n{variants}"
        );
        over_base(&text).unwrap()
    };
    let pipeline = own("  A: { tower: ids, least: 5 }\n  B: { tower: text, least: 10 }\n");
    let axis = pipeline.numeric_axis(&["B", "A"]).unwrap();
    assert_eq!((axis.name.as_str(), axis.numbers), ("least", vec![10.0, 5.0]));
    assert_eq!(pipeline.variant_values["A"]["tower"], "ids");
    assert_eq!(pipeline.numeric_axis(&["A"]), None, "one number is no line");
    assert_eq!(pipeline.numeric_axis(&["A", "other"]), None);
    assert_eq!(own("  A: { tower: ids, least: 5 }\n  B: { tower: text, least: 5 }\n").numeric_axis(&["A", "B"]), None);
}
