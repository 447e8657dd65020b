//! `refrain sandbox`: serves a synthetic world until it is told to stop; and
//! `refrain model fetch`: gets a model's weights before a run needs them.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::json;

use super::arguments::{FetchArguments, SandboxArguments};
use super::errors::{Exit, Mistake};
use super::interrupt::Signals;
use super::run::SYNTHETIC;
use super::terminal::{count, data, say};
use crate::ground::Environment;
use crate::model::{MINILM, Models};
use crate::sandbox::{Sandbox, SandboxError, SandboxSettings};
use crate::weights::{self, FetchError, Places};

/// Serves a world; the first line on stdout is its URL.
///
/// # Errors
/// If the world cannot be made or the port cannot be had.
pub(super) fn sandbox(arguments: &SandboxArguments) -> anyhow::Result<Exit> {
    let settings = settings(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the threads of the sandbox")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("could not listen for Ctrl-C")?;
        let server = Sandbox::start(&settings, arguments.port).await.map_err(refused)?;
        let url = server.url();
        data(&url)?;
        say(&format!("a world of {}, made from seed {}", count(settings.users as u64, "listener"), settings.seed));
        say(&format!("use it with `refrain run FILE --sandbox={url}`; stop it with Ctrl-C"));
        say(SYNTHETIC);
        signals.next().await;
        server.stop().await;
        Ok(Exit::Done)
    })
}

/// # Errors
/// A [`Mistake`] if a limit is none that a server can have.
fn settings(arguments: &SandboxArguments) -> Result<SandboxSettings, Mistake> {
    let usual = SandboxSettings::default();
    let mut limits: BTreeMap<String, serde_json::Map<String, serde_json::Value>> = BTreeMap::new();
    for (provider, name, number) in &arguments.limit {
        limits.entry(provider.clone()).or_default().insert(name.clone(), json!(number));
    }
    let limits = serde_json::from_value(json!(limits)).map_err(|error| Mistake::new(format!("--limit: {error}")))?;
    let settings = SandboxSettings {
        start: usual.start,
        seed: arguments.seed,
        users: arguments.users.unwrap_or(usual.users),
        songs: arguments.songs.or(usual.songs),
        catalog: arguments.catalog.clone().or(usual.catalog),
        artist_column: usual.artist_column,
        title_column: usual.title_column,
        loved_per_user: usual.loved_per_user,
        other_languages: arguments.other_languages.unwrap_or(usual.other_languages),
        faults: arguments.faults.unwrap_or(usual.faults),
        fault_kinds: arguments.fault_kinds.clone(),
        stall_secs: arguments.stall_secs.unwrap_or(usual.stall_secs),
        giant_bytes: arguments.giant_bytes.unwrap_or(usual.giant_bytes),
        revoke_after: arguments.revoke_after,
        per_second: arguments.per_second.or(usual.per_second),
        limits,
    };
    match settings.wrong_limits().into_iter().next() {
        Some(wrong) => Err(Mistake::new(format!("the sandbox cannot have these limits: {wrong}"))),
        None => Ok(settings),
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

/// Gets the weights of a text encoder, unless they are on this machine already.
/// Prints the folder that MiniLM is in; of another model, the setting that pins it.
///
/// # Errors
/// If the model is not known or no place has its weights.
pub(super) fn fetch(arguments: &FetchArguments) -> anyhow::Result<Exit> {
    let environment = Environment::of_process();
    let mut models = Models::of_environment(&environment);
    if let Some(folder) = &arguments.to {
        models.folder.clone_from(folder);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the threads for the network")?;
    let refused = |error: FetchError| {
        let hint = error.hint.clone();
        Mistake::new(error.to_string()).hint(hint)
    };
    if arguments.model == MINILM.name && arguments.revision.is_none() {
        runtime.block_on(weights::get(&MINILM, &models, &environment, &say)).map_err(refused)?;
        let installed = MINILM.folder(&models.folder);
        let folder = models.minilm.as_ref().filter(|_| !installed.exists()).unwrap_or(&installed);
        data(&folder.display().to_string())?;
        return Ok(Exit::Done);
    }
    if arguments.model.split('/').filter(|part| !part.is_empty() && !part.starts_with('.')).count() != 2 {
        let mistake = Mistake::new(format!("`{}` is not a model that can be fetched", arguments.model));
        return Err(mistake.hint(format!("there is `{}`, and OWNER/NAME on the hub", MINILM.name)).into());
    }
    let places = Places::of(&MINILM, &models, &environment);
    let unpinned = weights::get_unpinned(&arguments.model, arguments.revision.as_deref(), &places, &say);
    let source = runtime.block_on(unpinned).map_err(refused)?;
    say("these files make the model; write this below `with:` of an `embed` stage:");
    let files: Vec<String> = source.hashes().map(|(name, sha256)| format!("    {name}: {sha256}")).collect();
    let (name, revision) = (&source.name, &source.revision);
    data(&format!("model:\n  hub: {name}\n  revision: {revision}\n  sha256:\n{}", files.join("\n")))?;
    Ok(Exit::Done)
}
