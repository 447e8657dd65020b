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
    insta::assert_snapshot!(lines(&load(SAMPLE).unwrap()).join("\n"), @r#"
    loved
    core <- interactions: loved=loved.table
    words <- items: core=core.items
    vectors@V1 <- texts: words=words.texts
    model@CF#0 <- split: core=core.interactions
    model@CF#1 <- split: core=core.interactions
    model@V1#0 <- split: core=core.interactions; vectors: V1=vectors@V1.vectors
    model@V1#1 <- split: core=core.interactions; vectors: V1=vectors@V1.vectors
    baseline <- core: core=core.interactions
    board <- metrics: CF#0=model@CF#0.model, CF#1=model@CF#1.model, V1#0=model@V1#0.model, V1#1=model@V1#1.model, baseline=baseline.table
    "#);
}

#[test]
fn seeds_refreshes_and_settings_arrive() {
    let pipeline = load(SAMPLE).unwrap();
    let of = |id: &str| pipeline.instances.iter().find(|instance| instance.id.to_string() == id).unwrap();
    assert_eq!(of("model@V1#1").seed, 1);
    assert_eq!(of("core").seed, 7);
    assert_eq!(of("words").refresh, Refresh::After(Duration::from_hours(30 * 24)));
    assert_eq!(of("words").stage.settings()["api_key"], "${env.KEY}");
    assert_eq!(of("core").stage.settings()["min_per_user"], 5);
    assert_eq!(of("model@CF#0").stage.settings()["tower"], "ids");
    assert_eq!((pipeline.limiters.len(), pipeline.budgets.len(), pipeline.variants.join(" ")), (1, 1, "CF V1".into()));
    assert_eq!(pipeline.sandbox.unwrap().users, 50);
    let one_seed = load(&SAMPLE.replace("seeds: [0, 1]\n", "")).unwrap();
    assert!(one_seed.instances.iter().all(|instance| instance.id.seed.is_none() && instance.seed == 7));
}

#[test]
fn verdicts_on_models_that_were_trained_once_say_so() {
    let said = |text: &str, verdicts: &[(&str, &str)]| {
        let pipeline = load(text).unwrap();
        let board = pipeline.instances.iter().position(|instance| instance.id.stage == "board").unwrap();
        pipeline.one_seed(board, verdicts.iter().copied())
    };
    let verdicts = [("V1", "better, picked on test"), ("CF", "baseline"), ("baseline", "worse")];
    assert_eq!(said(SAMPLE, &verdicts), None, "two seeds");
    let once = SAMPLE.replace("seeds: [0, 1]\n", "");
    insta::assert_snapshot!(said(&once, &verdicts).unwrap(), @"one seed: V1, CF were each trained once, so `better` and `worse` are said of these models alone; more `seeds:` tell whether another training says the same");
    let one = SAMPLE.replace("seeds: [0, 1]\n", "seeds: [3]\n");
    assert!(said(&one, &[("V1", "worse")]).unwrap().starts_with("one seed: V1 was trained once"));
    assert_eq!(said(&once, &[("V1", "not distinguishable"), ("CF", "baseline")]), None);
    assert_eq!(said(&once, &[("baseline", "better")]), None, "it draws nothing");
}

