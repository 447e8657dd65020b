//! Failures, stops, and several runs at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};

use super::lab::{Act, Lab, Watcher, end, outcome, pipeline, result};
use crate::engine::{End, EngineError, Event, NoObserver, Outcome, RunOptions, run};
use crate::ground::Environment;
use crate::model::{DeviceChoice, Models};
use crate::sandbox::SandboxSettings;
use crate::stage::{DeviceUse, Resource};

#[test]
fn a_failure_skips_what_is_below_and_keep_going_does_the_rest() {
    let mut lab = Lab::new();
    let toys = pipeline(&[
        lab.toy("bad", 1).with(|toy| toy.act = Act::Fail),
        lab.toy("below", 1).reading(&["bad"]),
        lab.toy("aside", 2),
        lab.toy("later", 1).reading(&["aside"]),
    ]);
    lab.options.jobs = 1;
    let summary = lab.summary(&toys);
    assert_eq!((summary.ran, summary.failed, summary.skipped), (0, 1, 3));
    let End::Failed(failure) = end(&summary, "bad") else { panic!("{summary:?}") };
    assert_eq!((failure.error.as_str(), failure.hint.as_deref()), ("could not add", Some("try smaller numbers")));
    assert_eq!(end(&summary, "below"), &End::Skipped("`bad` failed".to_owned()));
    assert_eq!(end(&summary, "aside"), &End::Skipped("the run stopped after `bad` failed".to_owned()));
    lab.options.keep_going = true;
    let summary = lab.summary(&toys);
    assert_eq!((summary.ran, summary.failed, summary.skipped), (2, 1, 1));
    assert!(!summary.is_complete() && !summary.cancelled);
}

#[test]
fn a_run_whose_records_cannot_be_written_says_so_and_its_result_stands() {
    let lab = Lab::new();
    let runs = lab.store().root().join("runs-v1");
    let watcher = Watcher::acting(move |event| {
        if matches!(event, Event::RunStarted { .. }) {
            std::fs::remove_dir_all(&runs).unwrap();
        }
    });
    let summary =
        run(&pipeline(&[lab.toy("songs", 1)]), &lab.store(), &lab.options, Arc::clone(&watcher) as _).unwrap();
    assert_eq!(summary.ran, 1);
    let events = watcher.events.lock().unwrap();
    let warned = events.iter().any(|event| matches!(event, Event::Warning { text } if text.contains("summary.json")));
    assert!(warned, "{events:?}");
}

#[test]
fn a_panic_is_a_failure_that_says_it_is_a_bug() {
    let lab = Lab::new();
    let toys = pipeline(&[lab.toy("bad", 1).with(|toy| toy.act = Act::Panic)]);
    let summary = lab.summary(&toys);
    let End::Failed(failure) = end(&summary, "bad") else { panic!("{summary:?}") };
    assert_eq!(failure.error, "the kind `toy` panicked; this is a bug");
    assert_eq!(failure.causes, ["fell over"]);
}

#[test]
fn outputs_are_held_to_what_was_declared() {
    let lab = Lab::new();
    for (act, words) in [
        (Act::WrongPort, "there is no output `elsewhere`"),
        (Act::OtherColumns, "the columns are"),
        (Act::Nothing, "nothing was written to the output `main`"),
    ] {
        let toys = pipeline(&[lab.toy("bad", 1).with(|toy| toy.act = act)]);
        let summary = lab.summary(&toys);
        let End::Failed(failure) = end(&summary, "bad") else { panic!("{summary:?}") };
        assert!(failure.error.contains(words), "{failure:?}");
    }
    let left = std::fs::read_dir(lab.store().root().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "no half-written artifact is left");
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let lab = Lab::new();
    let toys =
        [lab.toy("songs", 1), lab.toy("sum", 1).reading(&["songs"]).with(|toy| toy.reads = vec!["valeu".into()])];
    let summary = lab.summary(&pipeline(&toys));
    let End::Failed(failure) = end(&summary, "sum") else { panic!("{summary:?}") };
    assert_eq!(failure.error, "could not give `sum` its input `a`: `songs.main` has no column `valeu`");
    assert_eq!(failure.hint.as_deref(), Some("its columns are value, noise; did you mean `value`?"));
    let refused = lab.try_run(&pipeline(&toys)).unwrap_err();
    assert!(matches!(refused, EngineError::Blocked { .. }), "now it is known beforehand");
}

