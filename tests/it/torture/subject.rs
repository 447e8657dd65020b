//! What is tortured: a small pipeline against a sandbox that outlives it, how it
//! is run under a fault, and all that must hold afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::Fault;
use super::store;
use crate::lab::{Answer, Lab, Sandbox};

/// Crawls, prompts, SQL, several outputs and two variants: every kind of file
/// operation that a run makes.
pub(super) const WHOLE: &str = r#"
pipeline: torture
stages:
  listens:
    kind: read_table
    with: { path: listens.csv }
  counts:
    kind: sql
    inputs: { listens: listens }
    with: { query: "SELECT item_id, COUNT(*) AS users FROM listens GROUP BY item_id ORDER BY item_id" }
  users:
    kind: crawl_users
    with: { max_users: 10 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 20, min_per_user: 1 }
  catalog:
    kind: sql
    inputs: { loved: loved }
    with:
      query: >
        SELECT artist, title, COUNT(*) AS n FROM loved GROUP BY artist, title
        ORDER BY n DESC, artist, title LIMIT 12
  matched:
    kind: match_tracks
    inputs: { loved: loved, catalog: catalog }
  summaries:
    kind: summarize
    inputs: { items: matched.items }
    with:
      model: sandbox
      word_limit: "${variant.words}"
      prompt: 'Describe "{{ title }}" by {{ artist }} in {{ word_limit }} words.'
  short:
    kind: truncate_words
    inputs: { texts: summaries }
    with: { words: 5 }
variants:
  A: { words: 10 }
  B: { words: 20 }
"#;

/// Three publishes, one after the other, the last with two outputs.
pub(super) const PUBLISH: &str = r#"
pipeline: torture
stages:
  loved:
    kind: read_table
    with: { path: loved.csv }
  catalog:
    kind: sql
    inputs: { loved: loved }
    with: { query: "SELECT DISTINCT artist, title FROM loved ORDER BY artist, title" }
  matched:
    kind: match_tracks
    inputs: { loved: loved, catalog: catalog }
"#;

/// Two requests, one after the other.
pub(super) const ANSWER: &str = "
pipeline: torture
stages:
  users:
    kind: crawl_users
    with: { max_users: 2, max_friends: 1 }
";

const LISTENS: &str = "user_id,item_id,at\nu1,i1,1\nu1,i2,2\nu2,i1,3\n";
const LOVED: &str = "user_id,artist,title,at\nu1,A,One,1\nu1,B,Two,2\nu2,A,One,3\n";

/// At most so many requests of one process are in flight at once: a sandbox is
/// asked with 16 slots whatever a limiter says, and as many answers may be on
/// their way to the memo.
const IN_FLIGHT: u64 = 32;
/// A power cut also takes the answers that were not synced yet, at most so many.
const UNSYNCED: u64 = 64;

/// The hash of each output of each instance, as `instance.output`.
type Results = BTreeMap<String, String>;

/// A pipeline, the server that it asks, and what it gives when all goes well.
pub(super) struct Subject {
    lab: Lab,
    sandbox: Sandbox,
    results: Results,
    /// How many different requests there are.
    distinct: u64,
    /// How long an undisturbed run takes.
    pub(super) takes: Duration,
    turn: AtomicU64,
    /// Whether this binary has `refrain verify`.
    can_verify: bool,
}

/// A store that something happened to, and the traffic before it did.
pub(super) struct Case<'a> {
    subject: &'a Subject,
    /// The store.
    pub(super) store: PathBuf,
    received: u64,
}

/// How a run under a fault ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whether it was killed.
    pub(super) killed: bool,
    /// Its exit code and words.
    pub(super) answer: Answer,
    /// The operations that were counted.
    pub(super) operations: u64,
    /// The paths of those that the fault struck.
    pub(super) struck: Vec<String>,
}

impl Subject {
    /// Runs a pipeline undisturbed, twice, to learn what it gives.
    pub(super) fn new(pipeline: &str) -> Self {
        let lab = Lab::with(&[("p.yaml", pipeline), ("listens.csv", LISTENS), ("loved.csv", LOVED)]);
        let sandbox = Sandbox::start(&lab, "--users 40 --songs 40");
        let turn = AtomicU64::new(0);
        let takes = Duration::ZERO;
        let can_verify = lab.line("verify --help").code == 0;
        let mut subject = Self { lab, sandbox, results: Results::new(), distinct: 0, takes, turn, can_verify };
        let (takes, distinct, results) = subject.calm();
        (subject.takes, subject.distinct, subject.results) = (takes, distinct, results);
        subject
    }

    /// What an undisturbed run takes, asks and gives.
    fn calm(&self) -> (Duration, u64, Results) {
        let case = self.case();
        let started = Instant::now();
        let first = case.plain();
        let takes = started.elapsed();
        assert_eq!(first.code, 0, "{first:#?}");
        let distinct = first.finished()["requests"].as_u64().expect("a number");
        assert_eq!(store::recorded(&case.store).len() as u64, distinct, "the test reads the memo wrongly");
        let (results, faults) = (case.results().expect("results"), store::faults(&case.store));
        assert!(!results.is_empty() && faults.is_empty(), "{results:#?} {faults:#?}");
        (takes, distinct, results)
    }

    /// A new, empty store.
    pub(super) fn case(&self) -> Case<'_> {
        let name = format!("store-{}", self.turn.fetch_add(1, Ordering::Relaxed));
        let folder = self.lab.path("").canonicalize().expect("the laboratory");
        self.case_in(folder.join(name))
    }

    /// A store in a folder of the caller's.
    pub(super) fn case_in(&self, store: PathBuf) -> Case<'_> {
        Case { subject: self, store, received: self.received() }
    }

    fn received(&self) -> u64 {
        self.sandbox.stats()["total"]["received"].as_u64().expect("a number")
    }
}

