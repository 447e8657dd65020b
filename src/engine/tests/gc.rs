//! What collection may take, and what it must leave: after any history, and
//! beside runs that are going on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::lab::{Act, Lab, pipeline};
use super::laws::{built, nodes, results};
use crate::engine::resolve;
use crate::ground::ContentHash;
use crate::pipeline::Pipeline;
use crate::store::{Collected, Collection, Group, ObjectState, Retention};

const DAY: Duration = Duration::from_hours(24);

/// The keys of a pipeline's results that are up to date.
fn keys(lab: &Lab, pipeline: &Pipeline) -> BTreeSet<ContentHash> {
    lab.plan(pipeline).stages.iter().filter_map(|stage| stage.state.fresh_key()).collect()
}

fn retention(lab: &Lab, pipelines: &[&Pipeline], days: u32) -> Retention {
    let keys = pipelines.iter().flat_map(|pipeline| keys(lab, pipeline));
    Retention { keep: DAY * days, keys: keys.map(|key| (key, "a pipeline".to_owned())).collect() }
}

fn collect(lab: &Lab, retention: &Retention) -> (Collection, Collected) {
    let store = lab.store();
    let collection = store.collectable(retention).unwrap();
    let collected = store.collect(retention, &collection).unwrap();
    (collection, collected)
}

/// Whether the results of these keys are all there and whole.
fn are_there(lab: &Lab, keys: &BTreeSet<ContentHash>) -> bool {
    let store = lab.store();
    keys.iter().all(|key| {
        let manifest = store.manifest(key).unwrap();
        manifest.is_some_and(|manifest| manifest.outputs.values().all(|a| store.check(a) == ObjectState::Good))
    })
}

#[derive(Debug, Clone)]
enum Step {
    Run(Index),
    Wait(u32),
    /// With the pipelines in reach, and the days to keep.
    Collect(Vec<bool>, u32),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<Index>().prop_map(Step::Run),
        1 => (1..3_u32).prop_map(Step::Wait),
        2 => (prop::collection::vec(any::<bool>(), 4), 0..4_u32).prop_map(|(reach, days)| Step::Collect(reach, days)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_referred_to_stays_and_what_goes_is_made_again_the_same(
        versions in prop::collection::vec(prop::collection::vec(nodes(), 1..4), 1..5),
        steps in prop::collection::vec(steps(), 1..10),
    ) {
        let lab = Lab::new();
        let versions: Vec<(Pipeline, _)> = versions.into_iter().map(|nodes| (built(&lab, &nodes), nodes)).collect();
        let mut runs: Vec<(u32, BTreeSet<ContentHash>)> = Vec::new();
        let mut lasts: BTreeMap<String, ContentHash> = BTreeMap::new();
        let mut today = 0;
        for step in steps {
            match step {
                Step::Run(which) => {
                    let (version, _) = which.get(&versions);
                    lab.run(version);
                    let plan = lab.plan(version);
                    prop_assert_eq!(plan.fresh(), plan.stages.len());
                    lasts.extend(plan.stages.iter().map(|s| (s.id.to_string(), s.state.fresh_key().unwrap())));
                    runs.push((today, keys(&lab, version)));
                }
                Step::Wait(days) => {
                    lab.clock.advance(DAY * days);
                    today += days;
                }
                Step::Collect(reach, days) => {
                    let chosen = versions.iter().zip(reach).filter(|(_, chosen)| *chosen);
                    let kept: Vec<&Pipeline> = chosen.map(|((version, _), _)| version).collect();
                    let in_reach: Vec<_> = kept.iter().map(|version| keys(&lab, version)).collect();
                    collect(&lab, &retention(&lab, &kept, days));
                    for (version, keys) in kept.iter().zip(in_reach) {
                        prop_assert!(are_there(&lab, &keys));
                        prop_assert_eq!(lab.plan(version).fresh(), keys.len().max(lab.plan(version).fresh()));
                    }
                    prop_assert!(are_there(&lab, &lasts.values().copied().collect()));
                    // Runs that are older are forgotten: a later collection does not know them.
                    runs.retain(|(day, _)| day + days >= today && days > 0);
                    prop_assert!(runs.iter().all(|(_, keys)| are_there(&lab, keys)));
                    let verified = lab.store().verify(&|_, _| ()).unwrap();
                    prop_assert!(verified.findings.is_empty(), "{:?}", verified.findings);
                    // Nothing that may go is left.
                    prop_assert!(lab.store().collectable(&retention(&lab, &kept, days)).unwrap().going.is_empty());
                }
            }
        }
        for (version, nodes) in &versions {
            let empty = Lab::new();
            prop_assert_eq!(results(&lab, version), results(&empty, &built(&empty, nodes)));
        }
    }
}

#[test]
fn what_nothing_refers_to_goes_and_says_why() {
    let lab = Lab::new();
    let of = |add| pipeline(&[lab.toy("one", add), lab.toy("two", 5).reading(&["one"])]);
    lab.run(&of(1));
    lab.clock.advance(DAY * 10);
    lab.run(&of(2));
    assert!(
        lab.store().collectable(&retention(&lab, &[], 10)).unwrap().going.is_empty(),
        "the first run is ten days old"
    );
    lab.clock.advance(DAY);
    assert_eq!(keys(&lab, &of(1)).len(), 2);
    assert!(
        lab.store().collectable(&retention(&lab, &[&of(1)], 10)).unwrap().going.iter().all(|g| g.group == Group::Run)
    );
    let (collection, collected) = collect(&lab, &retention(&lab, &[], 10));
    let groups: Vec<Group> = collection.going.iter().map(|going| going.group).collect();
    assert_eq!(groups, [Group::Manifest, Group::Manifest, Group::Object, Group::Object, Group::Run]);
    assert_eq!((collected.deleted, collected.bytes, collected.spared), (5, collection.bytes(), 0));
    assert_eq!(collection.going[2].why, "only results that go have it");
    let makers: BTreeSet<_> = collection.going[2..4].iter().filter_map(|going| going.stage.as_deref()).collect();
    assert_eq!(makers, ["one of toys", "two of toys"].into());
    assert_eq!((collection.kept.len(), collection.kept[0].results), (1, 2));
    assert_eq!(collection.kept[0].because, "the last results of the stages of `toys`");
    assert_eq!(lab.run(&of(2)), [""; 0]);
    assert_eq!(lab.run(&of(1)), ["one", "two"]);
}

#[test]
fn what_comes_into_use_after_it_was_shown_is_spared() {
    let lab = Lab::new();
    let of = |add| pipeline(&[lab.toy("one", add)]);
    lab.run(&of(1));
    lab.run(&of(2));
    lab.clock.advance(DAY);
    let retention = retention(&lab, &[], 0);
    let store = lab.store();
    let collection = store.collectable(&retention).unwrap();
    assert_eq!(collection.going.len(), 4, "a record, an artifact and two runs");
    assert!(lab.run(&of(1)).is_empty(), "it is restored");
    let collected = store.collect(&retention, &collection).unwrap();
    assert_eq!(collected.spared, 2, "{collected:?}");
    assert!(lab.run(&of(1)).is_empty());
}

#[test]
fn runs_beside_collections_lose_nothing() {
    let lab = Lab::new();
    let of = |add| {
        let toys = [lab.toy("a", add), lab.toy("b", 1).reading(&["a"]), lab.toy("c", 2).reading(&["a", "b"])];
        pipeline(&toys)
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            let mut rounds = 0_usize;
            while !stop.load(Ordering::SeqCst) || rounds == 0 {
                collect(&lab, &Retention::default());
                rounds += 1;
            }
            rounds
        });
        let running = || {
            for round in 0..25 {
                let pipeline = of(round % 3);
                let summary = lab.summary(&pipeline);
                assert!(summary.is_complete(), "{summary:?}");
            }
        };
        let others: Vec<_> = (0..2).map(|_| scope.spawn(running)).collect();
        for other in others {
            other.join().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
        assert!(collecting.join().unwrap() > 0);
    });
    let last = of(1);
    lab.summary(&last);
    assert!(lab.store().verify(&|_, _| ()).unwrap().findings.is_empty());
    assert!(resolve(&last, &lab.store(), None, "c").unwrap().path.is_file());
}

