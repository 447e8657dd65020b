//! `run_command`: any program as a stage. It reads its inputs' Parquet files
//! and writes its outputs' where environment variables say.
//!
//! Not a shell: the words of `run` are given to the program as they stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::command_settings::{Settings, one_text_commands};
use super::declared::{Declared, in_order_of};
use super::program::{Ended, How, Program, Secrets, base_environment, in_words};
use crate::ground::Environment;
use crate::ground::files::{self, FileError};
use crate::stage::{
    Input, InputPort, OutputPort, Resource, SettingProblem, Sharding, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};
use crate::table::write_parquet;

/// How long a command that tells a version may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest version that is kept, in characters.
const LONGEST_VERSION: usize = 500;
/// So many lines of a program stay in the run's log; later ones are only shown.
const LOGGED_LINES: usize = 10_000;

/// The kind.
#[derive(Debug)]
pub(super) struct RunCommand;

impl StageKind for RunCommand {
    fn name(&self) -> &'static str {
        "run_command"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Run a program of your own on tables"
    }

    fn documentation(&self) -> &'static str {
        "Reads any number of inputs under names of your choice, all columns of each; none is needed.\n\
         Writes the tables that `outputs` declares. What the program wrote is checked against the columns and types, \
         read, and written anew as every artifact is.\n\n\
         The program is started in the folder in which refrain was started, and is given the Parquet file of the input \
         `songs` in REFRAIN_INPUT_SONGS (to be read only), the place for the output `scored` in REFRAIN_OUTPUT_SCORED, \
         a seed in REFRAIN_SEED, `settings` as JSON in REFRAIN_SETTINGS, and a JSON file with all of it in REFRAIN_JOB. \
         Of the environment it has PATH, HOME, LANG and the like, and the variables named by `env`, whose values decide \
         nothing: a result must not depend on them.\n\n\
         It runs again when its words, `settings`, `outputs`, the content of `code`, the output of `versions` or its \
         inputs change. Whatever else it reads goes unnoticed: name such files in `code`.\n\n\
         What it prints is shown and stays in the run's log. It has failed if it ends with another exit code than 0, \
         and its last lines are in the message. When the run is stopped it gets SIGTERM, and SIGKILL 5 seconds later; \
         so do all processes that it started."
    }

    fn example(&self) -> &'static str {
        "kind: run_command\n\
         inputs: { songs: songs }\n\
         with:\n\
         \x20 run: [python3, scripts/score.py]\n\
         \x20 code: [scripts/score.py]\n\
         \x20 versions: { python: [python3, --version] }\n\
         \x20 outputs: { scored: { columns: { item_id: str, score: f64 }, key: [item_id] } }\n\
         \x20 rows: { input: songs, key: item_id }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let problems = one_text_commands(with);
        if !problems.is_empty() {
            return Err(problems);
        }
        let settings: Settings = decode_settings(with)?;
        let (timeout, problems) = settings.problems();
        if problems.is_empty() {
            Ok(Arc::new(Checked { settings, timeout, versions: OnceLock::new() }))
        } else {
            Err(problems)
        }
    }
}

struct Checked {
    settings: Settings,
    timeout: Option<Duration>,
    /// Asked for once: by name, or why it cannot be told.
    versions: OnceLock<BTreeMap<String, Result<String, String>>>,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        let rows = self.settings.rows.as_ref().map(|rows| InputPort::whole(&rows.input));
        rows.into_iter().chain([InputPort::whole("*").optional()]).collect()
    }

    fn outputs(&self) -> Vec<OutputPort> {
        self.settings.outputs.iter().map(|(name, declared)| declared.port(name)).collect()
    }

    fn resource(&self) -> Resource {
        if self.settings.gpu { Resource::Gpu } else { Resource::Cpu(self.settings.cpus.get()) }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.settings.code.clone()
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let told = |(name, version): (&String, &Result<String, String>)| {
            let version = version.as_ref().map_or_else(|why| format!("not to be had: {why}"), Clone::clone);
            (format!("version of {name}"), version)
        };
        self.versions().iter().map(told).collect()
    }

    fn sharding(&self) -> Result<Sharding, &'static str> {
        match &self.settings.rows {
            Some(_) if self.settings.seeded => Err("it draws random numbers, which are not those of the whole"),
            Some(rows) => Ok(Sharding::new(&rows.input, &rows.key)),
            None => Err("`rows: { input: …, key: … }` does not say that its program works row by row"),
        }
    }

    fn is_seeded(&self) -> bool {
        self.settings.seeded
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        for (name, version) in self.versions() {
            if let Err(why) = version {
                let what = format!("could not tell the version of `{name}`: {why}");
                return Err(StageError::with_hint(what, format!("correct `versions.{name}`")));
            }
        }
        let folder = context.folder()?;
        let folder = std::path::absolute(&folder).map_err(FileError::with("find", &folder))?;
        let environment = self.environment(context, &folder)?;
        let secrets =
            Secrets::new(self.settings.env.iter().filter_map(|name| Some((&**name, context.environment.var(name)?))));
        let printed = AtomicUsize::new(0);
        let on_line = |line: &str| {
            let line = secrets.hide(line);
            if printed.fetch_add(1, Ordering::Relaxed) < LOGGED_LINES {
                context.progress.line(&line);
            } else {
                context.progress.note(&line);
            }
        };
        let program =
            Program { words: &self.settings.run, environment, timeout: self.timeout, cancel: context.cancel.clone() };
        let ended = program.run(&on_line).map_err(|error| self.not_started(&error))?;
        let lines: Vec<String> = ended.lines.iter().map(|line| secrets.hide(line)).collect();
        self.check_end(&ended, &lines)?;
        for (name, declared) in &self.settings.outputs {
            self.publish(context, name, declared, &output_path(&folder, name), &lines)?;
        }
        Ok(())
    }
}

