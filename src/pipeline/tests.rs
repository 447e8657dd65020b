//! What files mean and what is said of their mistakes, on tiny kinds.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::{KINDS, SAMPLE, brief, lines, load, load_with, problems};
use super::{Detail, Refresh, dot, mermaid};

/// A pipeline of one table and the given further stages, indented by two.
fn with_stages(stages: &str) -> String {
    format!("pipeline: p\nstages:\n  loved: {{ kind: read_table, with: {{ path: a.csv }} }}\n{stages}")
}

#[test]
fn the_sample_expands_into_these_instances() {
    insta::assert_snapshot!(lines(&load(SAMPLE).unwrap()).join("\n"), @"");
}

#[test]
fn seeds_refreshes_and_settings_arrive() {
    let pipeline = load(SAMPLE).unwrap();
    let of = |id: &str| pipeline.instances.iter().find(|instance| instance.id.to_string() == id).unwrap();
    assert_eq!(of("model@V1#1").seed, 1);
    assert_eq!(of("core").seed, 7);
    assert_eq!(of("words").refresh, Refresh::After(Duration::from_secs(30 * 86_400)));
    assert_eq!(of("words").stage.settings()["api_key"], "${env.KEY}");
    assert_eq!(of("core").stage.settings()["min_per_user"], 5);
    assert_eq!(of("model@CF#0").stage.settings()["tower"], "ids");
    assert_eq!((pipeline.limiters.len(), pipeline.budgets.len(), pipeline.variants.join(" ")), (1, 1, "CF V1".into()));
    assert_eq!(pipeline.sandbox.unwrap().users, 50);
    let one_seed = load(&SAMPLE.replace("seeds: [0, 1]\n", "")).unwrap();
    assert!(one_seed.instances.iter().all(|instance| instance.id.seed.is_none() && instance.seed == 7));
}

#[test]
fn set_values_replace_defaults_and_keep_their_type() {
    let pipeline = load_with(SAMPLE, &[("least", "9"), ("folder", "10")]).unwrap();
    let of = |id: &str| pipeline.instances.iter().find(|instance| instance.id.to_string() == id).unwrap();
    assert_eq!(of("core").stage.settings()["min_per_user"], 9);
    assert_eq!(of("loved").stage.settings()["path"], "10/loved.csv");
    let wrong = load_with(SAMPLE, &[("laest", "9"), ("least", "many")]).unwrap_err();
    insta::assert_snapshot!(wrong, @"");
}

#[test]
fn five_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = r#"pipeline: p
limiter: {}
stages:
  loved: { kind: read_table, with: { path: a.csv } }
  core:
    kind: filter_kcore
    inputs: { interactions: loved }
  kept:
    kind: filter_k_core
    inputs: { interactions: lovd }
    with: { min_per_usr: 5 }
  model:
    kind: train_model
    inputs: { splits: kept }
    with: { tower: texts, layers: [64, wide] }
  words:
    kind: crawl_words
    inputs: { items: kept.itms }
    refresh: { after: 30 days }
    with: { prompt: "${var.prompt}" }
"#;
    insta::assert_snapshot!(problems(text), @"");
}

#[test]
fn what_is_not_yaml_is_said_with_its_place() {
    insta::assert_snapshot!(brief("pipeline: p\nstages:\n\tloved: 1\n").join("\n"), @"");
    insta::assert_snapshot!(brief("pipeline: p\nstages: [1, 2\n").join("\n"), @"");
    insta::assert_snapshot!(brief("pipeline: p: q\n").join("\n"), @"");
    insta::assert_snapshot!(brief("").join("\n"), @"");
    insta::assert_snapshot!(brief("- a\n").join("\n"), @"");
    insta::assert_snapshot!(brief("pipeline: p\n---\nmore: 1\n").join("\n"), @"");
}

#[test]
fn keys_given_twice_and_empty_files_are_mistakes() {
    let text = with_stages("  loved: { kind: read_table, with: { path: b.csv, path: c.csv } }\n");
    insta::assert_snapshot!(brief(&text).join("\n"), @"");
    insta::assert_snapshot!(brief("pipeline: p\nstages: {}\n").join("\n"), @"");
    insta::assert_snapshot!(brief("description: 5\nseeds: [1, 1, -2]\nstages: []\n").join("\n"), @"");
}

#[test]
fn names_limiters_and_budgets_are_checked() {
    let text = r#"pipeline: none
limiters: { slow: { per_second: 0 }, fast: { per_secnd: 5 } }
budgets: { slwo: { usd: 1 } }
sandbox: { faults: 2 }
stages:
  1st: { kind: read_table, with: { path: a.csv } }
  words: { kind: crawl_words, inputs: { items: 1st }, with: { limiter: slo } }
"#;
    insta::assert_snapshot!(brief(text).join("\n"), @"");
}

