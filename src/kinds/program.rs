//! Runs another program: in a process group of its own, with an environment
//! that is made for it, its lines passed on as they come. Whatever becomes of
//! this process, none of the program's processes outlives it for long.
//!
//! A small shell beside the program holds one end of a pipe. When it is told
//! so, or when the pipe breaks because this process is dead, it ends the
//! program's group.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::ground::Environment;

/// How long a program that is told to stop may take until it is killed.
const GRACE_TENTHS: u32 = 50;
/// The longest wait between two looks at a running program.
const LONGEST_NAP: Duration = Duration::from_millis(50);
/// How many of a program's last lines are kept.
pub(super) const LAST_LINES: usize = 20;
/// The longest line that is passed on, in bytes; the rest of it is another line.
const LONGEST_LINE: u64 = 16 << 10;
/// What of this process' environment every program is given.
const BASE: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "OMP_NUM_THREADS",
];
/// Ends a process group: the first line is its number; then `end` sweeps what
/// the program left behind, and anything else, or nothing, stops it.
const GUARDIAN: &str = r#"
read -r group || exit 0
read -r word
if [ "$word" != end ]; then
    kill -TERM -"$group" 2>/dev/null
    turn=0
    while [ "$turn" -lt "$1" ] && kill -0 -"$group" 2>/dev/null; do sleep 0.1; turn=$((turn + 1)); done
fi
kill -KILL -"$group" 2>/dev/null
exit 0
"#;

/// A program to run, and what it is given.
pub(super) struct Program<'a> {
    /// The program and its arguments; at least one.
    pub(super) words: &'a [String],
    /// Its whole environment.
    pub(super) environment: BTreeMap<String, String>,
    /// How long it may take.
    pub(super) timeout: Option<Duration>,
    /// Told to stop.
    pub(super) cancel: CancellationToken,
}

/// How a program ended.
#[derive(Debug)]
pub(super) enum How {
    /// By itself, or by somebody else's signal.
    Exit(ExitStatus),
    /// It was told to stop.
    Cancelled,
    /// It took too long.
    TimedOut,
}

/// A program that ran.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) how: How,
    /// Its last lines, of both outputs as they came.
    pub(super) lines: Vec<String>,
}

/// What every program is given of this process' environment.
pub(super) fn base_environment(environment: &Environment) -> BTreeMap<String, String> {
    let given = |name: &&str| Some(((*name).to_owned(), environment.var(name)?.to_owned()));
    BASE.iter().filter_map(given).collect()
}

/// What stands in a message for how a program ended.
pub(super) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(9)) => {
            "was killed by signal 9, which is also what the system sends when memory runs out".to_owned()
        }
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

