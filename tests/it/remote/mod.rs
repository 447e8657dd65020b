//! Shared stores, seen from outside: real servers that are not ours (moto's S3,
//! Azurite, a folder, Python's web server), behind a proxy that fails, with
//! writers that are killed.

mod faults;
mod memo;
mod proxy;
mod servers;
mod sharing;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::lab::{Answer, Lab, files_below};
use servers::Server;

/// Five stages over a table of some size, without any network.
const PIPELINE: &str = "\
pipeline: shared
stages:
  plays: { kind: read_table, with: { path: plays.csv } }
  counts:
    kind: sql
    inputs: { plays: plays }
    with: { query: \"SELECT item, COUNT(*) AS plays FROM plays GROUP BY item ORDER BY item\" }
  users:
    kind: sql
    inputs: { plays: plays }
    with: { query: \"SELECT who, COUNT(*) AS plays FROM plays GROUP BY who ORDER BY who\" }
  many:
    kind: sql
    inputs: { users: users }
    with: { query: \"SELECT who FROM users WHERE plays > 1 ORDER BY who\" }
  total:
    kind: sql
    inputs: { many: many, counts: counts }
    with: { query: \"SELECT m.n AS users, c.n AS items FROM (SELECT COUNT(*) AS n FROM many) AS m CROSS JOIN (SELECT COUNT(*) AS n FROM counts) AS c\" }
";

const ALL: [&str; 5] = ["counts", "many", "plays", "total", "users"];

/// Rows that no compression makes small.
fn plays(rows: u64) -> String {
    let mut state = 1_u64;
    let mut text = "who,item,at\n".to_owned();
    for _ in 0..rows {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(text, "u{},i{},{}", (state >> 33) % 20_000, (state >> 20) % 5_000, state >> 3).expect("text");
    }
    text
}

/// A machine with the pipeline.
fn machine(rows: u64) -> Lab {
    Lab::with(&[("p.yaml", PIPELINE), ("plays.csv", &plays(rows))])
}

/// Runs a command line on a machine that uses a server.
fn on(lab: &Lab, server: &Server, line: &str) -> Answer {
    let output = server.command(lab, line).output().expect("the binary starts");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// The same, for one that must end well.
fn well(lab: &Lab, server: &Server, line: &str) -> Answer {
    let answer = on(lab, server, line);
    assert_eq!(answer.code, 0, "{line}: {answer:#?}");
    answer
}

/// The artifacts that a machine has.
fn artifacts(lab: &Lab) -> Vec<PathBuf> {
    files_below(&lab.path("artifacts/objects-v1"), ".parquet")
}

/// The bytes of an artifact, fetched if it is not here.
fn bytes_of(lab: &Lab, server: &Server, stage: &str) -> Vec<u8> {
    let answer = well(lab, server, &format!("path p.yaml {stage}"));
    fs::read(lab.path(answer.stdout.trim())).expect("an artifact")
}
