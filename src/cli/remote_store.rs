//! `refrain verify --remote` and `refrain gc --remote`: looking after a shared
//! store.

use std::time::Duration;

use super::arguments::{GcArguments, Global, VerifyArguments};
use super::errors::Exit;
use super::project;
use super::share::{progress, refused};
use super::terminal::{Style, bytes, count, data, duration, say};
use crate::remote::Remote;

/// How many of the files that go are listed.
const LISTED: usize = 20;

fn opened(global: &Global) -> anyhow::Result<Remote> {
    let sharing = project::sharing_of_default(global).ok_or_else(project::no_remote)?;
    Ok(Remote::open(sharing).map_err(|error| refused(&error))?)
}

/// Reads everything in the shared store, and takes out what is damaged if told to.
///
/// # Errors
/// If there is none, or it cannot be read.
pub(super) fn verify(global: &Global, arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let remote = opened(global)?;
    let (bar, tell) = progress(0, arguments.json);
    let mut found = remote.verify(Some(tell)).map_err(|error| refused(&error))?;
    bar.finish_and_clear();
    if arguments.repair {
        remote.repair(&mut found).map_err(|error| refused(&error))?;
    }
    let damage = found.findings.iter().filter(|finding| !finding.repaired).count() as u64;
    if arguments.json {
        data(&serde_json::to_string_pretty(&found)?)?;
    } else {
        let style = Style::of_stdout(global.color);
        for finding in &found.findings {
            let done = if finding.repaired { "taken out; " } else { "" };
            data(&format!("{} {}\n  {}\n  {done}{}", style.red("damaged"), finding.name, finding.what, finding.cost))?;
        }
    }
    let conclusion = match (damage, found.findings.len() as u64) {
        (0, 0) => "all as it was written".to_owned(),
        (0, repaired) => format!("{} taken out: what they were is made, and sent, again", count(repaired, "file")),
        (damage, _) => format!("{} damaged; --repair takes them out", count(damage, "file")),
    };
    say(&format!(
        "{}: read {} and {}, {}, and {}: {conclusion}",
        remote.shown(),
        count(found.objects as u64, "artifact"),
        count(found.segments as u64, "memo segment"),
        bytes(found.bytes),
        count(found.manifests as u64, "record"),
    ));
    Ok(if damage == 0 { Exit::Done } else { Exit::Failed })
}

/// Says what of the shared store no result refers to, and deletes it with `--yes`.
///
/// # Errors
/// If there is none, it cannot be read, or a file cannot be deleted.
pub(super) fn gc(global: &Global, arguments: &GcArguments) -> anyhow::Result<Exit> {
    let remote = opened(global)?;
    let grace = Duration::from_secs(u64::from(arguments.keep_days) * 86_400);
    let collection = remote.collectable(grace).map_err(|error| refused(&error))?;
    let delete = arguments.yes && !collection.going.is_empty();
    let deleted =
        if delete { Some(remote.collect(&collection, grace).map_err(|error| refused(&error))?) } else { None };
    if arguments.json {
        let mut value = serde_json::to_value(&collection)?;
        value["bytes"] = collection.bytes().into();
        value["deleted"] = deleted.into();
        data(&serde_json::to_string_pretty(&value)?)?;
    } else {
        for going in collection.going.iter().take(LISTED) {
            let age = duration(going.age_seconds as f64);
            data(&format!("{}  {}, {age} old: {}", going.name, bytes(going.bytes), going.why))?;
        }
        if collection.going.len() > LISTED {
            data(&format!("and {} more", collection.going.len() - LISTED))?;
        }
        say(&format!(
            "{}: {} and {}, {}, stay: others' results refer to them; {} unreferenced but younger than {} days",
            remote.shown(),
            count(collection.manifests as u64, "record"),
            count(collection.kept as u64, "artifact"),
            bytes(collection.kept_bytes),
            collection.young,
            arguments.keep_days,
        ));
    }
    match deleted {
        Some(deleted) => say(&format!("deleted {}, {}", count(deleted as u64, "file"), bytes(collection.bytes()))),
        None if collection.going.is_empty() => say("nothing to delete"),
        None => say("nothing was deleted; `refrain gc --remote --yes` deletes this"),
    }
    Ok(Exit::Done)
}
