//! Lineage for other tools: what a crate, `MLflow`'s folder and `OpenLineage`
//! events say, read by the tools themselves where they are installed.
//!
//! `REFRAIN_LINEAGE_PYTHON` names a Python that has mlflow-skinny, roc-validator,
//! rocrate and openlineage-python (docs/lineage.md); else `python3` is tried, and what it
//! lacks is skipped with a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::lab::{Answer, Lab, files_below, ok, skipped};

const PIPELINE: &str = "\
pipeline: small
base: base.yaml
vars: { ROOT: . }
stages:
  leaderboard: none
variants:
  slow: { rate: 0.001 }
  fast: { rate: 0.01 }
";

const BASE: &str = "\
pipeline: whole
seed: 3
stages:
  likes:
    kind: read_table
    with: { path: \"${var.ROOT}/likes.csv\" }
  split:
    kind: split_leave_last_out
    inputs: { interactions: likes }
  train:
    kind: train_two_tower
    inputs: { split: split }
    with: { tower: ids, epochs: 2, learning_rate: \"${variant.rate}\", batch_size: 64 }
  evaluate:
    kind: evaluate
    inputs: { split: split, model: train }
  popular: { kind: popularity, inputs: { split: split } }
  popularity: { kind: evaluate, inputs: { split: split, model: popular } }
  leaderboard:
    kind: compare
    inputs: { metrics: [\"evaluate@*\", popularity] }
";

fn lab() -> Lab {
    let mut likes = "user_id,item_id,at\n".to_owned();
    for user in 0..12 {
        for at in 0..6 {
            writeln!(likes, "u{user},i{},{}", (user * 5 + at * (1 + user % 3)) % 17, 1000 + at).expect("a string");
        }
    }
    Lab::with(&[("small.yaml", PIPELINE), ("base.yaml", BASE), ("likes.csv", &likes)])
}

/// Runs a script in the lab's folder; what it printed, or none if it lacks a module.
fn python(lab: &Lab, modules: &str, script: &str, arguments: &[&str]) -> Option<String> {
    let chosen = std::env::var_os("REFRAIN_LINEAGE_PYTHON");
    let python = chosen.clone().unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        assert!(chosen.is_none(), "the Python that REFRAIN_LINEAGE_PYTHON names lacks {modules}");
        skipped(&format!("python3 has no {modules}; what is written is not read by the tool itself"));
        return None;
    }
    let mut command = Command::new(&python);
    command.args(["-c", script]).args(arguments).current_dir(lab.path(".")).env("MLFLOW_ALLOW_FILE_STORE", "true");
    let output = command.output().expect("Python starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// The entities of a crate by id.
fn entities(crate_: &Path) -> BTreeMap<String, Value> {
    let whole = json_of(&crate_.join("ro-crate-metadata.json"));
    let graph = whole["@graph"].as_array().expect("a graph").clone();
    graph.into_iter().map(|entity| (entity["@id"].as_str().expect("an id").to_owned(), entity)).collect()
}

/// Every `{"@id": …}` below a value that is not an entity of its own.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if map.len() == 1 && map.contains_key("@id") => {
            found.insert(map["@id"].as_str().expect("an id").to_owned());
        }
        Value::Object(map) => map.values().for_each(|value| references(value, found)),
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn nothing_of_the_machine(lab: &Lab, text: &str) {
    for word in [lab.path("").display().to_string(), std::env::var("USER").unwrap_or_default() + "@"] {
        assert!(word.len() < 3 || !text.contains(word.trim_end_matches('/')), "`{word}` stands in {text}");
    }
}

/// The contexts of the profiles are on the web, which no test asks: the one of
/// a Python package stands in for RO-Crate's.
const VALIDATE: &str = r#"
import json, os, sys
import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester
context = json.load(open(os.path.join(os.path.dirname(rocrate.__file__), "data", "ro-crate.jsonld")))["@context"]
context.update({term: f"https://bioschemas.org/{term}" for term in ["ComputationalWorkflow", "FormalParameter"]})
context.update({term: f"https://bioschemas.org/properties/{term}" for term in ["input", "output"]})
class Answer:
    status_code, ok, headers = 200, True, {"Content-Type": "application/ld+json"}
    def __init__(self, url):
        known = {"https://w3id.org/ro/crate/1.1/context": context, "https://w3id.org/ro/terms/workflow-run/context": {}}
        self.text = json.dumps({"@context": known[url]})
    def json(self):
        return json.loads(self.text)
HttpRequester.get = lambda self, url, **_: Answer(url)
for profile in ["ro-crate-1.1", "workflow-ro-crate-1.0", "process-run-crate-0.5", "workflow-run-crate-0.5", "provenance-run-crate-0.5"]:
    settings = services.ValidationSettings(rocrate_uri=sys.argv[1], profile_identifier=profile,
        requirement_severity=models.Severity.REQUIRED, skip_availability_check=True)
    issues = [f"{profile}: {issue.check.identifier} {issue.message}" for issue in services.validate(settings).get_issues()]
    assert not issues, "\n".join(issues)
print("valid")
"#;

#[test]
fn a_crate_tells_who_made_what_of_what() {
    let lab = lab();
    let too_early = lab.line("export ro-crate small.yaml out");
    assert_eq!(too_early.code, 2);
    assert!(too_early.stderr.contains("stages are not up to date"), "{}", too_early.stderr);
    let root = lab.path("").display().to_string();
    ok(lab.line(&format!("run small.yaml --set ROOT={}", root.trim_end_matches('/'))));
    let answer = lab.line(&format!("export ro-crate small.yaml out --with-data --license MIT --set ROOT={root}"));
    assert_eq!(answer.code, 0, "{answer:#?}");
    let crate_ = lab.path("out");
    let entities = entities(&crate_);
    let train = entities.values().find(|entity| entity["name"] == "train@fast").expect("the action");
    assert_eq!(train["@type"], "CreateAction");
    assert_eq!(train["instrument"]["@id"], "#kind-train_two_tower");
    let files = files_below(&crate_, ".parquet");
    for file in &files {
        let name = format!("data/{}", file.file_name().expect("a name").to_string_lossy());
        let entity = &entities[&name];
        let hash = name.trim_start_matches("data/").trim_end_matches(".parquet");
        assert_eq!(entity["identifier"], format!("blake3:{hash}"));
        assert!(!entity["variableMeasured"].is_null(), "{entity}");
    }
    assert!(files.len() >= 8, "{files:?}");
    assert_eq!(entities["./"]["license"]["@id"], "https://spdx.org/licenses/MIT");
    assert_eq!(
        entities["#variable-ROOT"]["value"],
        lab.path("").file_name().expect("a name").to_string_lossy().as_ref()
    );
    for name in ["small.yaml", "base.yaml"] {
        assert_eq!(fs::read(crate_.join(name)).expect("the copy"), fs::read(lab.path(name)).expect("the file"));
    }
    let text = fs::read_to_string(crate_.join("ro-crate-metadata.json")).expect("the metadata");
    nothing_of_the_machine(&lab, &text);
    let mut named = BTreeSet::new();
    references(&Value::Array(entities.values().cloned().collect()), &mut named);
    let outside = |id: &&String| !entities.contains_key(*id) && !id.starts_with("http");
    assert_eq!(named.iter().find(outside), None, "every reference is to an entity of the crate");
    let again = lab.line(&format!("export ro-crate small.yaml out --set ROOT={root}"));
    assert!(again.code == 2 && again.stderr.contains("not an empty folder"), "{again:#?}");
    ok(lab.line(&format!("export ro-crate small.yaml again --with-data --license MIT --set ROOT={root}")));
    assert_eq!(text, fs::read_to_string(lab.path("again/ro-crate-metadata.json")).expect("the metadata"));
    if let Some(said) = python(&lab, "rocrate, rocrate_validator", VALIDATE, &["out"]) {
        assert_eq!(said.lines().last(), Some("valid"), "{said}");
    }
}

const READ_RUNS: &str = r#"
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="mlruns")
experiment, = [e for e in client.search_experiments() if e.name == "small"]
runs = client.search_runs([experiment.experiment_id])
told = {}
for run in runs:
    curve = client.get_metric_history(run.info.run_id, "curve/loss")
    told[run.info.run_name] = {
        "status": run.info.status, "metrics": run.data.metrics, "params": run.data.params,
        "tags": run.data.tags, "steps": sorted(point.step for point in curve)}
print(json.dumps(told))
"#;

#[test]
fn mlflow_reads_runs_with_settings_metrics_and_curves() {
    let lab = lab();
    ok(lab.line("run small.yaml"));
    let answer = lab.line("export mlflow small.yaml mlruns");
    assert_eq!((answer.code, answer.stdout.trim()), (0, "mlruns: 3 runs"), "{answer:#?}");
    let all: String = files_below(&lab.path("mlruns"), "")
        .iter()
        .map(|file| fs::read_to_string(file).expect("text") + "\n")
        .collect();
    nothing_of_the_machine(&lab, &all);
    ok(lab.line("export mlflow small.yaml again"));
    let names = |folder: &str| -> Vec<String> {
        let base = lab.path(folder);
        files_below(&base, "").iter().map(|f| f.strip_prefix(&base).expect("below").display().to_string()).collect()
    };
    assert_eq!(names("mlruns"), names("again"), "the same results give the same runs");
    let Some(said) = python(&lab, "mlflow", READ_RUNS, &[]) else { return };
    let runs: Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    let fast = &runs["evaluate@fast"];
    assert_eq!(fast["status"], "FINISHED");
    assert_eq!(fast["params"]["train.learning_rate"], "0.01");
    assert_eq!(fast["params"]["variant.rate"], "0.01");
    assert_eq!(fast["tags"]["synthetic"], "false");
    assert_eq!(fast["tags"]["refrain.key"].as_str().map(str::len), Some(64));
    assert!(fast["metrics"]["test/all/hr_at_10"].as_f64().is_some(), "{fast}");
    assert_eq!(fast["steps"], serde_json::json!([1, 2]));
    assert_eq!(runs["popularity"]["steps"], serde_json::json!([]));
}

const CHECK_FACETS: &str = r#"
import json, sys
from openlineage.client.generated import (
    documentation_job, error_message_run, job_type_job, output_statistics_output_dataset, parent_run,
    processing_engine_run, schema_dataset, symlinks_dataset, tags_job, dataset_version_dataset)
from openlineage.client import event_v2
classes = {
    "documentation": documentation_job.DocumentationJobFacet, "errorMessage": error_message_run.ErrorMessageRunFacet,
    "jobType": job_type_job.JobTypeJobFacet, "parent": parent_run.ParentRunFacet,
    "processing_engine": processing_engine_run.ProcessingEngineRunFacet, "schema": schema_dataset.SchemaDatasetFacet,
    "symlinks": symlinks_dataset.SymlinksDatasetFacet, "tags": tags_job.TagsJobFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet}
def facets(given):
    for name, facet in given.items():
        facet = dict(facet)
        assert facet.pop("_producer").startswith("https://")
        url = facet.pop("_schemaURL")
        assert url == classes[name]._get_schema(), (name, url)
        classes[name](**facet)
count = 0
for line in open(sys.argv[1]):
    event = json.loads(line)
    facets(event["run"]["facets"]); facets(event["job"]["facets"])
    for dataset in event["inputs"] + event["outputs"]:
        facets(dataset["facets"]); facets(dataset.get("outputFacets", {}))
    event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]], eventTime=event["eventTime"],
        run=event_v2.Run(runId=event["run"]["runId"]), producer=event["producer"],
        job=event_v2.Job(namespace=event["job"]["namespace"], name=event["job"]["name"]))
    count += 1