impl Program<'_> {
    /// Runs it to its end, which blocks. Each line that it prints is given to
    /// `on_line`, from other threads.
    ///
    /// # Errors
    /// The system's reason if it cannot be started.
    pub(super) fn run(&self, on_line: &(dyn Fn(&str) + Sync)) -> std::io::Result<Ended> {
        let mut guardian = Guardian::start()?;
        let mut child = self.command().spawn()?;
        guardian.watch(&child);
        let last = Mutex::new(VecDeque::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        // The lines end when all of the program's group is gone.
        let keep = |line: &str| {
            on_line(line);
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        };
        let how = std::thread::scope(|scope| {
            let keep = &keep;
            if let Some(out) = out {
                scope.spawn(move || each_line(out, keep));
            }
            if let Some(err) = err {
                scope.spawn(move || each_line(err, keep));
            }
            self.wait(&mut child, &mut guardian)
        })?;
        let lines = last.into_inner().unwrap_or_else(PoisonError::into_inner).into();
        Ok(Ended { how, lines })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear().envs(&self.environment).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn wait(&self, child: &mut Child, guardian: &mut Guardian) -> std::io::Result<How> {
        let started = Instant::now();
        let mut nap = Duration::from_millis(1);
        let mut stopped = None;
        loop {
            if let Some(status) = child.try_wait()? {
                guardian.tell("end");
                return Ok(stopped.unwrap_or(How::Exit(status)));
            }
            if stopped.is_none() {
                stopped = match self.timeout {
                    _ if self.cancel.is_cancelled() => Some(How::Cancelled),
                    Some(timeout) if started.elapsed() >= timeout => Some(How::TimedOut),
                    _ => None,
                };
                if stopped.is_some() {
                    guardian.tell("stop");
                }
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }
}

/// The shell that ends the program's group if this process cannot.
struct Guardian {
    process: Child,
    words: Option<ChildStdin>,
}

impl Guardian {
    fn start() -> std::io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARDIAN, "guardian", &GRACE_TENTHS.to_string()]).process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let words = process.stdin.take();
        Ok(Self { process, words })
    }

    fn watch(&mut self, child: &Child) {
        self.tell(&child.id().to_string());
    }

    /// One that is gone already needs no word.
    fn tell(&mut self, word: &str) {
        if let Some(words) = &mut self.words {
            writeln!(words, "{word}").ok();
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Without a word more it ends the group, if there was one.
        self.words = None;
        self.process.wait().ok();
    }
}

/// Gives each line of an output, without its end and without what is no UTF-8.
fn each_line(from: impl Read, on_line: &dyn Fn(&str)) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => on_line(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

/// Hides secrets in what a program prints: each value by the name of its variable.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Arc<Vec<(String, String)>>);

impl Secrets {
    /// The values of these variables; the shortest are too common to be hidden.
    pub(super) fn new<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut values: Vec<_> = values
            .filter(|(_, value)| value.len() >= 4)
            .map(|(name, value)| (value.to_owned(), format!("${{env.{name}}}")))
            .collect();
        // The longest first: one may be a part of another.
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self(Arc::new(values))
    }

    pub(super) fn hide(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, (value, name)| line.replace(value, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, timeout: Option<Duration>, cancel: &CancellationToken) -> Ended {
        let words = ["sh", "-c", script].map(str::to_owned);
        let environment = base_environment(&Environment::of_process());
        let program = Program { words: &words, environment, timeout, cancel: cancel.clone() };
        program.run(&|_| {}).unwrap()
    }

    /// Whether a process is there and no mere entry of the system's table.
    fn is_alive(process: &str) -> bool {
        let state = Command::new("ps").args(["-o", "stat=", "-p", process]).output().unwrap().stdout;
        !state.is_empty() && !state.starts_with(b"Z")
    }

    #[test]
    fn the_last_lines_and_the_exit_code_are_told() {
        let ended = run("for i in $(seq 30); do echo $i; done; exit 3", None, &CancellationToken::new());
        assert_eq!((ended.lines.len(), ended.lines[0].as_str(), ended.lines[19].as_str()), (20, "11", "30"));
        let How::Exit(status) = ended.how else { panic!("{:?}", ended.how) };
        assert_eq!(in_words(status), "ended with exit code 3");
        let How::Exit(status) = run("kill -TERM $$", None, &CancellationToken::new()).how else { panic!() };
        assert_eq!(in_words(status), "was ended by signal 15");
    }

    #[test]
    fn what_a_program_leaves_behind_is_ended() {
        let ended = run("sleep 600 & echo $!", None, &CancellationToken::new());
        assert!(matches!(ended.how, How::Exit(status) if status.success()));
        assert!(!is_alive(&ended.lines[0]), "{:?}", ended.lines);
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_its_children() {
        let ended = run("sleep 600 & echo $!; wait", Some(Duration::from_millis(200)), &CancellationToken::new());
        assert!(matches!(ended.how, How::TimedOut));
        assert!(!is_alive(&ended.lines[0]));
    }

    #[test]
    fn one_that_does_not_listen_is_killed() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let ended = run("trap '' TERM; echo $$; while :; do sleep 1; done", None, &cancel);
        assert!(matches!(ended.how, How::Cancelled), "{ended:?}");
    }

    #[test]
    fn secrets_are_hidden_by_their_names() {
        let secrets = Secrets::new([("KEY", "sesame"), ("LONG", "sesame-open"), ("N", "1")].into_iter());
        assert_eq!(secrets.hide("1 sesame-open sesame"), "1 ${env.LONG} ${env.KEY}");
    }
}
