//! A pipeline whose programs say when they begin, for tests on clusters.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Answer, Lab};

/// Three stages on the cluster: one whole, one on a GPU, one in four shards. The
/// reading stays where it is.
pub(super) const PIPELINE: &str = "\
pipeline: away
engine:
  slurm:
    head_below: 0s
    stages:
      songs: { head: true }
stages:
  songs:
    kind: read_table
    with: { path: songs.csv, columns: { item_id: item_id, text: text } }
  whole:
    kind: run_command
    inputs: { songs: songs }
    with:
      run: [sh, copy.sh, whole]
      code: [copy.sh]
      env: [SLURM_JOB_ID, SLURM_ARRAY_TASK_ID]
      outputs: { table: { columns: { item_id: str, text: str }, key: [item_id] } }
  gpu:
    kind: run_command
    inputs: { songs: whole }
    with:
      run: [sh, copy.sh, gpu]
      code: [copy.sh]
      gpu: true
      outputs: { table: { columns: { item_id: str, text: str }, key: [item_id] } }
  shards:
    kind: run_command
    inputs: { songs: songs }
    shards: 4
    with:
      run: [sh, copy.sh, shards]
      code: [copy.sh]
      env: [SLURM_JOB_ID, SLURM_ARRAY_TASK_ID]
      outputs: { table: { columns: { item_id: str, text: str }, key: [item_id] } }
      rows: { input: songs, key: item_id }
";

/// Says that it begins, with what the cluster gave it; `act.sh` may do more.
pub(super) const COPY: &str = "\
echo \"$1 ${SLURM_JOB_ID-none} ${CUDA_VISIBLE_DEVICES-none}\" >> begun
echo copying
[ ! -e act.sh ] || . ./act.sh
cp \"$REFRAIN_INPUT_SONGS\" \"$REFRAIN_OUTPUT_TABLE\"
";

/// Waits in the whole stage's program until `go` is there.
pub(super) const WAIT: &str = "[ \"$1\" != whole ] || while [ ! -e go ]; do sleep 0.1; done\n";

pub(super) struct Away {
    pub(super) lab: Lab,
    /// What a command needs to find the cluster.
    pub(super) environment: BTreeMap<String, OsString>,
}

impl Away {
    pub(super) fn new(environment: BTreeMap<String, OsString>) -> Self {
        Self::of(PIPELINE, environment)
    }

    pub(super) fn of(pipeline: &str, environment: BTreeMap<String, OsString>) -> Self {
        let mut songs = "item_id,text\n".to_owned();
        (0..400).for_each(|row| writeln!(songs, "s{row},text {row}").expect("text"));
        let lab = Lab::with(&[("p.yaml", pipeline), ("songs.csv", &songs), ("copy.sh", COPY), ("begun", "")]);
        Self { lab, environment }
    }

    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = self.lab.command(line.split_whitespace());
        command.envs(&self.environment);
        command
    }

    pub(super) fn line(&self, line: &str) -> Answer {
        Answer::of(self.command(line))
    }

    /// Runs the pipeline, which must end well; gives the stages that did their work.
    pub(super) fn ran(&self, options: &str) -> Vec<String> {
        let answer = self.line(&format!("run p.yaml --json {options}"));
        assert_eq!(answer.code, 0, "{answer:#?}");
        answer.outcomes(&["ran", "unchanged"])
    }

    pub(super) fn start(&self, options: &str) -> Child {
        let mut command = self.command(&format!("run p.yaml {options}"));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a run")
    }

    /// The programs that have begun, in the order of their beginning.
    pub(super) fn begun(&self) -> Vec<String> {
        let text = fs::read_to_string(self.lab.path("begun")).expect("a file");
        text.lines().map(str::to_owned).collect()
    }

    /// How often a stage's program has begun.
    pub(super) fn times(&self, stage: &str) -> usize {
        self.begun().iter().filter(|line| line.starts_with(&format!("{stage} "))).count()
    }

    /// Every stage did its work once.
    pub(super) fn assert_each_once(&self) {
        let times = ["whole", "gpu", "shards"].map(|stage| self.times(stage));
        assert_eq!(times, [1, 1, 4], "{:?}", self.begun());
        let names = ["songs", "whole", "gpu", "shards"];
        let artifacts = names.map(|stage| self.lab.artifact(&format!("p.yaml {stage}")));
        assert!(artifacts.iter().all(|path| *path == artifacts[0]), "copies differ: {artifacts:?}");
    }
}

pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_mins(2), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn interrupt(run: &Child) {
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill").success());
}