#[test]
fn set_values_replace_defaults_and_keep_their_type() {
    let pipeline = load_with(SAMPLE, &[("least", "9"), ("folder", "10")]).unwrap();
    let of = |id: &str| pipeline.instances.iter().find(|instance| instance.id.to_string() == id).unwrap();
    assert_eq!(of("core").stage.settings()["min_per_user"], 9);
    assert_eq!(of("loved").stage.settings()["path"], "10/loved.csv");
    let wrong = load_with(SAMPLE, &[("laest", "9"), ("least", "many")]).unwrap_err();
    insta::assert_snapshot!(wrong, @r#"
    error: `--set laest=…` names a variable that the pipeline does not have
      hint: did you mean `least`?

    error: the stage `core`: invalid type: string "many", expected a whole number, at least 0
      --> p.yaml:19:27
       |
    19 |     with: { min_per_user: "${var.least}" }
       |                           ^
      hint: min_per_user: Fewest rows per user.
    "#);
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
    insta::assert_snapshot!(problems(text), @r#"
    error: unknown key `limiter`
     --> p.yaml:2:1
      |
    2 | limiter: {}
      | ^
      hint: did you mean `limiters`?

    error: there is no kind `filter_kcore`
     --> p.yaml:6:11
      |
    6 |     kind: filter_kcore
      |           ^
      hint: did you mean `filter_k_core`?

    error: there is no stage `lovd`, which the input `interactions` of `kept` names
      --> p.yaml:10:29
       |
    10 |     inputs: { interactions: lovd }
       |                             ^
      hint: did you mean `loved`?

    error: the stage `kept`: unknown setting `min_per_usr`
      --> p.yaml:11:13
       |
    11 |     with: { min_per_usr: 5 }
       |             ^
      hint: did you mean `min_per_user`?

    error: the stage `model` has no input `splits`
      --> p.yaml:14:15
       |
    14 |     inputs: { splits: kept }
       |               ^
      hint: did you mean `split`?

    error: the stage `model`: unknown value `texts`, expected `ids` or `text`
      --> p.yaml:15:20
       |
    15 |     with: { tower: texts, layers: [64, wide] }
       |                    ^
      hint: did you mean `text`?

    error: the stage `model`: invalid type: string "wide", expected a whole number, at least 0
      --> p.yaml:15:40
       |
    15 |     with: { tower: texts, layers: [64, wide] }
       |                                        ^
      hint: layers: Widths.

    error: `30 days` is not a duration
      --> p.yaml:19:23
       |
    19 |     refresh: { after: 30 days }
       |                       ^
      hint: write `once`, `always` or `{ after: 30d }`; units are w, d, h, m and s

    error: the variable `prompt` has no value
      --> p.yaml:20:21
       |
    20 |     with: { prompt: "${var.prompt}" }
       |                     ^
      hint: give it with `--set prompt=VALUE`, or a default under `vars:`
    "#);
}

#[test]
fn what_is_not_yaml_is_said_with_its_place() {
    insta::assert_snapshot!(brief("pipeline: p\nstages:\n\tloved: 1\n").join("\n"), @r#"3:2 this is not YAML: tabs disallowed within this context (block indentation) (lines are indented with spaces here, not with tabs)"#);
    insta::assert_snapshot!(brief("pipeline: p\nstages: [1, 2\n").join("\n"), @r#"3:1 this is not YAML: while parsing a flow sequence, expected ',' or ']' (look for a bracket or a quote that is not closed, and at the indentation of this line and the one before)"#);
    insta::assert_snapshot!(brief("pipeline: p: q\n").join("\n"), @r#"1:12 this is not YAML: mapping values are not allowed in this context (a text that contains `: ` needs quotes)"#);
    insta::assert_snapshot!(brief("").join("\n"), @r#"1:1 the file is empty (a pipeline starts with `pipeline: NAME`)"#);
    insta::assert_snapshot!(brief("- a\n").join("\n"), @r#"1:1 a pipeline file must be a mapping, and this is a list (it starts with `pipeline: NAME`)"#);
    insta::assert_snapshot!(brief("pipeline: p\n---\nmore: 1\n").join("\n"), @r#"2:1 a second document starts here (a pipeline file holds one document: remove the `---`)"#);
}

#[test]
fn keys_given_twice_and_empty_files_are_mistakes() {
    let text = with_stages("  loved: { kind: read_table, with: { path: b.csv, path: c.csv } }\n");
    insta::assert_snapshot!(brief(&text).join("\n"), @r#"
    4:3 the key `loved` is given twice in the same mapping (it was first given in line 3, column 3: keep one of the two)
    4:51 the key `path` is given twice in the same mapping (it was first given in line 4, column 38: keep one of the two)
    "#);
    insta::assert_snapshot!(brief("pipeline: p\nstages: {}\n").join("\n"), @r#"2:1 the pipeline has no stages (add at least one below `stages:`; `refrain kinds` lists what stages can do)"#);
    insta::assert_snapshot!(brief("description: 5\nseeds: [1, 1, -2]\nstages: []\n").join("\n"), @r#"
    1:1 the pipeline has no name (add `pipeline: NAME` at the top)
    1:14 `description` must be text, and this is `5`
    2:12 the seed 1 is given twice
    2:15 `seeds` must be a whole number, at least 0, and this is `-2`
    3:9 `stages` must be a mapping, and this is a list
    "#);
}

#[test]
fn names_limiters_and_budgets_are_checked() {
    let text = "pipeline: none
limiters: { slow: { per_second: 0 }, fast: { per_secnd: 5 } }
budgets: { slwo: { usd: 1 } }
sandbox: { faults: 2, limits: { lastfm: { per_day: -1 }, spotify: {} } }
stages:
  1st: { kind: read_table, with: { path: a.csv } }
  words: { kind: crawl_words, inputs: { items: 1st }, with: { limiter: slo } }
";
    insta::assert_snapshot!(brief(text).join("\n"), @r#"
    1:11 `none` is not a name: `none` is kept for "no input"
    2:33 the limiter `slow`: `per_second` must be more than 0 (leave the setting out where there is no limit)
    2:46 the limiter `fast`: unknown setting `per_secnd` (did you mean `per_second`?)
    3:12 the budget `slwo` is for no limiter of that name (did you mean `slow`?)
    4:20 the sandbox: `faults` is a share, from 0 to 1
    4:31 the sandbox: `per_day` of `lastfm` must be more than 0
    4:31 the sandbox: `limits` knows no `spotify`, but lastfm, lyricsovh, lrclib, deezer, chat
    6:3 `1st` is not a name: names start with a letter
    7:48 `1st` is not a name: names start with a letter (an input is `STAGE`, `STAGE.OUTPUT`, `STAGE@VARIANT`, `STAGE@*` or `none`)
    7:72 the stage `words` uses the limiter `slo`, which is not declared (did you mean `slow`? Else declare it under `limiters:`)
    "#);
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
    insta::assert_snapshot!(brief(text).join("\n"), @r#"
    4:56 the stage `core` needs the column `user_id` in its input `interactions`, and `loved` does not write it (the columns of `loved.table` are user, item_id)
    5:56 the input `interactions` of the stage `kept` takes one stage, and this is a list (name one stage)
    6:3 the stage `bare` lacks its input `interactions` (write `inputs: { interactions: STAGE }`)
    8:40 the input `texts` of the stage `one` takes one table, and `vectors@*` may be many (write `vectors` or `vectors@VARIANT`)
    9:34 `core@V1` does not exist: `core` is not repeated per variant (write `core`)
    9:46 there is no variant `V3` (the variants are V1, V2, V4)
    9:61 the stage `core` has no output `itemz` (did you mean `items`?)
    10:3 `none` is not a name: `none` is kept for "no input"
    10:35 the input `a` of the stage `none` must name a stage, and this is nothing (write the name of a stage, or `none` for no input)
    12:27 no stage uses the variants' value `txet` (did you mean `text`?)
    13:15 there is no stage `cor`, which the input `texts` of `vectors` names (did you mean `core`?)
    14:3 the variant `V4` has no value `text`, which the stage `vectors` uses (add `text: VALUE` to it)
    "#);
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
    insta::assert_snapshot!(brief(text).join("\n"), @r#"
    3:32 the stages feed one another in a circle: a -> b -> c -> a (break the circle: one of these inputs must come from elsewhere)
    6:32 the stage `d` reads its own output (break the circle: one of these inputs must come from elsewhere)
    "#);
}

#[test]
fn a_variant_may_build_on_another() {
    let text = with_stages(
        "  model: { kind: train_model, inputs: { split: loved, vectors: \"${variant.from}\" } }\n\
         variants: { V1: { from: none }, V2: { from: model@V1 } }\n",
    );
    assert_eq!(
        lines(&load(&text).unwrap()),
        [
            "loved",
            "model@V1 <- split: loved=loved.table",
            "model@V2 <- split: loved=loved.table; vectors: V1=model@V1.model"
        ]
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
    insta::assert_snapshot!(brief(text).join("\n"), @r#"
    2:14 `${variant.x}` cannot stand here (a variant's values reach the `inputs:` and `with:` of stages; elsewhere use `${var.NAME}`)
    3:12 the variable `b` has no value (give it with `--set b=VALUE`, or a default under `vars:`)
    4:33 `${env.RATE}` cannot stand here (`${env.…}` is for the settings under `with:`; elsewhere use `${var.NAME}`)
    6:44 `${what}` refers to nothing (write `${var.NAME}`, `${variant.NAME}` or `${env.NAME}`, or `$${` for a `${` meant as it stands)
    6:64 the key `${var.a}` holds a reference (only values may hold references)
    6:64 the stage `loved`: unknown setting `${var.a}` (the settings are columns, path)
    7:56 `${env.WHO}` cannot stand here (`${env.…}` is for the settings under `with:`; elsewhere use `${var.NAME}`)
    7:94 `${variant.k}` is used and the file has no `variants:` (add `variants: { V1: { k: VALUE } }`, or use `${var.k}`)
    "#);
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
    let text = with_stages(
        "  core: { kind: filter_k_core, inputs: &i { interactions: loved }, with: { min_per_user: &n 3 } }\n  more: { kind: filter_k_core, inputs: *i, with: { min_per_user: *n } }\n",
    );
    assert_eq!(load(&text).unwrap().instances.len(), 3);
    let mut bomb = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for n in 1..12 {
        let below = format!("*a{}, ", n - 1).repeat(10);
        bomb = format!("{bomb}a{n}: &a{n} [{below}]\n");
    }
    insta::assert_snapshot!(brief(&bomb).join("\n"), @r#"6:45 the file holds more than 1000000 values, with its aliases written out"#);
    insta::assert_snapshot!(brief("a: &a [*a]\n").join("\n"), @r#"1:8 this alias stands for a key, or for a value that contains it (write the value out)"#);
    insta::assert_snapshot!(brief("pipeline: p\nstages: { <<: { a: 1 } }\n").join("\n"), @r#"
    2:1 the pipeline has no stages (add at least one below `stages:`; `refrain kinds` lists what stages can do)
    2:11 merge keys (`<<`) are not supported (repeat the keys, alias a whole value, or give the value once under `vars:`)
    "#);
    insta::assert_snapshot!(brief("pipeline: !secret p\nseed: .nan\nstages: { a: { ? [b] : c } }\n").join("\n"), @r#"
    1:11 the tag `!secret` is not supported (remove it; quotes make a text of anything)
    2:7 `.nan` is not a number that can be used here (put it in quotes if it is meant as text)
    3:18 a key must be text, not a list or a mapping (a text that starts with `{` or `[` needs quotes)
    "#);
    assert!(load(&"[".repeat(100_000)).is_err());
    assert!(load(&"a: {".repeat(200)).is_err());
}

#[test]
fn a_stage_that_can_never_run_is_a_mistake_and_a_variant_without_it_is_not() {
    let text = with_stages(
        "  vectors: { kind: embed, inputs: { texts: \"${variant.text}\" } }\n  report: { kind: sql, inputs: { v: vectors@CF } }\n  after: { kind: sql, inputs: { v: report } }\n  never: { kind: embed, inputs: { texts: none } }\nvariants: { CF: { text: none }, V1: { text: loved } }\n",
    );
    insta::assert_snapshot!(brief(&text).join("\n"), @r#"
    5:37 the stage `report` can never run: its input `v` is never there (a required input of vectors@CF is `none`)
    7:42 the stage `never` can never run: its input `texts` is never there (`texts` is required: name a stage)
    "#);
}

#[test]
fn labels_are_made_longer_until_they_differ() {
    let text = with_stages(
        "  core: { kind: filter_k_core, inputs: { interactions: loved }, with: { min_per_user: \"${variant.k}\" } }\n  board: { kind: compare, inputs: { metrics: [\"core@*\", core.items@V1, \"other@*\", loved] } }\n  other: { kind: sql, inputs: { c: core } }\nvariants: { V1: { k: 1 }, V2: { k: 2 } }\n",
    );
    let board = lines(&load(&text).unwrap()).into_iter().find(|line| line.starts_with("board")).unwrap();
    insta::assert_snapshot!(board, @r#"board <- metrics: core@V1.interactions=core@V1.interactions, core@V1.items=core@V1.items, core@V2=core@V2.interactions, loved=loved.table, other@V1=other@V1.table, other@V2=other@V2.table"#);
    let twice = with_stages("  board: { kind: compare, inputs: { metrics: [loved, loved] } }\n");
    insta::assert_snapshot!(brief(&twice).join("\n"), @r#"4:54 the input `metrics` names `loved` twice (remove one of the two)"#);
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("apple.yaml");
    std::fs::File::create(&file)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"pipeline: p\nseed: \xff\n"))
        .unwrap();
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
    insta::assert_snapshot!(mermaid(&pipeline, Detail::Stages), @r#"
    flowchart LR
      n0["loved<br/><i>read_table</i>"]
      n1["core<br/><i>filter_k_core</i>"]
      n2["words<br/><i>crawl_words</i>"]
      n3["vectors<br/><i>embed</i>"]
      n4["model ×2<br/><i>train_model</i>"]
      n5["baseline<br/><i>sql</i>"]
      n6["board<br/><i>compare</i>"]
      n0 --> n1
      n1 -->|items| n2
      n1 --> n4
      n1 --> n5
      n2 --> n3
      n3 --> n4
      n4 --> n6
      n5 --> n6
    "#);
    insta::assert_snapshot!(dot(&pipeline, Detail::Instances), @r#"
    digraph "sample" {
      rankdir=LR;
      node [shape=box, style=rounded];
      n0 [label="loved\nread_table"];
      n1 [label="core\nfilter_k_core"];
      n2 [label="words\ncrawl_words"];
      n3 [label="vectors@V1\nembed"];
      subgraph cluster_4 { label="model";
        n4 [label="model@CF\ntrain_model"];
        n5 [label="model@V1\ntrain_model"];
      }
      n6 [label="baseline\nsql"];
      n7 [label="board\ncompare"];
      n0 -> n1;
      n1 -> n2 [label="items"];
      n1 -> n4;
      n1 -> n5;
      n1 -> n6;
      n2 -> n3;
      n3 -> n5;
      n4 -> n7;
      n5 -> n7;
      n6 -> n7;
    }
    "#);
}

/// The stages of a pipeline as blocks, so that they can be shuffled.
fn shuffled(order: &[usize], keys_reversed: bool) -> String {
    let stage = |kind: &str, inputs: &str, with: &str| {
        let mut parts =
            [format!("    kind: {kind}\n"), format!("    inputs: {inputs}\n"), format!("    with: {with}\n")];
        if keys_reversed {
            parts.reverse();
        }
        parts.concat()
    };
    let stages = [
        format!("  loved:\n{}", stage("read_table", "{}", "{ path: a.csv }")),
        format!(
            "  core:\n{}",
            stage("filter_k_core", "{ interactions: loved }", "{ min_per_user: 1, min_per_item: 2 }")
        ),
        format!("  vectors:\n{}", stage("embed", "{ texts: \"${variant.text}\" }", "{}")),
        format!(
            "  model:\n{}",
            stage("train_model", "{ vectors: vectors, split: core }", "{ tower: \"${variant.tower}\" }")
        ),
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
