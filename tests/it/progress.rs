//! What a run tells of its rows, requests and tokens: as events, in its log, in
//! its summary, and afterwards.

use std::fs;

use serde_json::Value;

use crate::lab::Lab;

const PIPELINE: &str = "\
pipeline: songs
sandbox: { users: 30, songs: 40 }
stages:
  users:
    kind: crawl_users
    with: { max_users: 10 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { min_per_user: 1 }
  catalog:
    kind: sql
    inputs: { loved: loved }
    with: { query: \"select distinct artist || title as item_id, artist, title from loved order by 1\" }
  summaries:
    kind: summarize
    inputs: { items: catalog }
    with:
      model: sandbox
      prompt: About {{ title }} by {{ artist }}
      usd_per_million_prompt_tokens: 50
      usd_per_million_completion_tokens: 100
";

fn lab() -> Lab {
    Lab::with(&[("pipeline.yaml", PIPELINE)])
}

fn last<'a>(events: &'a [Value], event: &str, stage: &str) -> &'a Value {
    events.iter().rfind(|e| e["event"] == event && e["stage"] == stage).expect("such an event")
}

/// The folder of the newest run.
fn folder(lab: &Lab) -> std::path::PathBuf {
    let runs = lab.line("runs --json --limit 1");
    let runs: Value = serde_json::from_str(&runs.stdout).expect("a list");
    lab.path("artifacts/runs-v1").join(runs[0]["run"].as_str().expect("a name"))
}

#[test]
fn rows_requests_tokens_and_money_are_told_and_remembered() {
    let lab = lab();
    let answer = lab.line("run --json");
    assert_eq!(answer.code, 0, "{answer:#?}");
    let events = answer.events();
    let progress = last(&events, "stage_progress", "summaries");
    let finished = last(&events, "stage_finished", "summaries");
    let rows = finished["rows"].as_u64().expect("rows");
    assert!(rows > 10, "{rows}");
    assert_eq!((&progress["rows"], &progress["total"]), (&finished["rows"], &finished["rows"]));
    for name in ["requests", "prompt_tokens", "completion_tokens", "usd", "statuses"] {
        assert_eq!(progress[name], finished[name], "{name}");
    }
    assert_eq!(finished["statuses"].as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>(), rows);
    let tokens = |name: &str| finished[name].as_f64().expect("a number");
    let cost = (tokens("prompt_tokens") * 50.0 + tokens("completion_tokens") * 100.0) / 1e6;
    assert!(cost > 0.0 && (tokens("usd") - cost).abs() < 1e-9, "{finished}");
    // Profiles and lists of friends are no rows, and are counted all the same.
    assert!(last(&events, "stage_finished", "users")["statuses"]["ok"].as_u64() > Some(10));

    let folder = folder(&lab);
    let log = fs::read_to_string(folder.join("events.jsonl")).expect("a log");
    let logged: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(last(&logged, "stage_progress", "summaries"), progress, "the last word is logged");
    let summary: Value = serde_json::from_slice(&fs::read(folder.join("summary.json")).expect("a summary")).unwrap();
    assert_eq!(summary["usd"], answer.finished()["usd"]);
    assert_eq!(summary["results"][3]["statuses"], finished["statuses"]);
    let runs = lab.line("runs");
    assert!(runs.stdout.contains("cost") && runs.stdout.contains('$'), "{runs:#?}");

    let again = lab.line("run").stderr;
    assert!(again.ends_with("0 ran, 4 cached, 0 failed\n"), "what costs nothing tells no cost: {again}");
}

#[test]
fn a_run_without_an_end_tells_what_it_has_spent_and_where_it_is() {
    let lab = lab();
    assert_eq!(lab.line("run --json").code, 0);
    let folder = folder(&lab);
    let log = fs::read_to_string(folder.join("events.jsonl")).expect("a log");
    fs::remove_file(folder.join("summary.json")).expect("a summary");
    let lines: Vec<&str> = log.lines().collect();
    let progress = lines.iter().rposition(|line| line.contains("stage_progress")).expect("progress");
    let torn = format!("{}\n{{\"event\":\"sta", lines[..=progress].join("\n"));
    lab.write(folder.join("events.jsonl").strip_prefix(lab.path("")).unwrap().to_str().unwrap(), &torn);
    let events: Vec<Value> = lines[..=progress].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let spent: u64 = ["users", "loved", "summaries"]
        .iter()
        .filter_map(|stage| last(&events, "stage_progress", stage)["requests"].as_u64())
        .sum();
    let runs: Value = serde_json::from_str(&lab.line("runs --json").stdout).expect("a list");
    assert_eq!((runs[0]["state"].as_str(), runs[0]["requests"].as_u64()), (Some("crashed"), Some(spent)));
    assert!(runs[0]["usd"].as_f64() > Some(0.0));
    let held = fs::File::open(folder.join("events.jsonl")).unwrap();
    held.lock().unwrap();
    let status = lab.line("status").stdout;
    let (_, told) = status.split_once(" is at work since ").unwrap_or_else(|| panic!("no run at work in {status}"));
    let line = told.lines().nth(1).unwrap_or_default();
    assert!(line.starts_with("  summaries  ") && line.contains(" rows  "), "{told}");
}
