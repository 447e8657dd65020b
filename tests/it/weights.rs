//! Weights out to PyTorch and back: the file, the scores that a module gives,
//! and a pipeline that ranks with what came back.

use std::fmt::Write as _;
use std::process::Command;

use crate::lab::{Lab, ok, skipped};

const PIPELINE: &str = "\
pipeline: weights
stages:
  split:
    kind: read_table
    with: { path: split.csv }
  items:
    kind: read_table
    with: { path: items.csv }
  model:
    kind: train_two_tower
    inputs: { split: split, items: items }
    with: { item_features: [tag], scorer: dot_compress, epochs: 2, batch_size: 32, tower_width: 24, hidden: [20, 12] }
";

const AGAIN: &str = "  weights:
    kind: read_table
    with: { path: back.parquet }
  again:
    kind: train_two_tower
    inputs: { split: split, items: items, initial: weights }
    with: { item_features: [tag], scorer: dot_compress, epochs: 0, batch_size: 32, tower_width: 24, hidden: [20, 12] }
  metrics:
    kind: evaluate
    inputs: { split: split, model: weights }
";

/// Scores by the file's vectors and by the module's own towers, and a copy that
/// PyTorch has saved.
const PYTHON: &str = r#"
import sys, csv
sys.path.insert(0, sys.argv[1])
import pyarrow.parquet as pq, torch
from safetensors.torch import save_file
from torch_model import TwoTower
model, tensors, about = TwoTower.load("model.safetensors")
assert about["kind"] == "train_two_tower" and about["settings"]["tower_width"] == 24, about
rows = pq.read_table("model.vocabulary.parquet").to_pylist()
code = {(r["tower"], r["feature"], r["value"]): r["code"] for r in rows}
ids = [r["value"] for r in rows if (r["tower"], r["feature"]) == ("item_tower", "id")]
tags = {r["item_id"]: r["tag"] for r in csv.DictReader(open("items.csv"))}
users = model.user_tower({"id": torch.arange(len(tensors["user_vectors"]))})
tag = [code["item_tower", "tag", tags[i]] if i in tags else 0 for i in ids]
items = model.item_tower({"id": torch.arange(len(ids)), "tag": torch.tensor(tag)})
worst = 0.0
for u in range(len(users)):
    mine = model.score(users[u].expand_as(items), items)
    known = model.score(tensors["user_vectors"][u].expand_as(items), tensors["item_vectors"])
    worst = max(worst, ((mine - known).abs().max() / known.abs().max()).item())
assert worst < 1e-5, worst
save_file({**model.state_dict(), "user_vectors": users.detach(), "item_vectors": items.detach(),
           "scorer.gelu": tensors["scorer.gelu"]}, "torch.safetensors")
print("largest difference", worst)
"#;

fn lab() -> Lab {
    let mut split = "user_id,item_id,part\n".to_owned();
    for user in 0..12 {
        for at in 0..6 {
            let part = ["train", "train", "train", "train", "validation", "test"][at];
            writeln!(split, "{user},{},{part}", (user * 5 + at * (1 + user % 3)) % 17).expect("a string");
        }
    }
    let items: Vec<String> = (0..15).map(|item| format!("{item},{}", ["rock", "jazz", "folk"][item % 3])).collect();
    Lab::with(&[
        ("refrain.yaml", PIPELINE),
        ("split.csv", &split),
        ("items.csv", &format!("item_id,tag\n{}\n", items.join("\n"))),
    ])
}

#[test]
fn weights_come_back_as_they_went_and_are_ranked_with() {
    let lab = lab();
    lab.ran("refrain.yaml");
    ok(lab.line("weights export refrain.yaml model --safetensors model.safetensors"));
    assert!(lab.path("model.vocabulary.parquet").is_file());
    ok(lab.line("weights import model.safetensors back.parquet"));
    lab.write("refrain.yaml", &(PIPELINE.to_owned() + AGAIN));
    lab.ran("refrain.yaml");
    let rows = |reference: &str| {
        let shown = lab.line(&format!("show refrain.yaml {reference} --json --rows 100"));
        let shown: serde_json::Value = serde_json::from_str(&ok(shown)).expect("JSON");
        let mut rows = shown["first_rows"].as_array().expect("rows").clone();
        rows.sort_by_key(|row| row["name"].to_string());
        rows
    };
    assert_eq!(rows("weights"), rows("model"));
    assert_eq!(rows("again"), rows("model"));
}

#[test]
fn what_cannot_be_exported_or_imported_says_so() {
    let lab = lab();
    lab.ran("refrain.yaml");
    let answer = lab.line("weights export refrain.yaml items --safetensors model.safetensors");
    assert!(answer.code == 2 && answer.stderr.contains("no table of tensors"), "{answer:#?}");
    let answer = lab.line("weights import split.csv back.parquet");
    assert!(answer.code == 2 && answer.stderr.contains("no safetensors file"), "{answer:#?}");
}

#[test]
fn pytorch_gives_the_same_scores_and_its_file_can_be_ranked_with() {
    let python = std::env::var("REFRAIN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import torch, safetensors, pyarrow"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        skipped(&format!("`{python}` has no torch, safetensors and pyarrow; name another in REFRAIN_TEST_PYTHON"));
        return;
    }
    let lab = lab();
    lab.ran("refrain.yaml");
    ok(lab.line("weights export refrain.yaml model --safetensors model.safetensors"));
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bench");
    let answer = Command::new(&python).args(["-c", PYTHON, module]).current_dir(lab.path("")).output().expect("python");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    ok(lab.line("weights import torch.safetensors back.parquet"));
    lab.write("refrain.yaml", &(PIPELINE.to_owned() + AGAIN));
    let made = lab.ran("refrain.yaml");
    assert!(made.iter().any(|stage| stage == "again") && made.iter().any(|stage| stage == "metrics"), "{made:?}");
}
