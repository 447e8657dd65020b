//! `refrain man`: manual pages, made of the same definitions as `--help`.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::arguments::{Arguments, ManArguments};
use super::errors::{Exit, Mistake};
use super::terminal::{count, data, say};
use crate::ground::files;

/// Prints the page of the whole program, or writes a page for each command.
///
/// # Errors
/// If a page cannot be made or written.
pub(super) fn man(arguments: &ManArguments) -> anyhow::Result<Exit> {
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = &arguments.output else {
        data(&page(command)?.1)?;
        return Ok(Exit::Done);
    };
    let pages = pages(command)?;
    for (name, text) in &pages {
        files::write_atomically(&folder.join(name), text.as_bytes()).map_err(|error| {
            Mistake::new("could not write the manual pages").hint("name another folder with --output").because(error)
        })?;
    }
    say(&format!("wrote {} to {}", count(pages.len() as u64, "page"), folder.display()));
    Ok(Exit::Done)
}

/// The pages of a command and of all below it, each with its file's name.
fn pages(command: Command) -> std::io::Result<Vec<(String, String)>> {
    let below: Vec<Command> = command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
    let mut found = vec![page(command)?];
    for command in below {
        found.extend(pages(command)?);
    }
    Ok(found)
}

fn page(command: Command) -> std::io::Result<(String, String)> {
    let man = Man::new(command);
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let mut command = Arguments::command();
        command.build();
        let pages = pages(command).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["refrain.1", "refrain-run.1", "refrain-memo-export.1"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        let of_run = pages.iter().find(|(name, _)| name == "refrain-run.1").map(|(_, text)| text.as_str());
        assert!(of_run.is_some_and(|text| text.starts_with(".ie") && text.contains("keep\\-going")), "{of_run:?}");
    }
}
