//! Errors of the disk at chosen operations, and a disk that is full.

use std::path::Path;
use std::process::Command;

use super::subject::Ended;
use super::*;

/// One run on a failing disk, and all that must hold afterwards. Whether the
/// fault struck.
pub(super) fn failed(subject: &Subject, fault: &Fault) -> Result<bool, String> {
    let case = subject.case();
    let ended = case.run(fault);
    told(&ended, &case.store)?;
    let struck = !ended.struck.is_empty();
    // What could not be kept was asked for in vain: as if it had been killed.
    case.recover(fault, u64::from(struck))?;
    Ok(struck)
}

/// A run on a failing disk ends well, or with exit code 1 and a message that
/// says what failed, on which path, and what to do.
fn told(ended: &Ended, store: &Path) -> Result<(), String> {
    let told = format!("{}\n{}", ended.answer.stderr, ended.answer.stdout);
    let struck = ended.struck.join(", ");
    ensure(!ended.killed && !told.contains("panicked"), || format!("it died at {struck}:\n{told}"))?;
    if ended.answer.code == 0 {
        return Ok(());
    }
    ensure(ended.answer.code == 1, || format!("exit code {} after {struck}:\n{told}", ended.answer.code))?;
    // Polars names a file with the end of its path alone.
    let is_named = |path: &String| path.rsplit('/').next().is_some_and(|name| told.contains(name));
    let names_it = told.contains(&*store.to_string_lossy()) || ended.struck.iter().any(is_named);
    let says_why = told.contains("No space left on device") || told.contains("Input/output error");
    let says_what_to_do = told.contains("hint");
    ensure(names_it && says_why && says_what_to_do, || {
        format!(
            "the message after {struck} lacks the path ({names_it}), the reason ({says_why}) or a hint ({says_what_to_do}):\n{told}"
        )
    })
}

fn sampled(name: &'static str, orders: &Fault, share: u64) {
    let (subject, mut chance) = (Subject::new(WHOLE), chance());
    let operations = subject.case().run(orders).operations;
    let wanted = (kills() / share).min(operations);
    let mut sweep = Sweep::new(name, wanted);
    for turn in 0..wanted {
        let (from, to) = (turn * operations / wanted, (turn + 1) * operations / wanted);
        let at = 1 + from + chance.below((to - from).max(1));
        let mut fault = orders.clone().with("AT", at);
        if fault.order("DO").is_none() {
            fault = fault.with("DO", if turn % 2 == 0 { "enospc" } else { "eio" });
            if turn % 4 > 1 {
                fault = fault.with("LASTING", 1);
            }
        }
        sweep.take(&format!("whole {fault}"), failed(&subject, &fault));
    }
    sweep.end();
}

#[test]
#[ignore = "part of `make torture`"]
fn of_writing_are_told_and_harmless() {
    sampled("errors of writing", &Fault::none(), 2);
}

#[test]
#[ignore = "part of `make torture`"]
fn of_reading_are_told_and_harmless() {
    sampled("errors of reading", &Fault::none().with("READS", 1).with("DO", "eio"), 10);
}

/// A small disk in memory, if this user may make one.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(kilobytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={kilobytes}k");
        let disk = Self { folder };
        disk.call(&["-t", "tmpfs", "-o", &options, "tmpfs"]).then_some(disk)
    }

    fn grow(&self) {
        assert!(self.call(&["-o", "remount,size=64m"]), "the disk grows");
    }

    fn call(&self, arguments: &[&str]) -> bool {
        let output = Command::new("mount").args(arguments).arg(self.folder.path()).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.folder.path()).output().ok();
    }
}

#[test]
#[ignore = "part of `make torture`"]
fn of_a_full_disk_are_told_and_harmless() {
    let subject = Subject::new(WHOLE);
    let is_real = SmallDisk::mount(64).is_some();
    let name =
        if is_real { "full disk (a small tmpfs)" } else { "full disk (a limit of bytes: no tmpfs may be mounted)" };
    let steps = (kills() / 20).max(4);
    let mut sweep = Sweep::new(name, steps);
    for step in 0..steps {
        // From almost nothing to about what the store needs.
        let kilobytes = 8 + step * 240 / steps;
        let fault = Fault::none().with("BYTES", kilobytes * 1024);
        let result = if is_real { on_small_disk(&subject, kilobytes) } else { failed(&subject, &fault) };
        sweep.take(&format!("whole {fault}"), result);
    }
    sweep.end();
}

fn on_small_disk(subject: &Subject, kilobytes: u64) -> Result<bool, String> {
    let disk = SmallDisk::mount(kilobytes).ok_or("no tmpfs")?;
    let case = subject.case_in(disk.folder.path().canonicalize().expect("a folder").join("store"));
    let ended = case.run(&Fault::none());
    told(&ended, &case.store)?;
    disk.grow();
    case.recover(&Fault::none(), 1)?;
    Ok(ended.answer.code == 1)
}
