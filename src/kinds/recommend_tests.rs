//! The recommender's kinds together, on tables in memory: a model is trained
//! and evaluated as the engine would have it done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, Float32Builder, ListBuilder, StringArray};
use serde_json::{Value, json};

use super::find;
use crate::ground::Seed;
use crate::stage::{Input, OutputSink, Progress, RowEnd, StageContext, StageError};
use crate::table::{Table, TableError};

/// Keeps the outputs and the warnings.
#[derive(Clone, Default)]
struct Kept {
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl OutputSink for Kept {
    fn append(&mut self, port: &str, table: &Table) -> Result<(), TableError> {
        self.tables.lock().unwrap().insert(port.to_owned(), table.clone());
        Ok(())
    }
}

impl Progress for Kept {
    fn total(&self, _rows: u64) {}
    fn advance(&self, _rows: u64) {}
    fn ended(&self, _end: RowEnd<'_>) {}
    fn note(&self, _text: &str) {}
    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap().push(text.to_owned());
    }
}

type Outcome = Result<(BTreeMap<String, Table>, String), StageError>;

fn run(kind: &str, with: &Value, inputs: &[(&str, &Table)]) -> Outcome {
    run_seeded(kind, with, inputs, 0)
}

fn run_seeded(kind: &str, with: &Value, inputs: &[(&str, &Table)], seed: u64) -> Outcome {
    let stage = find(kind).unwrap().parse(with).unwrap();
    let kept = Kept::default();
    let ports: Vec<String> = stage.inputs().into_iter().map(|port| port.name).collect();
    assert!(inputs.iter().all(|(port, _)| ports.contains(&(*port).to_owned())));
    let inputs = inputs.iter().map(|(port, table)| (*port, vec![Input::of_table(*port, (*table).clone())]));
    let mut context = StageContext::for_test(inputs.collect(), Box::new(kept.clone()));
    context.progress = Arc::new(kept.clone());
    context.seed = Seed::of_stage(seed, kind);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stage.run(&context))?;
    let tables = kept.tables.lock().unwrap().clone();
    for port in stage.outputs() {
        let names: Vec<&String> = port.columns.iter().map(|column| &column.0).collect();
        assert_eq!(tables[&*port.name].column_names().iter().collect::<Vec<_>>(), names);
    }
    let warnings = kept.warnings.lock().unwrap().join("\n");
    Ok((tables, warnings))
}

fn text_table(columns: &[(&str, Vec<String>)]) -> Table {
    let array = |values: &Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values.clone())) };
    Table::of_columns(columns.iter().map(|(name, values)| (*name, array(values)))).unwrap()
}

