//! One piece of work that a cluster is to do, from its order to its result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::next::{Course, Next, next};
use super::slurm::{self, JobState, PREFIX, QueuedJob};
use crate::engine::event::Outcome;
use crate::engine::job::{Ended, Job, Report, in_store};
use crate::engine::options::Failure;
use crate::engine::reason::Reason;
use crate::ground::{ContentHash, count, files};
use crate::pipeline::JobSettings;
use crate::remote::Claim;
use crate::stage::Progress as _;
use crate::web::Spent;

/// How many lines of a failed job are shown.
const LAST_LINES: usize = 20;

/// One piece of work.
pub(super) struct Order {
    task: usize,
    pub(super) job: Job,
    pub(super) settings: JobSettings,
    /// Tells the machines that share a store that this run has the work done.
    claim: Option<Claim>,
    done: UnboundedSender<(usize, Report)>,
    started: Instant,
    /// What its job is called, by the key of the work: of the whole stage's for
    /// a shard, which is a task of an array.
    pub(super) name: String,
    pub(super) index: Option<usize>,
    /// The job that does it, as `scancel` takes it.
    pub(super) id: Option<String>,
    course: Course,
    state: Option<QueuedJob>,
    /// Where the output of the job goes that this run submitted.
    log: Option<String>,
}

impl Order {
    pub(super) fn new(
        task: usize,
        job: Job,
        settings: JobSettings,
        claim: Option<Claim>,
        done: UnboundedSender<(usize, Report)>,
    ) -> Self {
        let shard = job.piece.shard();
        let index = shard.map(|shard| shard.number);
        let shards = shard.map(|shard| format!("-of{}", shard.of)).unwrap_or_default();
        let key = whole_key(&job).to_string();
        let name = format!("{PREFIX}{}{shards}", key.get(..16).unwrap_or_default());
        let (started, course) = (Instant::now(), Course::default());
        Self { task, job, settings, claim, done, started, name, index, id: None, course, state: None, log: None }
    }

    /// What comes next; none if its result was there and is given.
    pub(super) fn look(&mut self, jobs: &BTreeMap<(String, Option<usize>), QueuedJob>) -> Option<Next> {
        let job = jobs.get(&(self.name.clone(), self.index));
        let is_active = job.is_some_and(|job| matches!(job.state, JobState::Pending | JobState::Running));
        if !is_active && self.take_result() {
            return None;
        }
        let next = next(&mut self.course, job, self.settings.retries());
        self.state = job.filter(|job| self.course.attached == Some(job.number)).cloned();
        if let Some(job) = &self.state {
            self.id = Some(job.id.clone());
        }
        Some(next)
    }

    /// Gives its result if the store has it.
    fn take_result(&mut self) -> bool {
        match self.job.made() {
            Ok(None) => false,
            Ok(Some(manifest)) => {
                let outcome = match self.course.attached {
                    None => Outcome::Adopted,
                    Some(_) => self.job.outcome_of(&manifest),
                };
                let manifest = Arc::new(manifest);
                self.job.share(&manifest, self.claim.take());
                self.report(Ended::Done(manifest, outcome));
                true
            }
            Err(error) => {
                self.report(Ended::Failed(in_store(&error)));
                true
            }
        }
    }

    /// Keeps collection away from what is about to be made.
    pub(super) fn pin(&self) -> Result<(), Failure> {
        self.job.pinned().map(drop).map_err(|error| in_store(&error))
    }

    /// It was submitted, with its output to go to `log`, in which `%A`, `%j` and `%a` stand for numbers.
    pub(super) fn submitted(&mut self, number: u64, log: &Path) {
        let (job, task) = (number.to_string(), self.index.map(|index| index.to_string()).unwrap_or_default());
        let log = log.display().to_string().replace("%A", &job).replace("%j", &job).replace("%a", &task);
        self.log = Some(log);
        self.course.attached = Some(number);
        self.course.submitted += 1;
        self.course.looked = 0;
        self.id = Some(self.index.map_or_else(|| number.to_string(), |index| format!("{number}_{index}")));
        self.state = None;
    }