#[test]
fn a_missing_file_is_told_before_anything_runs() {
    let lab = Lab::new();
    let toys = [lab.toy("songs", 1), lab.toy("read", 1).with(|toy| toy.files = vec!["no/such.csv".into()])];
    let refused = lab.try_run(&pipeline(&toys)).unwrap_err();
    assert!(refused.hint().unwrap().contains("no/such.csv"), "{refused:?}");
    assert!(lab.ran().is_empty());
}

#[test]
fn a_missing_variable_is_told_before_anything_runs_and_only_if_it_is_needed() {
    let mut lab = Lab::new();
    let needs = |lab: &Lab, add| {
        pipeline(&[
            lab.toy("songs", 1),
            lab.toy("crawl", add).with(|toy| toy.variable = Some("SHOP_KEY")),
            lab.toy("tags", 3).with(|toy| toy.variable = Some("SHOP_KEY")),
        ])
    };
    let refused = lab.try_run(&needs(&lab, 1)).unwrap_err();
    let EngineError::MissingVariables { variables } = &refused else { panic!("{refused:?}") };
    assert_eq!((variables.len(), &variables[0].stages), (1, &vec!["crawl".to_owned(), "tags".to_owned()]));
    assert!(refused.hint().unwrap().contains("from the shop"));
    assert!(lab.ran().is_empty());
    lab.options.environment = Environment::from_pairs([("SHOP_KEY", "abc")]);
    lab.run(&needs(&lab, 1));
    lab.options.environment = Environment::default();
    assert!(lab.run(&needs(&lab, 1)).is_empty(), "what is there needs no key");
    assert!(lab.try_run(&needs(&lab, 2)).is_err());
}

#[test]
fn a_gpu_that_does_not_work_is_told_before_anything_runs_and_only_if_it_is_needed() {
    let mut lab = Lab::new();
    // No machine has so many.
    lab.options.models = Arc::new(Models { device: DeviceChoice::Cuda(99), ..Models::default() });
    let ranks = |maker: DeviceUse, add| {
        pipeline(&[
            lab.toy("crawl", 1),
            lab.toy("train", add).reading(&["crawl"]).with(|toy| toy.device = maker),
            lab.toy("measure", 1).reading(&["train"]).with(|toy| toy.device = DeviceUse::As("a")),
            lab.toy("count", 2).reading(&["crawl"]).with(|toy| toy.device = DeviceUse::As("a")),
        ])
    };
    for (maker, stages) in [(DeviceUse::Computes, "`train`, `measure`"), (DeviceUse::WritesVectors, "`measure`")] {
        let refused = lab.try_run(&ranks(maker, 1)).unwrap_err();
        assert!(matches!(refused, EngineError::NoDevice { .. }) && refused.is_users(), "{refused:?}");
        let told = format!("there is no such device to compute {stages} on; nothing has run");
        assert_eq!(refused.to_string(), told);
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.starts_with("the device `cuda:99` was asked for, but "), "{cause}");
        assert!(refused.hint().unwrap().contains("`--device auto` computes on the processor"));
        assert!(lab.ran().is_empty());
    }
    assert_eq!(lab.run(&ranks(DeviceUse::Nothing, 1)), ["count", "crawl", "measure", "train"]);
    // What is up to date needs no device; what may have to run again does.
    assert!(lab.run(&ranks(DeviceUse::Computes, 1)).is_empty());
    assert!(lab.try_run(&ranks(DeviceUse::WritesVectors, 2)).is_err());
}

#[test]
fn warnings_are_told_again_when_the_result_is_used() {
    let lab = Lab::new();
    let toys = pipeline(&[lab.toy("odd", 1).with(|toy| toy.act = Act::Warn)]);
    let warnings = || {
        let watcher = Arc::new(Watcher::default());
        run(&toys, &lab.store(), &lab.options, Arc::clone(&watcher) as _).unwrap();
        let events = watcher.events.lock().unwrap();
        let warning = |event: &Event| match event {
            Event::StageWarning { text, remembered, .. } => Some((text.clone(), *remembered)),
            _ => None,
        };
        events.iter().filter_map(warning).collect::<Vec<_>>()
    };
    assert_eq!(warnings(), [("half of it is odd".to_owned(), false)]);
    assert_eq!(warnings(), [("half of it is odd".to_owned(), true)]);
}