#[test]
fn ports_outputs_columns_and_variants_are_checked() {
    let text = r#"pipeline: p
stages:
  loved: { kind: read_table, with: { path: a.csv, columns: [user, item_id] } }
  core: { kind: filter_k_core, inputs: { interactions: loved }, with: { min_per_user: 1 } }
  kept: { kind: filter_k_core, inputs: { interactions: [core] }, with: { min_per_user: 1 } }
  bare: { kind: filter_k_core, with: { min_per_user: 1 } }
  vectors: { kind: embed, inputs: { texts: "${variant.text}" } }
  one: { kind: embed, inputs: { texts: vectors@* } }
  two: { kind: sql, inputs: { a: core@V1, b: vectors@V3, c: core.itemz } }
  none: { kind: sql, inputs: { a: ~ } }
variants:
  V1: { text: core.items, txet: 5 }
  V2: { text: cor }
  V4: {}
"#;
    insta::assert_snapshot!(brief(text).join("\n"), @"");
}

#[test]
fn cycles_are_named_once_and_whole() {
    let text = r#"pipeline: p
stages:
  a: { kind: sql, inputs: { x: c } }
  b: { kind: sql, inputs: { x: a, y: "${variant.y}" } }
  c: { kind: sql, inputs: { x: b } }
  d: { kind: sql, inputs: { x: d } }
variants: { V1: { y: none }, V2: { y: a } }
"#;
    insta::assert_snapshot!(brief(text).join("\n"), @"");
}

#[test]
fn a_variant_may_build_on_another() {
    let text = with_stages(
        "  model: { kind: train_model, inputs: { split: loved, vectors: \"${variant.from}\" } }\n\
         variants: { V1: { from: none }, V2: { from: model@V1 } }\n",
    );
    assert_eq!(
        lines(&load(&text).unwrap()),
        ["loved", "model@V1 <- split: loved=loved.table", "model@V2 <- split: loved=loved.table; vectors: V1=model@V1.model"]
    );
}

#[test]
fn references_stand_where_they_may_and_nowhere_else() {
    let text = r#"pipeline: p
description: ${variant.x}
vars: { a: "${var.b}", b: ~ }
limiters: { slow: { per_second: "${env.RATE}" } }
stages:
  loved: { kind: read_table, with: { path: "${var.b}/${what}", "${var.a}": 1 } }
  core: { kind: filter_k_core, inputs: { interactions: "${env.WHO}" }, with: { min_per_user: "${variant.k}" } }
"#;
    insta::assert_snapshot!(brief(text).join("\n"), @"");
}

#[test]
fn escapes_are_undone_and_values_are_written_into_longer_texts() {
    let text = with_stages(
        "  words:\n    kind: crawl_words\n    inputs: { items: loved }\n    \
         with: { prompt: \"$${var.x} costs $5, ${var.n} of ${variant.name}\" }\n\
         vars: { n: 25 }\nvariants: { A: { name: '$${n}' } }\n",
    );
    let pipeline = load(&text).unwrap();
    assert_eq!(pipeline.instances[1].stage.settings()["prompt"], "${var.x} costs $5, 25 of ${n}");
}

#[test]
fn aliases_stand_for_values_and_bombs_are_refused() {
    let text = with_stages("  core: { kind: filter_k_core, inputs: &i { interactions: loved }, with: { min_per_user: &n 3 } }\n  more: { kind: filter_k_core, inputs: *i, with: { min_per_user: *n } }\n");
    assert_eq!(load(&text).unwrap().instances.len(), 3);
    let mut bomb = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for n in 1..12 {
        let below = format!("*a{}, ", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{below}]\n"));
    }
    insta::assert_snapshot!(brief(&bomb).join("\n"), @"");
    insta::assert_snapshot!(brief("a: &a [*a]\n").join("\n"), @"");
    insta::assert_snapshot!(brief("pipeline: p\nstages: { <<: { a: 1 } }\n").join("\n"), @"");
    insta::assert_snapshot!(brief("pipeline: !secret p\nseed: .nan\nstages: { a: { ? [b] : c } }\n").join("\n"), @"");
    assert!(load(&"[".repeat(100_000)).is_err());
    assert!(load(&"a: {".repeat(200)).is_err());
}

#[test]
fn a_stage_that_can_never_run_is_a_mistake_and_a_variant_without_it_is_not() {
    let text = with_stages(
        "  vectors: { kind: embed, inputs: { texts: \"${variant.text}\" } }\n  report: { kind: sql, inputs: { v: vectors@CF } }\n  after: { kind: sql, inputs: { v: report } }\n  never: { kind: embed, inputs: { texts: none } }\nvariants: { CF: { text: none }, V1: { text: loved } }\n",
    );
    insta::assert_snapshot!(brief(&text).join("\n"), @"");
}