/// Two circles of ten users with ten items each: users like their circle's.
fn circles() -> Table {
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for user in 0..20 {
        for place in 0..8 {
            let item = (user % 2) * 10 + (user / 2 + place) % 10;
            let part = ["train", "train", "train", "train", "train", "train", "validation", "test"][place];
            let row = [user.to_string(), format!("song {item:02}"), part.to_owned()];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    let [users, items, parts] = columns;
    text_table(&[("user_id", users), ("item_id", items), ("part", parts)])
}

fn metric(metrics: &Table, part: &str, slice: &str, name: &str) -> Option<f64> {
    let column = |name: &str| metrics.strings(name).unwrap();
    let (parts, slices, names) = (column("part"), column("slice"), column("metric"));
    let values = metrics.floats("value").unwrap();
    let row = (0..metrics.rows())
        .find(|row| parts.value(*row) == part && slices.value(*row) == slice && names.value(*row) == name)?;
    values.is_valid(row).then(|| values.value(row))
}

#[test]
fn a_model_learns_circles_that_popularity_cannot_see() {
    let split = circles();
    let mut vectors = ListBuilder::new(Float32Builder::new());
    let ids: Vec<String> = (0..19).map(|item| format!("song {item:02}")).collect();
    (0..19).for_each(|item| vectors.append_value([Some(if item < 10 { 1.0 } else { -1.0 }), Some(0.5)]));
    let lists: ArrayRef = Arc::new(vectors.finish());
    let keys: ArrayRef = Arc::new(StringArray::from(ids));
    let vectors = Table::of_columns([("item_id", keys), ("vector", lists)]).unwrap();
    let users = text_table(&[
        ("user_id", (0..20).map(|user| user.to_string()).collect()),
        ("country", (0..20).map(|user| ["NL", "BR"][user % 2].to_owned()).collect()),
    ]);
    let with = json!({"user_features": ["country"], "epochs": 30, "batch_size": 32, "patience": 0});
    let inputs = [("split", &split), ("vectors", &vectors), ("users", &users)];
    let (trained, warnings) = run("train_two_tower", &with, &inputs).unwrap();
    assert!(warnings.contains("1 of 20 items have no text vector"), "{warnings}");
    assert_eq!(trained["curve"].rows(), 30);
    let (popular, _) = run("popularity", &json!({}), &[("split", &split)]).unwrap();
    let measure = |model: &Table| {
        let (tables, _) = run("evaluate", &json!({"k": [4]}), &[("split", &split), ("model", model)]).unwrap();
        assert_eq!(tables["ranks"].rows(), 40);
        assert_eq!(tables["ranks"].integers("candidates").unwrap().values()[..], [14; 40]);
        metric(&tables["metrics"], "test", "all", "hr").unwrap()
    };
    let (learnt, baseline) = (measure(&trained["model"]), measure(&popular["model"]));
    assert!(learnt > baseline + 0.1, "{learnt} {baseline}");
}

#[test]
fn the_number_of_threads_decides_no_model_and_no_metric() {
    let split = circles();
    let with = json!({"tower": "ids", "epochs": 1, "batch_size": 64, "patience": 0});
    let made = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let hashes = |tables: &BTreeMap<String, Table>| -> Vec<_> {
            tables.values().map(|table| crate::table::column_hashes(table).unwrap()).collect()
        };
        pool.install(|| {
            let (model, _) = run("train_two_tower", &with, &[("split", &split)]).unwrap();
            let inputs = [("split", &split), ("model", &model["model"])];
            let (metrics, _) = run("evaluate", &json!({"k": [4]}), &inputs).unwrap();
            (hashes(&model), hashes(&metrics))
        })
    };
    assert_eq!(made(1), made(4));
}

#[test]
fn what_cannot_be_used_is_explained() {
    let split = circles();
    let failed = |result: Result<_, StageError>| match result {
        Err(StageError::Failed { what, hint }) => format!("{what} | {}", hint.unwrap_or_default()),
        _ => panic!("it should have failed"),
    };
    let missing = failed(run("train_two_tower", &json!({"item_features": ["tag"]}), &[("split", &split)]).map(drop));
    assert!(missing.contains("need the input `items`"), "{missing}");
    let (popular, _) = run("popularity", &json!({}), &[("split", &split)]).unwrap();
    let other = text_table(&["user_id", "item_id", "part"].map(|name| (name, vec!["train".to_owned()])));
    let foreign = failed(run("evaluate", &json!({}), &[("split", &other), ("model", &popular["model"])]).map(drop));
    assert!(foreign.contains("other users or items"), "{foreign}");
}

#[test]
fn a_model_is_ranked_with_again_and_its_vocabulary_names_every_row() {
    let split = circles();
    let users = text_table(&[
        ("user_id", (0..19).map(|user| user.to_string()).collect()),
        ("country", (0..19).map(|user| ["NL", "BR"][user % 2].to_owned()).collect()),
    ]);
    let with = |epochs: u32, select: &str| {
        json!({"user_features": ["country"], "epochs": epochs, "batch_size": 64, "select": select, "tower_width": 24,
               "loss": "sampled_softmax", "temperature": 0.5})
    };
    let inputs = [("split", &split), ("users", &users)];
    let (trained, _) = run("train_two_tower", &with(2, "test_best"), &inputs).unwrap();
    let model = &trained["model"];
    assert!(model.strings("name").unwrap().iter().flatten().any(|name| name == "selected_on_test"));
    let again = [("split", &split), ("users", &users), ("initial", model)];
    let (ranked, warnings) = run("train_two_tower", &with(0, "validation"), &again).unwrap();
    assert_eq!((&ranked["model"], ranked["curve"].rows()), (model, 1));
    assert!(!warnings.contains("stalled"), "{warnings}");
    let vocabulary = &trained["vocabulary"];
    let row = |row: usize| {
        let [tower, feature, value] = ["tower", "feature", "value"]
            .map(|name| vocabulary.strings(name).unwrap().iter().nth(row).unwrap().map(str::to_owned));
        (tower.unwrap(), feature.unwrap(), vocabulary.integers("code").unwrap().value(row), value)
    };
    let text = str::to_owned;
    assert_eq!(row(3), (text("user_tower"), text("id"), 3, Some(text("3"))));
    assert_eq!(row(20), (text("user_tower"), text("country"), 0, None));
    assert_eq!(row(22), (text("user_tower"), text("country"), 2, Some(text("NL"))));
    assert_eq!((row(23).0, vocabulary.rows()), (text("item_tower"), 43));
}

#[test]
fn settings_are_resolved_and_checked() {
    let kind = find("train_two_tower").unwrap();
    let settings = |with: Value| kind.parse(&with).unwrap().settings();
    let paper = json!({
        "tower": "text", "user_features": [], "item_features": [],
        "scorer": "dot_compress", "score_activation": "gelu",
        "embedding_width": 96, "hidden": [128, 64], "tower_width": 192, "compress_width": 96, "scorer_hidden": [128, 64],
        "activation": "gelu", "loss": "margin", "margin": 1.0, "temperature": null, "logq": null,
        "learning_rate": 2e-5, "learning_rate_decay": "none", "epochs": 5, "patience": 0, "batch_size": 1024,
        "negatives_out_of_batch": 20, "negatives_in_batch": 20, "negatives_exclude": "train", "select": "validation",
    });
    assert_eq!(settings(json!({})), paper);
    assert_eq!(settings(json!({"preset": "paper"})), paper);
    let mut inner_product = paper.clone();
    for (name, value) in [
        ("scorer", json!("dot")),
        ("score_activation", json!("none")),
        ("learning_rate", json!(3e-3)),
        ("epochs", json!(7)),
        ("patience", json!(6)),
    ] {
        inner_product[name] = value;
    }
    assert_eq!(settings(json!({"preset": "inner_product", "epochs": 7})), inner_product);
    let ids = kind.parse(&json!({"tower": "ids", "item_features": ["tag"]})).unwrap();
    let columns: Vec<_> = ids.inputs().into_iter().skip(1).take(3).map(|port| port.columns).collect();
    assert!(columns.iter().all(|columns| *columns == crate::stage::Columns::Named(Vec::new())));
    let Err(problems) = kind.parse(&json!({"epochs": 0, "margin": -1.0, "item_features": ["a", "a"]})) else {
        panic!()
    };
    assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["margin", "item_features"]);
    let softmax = settings(json!({"loss": "sampled_softmax", "learning_rate_decay": {"exponential": 0.9}}));
    assert_eq!(
        (&softmax["temperature"], &softmax["logq"], &softmax["margin"]),
        (&json!(1.0), &json!(true), &Value::Null)
    );
    let wrong = json!({"logq": true, "hidden": [0, 64], "learning_rate_decay": {"exponential": 2.0}});
    let Err(problems) = kind.parse(&wrong) else { panic!() };
    let paths: Vec<_> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["logq", "learning_rate_decay", "hidden"]);
    let Err(problems) = find("evaluate").unwrap().parse(&json!({"k": []})) else { panic!() };
    assert_eq!(problems[0].path, "k");
}

