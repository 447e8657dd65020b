//! `refrain watch`: plans, or runs, again whenever the pipeline or a file that
//! it names changes. `eyes` sees that; here is what is done then.

mod eyes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use self::eyes::Eyes;
use super::arguments::{Global, WatchArguments};
use super::errors::{Exit, Mistake, is_broken_pipe, report};
use super::interrupt::{self, Brake};
use super::observers::lock;
use super::plan::plan_again;
use super::project;
use super::run::{Speak, View, run_again};
use super::terminal::{Style, say};
use super::words::pipeline_file;
use crate::pipeline::Pipeline;

/// Watches a pipeline until it is told to stop.
///
/// # Errors
/// If there is no such file, or the system does not let files be watched.
pub(super) fn watch(global: &Global, arguments: &WatchArguments) -> anyhow::Result<Exit> {
    let file = pipeline_file(arguments.file.clone())?;
    if !file.is_file() {
        let mistake = Mistake::new(format!("there is no file `{}` to watch", file.display()));
        return Err(mistake.hint("`refrain init` writes one to start from").into());
    }
    let watch = Watch { global, arguments, file, stop: CancellationToken::new(), speaker: Arc::default() };
    let (speaker, stop) = (Arc::clone(&watch.speaker), watch.stop.clone());
    // While nothing runs, the stop itself says enough.
    let speak: Speak = Arc::new(move |line: &str| {
        if let Some(speak) = &*lock(&speaker) {
            speak(line);
        }
    });
    interrupt::watch(Arc::new(Brake::new(stop, speak)))?;
    watch.rounds()
}

struct Watch<'a> {
    global: &'a Global,
    arguments: &'a WatchArguments,
    file: PathBuf,
    stop: CancellationToken,
    /// Says a line beside the run that is at work.
    speaker: Arc<Mutex<Option<Speak>>>,
}

impl Watch<'_> {
    fn rounds(&self) -> anyhow::Result<Exit> {
        let style = Style::of_stderr(self.global.color);
        let mut eyes = Eyes::open()?;
        let mut files = BTreeSet::from([self.file.clone()]);
        loop {
            // What is read from here on and changes afterwards is seen as changed.
            eyes.look_at(&files)?;
            match self.round(&mut eyes, &mut files) {
                Err(error) if is_broken_pipe(&error) => return Ok(Exit::Done),
                Err(error) => {
                    report(&error, style);
                }
                Ok(()) => {}
            }
            if self.stop.is_cancelled() {
                return Ok(Exit::Done);
            }
            say(&style.dim(&told(&files)));
            let Some(changed) = eyes.wait(&self.stop)? else { return Ok(Exit::Done) };
            let names: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
            say(&format!("\n{} {}", style.cyan("changed:"), names.join(", ")));
        }
    }

    /// One plan or run. Of a file with mistakes these are said, and the files
    /// stay those that it named before.
    fn round(&self, eyes: &mut Eyes, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
        let (global, arguments) = (self.global, self.arguments);
        let Ok(project) = project::open(global, Some(self.file.clone()), &arguments.reading)? else { return Ok(()) };
        *files = named(&self.file, &project.pipeline);
        eyes.look_at(files)?;
        let options = project.plan_options(&arguments.reading, &arguments.target, &[]);
        if !arguments.run {
            return plan_again(global, &project, &options);
        }
        let view = View::new(global, &arguments.how, false, Style::of_stderr(global.color));
        *lock(&self.speaker) = Some(Arc::clone(&view.speak));
        let ran =
            run_again(global, &project, &arguments.reading, options, &arguments.how, view, self.stop.child_token());
        *lock(&self.speaker) = None;
        ran
    }
}

/// The pipeline's file, its bases and all that they name.
fn named(file: &Path, pipeline: &Pipeline) -> BTreeSet<PathBuf> {
    let of_stages = pipeline.instances.iter().flat_map(|instance| instance.stage.files());
    let catalog = pipeline.sandbox.iter().filter_map(|sandbox| sandbox.catalog.clone());
    let written = pipeline.files().map(Path::to_owned);
    of_stages.chain(catalog).chain(written).chain([file.to_owned()]).collect()
}

fn told(files: &BTreeSet<PathBuf>) -> String {
    let what = match files.len() {
        1 => "it".to_owned(),
        number => format!("{number} files"),
    };
    format!("watching {what} for changes; Ctrl-C ends")
}