#[test]
fn labels_are_made_longer_until_they_differ() {
    let text = with_stages(
        "  core: { kind: filter_k_core, inputs: { interactions: loved }, with: { min_per_user: \"${variant.k}\" } }\n  board: { kind: compare, inputs: { metrics: [\"core@*\", core.items@V1, \"other@*\", loved] } }\n  other: { kind: sql, inputs: { c: core } }\nvariants: { V1: { k: 1 }, V2: { k: 2 } }\n",
    );
    let board = lines(&load(&text).unwrap()).into_iter().find(|line| line.starts_with("board")).unwrap();
    insta::assert_snapshot!(board, @"");
    let twice = with_stages("  board: { kind: compare, inputs: { metrics: [loved, loved] } }\n");
    insta::assert_snapshot!(brief(&twice).join("\n"), @"");
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("apple.yaml");
    std::fs::File::create(&file).and_then(|mut f| std::io::Write::write_all(&mut f, b"pipeline: p\nseed: \xff\n")).unwrap();
    let load = |path: &Path| super::load(path, &std::collections::BTreeMap::new(), KINDS).unwrap_err().0.remove(0);
    let problem = load(&file);
    let at = problem.at.unwrap();
    assert_eq!((problem.what.as_str(), at.line, at.column), ("this is not UTF-8 text", 2, 7));
    let problem = load(&folder.path().join("aple.yaml"));
    assert!(problem.what.starts_with("could not read"), "{}", problem.what);
    assert!(problem.hint.unwrap().ends_with("apple.yaml`?"));
}

#[test]
fn selectors_name_instances() {
    let pipeline = load(SAMPLE).unwrap();
    let ids = |selector: &str| -> Vec<String> {
        pipeline.select(selector).unwrap().into_iter().map(|index| pipeline.instances[index].id.to_string()).collect()
    };
    assert_eq!(ids("core"), ["core"]);
    assert_eq!(ids("model").len(), 4);
    assert_eq!(ids("model@V1"), ["model@V1#0", "model@V1#1"]);
    assert_eq!(ids("model#1"), ["model@CF#1", "model@V1#1"]);
    assert_eq!(pipeline.select("vectors@CF").unwrap_err().hint.unwrap(), "there is vectors@V1");
    assert_eq!(pipeline.select("modle").unwrap_err().hint.unwrap(), "did you mean `model`?");
}

#[test]
fn drawings_group_the_instances_of_a_stage() {
    let pipeline = load(&SAMPLE.replace("seeds: [0, 1]\n", "")).unwrap();
    insta::assert_snapshot!(mermaid(&pipeline, Detail::Stages), @"");
    insta::assert_snapshot!(dot(&pipeline, Detail::Instances), @"");
}

/// The stages of a pipeline as blocks, so that they can be shuffled.
fn shuffled(order: &[usize], keys_reversed: bool) -> String {
    let stage = |kind: &str, inputs: &str, with: &str| {
        let mut parts = vec![format!("    kind: {kind}\n"), format!("    inputs: {inputs}\n"), format!("    with: {with}\n")];
        if keys_reversed {
            parts.reverse();
        }
        parts.concat()
    };
    let stages = [
        format!("  loved:\n{}", stage("read_table", "{}", "{ path: a.csv }")),
        format!("  core:\n{}", stage("filter_k_core", "{ interactions: loved }", "{ min_per_user: 1, min_per_item: 2 }")),
        format!("  vectors:\n{}", stage("embed", "{ texts: \"${variant.text}\" }", "{}")),
        format!("  model:\n{}", stage("train_model", "{ vectors: vectors, split: core }", "{ tower: \"${variant.tower}\" }")),
        format!("  board:\n{}", stage("compare", "{ metrics: \"model@*\" }", "{}")),
    ];
    let stages: String = order.iter().map(|index| stages[*index].as_str()).collect();
    let variants = ["  CF: { text: none, tower: ids }\n", "  V1: { tower: text, text: core.items }\n"];
    let variants = if keys_reversed { variants[1].to_owned() + variants[0] } else { variants.concat() };
    format!("seeds: [0, 1]\nvariants:\n{variants}stages:\n{stages}pipeline: p\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_keys_never_changes_the_instances(order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(), keys_reversed in any::<bool>()) {
        let set = |text: &str| -> BTreeSet<String> { lines(&load(text).unwrap()).into_iter().collect() };
        prop_assert_eq!(set(&shuffled(&order, keys_reversed)), set(&shuffled(&[0, 1, 2, 3, 4], false)));
    }

    #[test]
    fn no_text_makes_it_panic(text in "([ \\n:{}\\[\\]&*!a-z$\"'-]|stages|variants|\\$\\{var\\.a\\}|kind: sql\\n){0,60}") {
        let loaded = load(&text);
        prop_assert!(loaded.is_err());
    }
}
