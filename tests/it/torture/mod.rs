//! Crash safety, proven: runs are killed, starved of disk, cut off from power,
//! run beside each other and moved in time, and after each a plain rerun must
//! finish with the same artifacts and ask for nothing that was answered.
//! `docs/torture.md` says what is done and what is asserted.
//!
//! One quick sweep is among the normal tests; the whole is `make torture`.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "a long test tells how far it is")]

mod clocks;
mod errors;
mod faults;
mod kills;
mod store;
mod subject;
mod together;

use std::time::Instant;

use faults::{Chance, Fault};
use subject::{ANSWER, Case, PUBLISH, Subject, WHOLE, ensure};

/// The pipelines by the names that a replay gives them.
const SUBJECTS: [(&str, &str); 3] = [("whole", WHOLE), ("publish", PUBLISH), ("answer", ANSWER)];

/// How many kills `make torture` samples; those of the exhaustive sweeps come on top.
fn kills() -> u64 {
    number("TORTURE_KILLS", 500)
}

/// What the samples are drawn from.
fn chance() -> Chance {
    Chance(number("TORTURE_SEED", 1))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A series of cases: counts them, tells how far it is, and what failed.
struct Sweep {
    name: &'static str,
    wanted: u64,
    done: u64,
    struck: u64,
    failed: Vec<String>,
    started: Instant,
}

impl Sweep {
    /// A series of `wanted` cases, or of an unknown number (0).
    fn new(name: &'static str, wanted: u64) -> Self {
        Self { name, wanted, done: 0, struck: 0, failed: Vec::new(), started: Instant::now() }
    }

    /// Takes in a case: whether the fault struck, or what was wrong afterwards.
    fn take(&mut self, replay: &str, result: Result<bool, String>) {
        self.done += 1;
        match result {
            Ok(struck) => self.struck += u64::from(struck),
            Err(why) => {
                let text = format!("{why}\n  again alone: make torture REPLAY='{replay}'");
                println!("torture: {} FAILED: {text}", self.name);
                self.failed.push(text);
            }
        }
        if self.done.is_multiple_of(50) && self.done < self.wanted {
            println!("torture: {}: {} of {}, {} failed", self.name, self.done, self.wanted, self.failed.len());
        }
        assert!(self.failed.len() < 5, "{}: five cases failed; the rest is not tried", self.name);
    }

    /// Ends the series; at least one fault must have struck.
    fn end(self) {
        let Self { name, done, struck, failed, .. } = self;
        let seconds = self.started.elapsed().as_secs();
        println!("torture: {name}: {done} cases, {struck} struck, {} failed, {seconds} s", failed.len());
        assert!(struck > 0, "{name}: no fault struck");
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    }
}

/// One run under a fault that kills, and all that must hold afterwards. Whether
/// the run was killed; it may have ended before the fault's turn came.
fn killed(subject: &Subject, fault: &Fault) -> Result<bool, String> {
    let case = subject.case();
    let ended = case.run(fault);
    ensure(ended.killed || ended.answer.code == 0, || format!("it was not killed: {:#?}", ended.answer))?;
    case.recover(fault, u64::from(ended.killed))?;
    Ok(ended.killed)
}

/// Runs one printed case alone: `SUBJECT NAME=VALUE…`.
#[test]
#[ignore = "only with REPLAY, from `make torture`"]
fn replay() {
    let text = std::env::var("TORTURE_REPLAY").unwrap_or_default();
    if text.is_empty() {
        return;
    }
    let (name, orders) = text.split_once(' ').expect("a subject and its orders");
    let (_, pipeline) = SUBJECTS.iter().find(|(known, _)| *known == name).expect("a known subject");
    let (subject, fault) = (Subject::new(pipeline), Fault::parse(orders));
    let is_error = ["eio", "enospc"].contains(&fault.order("DO").unwrap_or_default()) || fault.order("BYTES").is_some();
    let result = if is_error { errors::failed(&subject, &fault) } else { killed(&subject, &fault) };
    println!("torture: replay of `{text}`: {result:?}");
    result.expect("a clean case");
}

/// Some kills of each sort: in every run of the tests.
#[test]
fn a_few_kills_lose_nothing() {
    let subject = Subject::new(WHOLE);
    let mut sweep = Sweep::new("quick", 12);
    for fault in kills::sampled(&subject, 12, &mut chance()) {
        sweep.take(&format!("whole {fault}"), killed(&subject, &fault));
    }
    sweep.end();
}
