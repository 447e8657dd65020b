//! Kills at chosen operations and at random moments.

use super::*;

/// How a process dies at an operation.
const DEATHS: [&str; 4] = ["before", "after", "torn", "cut"];

/// The orders of one death at one operation; only writes can be torn.
fn death(how: &str, at: u64, chance: &mut Chance) -> Fault {
    let fault = Fault::strike(how, at);
    match how {
        "torn" => fault.with("ONLY", "write"),
        "cut" => fault.with("SEED", chance.below(1 << 30)),
        _ => fault,
    }
}

/// Kills spread over all operations of a run, each sort in turn.
pub(super) fn sampled(subject: &Subject, kills: u64, chance: &mut Chance) -> Vec<Fault> {
    let count = |fault: Fault| subject.case().run(&fault).operations;
    let (all, writes) = (count(Fault::none()), count(Fault::none().with("ONLY", "write")));
    let each = kills.div_ceil(DEATHS.len() as u64);
    let mut faults = Vec::new();
    for (turn, how) in (0..each).flat_map(|turn| DEATHS.map(|how| (turn, how))) {
        let operations = if how == "torn" { writes } else { all };
        // One of each `each`-th of the operations.
        let (from, to) = (turn * operations / each, (turn + 1) * operations / each);
        faults.push(death(how, 1 + from + chance.below((to - from).max(1)), chance));
    }
    faults
}

/// Every death at every operation whose name and path contain a text.
fn every(name: &'static str, subject_name: &str, pipeline: &str, only: &str) {
    let (subject, mut chance) = (Subject::new(pipeline), chance());
    let mut sweep = Sweep::new(name, 0);
    for how in DEATHS {
        for at in 1.. {
            let mut fault = death(how, at, &mut chance);
            if !only.is_empty() && how != "torn" {
                fault = fault.with("ONLY", only);
            }
            let result = killed(&subject, &fault);
            let is_past = result == Ok(false);
            sweep.take(&format!("{subject_name} {fault}"), result);
            if is_past {
                break;
            }
        }
    }
    sweep.end();
}

#[test]
#[ignore = "part of `make torture`"]
fn at_every_operation_of_a_publish() {
    every("every operation of a publish", "publish", PUBLISH, "");
}

#[test]
#[ignore = "part of `make torture`"]
fn at_every_operation_of_the_memo() {
    every("every operation of the memo", "answer", ANSWER, "/memo-v1");
}

#[test]
#[ignore = "part of `make torture`"]
fn at_operations_of_a_whole_pipeline() {
    let (subject, mut chance) = (Subject::new(WHOLE), chance());
    let wanted = kills() * 3 / 5;
    let mut sweep = Sweep::new("operations of a whole pipeline", wanted);
    for fault in sampled(&subject, wanted, &mut chance) {
        sweep.take(&format!("whole {fault}"), killed(&subject, &fault));
    }
    sweep.end();
}

#[test]
#[ignore = "part of `make torture`"]
fn at_random_moments() {
    let (subject, mut chance) = (Subject::new(WHOLE), chance());
    let wanted = kills() / 5;
    let mut sweep = Sweep::new("random moments", wanted);
    for _ in 0..wanted {
        let delay = subject.takes.mul_f64(chance.below(1000) as f64 / 1000.0);
        let case = subject.case();
        let (mut child, log) = case.start(&Fault::none());
        std::thread::sleep(delay);
        child.kill().expect("SIGKILL");
        let ended = subject::ended(child, &log);
        let result = case.recover(&Fault::none(), u64::from(ended.killed)).map(|()| ended.killed);
        sweep.take(&format!("whole (killed from outside after {delay:?})"), result);
    }
    sweep.end();
}