print(count)
"#;

fn events(lab: &Lab, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(lab.path(file)).expect("the events");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn openlineage_events_tell_the_run_and_each_stage() {
    let lab = lab();
    ok(lab.line("run small.yaml --openlineage out/events.jsonl"));
    let first = events(&lab, "out/events.jsonl");
    for event in &first {
        for field in ["eventType", "eventTime", "run", "job", "producer", "schemaURL"] {
            assert!(!event[field].is_null(), "no {field} in {event}");
        }
        assert_eq!(event["run"]["runId"].as_str().map(str::len), Some(36), "{event}");
    }
    let of = |name: &str| -> Vec<&Value> { first.iter().filter(|event| event["job"]["name"] == name).collect() };
    let how = |name: &str| -> Vec<&str> {
        of(name).iter().map(|event| event["eventType"].as_str().expect("a type")).collect()
    };
    assert_eq!(how("small"), ["START", "COMPLETE"]);
    assert_eq!(how("small.train@fast"), ["START", "COMPLETE"]);
    let train = of("small.train@fast")[1];
    assert_eq!(train["run"]["facets"]["parent"]["run"]["runId"], of("small")[0]["run"]["runId"]);
    let split = of("small.split")[1];
    assert_eq!(train["inputs"][0]["name"], split["outputs"][0]["name"], "an artifact is one dataset");
    assert!(split["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"].as_u64() > Some(0), "{split}");
    assert_eq!(of("small.likes")[1]["inputs"][0]["facets"]["symlinks"]["identifiers"][0]["name"], "likes.csv");
    nothing_of_the_machine(&lab, &fs::read_to_string(lab.path("out/events.jsonl")).expect("the events"));

    lab.edit("base.yaml", "tower: ids, epochs: 2", "tower: ids, epochs: 3");
    lab.edit("base.yaml", "kind: popularity", "kind: item_knn");
    lab.write("likes.csv", "user_id,item_id,at\nu1,i1,1\n");
    let failed = lab.line("run small.yaml --openlineage failed.jsonl");
    assert_eq!(failed.code, 1, "{failed:#?}");
    let told = events(&lab, "failed.jsonl");
    assert_eq!(told.last().expect("an event")["eventType"], "FAIL");
    let failure = told.iter().find(|event| event["eventType"] == "FAIL").expect("a failure");
    assert!(failure["run"]["facets"]["errorMessage"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    for (file, count) in [("out/events.jsonl", first.len()), ("failed.jsonl", told.len())] {
        if let Some(said) = python(&lab, "openlineage.client", CHECK_FACETS, &[file]) {
            assert_eq!(said.trim(), count.to_string());
        }
    }
}

/// A server that takes documents: what it was told, with its `authorization` header.
fn collector() -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(told) = take(stream) else { continue };
            if sender.send(told).is_err() {
                break;
            }
        }
    });
    (url, receiver)
}

