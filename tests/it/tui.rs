//! `refrain run --tui` in a real terminal, which `script` (util-linux) makes:
//! whatever happens, the terminal is given back.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lab::{CRAWL, Lab, Sandbox, skipped};

const TAKE: &str = "\u{1b}[?1049h";
const GIVE_BACK: &str = "\u{1b}[?1049l";

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
";

/// A command in a terminal of its own.
pub(crate) struct Pty {
    process: Child,
    screen: Arc<Mutex<String>>,
}

impl Pty {
    /// Starts the binary; none where there is no `script`.
    fn start(lab: &Lab, line: &str) -> Option<Self> {
        Self::start_with(lab, line, &BTreeMap::new())
    }

    /// The same with more variables.
    pub(crate) fn start_with(lab: &Lab, line: &str, environment: &BTreeMap<String, OsString>) -> Option<Self> {
        let binary = lab.command(std::iter::empty::<&str>());
        let binary_path = env!("CARGO_BIN_EXE_refrain");
        // A shell without a trap may end at Ctrl-C, as the run does not.
        let words = format!(
            "trap : INT; stty rows 24 cols 80; sh -c 'echo $$ > pid; exec {binary_path} {line}'; echo \"exit code $?\"; stty -a | grep -o -- '-\\?icanon'"
        );
        let mut command = Command::new("script");
        command.args(["-qec", &words, "/dev/null"]).current_dir(lab.path("."));
        for (name, value) in binary.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .envs(environment)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Ok(mut process) = command.spawn() else {
            skipped("there is no `script` of util-linux");
            return None;
        };
        let screen = Arc::<Mutex<String>>::default();
        let (mut out, seen) = (process.stdout.take().expect("a pipe"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut piece) {
                seen.lock().expect("no panic").push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Some(Self { process, screen })
    }

    fn shown(&self) -> String {
        self.screen.lock().expect("no panic").clone()
    }

    /// Waits until these words were drawn.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let started = Instant::now();
        while started.elapsed() < Duration::from_mins(2) {
            let shown = self.shown();
            if shown.contains(words) {
                return shown;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no `{words}` in:\n{}", self.shown());
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let keyboard = self.process.stdin.as_mut().expect("a pipe");
        keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()).expect("keys");
    }

    /// What stands on the normal screen at the end, which must have come back.
    fn end(self) -> String {
        self.wait_for("icanon");
        let shown = self.shown();
        assert_eq!(shown.matches(TAKE).count(), 1, "{shown}");
        let (_, after) =
            shown.rsplit_once(GIVE_BACK).unwrap_or_else(|| panic!("the screen did not come back: {shown}"));
        assert!(!after.contains("-icanon"), "the terminal is still raw: {after}");
        assert!(shown.rsplit_once("\u{1b}[?25h").is_some(), "the cursor is hidden: {shown}");
        after.to_owned()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_run_ends_on_the_normal_screen_with_its_summary_and_results() {
    let lab = Lab::with(&[("p.yaml", PIPELINE), ("songs.csv", "artist,title\nA,one\n")]);
    let Some(pty) = Pty::start(&lab, "run p.yaml --tui") else { return };
    let after = pty.end();
    for words in ["✓ songs", "1 ran, 0 cached, 0 failed", "one", "exit code 0"] {
        assert!(after.contains(words), "no `{words}` in {after}");
    }
}

#[test]
fn a_run_that_fails_or_is_refused_gives_the_screen_back_too() {
    let lab = Lab::with(&[("p.yaml", PIPELINE), ("songs.csv", "artist,title\nA,one,two,three\n")]);
    let Some(pty) = Pty::start(&lab, "run p.yaml --tui") else { return };
    let after = pty.end();
    assert!(after.contains("✗ songs  failed") && after.contains("exit code 1"), "{after}");
    std::fs::remove_file(lab.path("songs.csv")).unwrap();
    let Some(pty) = Pty::start(&lab, "run p.yaml --tui") else { return };
    let after = pty.end();
    assert!(after.contains("error:") && after.contains("exit code 2"), "{after}");
}

fn crawl() -> (Lab, Sandbox, String) {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let sandbox = Sandbox::start(&lab, "--users 3000 --songs 100 --seed 1 --limit lastfm.per_second=20");
    let line = format!("run crawl.yaml --tui --sandbox={}", sandbox.url);
    (lab, sandbox, line)
}

#[test]
fn ctrl_c_and_q_stop_as_a_plain_run_is_stopped() {
    for key in ["\u{3}", "q"] {
        let (lab, _sandbox, line) = crawl();
        let Some(mut pty) = Pty::start(&lab, &line) else { return };
        pty.wait_for("of 120 rows");
        pty.press(key);
        let after = pty.end();
        for words in
            ["stopping;", "stopped; what is finished is kept", "go on with `refrain run crawl.yaml", "exit code 130"]
        {
            assert!(after.contains(words), "no `{words}` in {after}");
        }
    }
}

#[test]
fn a_signal_to_end_gives_the_screen_back() {
    let (lab, _sandbox, line) = crawl();
    let Some(pty) = Pty::start(&lab, &line) else { return };
    pty.wait_for("of 120 rows");
    let pid = std::fs::read_to_string(lab.path("pid")).expect("its number");
    let sent = Command::new("kill").args(["-TERM", pid.trim()]).status().expect("kill");
    assert!(sent.success());
    let after = pty.end();
    assert!(after.contains("exit code 130"), "{after}");
}

#[test]
fn without_a_terminal_the_dashboard_is_refused() {
    let lab = Lab::with(&[("p.yaml", PIPELINE)]);
    let answer = lab.line("run p.yaml --tui");
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("--tui needs a terminal, and standard input is none"), "{answer:#?}");
    assert!(lab.line("run p.yaml --tui --json").stderr.contains("cannot be used with"));
    assert!(!lab.path("artifacts").exists(), "nothing was begun");
}