#[test]
fn a_stop_waits_for_what_runs_and_the_next_run_goes_on() {
    let lab = Lab::new();
    let build = |act| {
        pipeline(&[
            lab.toy("first", 1),
            lab.toy("second", 1).reading(&["first"]).with(|toy| toy.act = act),
            lab.toy("third", 1).reading(&["second"]),
        ])
    };
    let cancel = lab.options.cancel.clone();
    let watcher = Watcher::acting(move |event| {
        if matches!(event, Event::StageStarted { stage, .. } if stage == "second") {
            cancel.cancel();
        }
    });
    let summary = run(&build(Act::Wait), &lab.store(), &lab.options, watcher).unwrap();
    assert!(summary.cancelled);
    assert_eq!((summary.ran, summary.failed, summary.skipped), (1, 0, 2));
    lab.ran();
    let again = RunOptions { plan: lab.options.plan.clone(), ..RunOptions::default() };
    let summary = run(&build(Act::Work), &lab.store(), &again, Arc::new(NoObserver)).unwrap();
    assert_eq!((summary.ran, summary.cached), (2, 1));
}

#[test]
fn a_run_that_is_stopped_beforehand_starts_nothing() {
    let lab = Lab::new();
    lab.options.cancel.cancel();
    let summary = lab.summary(&pipeline(&[lab.toy("first", 1)]));
    assert_eq!((summary.skipped, summary.cancelled), (1, true));
    assert!(lab.ran().is_empty());
}

#[test]
fn two_runs_at_once_do_each_piece_of_work_once() {
    let lab = Lab::new();
    let toys = pipeline(&[lab.toy("first", 1), lab.toy("second", 2).reading(&["first"]), lab.toy("third", 3)]);
    // Both have made their plans, in which everything is to be done, before
    // either starts.
    let barrier = Arc::new(Barrier::new(2));
    let stores = [lab.store(), lab.store()];
    let summaries = std::thread::scope(|scope| {
        let runs = stores.map(|store| {
            let barrier = Arc::clone(&barrier);
            let watcher = Watcher::acting(move |event| {
                if matches!(event, Event::RunStarted { .. }) {
                    barrier.wait();
                }
            });
            let (lab, toys) = (&lab, &toys);
            scope.spawn(move || run(toys, &store, &lab.options, watcher).unwrap())
        });
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(lab.ran(), ["first", "second", "third"]);
    assert_eq!(summaries.iter().map(|summary| summary.ran).sum::<usize>(), 3);
    assert!(summaries.iter().all(crate::engine::Summary::is_complete));
}

#[test]
fn what_a_sandbox_answers_is_called_synthetic_down_to_the_end() {
    let lab = Lab::new();
    let api = |toy: &mut super::lab::Toy| toy.resource = Resource::Api("shop".into());
    let mut toys = pipeline(&[
        lab.toy("catalog", 1),
        lab.toy("crawl", 2).with(api).with(|toy| toy.variable = Some("SHOP_KEY")),
        lab.toy("end", 3).reading(&["catalog", "crawl"]),
    ]);
    toys.sandbox = Some(SandboxSettings { users: 3, songs: Some(12), loved_per_user: 2, ..SandboxSettings::default() });
    let summary = lab.summary(&toys);
    assert!(summary.is_complete(), "no key is needed: {summary:?}");
    let synthetic = |stage| result(&summary, stage).synthetic;
    assert_eq!((synthetic("catalog"), synthetic("crawl"), synthetic("end")), (false, true, true));
    let found = crate::engine::resolve(&toys, &lab.store(), None, "end").unwrap();
    assert_eq!(found.sandbox, summary.sandbox);
    assert!(found.sandbox.unwrap().starts_with("sandbox:"));
    lab.ran();
    toys.sandbox = Some(SandboxSettings { seed: 1, ..toys.sandbox.unwrap() });
    let summary = lab.summary(&toys);
    assert_eq!(lab.ran(), ["crawl"], "another world, but here the same answers");
    assert_eq!(outcome(&summary, "end"), Outcome::CutOff);
}

#[test]
fn a_run_leaves_its_records() {
    let lab = Lab::new();
    let toys = pipeline(&[lab.toy("first", 1)]);
    let summary = lab.summary(&toys);
    let folder = lab.store().root().join("runs-v1").join(&summary.run);
    let read = |name: &str| crate::ground::files::read_text(&folder.join(name)).unwrap();
    let events: Vec<BTreeMap<String, serde_json::Value>> =
        read("events.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["run_started", "stage_started", "stage_progress", "stage_finished", "finished"]);
    let plan: serde_json::Value = serde_json::from_str(&read("plan.json")).unwrap();
    assert_eq!(plan["stages"][0]["stage"], "first");
    assert_eq!(plan["stages"][0]["reasons"][0]["reason"], "never_ran");
    let kept: serde_json::Value = serde_json::from_str(&read("summary.json")).unwrap();
    assert_eq!(kept["results"][0]["end"]["done"], "ran");
}
