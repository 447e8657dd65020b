//! Results in Python: `examples/open_results.py` over a small pipeline. Needs a Python
//! with Polars: the one that `REFRAIN_TEST_PYTHON` names, else `python3`, else one
//! that is made below the target folder, once, where pip can be used. Skipped,
//! with a line, where there is none.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Lab, skipped};

const PIPELINE: &str = "\
pipeline: small
seeds: [0, 1]
stages:
  loved:
    kind: read_table
    with: { path: loved.csv }
  songs:
    kind: read_table
    with: { path: songs.csv }
  split:
    kind: split_leave_last_out
    inputs: { interactions: loved }
  model:
    kind: ease
    inputs: { split: split }
    with: { lambda: \"${variant.lambda}\" }
  evaluate:
    kind: evaluate
    inputs: { split: split, model: model }
  leaderboard:
    kind: compare
    inputs: { metrics: [\"evaluate@*\"], ranks: [\"evaluate.ranks@*\"] }
variants:
  weak: { lambda: 1000 }
  strong.2: { lambda: 1 }
";

fn lab() -> Lab {
    let mut loved = String::from("user_id,item_id,at\n");
    for (user, step) in (0..12).flat_map(|user| (0..5).map(move |step| (user, step))) {
        writeln!(loved, "u{user},i{},{}", (user * 3 + step * step) % 9, 100 + step).expect("text");
    }
    let mut songs = String::from("item_id,artist,title\n");
    for item in 0..9 {
        writeln!(songs, "i{item},Artist {},Title {item}", item % 3).expect("text");
    }
    let lab = Lab::with(&[("small.yaml", PIPELINE), ("loved.csv", &loved), ("songs.csv", &songs)]);
    let answer = lab.line("run small.yaml");
    assert_eq!(answer.code, 0, "{answer:#?}");
    lab
}

fn has_polars(python: impl AsRef<Path>) -> bool {
    let asked = Command::new(python.as_ref()).args(["-c", "import polars"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// A Python with Polars, if there is one or one can be made.
fn python() -> Option<OsString> {
    if let Some(named) = std::env::var_os("REFRAIN_TEST_PYTHON") {
        assert!(has_polars(&named), "the Python that REFRAIN_TEST_PYTHON names has no polars");
        return Some(named);
    }
    if has_polars("python3") {
        return Some("python3".into());
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = folder.join("bin/python");
    if !has_polars(&python) {
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--timeout",
            "20",
            "--retries",
            "1",
            "polars",
        ];
        let made = done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            && done(Command::new(&python).args(install));
        if !made || !has_polars(&python) {
            return None;
        }
    }
    Some(python.into())
}

#[test]
fn the_example_opens_what_a_pipeline_made() {
    let Some(python) = python() else {
        skipped("no Python with polars is here, and pip could not get it; REFRAIN_TEST_PYTHON names one");
        return;
    };
    let lab = lab();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/open_results.py");
    let mut command = Command::new(python);
    command.arg(example).arg("small.yaml").current_dir(lab.path(".")).env("REFRAIN", env!("CARGO_BIN_EXE_refrain"));
    command.env("PYTHONUTF8", "1").env("POLARS_FMT_TABLE_FORMATTING", "ASCII_MARKDOWN").env_remove("REFRAIN_ARTIFACTS");
    let output = command.output().expect("Python starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for part in ["strong.2", "hr@10", "median_rank", "Artist 1"] {
        assert!(stdout.contains(part), "no `{part}` in\n{stdout}\n{stderr}");
    }
}