#[test]
fn what_a_living_run_uses_stays_however_old_it_is() {
    let lab = Lab::new();
    let of = |act| pipeline(&[lab.toy("a", 1), lab.toy("b", 2).reading(&["a"]).with(|toy| toy.act = act)]);
    let other = pipeline(&[lab.toy("a", 7)]);
    lab.run(&pipeline(&[lab.toy("a", 1)]));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.summary(&of(Act::Wait)));
        // A failed assertion must not leave it waiting.
        let cancel = lab.options.cancel.clone().drop_guard();
        let pins = || crate::ground::files::read_text(&newest_run(&lab).join("pins")).unwrap_or_default();
        while pins().lines().count() < 2 {
            std::thread::yield_now();
        }
        // `a` is no stage's last result any more, and a year goes by.
        lab.summary(&other);
        lab.clock.advance(DAY * 365);
        let before = keys(&lab, &pipeline(&[lab.toy("a", 1)]));
        collect(&lab, &Retention::default());
        assert!(are_there(&lab, &before));
        drop(cancel);
        waiting.join().unwrap();
    });
    let before = keys(&lab, &pipeline(&[lab.toy("a", 1)]));
    collect(&lab, &Retention::default());
    assert!(!before.is_empty() && !are_there(&lab, &before), "the run has ended");
}

/// The folder of the run that started last; one that waits was started first
/// here, so it is the one that holds two pins.
fn newest_run(lab: &Lab) -> std::path::PathBuf {
    let folders = std::fs::read_dir(lab.store().root().join("runs-v1")).unwrap().map(|entry| entry.unwrap().path());
    let pins = |path: &std::path::PathBuf| std::fs::metadata(path.join("pins")).map_or(0, |metadata| metadata.len());
    folders.max_by_key(pins).unwrap()
}
