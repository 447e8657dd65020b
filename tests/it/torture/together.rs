//! Several processes on one store at once, with and without kills among them.

use super::*;

/// Runs processes at once, all but the first under faults that kill.
fn at_once(subject: &Subject, faults: &[Fault]) -> Result<bool, String> {
    let case: Case<'_> = subject.case();
    let running: Vec<_> = faults.iter().map(|fault| case.start(fault)).collect();
    let ended: Vec<_> = running.into_iter().map(|(child, log)| subject::ended(child, &log)).collect();
    let killed = ended.iter().filter(|ended| ended.killed).count() as u64;
    for ended in ended.iter().filter(|ended| !ended.killed) {
        let told = format!("{}\n{}", ended.answer.stderr, ended.answer.stdout);
        ensure(ended.answer.code == 0 && !told.contains("panicked"), || format!("one of several failed:\n{told}"))?;
    }
    ensure(!ended[0].killed, || "the one that nobody killed died".to_owned())?;
    case.recover(&Fault::none(), killed)?;
    Ok(killed > 0 || faults.len() > 1)
}

fn several(name: &'static str, processes: usize, with_kills: bool, wanted: u64) {
    let (subject, mut chance) = (Subject::new(WHOLE), chance());
    let operations = subject.case().run(&Fault::none()).operations;
    let mut sweep = Sweep::new(name, wanted);
    for _ in 0..wanted {
        let mut faults = vec![Fault::none()];
        for _ in 1..processes {
            let fault = Fault::strike("before", 1 + chance.below(operations));
            faults.push(if with_kills { fault } else { Fault::none() });
        }
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        sweep.take(&format!("(several at once) {}", told.join(" | ")), at_once(&subject, &faults));
    }
    sweep.end();
}

#[test]
#[ignore = "part of `make torture`"]
fn two_and_four_processes_do_each_piece_once() {
    several("two at once", 2, false, kills() / 40);
    several("four at once", 4, false, kills() / 40);
}

#[test]
#[ignore = "part of `make torture`"]
fn two_and_four_processes_survive_kills_among_them() {
    several("two at once, one killed", 2, true, kills() / 10);
    several("four at once, three killed", 4, true, kills() / 10);
}
