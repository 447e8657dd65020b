//! `refrain init`: writes a pipeline of the user's own to start from, with its
//! data, its schema and what git need not keep. Nothing that is there is changed.

mod guess;
mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use self::guess::{Guess, Holds};
use super::arguments::{Global, InitArguments, Template};
use super::catalogue::schema_text;
use super::errors::{Exit, Mistake, describe_problems};
use super::terminal::{Style, data, say};
use crate::ground::{check_name, files};
use crate::kinds::KINDS;
use crate::pipeline::load_text;

const PIPELINE: &str = "pipeline.yaml";
const SCHEMA: &str = "refrain.schema.json";
const IGNORED: &str = ".gitignore";
const RECOMMENDER: &str = include_str!("recommender.yaml");
const MINIMAL: &str = include_str!("minimal.yaml");

/// Writes a pipeline.
///
/// # Errors
/// [`Mistake`] if something is there already, the data cannot be understood, or
/// a file cannot be written.
pub(super) fn init(global: &Global, arguments: &InitArguments) -> anyhow::Result<Exit> {
    let folder = &arguments.folder;
    let (data_file, guess) = match &arguments.csv {
        Some(csv) => (path_from(folder, csv), Guess::of_file(csv)?),
        None => (PathBuf::from(sample::FILE), sample_guess()?),
    };
    let template = template(arguments, &guess)?;
    let text = match template {
        Template::Recommender => recommender(&name_of(folder), &data_file, &guess)?,
        Template::Minimal => minimal(&name_of(folder), &data_file, &guess),
    };
    if let Err(problems) = load_text(Path::new(PIPELINE), &text, &BTreeMap::new(), KINDS) {
        say(&describe_problems(&problems, PIPELINE, Style::of_stderr(global.color)));
        return Err(Mistake::new("no pipeline can be made of these columns").hint("rename them in the file").into());
    }
    let mut written = vec![(PIPELINE, text), (SCHEMA, schema_text()? + "\n")];
    if arguments.csv.is_none() {
        written.push((sample::FILE, sample::csv()));
    }
    refuse_to_overwrite(folder, written.iter().map(|(name, _)| *name))?;
    let ignored = in_folder(folder, IGNORED);
    let is_ignoring = ignored.exists();
    if !is_ignoring {
        written.push((IGNORED, "# What refrain makes: it can be made again.\n/artifacts/\n".to_owned()));
    }
    for (name, text) in &written {
        files::write_atomically(&in_folder(folder, name), text.as_bytes())
            .context("could not write the new pipeline")?;
        say(&format!("wrote {}", in_folder(folder, name).display()));
    }
    if is_ignoring && !files::read_text(&ignored).is_ok_and(|text| text.contains("artifacts")) {
        say(&format!("{} is there and stays as it is; `/artifacts/` should stand in it", ignored.display()));
    }
    data(&next(folder, template))?;
    Ok(Exit::Done)
}

/// A file's path, without a `./` before it.
fn in_folder(folder: &Path, name: &str) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}

/// What to type next.
fn next(folder: &Path, template: Template) -> String {
    let enter = if folder == Path::new(".") { String::new() } else { format!("cd {} && ", folder.display()) };
    let result = match template {
        Template::Recommender => "leaderboard",
        Template::Minimal => "counted",
    };
    format!("\nnext:\n  {enter}refrain plan\n  refrain run\n  refrain show {result}")
}

/// # Errors
/// A [`Mistake`] that lists what is there.
fn refuse_to_overwrite<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<(), Mistake> {
    let there: Vec<String> = names.filter(|name| folder.join(name).exists()).map(|name| format!("`{name}`")).collect();
    if there.is_empty() {
        return Ok(());
    }
    let what = format!("in `{}` there is already {}", folder.display(), there.join(", "));
    Err(Mistake::new(what).hint("nothing was written; name another folder: `refrain init FOLDER`"))
}

/// The template that was named, else the one that the data is enough for.
///
/// # Errors
/// A [`Mistake`] if the data is not enough for the one that was named.
fn template(arguments: &InitArguments, guess: &Guess) -> Result<Template, Mistake> {
    let missing: Vec<&str> =
        [("users", guess.user().is_some()), ("items", guess.item().is_some()), ("times", guess.time().is_some())]
            .into_iter()
            .filter(|(_, is_there)| !is_there)
            .map(|(what, _)| what)
            .collect();
    match arguments.template {
        Some(Template::Recommender) if !missing.is_empty() => {
            let what = format!("no column of the file seems to hold {}", missing.join(", nor "));
            let hint = "a recommender needs columns such as `user_id`, `item_id` and `timestamp`: rename them, or start \
                        with --template minimal";
            Err(Mistake::new(what).hint(hint))
        }
        Some(template) => Ok(template),
        None if missing.is_empty() => Ok(Template::Recommender),
        None => {
            say(&format!("no column seems to hold {}: the pipeline reads the file and counts", missing.join(", nor ")));
            Ok(Template::Minimal)
        }
    }
}

fn sample_guess() -> Result<Guess, Mistake> {
    Guess::of_text(&sample::csv()).ok_or_else(|| Mistake::new("the sample has no columns; this is a bug"))
}

