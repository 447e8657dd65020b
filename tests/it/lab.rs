//! A laboratory: a folder of its own in which the real binary is run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// People and what they love: two stages that ask some 250 requests.
pub(crate) const CRAWL: &str = "\
pipeline: crawl
stages:
  users:
    kind: crawl_users
    with: { max_users: 120 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 50, min_per_user: 1 }
";

/// Says that a test was left out, also where it passes and the tests' output is
/// caught.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Without anybody to tell it is left out all the same.
    writeln!(std::io::stderr(), "SKIPPED: {test}: {why}").ok();
}

/// A folder with files and a store.
pub(crate) struct Lab {
    folder: TempDir,
}

/// What a command answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::with_prefix("refrain-lab-").expect("a temporary folder") }
    }

    /// One with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let lab = Self::new();
        for (name, text) in files {
            lab.write(name, text);
        }
        lab
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    #[expect(clippy::disallowed_methods, reason = "nobody reads it while it is written")]
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Replaces text in a file; it must be there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).expect("a file");
        assert!(text.contains(from), "`{from}` is not in {name}");
        self.write(name, &text.replace(from, to));
    }

    /// The binary, ready to be run here.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in [
            "REFRAIN_ARTIFACTS",
            "REFRAIN_CONTACT",
            "REFRAIN_DEVICE",
            "REFRAIN_REMOTE",
            "LASTFM_API_KEY",
            "GROQ_API_KEY",
            "OPENAI_API_KEY",
            "OPENLINEAGE_URL",
            "OPENLINEAGE_API_KEY",
            "FORCE_COLOR",
            "COLUMNS",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.folder.path()).env("NO_COLOR", "1");
        command.env("REFRAIN_LIMITERS", self.path("limiters"));
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn refrain<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Answer {
        Answer::of(self.command(arguments))
    }

    /// Runs a command line of words without spaces.
    pub(crate) fn line(&self, line: &str) -> Answer {
        self.refrain(line.split_whitespace())
    }

    /// Runs a pipeline that must succeed, and gives the instances that did
    /// their work, in ascending order.
    pub(crate) fn ran(&self, line: &str) -> Vec<String> {
        let answer = self.line(&format!("run {line} --json"));
        assert_eq!(answer.code, 0, "{answer:#?}");
        answer.outcomes(&["ran", "unchanged"])
    }

    /// How each instance of a pipeline came to its result, in a run that must succeed.
    pub(crate) fn run_outcomes(&self, line: &str) -> BTreeMap<String, String> {
        let answer = self.line(&format!("run {line} --json"));
        assert_eq!(answer.code, 0, "{answer:#?}");
        let finished = answer.events().into_iter().filter(|event| event["event"] == "stage_finished");
        finished.map(|event| (text(&event["stage"]), text(&event["outcome"]))).collect()
    }

    /// The path of an artifact, as `refrain path` prints it.
    pub(crate) fn artifact(&self, words: &str) -> PathBuf {
        let answer = self.line(&format!("path {words}"));
        assert_eq!(answer.code, 0, "{answer:#?}");
        self.path(answer.stdout.trim())
    }
}

impl Answer {
    /// What a command answers that is run to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().expect("the binary starts");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// The events of a run with `--json`.
    pub(crate) fn events(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("`{line}` is no JSON: {e}"));
        self.stdout.lines().map(read).collect()
    }

    /// The instances that finished with one of these outcomes, in ascending order.
    pub(crate) fn outcomes(&self, wanted: &[&str]) -> Vec<String> {
        let events = self.events().into_iter();
        let mut stages: Vec<String> = events
            .filter(|e| e["event"] == "stage_finished" && e["outcome"].as_str().is_some_and(|o| wanted.contains(&o)))
            .map(|event| text(&event["stage"]))
            .collect();
        stages.sort();
        stages
    }

    /// The last event.
    pub(crate) fn finished(&self) -> Value {
        let last = self.events().pop().expect("at least one event");
        assert_eq!(last["event"], "finished", "{self:#?}");
        last
    }

    /// Exit code and stderr: for snapshots of what a person sees.
    pub(crate) fn seen(&self) -> String {
        format!("exit code {}\n{}", self.code, self.stderr)
    }
}

/// What a command printed that ended well.
pub(crate) fn ok(answer: Answer) -> String {
    assert_eq!(answer.code, 0, "{answer:#?}");
    answer.stdout
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A `refrain sandbox` that runs until it is dropped.
pub(crate) struct Sandbox {
    process: Child,
    /// Where it listens, without a slash at the end.
    pub(crate) url: String,
}

impl Sandbox {
    /// Starts one with these options and waits until it listens.
    pub(crate) fn start(lab: &Lab, options: &str) -> Self {
        let line = format!("sandbox --port 0 {options}");
        let mut command = lab.command(line.split_whitespace());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let mut first = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
        let url = first.trim().trim_end_matches('/').to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "the sandbox said `{first}`");
        Self { process, url }
    }

    /// The answer of `GET /__stats`.
    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&self.text("/__stats")).expect("stats are JSON")
    }

    /// Asks it to stop, and gives its exit code.
    #[cfg(unix)]
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        self.process.wait().expect("an end").code()
    }

    /// The body of a GET.
    pub(crate) fn text(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let address = self.url.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).expect("the sandbox listens");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1."), "{head}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
        body.to_owned()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// All files below a folder with that ending, in ascending order.
pub(crate) fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
