//! A wall clock that is wrong, that was wrong, and that jumps during a run.

use super::*;

const YEAR: i64 = 365 * 24 * 3600;

/// A run under a wrong clock that is killed, the same clock or another for the
/// next one, and then the right one.
fn moved(subject: &Subject, first: &str, second: &str, at: u64) -> Result<bool, String> {
    let case = subject.case();
    let ended = case.run(&Fault::strike("before", at).with("CLOCK", first));
    let second = case.run(&Fault::none().with("CLOCK", second));
    ensure(second.answer.code == 0, || format!("the second run failed: {:#?}", second.answer))?;
    case.recover(&Fault::none(), u64::from(ended.killed))?;
    Ok(ended.killed)
}

#[test]
#[ignore = "part of `make torture`"]
fn a_moved_clock_changes_nothing() {
    let (subject, mut chance) = (Subject::new(WHOLE), chance());
    let operations = subject.case().run(&Fault::none()).operations;
    let (back, on) = ((-YEAR).to_string(), YEAR.to_string());
    let jumps = format!("0,{YEAR},0,{},3600,-3600,0,{YEAR},{YEAR},{YEAR},0,-86400", -YEAR);
    let pairs = [
        (back.as_str(), "0"),
        (on.as_str(), "0"),
        (back.as_str(), on.as_str()),
        (on.as_str(), back.as_str()),
        (jumps.as_str(), "0"),
        (jumps.as_str(), jumps.as_str()),
    ];
    let wanted = (kills() / 10).max(6);
    let mut sweep = Sweep::new("moved clock", wanted);
    for (turn, (first, second)) in (0..wanted).zip(pairs.into_iter().cycle()) {
        // Some of the first runs are left to end.
        let at = if turn % 3 == 2 { u64::MAX >> 1 } else { 1 + chance.below(operations) };
        let replay = format!("(clock {first} killed at {at}, then {second})");
        sweep.take(&replay, moved(&subject, first, second, at));
    }
    sweep.end();
}