    /// The words of the command that does it, but for the number of a shard.
    pub(super) fn words(&self, worker: &[String]) -> Vec<String> {
        let mut words = worker.to_vec();
        words.extend(["--instance".to_owned(), self.job.instance.id.to_string()]);
        words.extend(["--key".to_owned(), whole_key(&self.job).to_string()]);
        for need in &self.job.needs {
            words.extend(["--input".to_owned(), need.producer.key.to_string()]);
        }
        let forced = self.job.work.reasons.contains(&Reason::Forced);
        if self.job.piece.shard().map_or(forced, |shard| shard.is_forced) {
            words.push("--force".to_owned());
        }
        words
    }

    pub(super) fn note(&self, text: &str) {
        self.job.reporter.note(text);
    }

    /// It has failed, by the job that was waited for.
    pub(super) fn fail(self, why: &str) {
        let id = self.id.clone().unwrap_or_default();
        let details = slurm::details(&id);
        let mut error = format!("job {id} of the cluster failed");
        if let Some(job) = &self.state {
            let place = if job.node.is_empty() { String::new() } else { format!(" on {}", job.node) };
            write!(error, ": {}{place}", job.word).ok();
        }
        if let Some(code) = details.get("ExitCode").filter(|code| *code != "0:0") {
            write!(error, ", exit code {}", code.split(':').next().unwrap_or(code)).ok();
        }
        for part in [why, details.get("Reason").map_or("", String::as_str)] {
            if !part.is_empty() && part != "None" && part != "NonZeroExitCode" {
                write!(error, "; {part}").ok();
            }
        }
        // The cluster soon forgets its jobs.
        let log = details.get("StdOut").cloned().or_else(|| self.log.clone());
        if let Some(lines) = log.as_deref().and_then(|log| last_lines(Path::new(log))) {
            write!(error, "; its last lines were{lines}").ok();
        }
        let hint = log.map(|log| format!("all that it printed is in `{log}`"));
        self.give(Ended::Failed(Failure { error, causes: Vec::new(), hint }));
    }

    /// Ends it.
    pub(super) fn give(mut self, ended: Ended) {
        self.report(ended);
    }

    fn report(&mut self, ended: Ended) {
        self.job.ended_away(&ended);
        let statuses = BTreeMap::new();
        let report = Report { ended, spent: Spent::default(), statuses, seconds: self.started.elapsed().as_secs_f64() };
        // Nobody listens any more only when the run is over.
        self.done.send((self.task, report)).ok();
    }
}

fn whole_key(job: &Job) -> ContentHash {
    job.piece.shard().map_or(job.work.key, |shard| shard.whole)
}

fn last_lines(log: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&files::read_bytes(log).ok()?).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LAST_LINES)..)?;
    (!last.is_empty()).then(|| last.iter().flat_map(|line| ["\n    ", line]).collect())
}

/// How the jobs of a stage stand, in words: `16 jobs: 3 at work, 13 waiting (Resources)`.
pub(super) fn in_words(orders: &[&Order]) -> String {
    let at =
        |state: JobState| orders.iter().filter(move |order| order.state.as_ref().is_some_and(|job| job.state == state));
    let (running, pending) = (at(JobState::Running).count(), at(JobState::Pending).count());
    let mut parts = Vec::new();
    if running > 0 {
        parts.push(format!("{running} at work"));
    }
    if pending > 0 {
        let reason = at(JobState::Pending).find_map(|order| order.state.as_ref().map(|job| job.reason.clone()));
        let reason = reason.filter(|reason| !reason.is_empty() && reason != "None");
        parts.push(format!("{pending} waiting{}", reason.map(|why| format!(" ({why})")).unwrap_or_default()));
    }
    if parts.is_empty() {
        parts.push("submitted".to_owned());
    }
    match orders {
        [one] if one.index.is_none() => {
            format!("job {} of the cluster: {}", one.id.as_deref().unwrap_or("?"), parts.join(", ").replace("1 ", ""))
        }
        _ => format!("{} of the cluster: {}", count(orders.len() as u64, "job"), parts.join(", ")),
    }
}
