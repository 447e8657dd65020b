//! `refrain serve`: a web view of a pipeline and its store on the loopback.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::arguments::{Global, ServeArguments};
use super::errors::{Exit, Mistake};
use super::interrupt::Signals;
use super::project;
use super::terminal::{data, say};
use super::words::pipeline_file;
use crate::engine::PlanOptions;
use crate::kinds::KINDS;
use crate::view::{Server, ViewError, ViewSettings};

/// Serves the view until it is told to stop; the first line on stdout is its URL.
///
/// # Errors
/// If there is no such file or the port cannot be had. Mistakes in the file
/// are shown as a page: it can be mended while the view is there.
pub(super) fn serve(global: &Global, arguments: &ServeArguments) -> anyhow::Result<Exit> {
    let file = pipeline_file(arguments.file.clone())?;
    if !file.is_file() {
        // Says what may have been meant.
        if let Err(exit) = project::read(global, Some(file), &arguments.reading)? {
            return Ok(exit);
        }
        return Ok(Exit::Wrong);
    }
    let settings = ViewSettings {
        variables: arguments.reading.set.iter().cloned().collect(),
        artifacts: global.artifacts.clone(),
        plan: PlanOptions {
            remote: project::remote_of_file(global, &file, &arguments.reading),
            ..project::plan_options(&arguments.reading, &[], &[])
        },
        file,
        kinds: KINDS,
        keys: super::diff::declared_keys,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the threads of the view")?;
    let exit = runtime.block_on(async {
        let mut signals = Signals::listen().context("could not listen for Ctrl-C")?;
        let server = Server::start(settings, arguments.port).await.map_err(refused)?;
        data(server.url())?;
        say("only this machine can reach it; stop it with Ctrl-C");
        if arguments.open {
            open(server.url());
        }
        signals.next().await;
        server.stop().await;
        Ok(Exit::Done)
    });
    // A page that is being made holds nothing that would be lost.
    runtime.shutdown_background();
    exit
}

fn refused(error: ViewError) -> Mistake {
    let hint = error.hint();
    Mistake::new(error.to_string()).hint(hint).because(error)
}

/// Opens the user's browser. Without one the address is there to be copied.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started = Command::new(Path::new(program))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = started {
        say(&format!("could not open a browser with `{program}`: {error}"));
    }
}