fn recommender(name: &str, file: &Path, guess: &Guess) -> Result<String, Mistake> {
    let lacks = || Mistake::new("a column is missing; this is a bug");
    let (user, item) = (guess.user().ok_or_else(lacks)?, guess.item().ok_or_else(lacks)?);
    let (time, holds) = guess.time().ok_or_else(lacks)?;
    let (happened, note) = match holds {
        Holds::Moments => (
            "cast(replace(replace(replace(replace(left(happened, 19), '-', ''), ':', ''), 'T', ''), ' ', '') as bigint)",
            "\n  # Times must be whole numbers that grow: 2026-01-31 becomes 20260131.",
        ),
        Holds::Numbers => ("cast(happened as bigint)", ""),
        _ => ("happened", ""),
    };
    Ok(filled(
        RECOMMENDER,
        &[
            ("NAME", name.to_owned()),
            ("PATH", scalar(&file.display().to_string())),
            ("LAYOUT", layout(file, guess)),
            ("USER", scalar(user)),
            ("ITEM", scalar(item)),
            ("TIME", scalar(time)),
            ("TIME_NOTE", note.to_owned()),
            ("HAPPENED", happened.to_owned()),
        ],
    ))
}

fn minimal(name: &str, file: &Path, guess: &Guess) -> String {
    let mut names = BTreeSet::new();
    let mut columns = String::new();
    let mut counted = None;
    for (number, (column, holds)) in guess.columns.iter().enumerate() {
        let name = plain_name(column, number, &mut names);
        writeln!(columns, "        {name}: {}   # {}", scalar(column), holds.words()).ok();
        if counted.is_none() || (*holds == Holds::Text && !matches!(counted, Some((_, Holds::Text)))) {
            counted = Some((name, *holds));
        }
    }
    let counted = counted.map(|(name, _)| format!("\"{name}\"")).unwrap_or_default();
    filled(
        MINIMAL,
        &[
            ("NAME", name.to_owned()),
            ("PATH", scalar(&file.display().to_string())),
            ("LAYOUT", layout(file, guess)),
            ("COLUMNS", columns),
            ("COLUMN", counted),
        ],
    )
}

/// A template with its places filled.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut text = template.to_owned();
    for (place, value) in values {
        text = text.replace(&format!("@{place}@"), value);
    }
    text
}

/// The settings that say how the file is written, where that is not what its
/// extension says.
fn layout(file: &Path, guess: &Guess) -> String {
    let mut text = String::new();
    let extension = file.extension().map(OsStr::to_ascii_lowercase);
    let (is_csv, is_tsv) = (extension.as_deref() == Some("csv".as_ref()), extension.as_deref() == Some("tsv".as_ref()));
    if !is_csv && !is_tsv {
        text.push_str("      format: csv\n");
    }
    if guess.delimiter != if is_tsv { '\t' } else { ',' } {
        writeln!(text, "      delimiter: {}", serde_json::Value::from(guess.delimiter.to_string())).ok();
    }
    if !guess.is_utf8 {
        text.push_str("      encoding: windows-1252   # a guess: it is not UTF-8\n");
    }
    text
}

/// A text as a YAML value.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if is_plain && !means_more.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // JSON's texts are YAML's; `$${` stands for `${`.
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

/// A column's name in lower case, of letters, digits and `_`, that no other has.
fn plain_name(column: &str, number: usize, taken: &mut BTreeSet<String>) -> String {
    let words = column.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name = format!("column_{}", number + 1);
    }
    while !taken.insert(name.clone()) {
        name.push('_');
    }
    name
}

/// The path of the data as it is seen from the folder, if it lies in it, else in full.
fn path_from(folder: &Path, file: &Path) -> PathBuf {
    let (Ok(folder), Ok(file)) = (std::path::absolute(folder), std::path::absolute(file)) else {
        return file.to_owned();
    };
    file.strip_prefix(&folder).map(Path::to_owned).unwrap_or(file)
}

/// The pipeline's name: the folder's, as far as it is one.
fn name_of(folder: &Path) -> String {
    let name = std::path::absolute(folder).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = name.unwrap_or_default().chars().map(plain).take(64).collect();
    if check_name(&name, false).is_ok() { name } else { "pipeline".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_yaml_would_take_them_otherwise() {
        let quoted = ["user_id", "Artist Name", "no", "a: b", "${x}", "3rd"].map(scalar);
        assert_eq!(quoted, ["user_id", "\"Artist Name\"", "\"no\"", "\"a: b\"", "\"$${x}\"", "\"3rd\""]);
    }

    #[test]
    fn columns_get_names_of_their_own() {
        let mut taken = BTreeSet::new();
        let names = ["Artist Name", "artist-name", "", "3rd"].map(|name| plain_name(name, 6, &mut taken));
        assert_eq!(names, ["artist_name", "artist_name_", "column_7", "column_7_"]);
    }

    #[test]
    fn every_place_of_the_templates_is_filled() {
        let guess = sample_guess().unwrap();
        for text in [recommender("p", Path::new("d.dat"), &guess).unwrap(), minimal("p", Path::new("d.csv"), &guess)] {
            let pipeline = load_text(Path::new("p.yaml"), &text, &BTreeMap::new(), KINDS);
            assert!(pipeline.is_ok() && !text.contains('@'), "{text}\n{pipeline:?}");
        }
    }

    #[test]
    fn data_in_the_folder_is_named_from_there() {
        assert_eq!(path_from(Path::new("new"), Path::new("new/data/x.csv")), Path::new("data/x.csv"));
        assert!(path_from(Path::new("new"), Path::new("x.csv")).is_absolute());
        assert_eq!(path_from(Path::new("."), Path::new("x.csv")), Path::new("x.csv"));
    }
}