/// The split of REFERENCE.md, straight from the files: latest time per pair,
/// 5-core, last by (time, artist) is test.
fn hetrec(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap();
    let mut latest: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let numbers: Vec<i64> = line.split('\t').map(|field| field.trim().parse().unwrap()).collect();
        let at = latest.entry((numbers[0], numbers[1])).or_insert(numbers[3]);
        *at = numbers[3].max(*at);
    }
    loop {
        let mut degrees = [const { BTreeMap::new() }; 2];
        for (user, item) in latest.keys() {
            *degrees[0].entry(*user).or_insert(0) += 1;
            *degrees[1].entry(*item).or_insert(0) += 1;
        }
        let before = latest.len();
        latest.retain(|(user, item), _| degrees[0][user] >= 5 && degrees[1][item] >= 5);
        if latest.len() == before {
            break;
        }
    }
    let mut by_user: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for ((user, item), at) in latest {
        by_user.entry(user).or_default().push((at, item));
    }
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for (user, mut items) in by_user {
        items.sort_unstable();
        for (place, (_, item)) in items.iter().rev().enumerate() {
            let row = [user.to_string(), item.to_string(), ["test", "validation", "train"][place.min(2)].to_owned()];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    let [users, items, parts] = columns;
    text_table(&[("user_id", users), ("item_id", items), ("part", parts)])
}

#[test]
fn popularity_on_hetrec_is_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/datasets/hetrec2011-lastfm-2k/user_taggedartists-timestamps.dat");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return;
    }
    let split = hetrec(&path);
    assert_eq!(split.rows(), 52_551);
    let (popular, _) = run("popularity", &json!({}), &[("split", &split)]).unwrap();
    let (tables, _) = run("evaluate", &json!({}), &[("split", &split), ("model", &popular["model"])]).unwrap();
    let near = |slice: &str, name: &str, expected: f64| {
        let found = metric(&tables["metrics"], "test", slice, name).unwrap();
        assert!((found - expected).abs() < 1e-6, "{slice} {name}: {found}");
    };
    near("all", "hr", 0.055_046);
    near("all", "ndcg", 0.025_689);
    near("warm", "hr", 0.116_959);
    near("cold", "hr", 0.0);
}

#[test]
#[ignore = "minutes: three trainings on real data"]
fn two_towers_on_hetrec_are_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets/hetrec2011-lastfm-2k");
    let path = folder.join("user_taggedartists-timestamps.dat");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return;
    }
    let split = hetrec(&path);
    let mut total = 0.0;
    for seed in 0..3 {
        let (trained, warnings) =
            run_seeded("train_two_tower", &json!({"tower": "ids"}), &[("split", &split)], seed).unwrap();
        let model = &trained["model"];
        let (tables, _) = run("evaluate", &json!({}), &[("split", &split), ("model", model)]).unwrap();
        let [hr, ndcg] = ["hr", "ndcg"].map(|name| metric(&tables["metrics"], "test", "all", name).unwrap());
        println!("CF seed {seed}: HR@10 {hr:.4} NDCG@10 {ndcg:.4} {warnings}");
        total += hr;
    }
    assert!((total / 3.0 - 0.055).abs() < 0.012, "{}", total / 3.0);
}
