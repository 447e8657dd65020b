//! `refrain watch`: a pipeline is planned, or run, again when it or its data
//! changes.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::lab::Lab;

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: data/songs.csv }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT title FROM songs ORDER BY title\" }
";

/// A watch, and what it says line by line.
struct Watch {
    process: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(lab: &Lab, line: &str) -> Self {
        let mut command = lab.command(line.split_whitespace());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(process.stdout.take().expect("a pipe")), Box::new(process.stderr.take().expect("a pipe"))];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { process, lines }
    }

    /// What it says until it waits again.
    fn round(&self) -> String {
        self.until("Ctrl-C ends")
    }

    /// What it says up to a line with these words.
    fn until(&self, words: &str) -> String {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_mins(2));
            let line = line.unwrap_or_else(|error| panic!("no `{words}` but {error} after:\n{said}"));
            said.push_str(&line);
            said.push('\n');
            if line.contains(words) {
                // The two streams have no common order: what came before is here in a moment.
                while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                    said.push_str(&line);
                    said.push('\n');
                }
                return said;
            }
        }
    }

    fn interrupt(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        self.process.wait().expect("an end").code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn lab() -> Lab {
    Lab::with(&[("p.yaml", PIPELINE), ("data/songs.csv", "artist,title\nA,one\nB,two\n")])
}

#[test]
fn a_plan_is_made_again_when_the_pipeline_or_its_data_changes() {
    let lab = lab();
    lab.ran("p.yaml");
    let watch = Watch::start(&lab, "watch p.yaml");
    let said = watch.round();
    assert!(said.contains("2 stages: 2 up to date") && said.contains("watching 2 files"), "{said}");

    lab.edit("p.yaml", "ORDER BY title", "ORDER BY title DESC");
    let said = watch.round();
    assert!(said.contains("changed: p.yaml") && said.contains("setting query"), "{said}");
    assert!(said.contains("1 up to date, 1 to run"), "{said}");

    // As editors write: a new file, renamed over the old one.
    lab.write("data/.songs.csv.new", "artist,title\nA,one\nB,three\n");
    std::fs::rename(lab.path("data/.songs.csv.new"), lab.path("data/songs.csv")).unwrap();
    let said = watch.round();
    assert!(said.contains("changed: data/songs.csv") && said.contains("1 to run, 1 undecided"), "{said}");

    lab.edit("p.yaml", "kind: sql", "kind: sqll");
    let said = watch.round();
    assert!(said.contains("did you mean `sql`?") && said.contains("1 mistake in p.yaml"), "{said}");

    lab.edit("p.yaml", "kind: sqll", "kind: sql");
    let said = watch.round();
    assert!(said.contains("changed: p.yaml") && said.contains("1 to run, 1 undecided"), "{said}");
    assert_eq!(watch.interrupt(), Some(0));
    assert!(!lab.path("artifacts/runs-v1").read_dir().is_ok_and(|runs| runs.count() > 1), "only the first run ran");
}

#[test]
fn with_run_what_changed_is_run_and_a_failure_ends_nothing() {
    let lab = lab();
    let watch = Watch::start(&lab, "watch p.yaml --run");
    let said = watch.round();
    assert!(said.contains("2 ran, 0 cached, 0 failed"), "{said}");

    lab.write("data/songs.csv", "artist,titel\nA,one\n");
    let said = watch.round();
    assert!(said.contains("✗ some  failed") || said.contains("title"), "{said}");

    lab.write("data/songs.csv", "artist,title\nA,four\n");
    let said = watch.round();
    assert!(said.contains("four") && said.contains("0 failed"), "{said}");
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn a_file_that_is_not_there_is_not_watched() {
    let answer = lab().line("watch nowhere.yaml");
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("there is no file `nowhere.yaml` to watch"), "{answer:#?}");
}
