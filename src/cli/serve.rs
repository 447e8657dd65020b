//! `refrain sandbox`: serves a synthetic world until it is told to stop.

use anyhow::Context;

use super::arguments::SandboxArguments;
use super::errors::{Exit, Mistake};
use super::interrupt::Signals;
use super::run::SYNTHETIC;
use super::terminal::{count, data, say};
use crate::sandbox::{SandboxError, SandboxSettings, Server};

/// Serves a world; the first line on stdout is its URL.
///
/// # Errors
/// If the world cannot be made or the port cannot be had.
pub(super) fn sandbox(arguments: &SandboxArguments) -> anyhow::Result<Exit> {
    let settings = settings(arguments);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("could not start the threads of the sandbox")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("could not listen for Ctrl-C")?;
        let server = Server::start(&settings, arguments.port).await.map_err(refused)?;
        data(server.url())?;
        say(&format!("a world of {}, made from seed {}", count(settings.users as u64, "listener"), settings.seed));
        say(&format!("use it with `refrain run FILE --sandbox={}`; stop it with Ctrl-C", server.url()));
        say(SYNTHETIC);
        signals.next().await;
        Ok(Exit::Done)
    })
}

fn settings(arguments: &SandboxArguments) -> SandboxSettings {
    let usual = SandboxSettings::default();
    SandboxSettings {
        seed: arguments.seed,
        users: arguments.users.unwrap_or(usual.users),
        songs: arguments.songs.or(usual.songs),
        catalog: arguments.catalog.clone().or(usual.catalog),
        artist_column: usual.artist_column,
        title_column: usual.title_column,
        loved_per_user: usual.loved_per_user,
        faults: arguments.faults.unwrap_or(usual.faults),
        per_second: arguments.per_second.or(usual.per_second),
    }
}

fn refused(error: SandboxError) -> Mistake {
    let hint = error.hint();
    let mistake = Mistake::new(error.to_string()).because(error);
    match hint {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    }
}
