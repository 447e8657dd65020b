//! The demo from crawl to leaderboard, on a smaller world and with fewer
//! epochs: what a newcomer does with it, and what then runs.

use std::path::Path;

use crate::lab::{Lab, skipped};

/// The demo, made small, in a folder of its own; or why the encoder's weights,
/// which it needs, cannot be had here.
fn demo() -> Result<Lab, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo.yaml");
    let lab = Lab::with(&[("demo.yaml", &std::fs::read_to_string(file).expect("the demo"))]);
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

#[test]
fn the_demo_runs_whole_and_then_only_what_a_change_needs() {
    let lab = match demo() {
        Ok(lab) => lab,
        Err(why) => return skipped(&why),
    };
    let first = lab.line("run demo.yaml --json");
    assert_eq!(first.code, 0, "{first:#?}");
    assert_eq!(first.finished()["ran"], 64);
    let table = lab.line("show demo.yaml leaderboard --rows 20");
    for row in ["CF", "V1", "V2.1", "V2.2", "V3.1", "V3.2", "V4", "popularity"] {
        assert!(table.stdout.contains(&format!("  {row} ")), "no {row} in {}", table.stdout);
    }

    let again = lab.line("run demo.yaml --json").finished();
    assert_eq!((&again["ran"], &again["cached"], &again["requests"]), (&0.into(), &70.into(), &0.into()));

    lab.edit(
        "demo.yaml",
        "variants:\n",
        "variants:\n  lyric: { text: lyrics, tower: text, features: [artist, tag] }\n",
    );
    let mut ran = lab.ran("demo.yaml");
    ran.sort();
    assert_eq!(ran, ["evaluate@lyric", "leaderboard", "train@lyric", "vectors@lyric"]);

    lab.edit("demo.yaml", "min_per_user: 5", "min_per_user: 12");
    let changed = lab.line("run demo.yaml --json");
    assert_eq!(changed.finished()["requests"], 0);
    let ran = changed.outcomes(&["ran", "unchanged"]);
    assert!(ran.contains(&"core".to_owned()) && ran.contains(&"train@V4".to_owned()), "{ran:?}");
    assert!(!ran.iter().any(|stage| stage.starts_with("vectors") || stage == "interactions"), "{ran:?}");
    lab.edit("demo.yaml", "min_per_user: 12", "min_per_user: 5");
    assert_eq!(lab.line("run demo.yaml --json").finished()["ran"], 0);
}
