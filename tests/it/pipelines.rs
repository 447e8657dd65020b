//! Every pipeline that is shipped is one that can be read.

use std::path::Path;

use crate::lab::{Answer, Lab, files_below};

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
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = file.strip_prefix(root).expect("below the root").display().to_string();
        let answer = at_home(&lab, &format!("check {name}"));
        assert_eq!(answer.code, 0, "{name}: {answer:#?}");
        assert!(at_home(&lab, &format!("graph {name}")).stdout.starts_with("flowchart"), "{name}");
    }
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
