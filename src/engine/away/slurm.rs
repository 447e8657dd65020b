//! Slurm's commands: submitting jobs, listing them, and looking at one. What
//! they print is read here and nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::pipeline::JobSettings;
use crate::stage::Resource;

/// How the names of refrain's jobs begin.
pub(super) const PREFIX: &str = "refrain-";

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    /// It waits, or starts.
    Pending,
    /// It is at work, or ends.
    Running,
    /// It ended by itself, and well.
    Completed,
    /// The cluster took its node or its time: it may be tried again.
    Lost,
    /// It failed, or somebody cancelled it.
    Failed,
}

/// A job, or one task of an array, as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueuedJob {
    /// What `scontrol` and `scancel` take: `12` or `12_3`.
    pub(super) id: String,
    /// The number that later jobs have a higher one than.
    pub(super) number: u64,
    /// Which task of an array it is.
    pub(super) index: Option<usize>,
    pub(super) name: String,
    pub(super) state: JobState,
    /// The cluster's own word for it, such as `TIMEOUT`, and the reason it gives.
    pub(super) word: String,
    pub(super) reason: String,
    pub(super) node: String,
}

/// A job to submit.
pub(super) struct Submission<'a> {
    pub(super) name: &'a str,
    /// The tasks of an array; none for a single job.
    pub(super) indices: Option<&'a [usize]>,
    pub(super) settings: &'a JobSettings,
    pub(super) resource: &'a Resource,
    /// Where its output goes; `%A` and `%a` stand for the job and the task.
    pub(super) log: PathBuf,
    /// The words of the command that does the work.
    pub(super) words: Vec<String>,
}

/// Why a command of the cluster's did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueueError {
    /// The command is not there.
    #[error("could not run `{command}`: {why}")]
    NoCommand { command: String, why: String },
    /// The cluster does not answer, which may pass.
    #[error("`{command}` got no answer: {why}")]
    Silent { command: String, why: String },
    /// The cluster refused.
    #[error("`{command}` refused: {why}")]
    Refused { command: String, why: String },
}

/// What a command says when the cluster does not answer.
const SILENCE: [&str; 8] = [
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Transport endpoint is not connected",
    "Zero Bytes were transmitted",
    "Resource temporarily unavailable",
    "Slurm temporarily unable to accept job",
];

/// Submits a job, and gives its number.
///
/// # Errors
/// [`QueueError`]; after one that may pass, the job may be there all the same.
pub(super) fn submit(submission: &Submission<'_>) -> Result<u64, QueueError> {
    let mut options = options(submission);
    options.insert(0, "--parsable".to_owned());
    let printed = run("sbatch", &options, &script(submission))?;
    let first = printed.lines().next_back().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    first.parse().map_err(|_| QueueError::Refused { command: "sbatch".to_owned(), why: format!("it said `{printed}`") })
}

fn options(submission: &Submission<'_>) -> Vec<String> {
    let settings = submission.settings;
    let mut options = vec![
        format!("--job-name={}", submission.name),
        format!("--output={}", submission.log.display()),
        "--no-requeue".to_owned(),
    ];
    let folder = std::env::current_dir().ok().map(|folder| folder.display().to_string());
    let minutes = settings.time().map(|time| time.as_secs().div_ceil(60).max(1).to_string());
    let cpus = settings.cpus.map(|cpus| cpus as usize).or(match submission.resource {
        Resource::Cpu(0) | Resource::Api(_) | Resource::Gpu => None,
        Resource::Cpu(cpus) => Some(*cpus),
    });
    let given = [
        ("chdir", folder),
        ("partition", settings.partition.clone()),
        ("account", settings.account.clone()),
        ("qos", settings.qos.clone()),
        ("time", minutes),
        ("mem", settings.memory.clone()),
        ("cpus-per-task", cpus.map(|cpus| cpus.to_string())),
    ];
    options.extend(given.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))));
    if *submission.resource == Resource::Gpu && settings.gpus.as_deref() != Some("0") {
        options.push(format!("--gres=gpu:{}", settings.gpus.as_deref().unwrap_or("1")));
    }
    if let Some(indices) = submission.indices {
        let most = settings.at_once.map(|most| format!("%{most}")).unwrap_or_default();
        options.push(format!("--array={}{most}", ranges(indices)));
    }
    options.extend(settings.options.iter().cloned());
    options
}

/// `0-3,7` for ascending numbers.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |&(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