impl Checked {
    fn versions(&self) -> &BTreeMap<String, Result<String, String>> {
        self.versions.get_or_init(|| {
            let told = |(name, words): (&String, &Vec<String>)| (name.clone(), version(words));
            self.settings.versions.iter().map(told).collect()
        })
    }

    /// What the program is given; files that tell it more are written to `folder`.
    fn environment(&self, context: &StageContext, folder: &Path) -> Result<BTreeMap<String, String>, StageError> {
        let mut environment = base_environment(&context.environment);
        for name in &self.settings.env {
            if let Some(value) = context.environment.var(name) {
                environment.insert(name.clone(), value.to_owned());
            }
        }
        let mut inputs = BTreeMap::new();
        for (port, list) in &context.inputs {
            let Some(input) = list.first() else { continue };
            let path = input_path(port, input, folder)?;
            environment.insert(format!("REFRAIN_INPUT_{}", variable(port)), path.display().to_string());
            inputs.insert(port, json!({ "path": path, "rows": input.rows() }));
        }
        let mut outputs = BTreeMap::new();
        for (name, declared) in &self.settings.outputs {
            let path = output_path(folder, name);
            environment.insert(format!("REFRAIN_OUTPUT_{}", variable(name)), path.display().to_string());
            outputs.insert(name, json!({ "path": path, "columns": declared.columns }));
        }
        let seed = context.seed.as_u64();
        let job = json!({ "inputs": inputs, "outputs": outputs, "seed": seed, "settings": self.settings.settings });
        let path = folder.join("job.json");
        files::write_atomically(&path, job.to_string().as_bytes())?;
        environment.insert("REFRAIN_JOB".to_owned(), path.display().to_string());
        environment.insert("REFRAIN_SEED".to_owned(), seed.to_string());
        environment.insert("REFRAIN_SETTINGS".to_owned(), job["settings"].to_string());
        Ok(environment)
    }

    fn named(&self) -> String {
        self.settings.run.join(" ")
    }

    fn not_started(&self, error: &std::io::Error) -> StageError {
        let what = format!("could not start `{}`: {error}", self.named());
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            format!("there is no program `{}` on the PATH", self.settings.run[0])
        } else {
            "see whether the file is one that may be executed".to_owned()
        };
        StageError::with_hint(what, hint)
    }

    fn check_end(&self, ended: &Ended, lines: &[String]) -> Result<(), StageError> {
        let (how, hint) = match &ended.how {
            How::Cancelled => return Err(StageError::Cancelled),
            How::Exit(status) if status.success() => return Ok(()),
            How::Exit(status) => (in_words(*status), "all that it printed is in the run's log".to_owned()),
            How::TimedOut => {
                let after = self.settings.timeout.as_deref().unwrap_or_default();
                (format!("was stopped after {after}"), "raise `timeout`, or make it faster".to_owned())
            }
        };
        Err(StageError::with_hint(format!("`{}` {how}{}", self.named(), last_lines(lines)), hint))
    }

    /// Checks one output and hands it to the engine.
    fn publish(
        &self,
        context: &StageContext,
        name: &str,
        declared: &Declared,
        path: &Path,
        lines: &[String],
    ) -> Result<(), StageError> {
        if files::size(path).is_err_and(|error| error.is_not_found()) {
            let what = format!("the program ended well and did not write its output `{name}`{}", last_lines(lines));
            let hint = format!("it must write a Parquet file to the path in REFRAIN_OUTPUT_{}", variable(name));
            return Err(StageError::with_hint(what, hint));
        }
        declared.check(name, path)?;
        let rows = self.settings.rows.as_ref().and_then(|rows| Some((context.input(&rows.input)?, rows)));
        let ordered = match rows {
            Some((input, rows)) => Some(in_order_of(input, &rows.key, name, path)?),
            None => declared.sorted(path)?,
        };
        match ordered {
            Some(table) => context.write(name, &table),
            None => context.publish_file(name, path),
        }
    }
}

fn last_lines(lines: &[String]) -> String {
    if lines.is_empty() {
        return ", and it printed nothing".to_owned();
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("\n    {line}")).collect();
    format!("; its last lines were{}", lines.concat())
}

/// `my-table` is `MY_TABLE`.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn output_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("output-{name}.parquet"))
}

/// The input's file; one is written for a table that has none, or has columns
/// that are not to be read.
fn input_path(port: &str, input: &Input, folder: &Path) -> Result<PathBuf, StageError> {
    if let (Some(path), None) = (input.path(), input.readable()) {
        return Ok(std::path::absolute(path).map_err(FileError::with("find", path))?);
    }
    let path = folder.join(format!("input-{port}.parquet"));
    let file = std::fs::File::create(&path).map_err(FileError::with("create", &path))?;
    drop(write_parquet(&input.table()?, file)?);
    Ok(path)
}

/// What a command prints, or why it cannot be told.
fn version(words: &[String]) -> Result<String, String> {
    let program = Program {
        words,
        environment: base_environment(&Environment::of_process()),
        timeout: Some(VERSION_TIMEOUT),
        cancel: CancellationToken::new(),
    };
    let ended = program.run(&|_| {}).map_err(|error| format!("`{}` cannot be started ({error})", words.join(" ")))?;
    match ended.how {
        How::Exit(status) if status.success() => Ok(ended.lines.join("\n").chars().take(LONGEST_VERSION).collect()),
        How::Exit(status) => Err(format!("`{}` {}", words.join(" "), in_words(status))),
        How::TimedOut | How::Cancelled => {
            Err(format!("`{}` took more than {} s", words.join(" "), VERSION_TIMEOUT.as_secs()))
        }
    }
}
