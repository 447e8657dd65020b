//! Two machines over one shared folder: what one made, the other does not make,
//! whatever their clocks say.

use std::time::Duration;

use super::lab::{Lab, Toy, end, outcome, pipeline};
use crate::engine::{End, Outcome};
use crate::pipeline::Refresh;
use crate::remote::{Remote, Sharing};

/// A machine whose results go to a folder.
fn machine(folder: &std::path::Path) -> Lab {
    let mut lab = Lab::new();
    lab.options.plan.remote = Some(Remote::open(Sharing::at(&folder.display().to_string())).unwrap());
    lab
}

fn chain(lab: &Lab) -> Vec<Toy> {
    vec![lab.toy("a", 1), lab.toy("b", 2).reading(&["a"]), lab.toy("c", 3).reading(&["b"])]
}

#[test]
fn what_one_machine_made_another_takes_and_makes_only_what_differs() {
    let shared = tempfile::tempdir().unwrap();
    let (one, other) = (machine(shared.path()), machine(shared.path()));
    assert_eq!(one.run(&pipeline(&chain(&one))), ["a", "b", "c"]);
    let toys = pipeline(&chain(&other));
    let summary = other.summary(&toys);
    assert_eq!((other.ran(), outcome(&summary, "c")), (vec![], Outcome::Pulled));
    assert_eq!(summary.shared.unwrap().pulled, 3);
    assert_eq!(outcome(&other.summary(&toys), "c"), Outcome::Cached);
    let mut changed = chain(&other);
    changed[2].add = 4;
    assert_eq!(other.run(&pipeline(&changed)), ["c"]);
    assert!(other.artifact(&pipeline(&changed), "c").is_file());
}

#[test]
fn a_clock_that_is_off_by_an_hour_changes_nothing() {
    for advanced in [0, 1] {
        let shared = tempfile::tempdir().unwrap();
        let labs = [machine(shared.path()), machine(shared.path())];
        labs[advanced].clock.advance(Duration::from_hours(1));
        assert_eq!(labs[0].run(&pipeline(&chain(&labs[0]))), ["a", "b", "c"]);
        assert_eq!(labs[1].run(&pipeline(&chain(&labs[1]))), [""; 0]);
        let mut changed = chain(&labs[1]);
        changed[1].add = 5;
        assert_eq!(labs[1].run(&pipeline(&changed)), ["b", "c"]);
        let mut same = chain(&labs[0]);
        same[1].add = 5;
        assert_eq!(labs[0].run(&pipeline(&same)), [""; 0]);
    }
}

#[test]
fn a_result_that_is_too_old_is_taken_younger_from_there() {
    let shared = tempfile::tempdir().unwrap();
    let (one, other) = (machine(shared.path()), machine(shared.path()));
    let toys =
        |lab: &Lab| pipeline(&[lab.toy("a", 1).with(|toy| toy.refresh = Refresh::After(Duration::from_hours(1)))]);
    assert_eq!(one.run(&toys(&one)), ["a"]);
    assert_eq!(other.run(&toys(&other)), [""; 0]);
    for lab in [&one, &other] {
        lab.clock.advance(Duration::from_hours(2));
    }
    assert_eq!(one.run(&toys(&one)), ["a"], "it is made again, and replaces what is there");
    assert_eq!(other.run(&toys(&other)), [""; 0], "one of the two asked again");
}

#[test]
fn what_is_gone_there_is_made_here() {
    let shared = tempfile::tempdir().unwrap();
    let (one, other) = (machine(shared.path()), machine(shared.path()));
    assert_eq!(one.run(&pipeline(&chain(&one))), ["a", "b", "c"]);
    assert_eq!(other.run(&pipeline(&chain(&other))), [""; 0]);
    std::fs::remove_dir_all(shared.path().join("objects-v1")).unwrap();
    let fresh = machine(shared.path());
    let mut changed = chain(&fresh);
    changed[2].add = 9;
    assert_eq!(fresh.run(&pipeline(&changed)), ["a", "b", "c"], "its inputs can be had nowhere");
    assert!(fresh.artifact(&pipeline(&changed), "b").is_file());
}

#[test]
fn a_stage_that_fails_gives_its_claim_back() {
    let shared = tempfile::tempdir().unwrap();
    let (one, other) = (machine(shared.path()), machine(shared.path()));
    let failing = pipeline(&[one.toy("a", 1).with(|toy| toy.act = super::lab::Act::Fail)]);
    assert!(matches!(end(&one.summary(&failing), "a"), End::Failed(_)));
    assert_eq!(other.run(&pipeline(&[other.toy("a", 1)])), ["a"]);
}
