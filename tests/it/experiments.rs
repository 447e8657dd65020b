//! The pipelines that stand over the demo: what they share with it, and that
//! each runs whole, on a smaller world and with fewer epochs.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, ok, skipped};

/// The demo, made small, and a pipeline over it; or why the encoder's weights,
/// which they need, cannot be had here.
fn lab(name: &str) -> Result<Lab, String> {
    let read = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
        std::fs::read_to_string(file).expect("a pipeline")
    };
    let lab = Lab::with(&[("demo.yaml", &read("demo.yaml")), (name, &read(name))]);
    for (from, to) in [
        ("  users: 600", "  users: 120"),
        ("songs: 320", "songs: 60"),
        ("max_users: 600", "max_users: 120"),
        ("epochs: 20", "epochs: 2"),
    ] {
        lab.edit("demo.yaml", from, to);
    }
    let fetched = lab.line("model fetch");
    if fetched.code == 0 { Ok(lab) } else { Err(fetched.stderr) }
}

/// The stages that a plan has in that state.
fn planned(lab: &Lab, file: &str, state: &str) -> BTreeSet<String> {
    let plan: Value = serde_json::from_str(&ok(lab.line(&format!("plan {file} --json")))).expect("JSON");
    let stages = plan["stages"].as_array().expect("stages").iter().filter(|stage| stage["state"] == state);
    stages.map(|stage| stage["stage"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn six_lengths_of_summaries_take_from_the_demo_what_it_has_made() {
    let lab = match lab("summary-length.yaml") {
        Ok(lab) => lab,
        Err(why) => return skipped(&why),
    };
    ok(lab.line("run demo.yaml --target evaluate@V3.1 --target kNN --target EASE --target iALS --target popularity"));
    let fresh = planned(&lab, "summary-length.yaml", "fresh");
    for shared in ["users", "loved", "songs", "split", "lyrics", "EASE", "asked@words-25", "train@words-25"] {
        assert!(fresh.contains(shared), "{shared} is not taken from the demo: {fresh:?}");
    }
    let stale = planned(&lab, "summary-length.yaml", "stale");
    let lengths = ["5", "10", "50", "100", "200"].map(|words| format!("asked@words-{words}"));
    let new: BTreeSet<String> = lengths.into_iter().chain(["audit".to_owned()]).collect();
    assert_eq!(stale, new);
    let ran = lab.ran("summary-length.yaml");
    assert!(!ran.iter().any(|stage| fresh.contains(stage)), "{ran:?}");
    let table = ok(lab.line("show summary-length.yaml leaderboard --rows 20"));
    for words in [5, 10, 25, 50, 100, 200] {
        assert!(table.contains(&format!("  words-{words} ")), "no {words} in {table}");
    }
    let texts = ok(lab.line("show summary-length.yaml cut@words-5 --rows 100 --json"));
    let texts: Value = serde_json::from_str(&texts).expect("JSON");
    let rows = texts["first_rows"].as_array().expect("rows");
    let words = |row: &Value| row["text"].as_str().map_or(0, |text| text.split_whitespace().count());
    assert!(rows.iter().map(words).max() == Some(5), "{rows:?}");
}

#[test]
fn three_prompts_are_compared_and_the_papers_is_the_demos() {
    let lab = match lab("prompts.yaml") {
        Ok(lab) => lab,
        Err(why) => return skipped(&why),
    };
    ok(lab.line("run demo.yaml --target evaluate@V2.1"));
    assert!(planned(&lab, "prompts.yaml", "fresh").contains("evaluate@paper"));
    lab.ran("prompts.yaml");
    let table = ok(lab.line("show prompts.yaml leaderboard --rows 20"));
    for variant in ["paper", "facts", "moments"] {
        assert!(table.contains(&format!("  {variant} ")), "no {variant} in {table}");
    }
}

#[test]
fn metrics_are_by_the_language_that_lyrics_are_in() {
    let lab = match lab("languages.yaml") {
        Ok(lab) => lab,
        Err(why) => return skipped(&why),
    };
    lab.edit("languages.yaml", "  users: 600", "  users: 120");
    lab.edit("languages.yaml", "songs: 320", "songs: 60");
    lab.edit("languages.yaml", "k: [10]", "k: [10], min_group: 1");
    lab.ran("languages.yaml --target evaluate@V4");
    let metrics = ok(lab.line("show languages.yaml evaluate@V4 --rows 1000 --json"));
    let metrics: Value = serde_json::from_str(&metrics).expect("JSON");
    let rows = metrics["first_rows"].as_array().expect("rows");
    let slices: BTreeSet<&str> =
        rows.iter().filter_map(|row| row["slice"].as_str()?.strip_prefix("language=")).collect();
    assert!(slices.contains("eng") && slices.len() >= 2, "{slices:?}");
}