fn script(submission: &Submission<'_>) -> String {
    let mut lines = vec!["#!/bin/sh".to_owned()];
    lines.extend(submission.settings.before.iter().cloned());
    lines.push("[ -z \"${SLURM_CPUS_PER_TASK-}\" ] || export RAYON_NUM_THREADS=\"$SLURM_CPUS_PER_TASK\"".to_owned());
    let mut words: Vec<String> = submission.words.iter().map(|word| quoted(word)).collect();
    if submission.indices.is_some() {
        words.push("--shard".to_owned());
        words.push("\"$SLURM_ARRAY_TASK_ID\"".to_owned());
    }
    lines.push(format!("exec {}", words.join(" ")));
    lines.join("\n") + "\n"
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The jobs of this user that are refrain's: those that wait, run, or ended a short while ago.
///
/// # Errors
/// [`QueueError`].
pub(super) fn list() -> Result<Vec<QueuedJob>, QueueError> {
    let options = ["--me", "--noheader", "--array", "--states=all", "--format=%i|%F|%K|%j|%T|%r|%N"];
    let printed = run("squeue", &options.map(str::to_owned), "")?;
    Ok(printed.lines().filter_map(job_of_line).collect())
}

fn job_of_line(line: &str) -> Option<QueuedJob> {
    let mut fields = line.trim().split('|');
    let mut next = || fields.next().map(str::trim);
    let (id, number, index, name, word) = (next()?, next()?, next()?, next()?, next()?);
    let (reason, node) = (next().unwrap_or_default(), next().unwrap_or_default());
    name.starts_with(PREFIX).then_some(())?;
    Some(QueuedJob {
        id: id.to_owned(),
        number: number.parse().ok()?,
        index: index.parse().ok(),
        name: name.to_owned(),
        state: state_of(word),
        word: word.to_owned(),
        reason: reason.to_owned(),
        node: node.to_owned(),
    })
}

fn state_of(word: &str) -> JobState {
    match word {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => {
            JobState::Pending
        }
        "RUNNING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
            JobState::Running
        }
        "COMPLETED" => JobState::Completed,
        "TIMEOUT" | "PREEMPTED" | "NODE_FAIL" | "BOOT_FAIL" | "REVOKED" => JobState::Lost,
        _ => JobState::Failed,
    }
}

/// What the cluster knows of one job: `ExitCode`, `StdOut` and the like.
pub(super) fn details(id: &str) -> BTreeMap<String, String> {
    let printed = run("scontrol", &["--oneliner", "show", "job", id].map(str::to_owned), "").unwrap_or_default();
    let pairs = printed.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Cancels jobs.
///
/// # Errors
/// [`QueueError`].
pub(super) fn cancel(ids: &[String]) -> Result<(), QueueError> {
    if ids.is_empty() { Ok(()) } else { run("scancel", ids, "").map(drop) }
}

/// Runs a command to its end, and gives what it printed.
fn run<S: AsRef<OsStr>>(command: &str, words: &[S], input: &str) -> Result<String, QueueError> {
    let failed = |error: std::io::Error| QueueError::NoCommand { command: command.to_owned(), why: error.to_string() };
    let mut child = Command::new(command)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says why at its end.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let why = if said.is_empty() { output.status.to_string() } else { said };
    let command = command.to_owned();
    Err(if SILENCE.iter().any(|silence| why.contains(silence)) {
        QueueError::Silent { command, why }
    } else {
        QueueError::Refused { command, why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_as_squeue_prints_them() {
        let job = job_of_line("12_3|12|3|refrain-abc-of16|NODE_FAIL|NodeDown|node7").expect("a job");
        assert_eq!((job.id.as_str(), job.number, job.index, job.state), ("12_3", 12, Some(3), JobState::Lost));
        let job = job_of_line("9|9|N/A|refrain-abc|PENDING|Resources|").expect("a job");
        assert_eq!((job.index, job.state, job.reason.as_str()), (None, JobState::Pending, "Resources"));
        assert_eq!(job_of_line("9|9|N/A|other|PENDING|Resources|"), None);
        assert_eq!(state_of("OUT_OF_MEMORY"), JobState::Failed);
    }

    #[test]
    fn numbers_in_a_row_are_written_as_one() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[4]), "4");
    }

    fn submission<'a>(
        settings: &'a JobSettings,
        resource: &'a Resource,
        indices: Option<&'a [usize]>,
    ) -> Submission<'a> {
        let words = ["refrain", "work", "it's.yaml"].map(str::to_owned).to_vec();
        Submission { name: "refrain-abc", indices, settings, resource, log: "/runs/x.log".into(), words }
    }

    #[test]
    fn what_is_asked_for_stands_in_the_options() {
        let settings = JobSettings {
            partition: Some("gpu".to_owned()),
            time: Some("90m".to_owned()),
            memory: Some("16G".to_owned()),
            at_once: Some(4),
            options: vec!["--constraint=a100".to_owned()],
            before: vec!["module load cuda".to_owned()],
            ..JobSettings::default()
        };
        let asked = submission(&settings, &Resource::Gpu, Some(&[0, 1, 2, 9]));
        let options = options(&asked).into_iter().filter(|option| !option.starts_with("--chdir")).collect::<Vec<_>>();
        let expected = "--job-name=refrain-abc --output=/runs/x.log --no-requeue --partition=gpu --time=90 --mem=16G \
                        --gres=gpu:1 --array=0-2,9%4 --constraint=a100";
        assert_eq!(options.join(" "), expected);
        let text = script(&asked);
        assert!(text.starts_with("#!/bin/sh\nmodule load cuda\n"), "{text}");
        assert!(text.ends_with("exec 'refrain' 'work' 'it'\\''s.yaml' --shard \"$SLURM_ARRAY_TASK_ID\"\n"), "{text}");
        let plain = JobSettings::default();
        assert!(super::options(&submission(&plain, &Resource::Cpu(3), None)).contains(&"--cpus-per-task=3".to_owned()));
    }
}