/// One request, answered with 201 and the end of the connection.
fn take(mut stream: TcpStream) -> Option<(String, String)> {
    let mut text = Vec::new();
    let mut piece = vec![0; 65536];
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&piece[..read]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.clone().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        if body.len() >= field("content-length")?.parse::<usize>().ok()? {
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
            return Some((
                head.lines().next()?.to_owned() + " " + &field("authorization").unwrap_or_default(),
                body.to_owned(),
            ));
        }
    }
}

fn with_environment(lab: &Lab, line: &str, pairs: &[(&str, &str)]) -> Answer {
    let output = lab.command(line.split_whitespace()).envs(pairs.iter().copied()).output().expect("an end");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn openlineage_events_go_to_a_server_with_its_key_and_one_that_is_not_there_stops_nothing() {
    let lab = lab();
    let (url, told) = collector();
    let pairs =
        [("OPENLINEAGE_URL", url.as_str()), ("OPENLINEAGE_API_KEY", "hush-hush"), ("OPENLINEAGE_NAMESPACE", "ours")];
    let answer = with_environment(&lab, "run small.yaml", &pairs);
    assert_eq!(answer.code, 0, "{answer:#?}");
    let told: Vec<(String, String)> = told.try_iter().collect();
    assert!(told.iter().all(|(head, _)| head == "POST /api/v1/lineage HTTP/1.1 Bearer hush-hush"), "{told:?}");
    let last: Value = serde_json::from_str(&told.last().expect("a document").1).expect("JSON");
    assert_eq!((&last["eventType"], &last["job"]["namespace"]), (&"COMPLETE".into(), &"ours".into()));
    for file in
        files_below(&lab.path("artifacts"), "").iter().filter(|file| file.extension().is_none_or(|e| e != "parquet"))
    {
        assert!(!String::from_utf8_lossy(&fs::read(file).expect("a file")).contains("hush-hush"), "{}", file.display());
    }

    lab.edit("base.yaml", "epochs: 2", "epochs: 1");
    let nobody = with_environment(&lab, "run small.yaml --openlineage http://127.0.0.1:1", &pairs);
    assert_eq!(nobody.code, 0, "{nobody:#?}");
    assert_eq!(nobody.stderr.matches("OpenLineage").count(), 1, "{}", nobody.stderr);
    assert!(!nobody.stderr.contains("hush-hush"), "{}", nobody.stderr);
    let wrong = lab.line("run small.yaml --openlineage http://");
    assert_eq!(wrong.code, 2, "{wrong:#?}");
    assert!(!lab.line("run --help").stdout.contains("hush"), "the environment is not shown");
}