impl Case<'_> {
    fn command(&self, what: &str) -> Command {
        let subject = self.subject;
        let line = format!("{what} p.yaml --json --sandbox={} --artifacts", subject.sandbox.url);
        let mut command = subject.lab.command(line.split_whitespace());
        command.arg(&self.store).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What every stage gave; all must be up to date.
    fn results(&self) -> Result<Results, String> {
        let answer = answer(&self.command("status").output().expect("the binary starts"));
        let stages: Vec<Value> =
            serde_json::from_str(&answer.stdout).map_err(|error| format!("{error}: {answer:#?}"))?;
        let mut results = Results::new();
        for stage in &stages {
            ensure(stage["state"] == "fresh", || format!("not fresh: {stage}"))?;
            for (output, artifact) in stage["last"]["outputs"].as_object().into_iter().flatten() {
                results.insert(format!("{}.{output}", stage["stage"]), artifact["hash"].to_string());
            }
        }
        Ok(results)
    }

    /// `refrain verify` finds nothing.
    fn verifies(&self) -> Result<(), String> {
        let mut command = self.subject.lab.command(["verify", "--artifacts"]);
        let found = answer(&command.arg(&self.store).output().expect("the binary starts"));
        ensure(found.code == 0, || format!("it does not verify: {found:#?}"))
    }

    /// A run without any fault.
    pub(super) fn plain(&self) -> Answer {
        answer(&self.command("run").output().expect("the binary starts"))
    }

    /// Starts a run under a fault; gives the file in which its operations are counted.
    pub(super) fn start(&self, fault: &Fault) -> (Child, PathBuf) {
        let turn = self.subject.turn.fetch_add(1, Ordering::Relaxed);
        let root = self.subject.lab.path("").canonicalize().expect("the laboratory");
        let (log, undo) = (root.join(format!("{turn}.log")), root.join(format!("{turn}.undo")));
        fs::create_dir(&undo).expect("a folder");
        let mut command = self.command("run");
        fault.apply(&mut command, &self.store, &log, &undo);
        (command.spawn().expect("the binary starts"), log)
    }

    /// A run under a fault.
    pub(super) fn run(&self, fault: &Fault) -> Ended {
        let (child, log) = self.start(fault);
        ended(child, &log)
    }

    /// Goes on without any fault, and says what is not as it must be. `kills`
    /// is how many processes were killed before.
    pub(super) fn recover(&self, fault: &Fault, kills: u64) -> Result<(), String> {
        let recorded = store::recorded(&self.store).len() as u64;
        let published = store::published(&self.store);
        ensure(published <= recorded, || {
            format!("the published results are made of {published} answers, and {recorded} are recorded")
        })?;
        let rerun = self.plain();
        let told = format!("{}\n{}", rerun.stderr, rerun.stdout);
        ensure(rerun.code == 0, || format!("the rerun ended with exit code {}:\n{told}", rerun.code))?;
        ensure(!told.contains("panicked"), || format!("the rerun panicked:\n{told}"))?;
        let asked = rerun.finished()["requests"].as_u64().unwrap_or_default();
        let open = self.subject.distinct - recorded;
        // A failing disk may refuse to give back what it holds: that is asked again.
        let is_readable = fault.order("READS").is_none();
        ensure(asked == open, || format!("the rerun asked {asked} times, and {open} answers were missing"))?;
        let twice = self.subject.received() - self.received - self.subject.distinct;
        let unsynced = if fault.order("DO") == Some("cut") { UNSYNCED } else { 0 };
        let most = kills * (IN_FLIGHT + unsynced);
        ensure(twice <= most || !is_readable, || {
            format!("{twice} requests were asked twice, and at most {most} may be")
        })?;
        self.is_whole(fault)
    }

    /// Says what is wrong with a store on which all has been done.
    fn is_whole(&self, fault: &Fault) -> Result<(), String> {
        let results = self.results()?;
        ensure(results == self.subject.results, || {
            format!("the artifacts differ: {results:#?}\ninstead of {:#?}", self.subject.results)
        })?;
        let again = self.plain();
        let last = again.finished();
        let idle = again.code == 0 && last["ran"] == 0 && last["requests"] == 0;
        ensure(idle, || format!("another run was not idle: {again:#?}"))?;
        let warned = again.events().into_iter().filter(|event| event["event"] == "warning").count();
        ensure(warned == 0 && again.stderr.is_empty(), || format!("another run still warns: {again:#?}"))?;
        if self.subject.can_verify {
            self.verifies()?;
        }
        let mut faults = store::faults(&self.store);
        // What could not be read was set aside, and that is where it stays.
        faults.retain(|fault_found| fault.order("READS").is_none() || !fault_found.contains("/set-aside/"));
        ensure(faults.is_empty(), || faults.join("\n"))
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.store).ok();
    }
}

/// Waits for the end of a run under a fault.
pub(super) fn ended(child: Child, log: &Path) -> Ended {
    let output = child.wait_with_output().expect("an end");
    let killed = output.status.signal() == Some(9);
    let log = fs::read_to_string(log).unwrap_or_default();
    let struck = log.lines().filter_map(|line| Some(line.strip_prefix('!')?.to_owned())).collect();
    Ended { killed, answer: answer(&output), operations: log.lines().count() as u64, struck }
}

fn answer(output: &Output) -> Answer {
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An error unless that holds.
pub(super) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
