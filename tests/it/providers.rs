//! `providers:` from a file to a leaderboard, in a sandbox: names resolved,
//! lyrics asked by them, summaries and vectors by servers that YAML describes.

use serde_json::Value;

use crate::lab::{Lab, ok};

const PIPELINE: &str = r#"
pipeline: served
sandbox: { seed: 3, users: 60, songs: 40, loved_per_user: 20 }
vars: { who: house }
providers:
  house:
    base_url: http://big-box:8000/v1
    api_key: "${env.HOUSE_KEY}"
    limiter: chat
    model: "${variant.model}"
    usd_per_million_prompt_tokens: 0.02
    usd_per_million_completion_tokens: 0.08
stages:
  users: { kind: crawl_users, with: { seed_user: RJ, max_users: 60 } }
  loved: { kind: crawl_loved_tracks, inputs: { users: users }, with: { per_user: 50 } }
  catalog:
    kind: sql
    inputs: { loved: loved }
    with: { query: "select distinct artist, title from loved order by artist, title" }
  matched: { kind: match_tracks, inputs: { loved: loved, catalog: catalog } }
  resolved: { kind: resolve_tracks, inputs: { tracks: matched.items } }
  lyrics: { kind: crawl_lyrics, inputs: { tracks: resolved } }
  summaries:
    kind: summarize
    inputs: { items: resolved }
    with: { provider: "${var.who}", prompt: "What is {{ title }} by {{ artist }} about?" }
  vectors:
    kind: embed_remote
    inputs: { texts: summaries }
    with: { provider: "${var.who}", dimensions: 16 }
  core: { kind: filter_k_core, inputs: { interactions: matched }, with: { min_per_user: 2, min_per_item: 2 } }
  split: { kind: split_leave_last_out, inputs: { interactions: core } }
  model:
    kind: train_two_tower
    inputs: { split: split, vectors: vectors }
    with: { tower: text, epochs: 1 }
variants:
  small: { model: small }
"#;

fn served() -> Lab {
    Lab::with(&[("served.yaml", PIPELINE)])
}

fn rows(lab: &Lab, stage: &str) -> Vec<Value> {
    let shown = ok(lab.line(&format!("show served.yaml {stage} --rows 100 --json")));
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    shown["first_rows"].as_array().expect("rows").clone()
}

#[test]
fn a_server_described_in_yaml_summarizes_and_embeds() {
    let lab = served();
    let ran = lab.ran("served.yaml");
    assert!(ran.contains(&"model@small".to_owned()) && ran.contains(&"resolved".to_owned()), "{ran:?}");

    let resolved = rows(&lab, "resolved");
    let known = resolved.iter().filter(|row| row["status"] == "ok");
    assert!(known.clone().count() * 2 > resolved.len(), "most are found: {resolved:?}");
    assert!(known.clone().all(|row| row["duration_secs"].as_i64() > Some(0) && row["deezer_id"].is_i64()));
    assert!(resolved.iter().all(|row| row["artist"].is_string() && row["title"].is_string()), "all keep a name");

    let vectors = rows(&lab, "vectors@small");
    assert_eq!(vectors.len(), resolved.len());
    assert!(vectors.iter().all(|row| row["vector"].as_array().is_some_and(|vector| vector.len() == 16)));
}

#[test]
fn prices_keys_and_limiters_make_nothing_stale_and_a_model_does() {
    let lab = served();
    lab.ran("served.yaml");
    lab.edit("served.yaml", "0.08", "0.09");
    lab.edit("served.yaml", "HOUSE_KEY", "OTHER_KEY");
    assert!(lab.ran("served.yaml").is_empty());
    lab.edit("served.yaml", "{ model: small }", "{ model: large }");
    lab.edit("served.yaml", "dimensions: 16", "dimensions: 8");
    lab.edit("served.yaml", "big-box", "bigger-box");
    let why = ok(lab.line("why served.yaml summaries@small"));
    for place in ["served.yaml:7", "served.yaml:38 (variant small)"] {
        assert!(why.contains(place), "{place} is not named: {why}");
    }
    let ran = lab.ran("served.yaml");
    assert!(ran.contains(&"summaries@small".to_owned()) && !ran.contains(&"lyrics".to_owned()), "{ran:?}");
}

#[test]
fn the_variables_of_a_provider_are_asked_for_by_name() {
    let lab = served();
    lab.edit("served.yaml", "sandbox: { seed: 3, users: 60, songs: 40, loved_per_user: 20 }\n", "");
    let answer = lab.line("run served.yaml");
    assert_ne!(answer.code, 0);
    assert!(answer.stderr.contains("HOUSE_KEY") && answer.stderr.contains("a key of the server"), "{answer:#?}");
}

/// What a reader copies must be taken as it stands.
#[test]
fn every_example_of_the_page_is_accepted() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.contains("stages:\n")).collect();
    assert!(whole.len() >= 5, "the page shows {} pipelines", whole.len());
    for block in whole {
        let name = if block.contains("pipeline:") { "" } else { "pipeline: example\n" };
        let mut text = format!("{name}{block}");
        for stage in ["songs", "summaries"].into_iter().filter(|stage| !block.contains(&format!("  {stage}:"))) {
            let table = format!("stages:\n  {stage}: {{ kind: read_table, with: {{ path: {stage}.csv }} }}\n");
            text = text.replacen("stages:\n", &table, 1);
        }
        let lab = Lab::with(&[("page.yaml", &text)]);
        let answer = lab.line("check page.yaml");
        assert_eq!(answer.code, 0, "{text}\n{answer:#?}");
    }
}
