//! Every pipeline that is shipped is one that can be read.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::{Answer, Lab, files_below, skipped};

/// Runs a command line in the project's own folder, with a store elsewhere.
fn at_home(lab: &Lab, line: &str) -> Answer {
    let store = lab.path("artifacts");
    let mut command = lab.command(line.split_whitespace());
    let output =
        command.arg("--artifacts").arg(store).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("an end");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn every_pipeline_is_without_mistakes() {
    let lab = Lab::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files_below(&root.join("pipelines"), ".yaml");
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let name = file.strip_prefix(root).expect("below the root").display().to_string();
        let answer = at_home(&lab, &format!("check {name}"));
        assert_eq!(answer.code, 0, "{name}: {answer:#?}");
        assert!(at_home(&lab, &format!("graph {name}")).stdout.starts_with("flowchart"), "{name}");
    }
}

const SCHEMA: &str = "pipelines/refrain.schema.json";

#[test]
fn editors_find_the_schema_beside_each_pipeline_and_it_is_that_of_this_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in files_below(&root.join("pipelines"), ".yaml") {
        let text = std::fs::read_to_string(&file).expect("a pipeline");
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, "# yaml-language-server: $schema=refrain.schema.json", "{}", file.display());
    }
    let committed = std::fs::read_to_string(root.join(SCHEMA)).expect("a schema");
    let now = Lab::new().line("schema").stdout;
    assert!(committed == now, "{SCHEMA} is of another version; write it anew: refrain schema > {SCHEMA}");
}

/// Checks the document on standard input with the schema in the file that is named.
const PYTHON: &str = "\
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
errors = jsonschema.Draft202012Validator(schema).iter_errors(json.load(sys.stdin))
print('\\n'.join(f'{error.json_path}: {error.message}' for error in errors))
";

#[test]
fn pipelines_fit_the_schema_as_another_program_understands_it() {
    let python = std::env::var("REFRAIN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import jsonschema"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return skipped(&format!("`{python}` has no jsonschema; name another in REFRAIN_TEST_PYTHON"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let refused = |text: &str| {
        let value: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        let mut command = Command::new(&python);
        command.args(["-c", PYTHON]).arg(root.join(SCHEMA)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python");
        process.stdin.take().expect("a pipe").write_all(value.to_string().as_bytes()).expect("a document");
        let output = process.wait_with_output().expect("an end");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    };
    for file in files_below(&root.join("pipelines"), ".yaml") {
        let text = std::fs::read_to_string(&file).expect("a pipeline");
        assert_eq!(refused(&text), "", "{}", file.display());
    }
    let demo = std::fs::read_to_string(root.join("pipelines/demo.yaml")).expect("a pipeline");
    assert_ne!(refused(&demo.replacen("kind: sql", "kind: sqll", 1)), "");
}

/// The prompts stand in each file, so that one file tells the whole experiment
/// and names the columns that it needs: they must not drift apart.
#[test]
fn the_four_prompts_are_the_same_in_every_pipeline() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(root.join("pipelines").join(name)).expect("a pipeline");
        serde_yaml::from_str(&text).expect("YAML")
    };
    let [demo, apple, spotify] = ["demo.yaml", "apple.yaml", "spotify.yaml"].map(read);
    let stages = ["summaries", "summaries_asked_25", "lyric_summaries", "lyric_summaries_asked_25"];
    let [lengths, prompts] = ["summary-length.yaml", "prompts.yaml"].map(read);
    let asked = |stage: &str| demo["stages"][stage]["with"]["prompt"].clone();
    assert_eq!(lengths["stages"]["asked"]["with"]["prompt"], asked("lyric_summaries_asked_25"));
    assert_eq!(prompts["variants"]["paper"]["prompt"], asked("summaries_asked_25"));
    for stage in stages {
        for setting in ["prompt", "system", "word_limit"] {
            let of = |pipeline: &serde_json::Value| pipeline["stages"][stage]["with"][setting].clone();
            assert_eq!(of(&demo), of(&apple), "{setting} of {stage}");
            assert_eq!(of(&demo), of(&spotify), "{setting} of {stage}");
        }
        assert!(demo["stages"][stage]["with"]["prompt"].is_string(), "{stage} has a prompt");
    }
}

#[test]
fn the_demo_is_planned_for_its_seven_variants() {
    let lab = Lab::new();
    let answer = at_home(&lab, "plan pipelines/demo.yaml --json");
    assert_eq!(answer.code, 0, "{answer:#?}");
    for variant in ["CF", "V1", "V2.1", "V2.2", "V3.1", "V3.2", "V4"] {
        assert!(answer.stdout.contains(&format!("@{variant}\"")), "no {variant} in {}", answer.stdout);
    }
}
