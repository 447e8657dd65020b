//! `refrain report`: what a pipeline came to, as a page to look at or as tables
//! to publish.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::arguments::{Global, Reading};
use super::errors::{Exit, Mistake};
use super::project;
use super::terminal::{Style, bytes, data, say};
use crate::ground::files::{create_folder, write_atomically};
use crate::report::{self, Report, ReportError, ReportOptions};

/// Where pages are written if no file is named.
const FOLDER: &str = "reports";

/// What may be typed after `refrain report`.
#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// The file to write, `-` for stdout; by default reports/PIPELINE.html for a page, stdout for all else
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write; by default what the output's name ends with, else a page
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ReportFormat>,
    /// Show the texts of this song, an item's id or "Artist - Title"; may be repeated
    #[arg(long = "song", value_name = "SONG")]
    songs: Vec<String>,
    /// How many rows of each artifact to show
    #[arg(long, value_name = "N", default_value_t = 5)]
    rows: usize,
}

/// A format of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// One page that needs nothing else
    Html,
    /// Markdown
    Md,
    /// Tables for LaTeX, with booktabs
    Tex,
    /// All facts, for programs
    Json,
}

/// Writes a report.
///
/// # Errors
/// If nothing was made yet, an artifact cannot be read, or the file cannot be written.
pub(super) fn report(global: &Global, arguments: &ReportArguments) -> anyhow::Result<Exit> {
    let format = format(arguments)?;
    let project = match project::open(global, arguments.file.clone(), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let options = ReportOptions {
        plan: project.plan_options(&arguments.reading, &[], &[]),
        songs: arguments.songs.clone(),
        rows: arguments.rows,
    };
    let report = report::gather(&project.pipeline, &project.store, &options).map_err(refused)?;
    project::say_warnings(&[], &project.store, Style::of_stderr(global.color));
    let text = written(&report, format)?;
    let style = Style::of_stderr(global.color);
    for gap in &report.gaps {
        say(&style.yellow(&format!("! {gap}")));
    }
    match target(arguments, format, &report) {
        Some(path) => {
            write(&path, &text)?;
            say(&format!("wrote {} ({})", path.display(), bytes(text.len() as u64)));
        }
        None => data(text.trim_end())?,
    }
    if report.synthetic.is_some() {
        say(&style.yellow(super::run::SYNTHETIC));
    }
    Ok(Exit::Done)
}

fn refused(error: ReportError) -> anyhow::Error {
    let hint = error.hint();
    let mistake = Mistake::new(error.to_string()).because(error);
    match hint {
        Some(hint) => mistake.hint(hint).into(),
        None => mistake.into(),
    }
}

/// The format that is asked for, or that the name of the output asks for.
fn format(arguments: &ReportArguments) -> Result<ReportFormat, Mistake> {
    let Some(path) = arguments.output.as_ref().filter(|_| arguments.format.is_none()) else {
        return Ok(arguments.format.unwrap_or(ReportFormat::Html));
    };
    let end = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
    match end.as_str() {
        "html" | "htm" | "" => Ok(ReportFormat::Html),
        "md" | "markdown" => Ok(ReportFormat::Md),
        "tex" => Ok(ReportFormat::Tex),
        "json" => Ok(ReportFormat::Json),
        _ => Err(Mistake::new(format!("the name `{}` does not say which format is wanted", path.display()))
            .hint("say it with --format html, md, tex or json")),
    }
}

fn written(report: &Report, format: ReportFormat) -> anyhow::Result<String> {
    Ok(match format {
        ReportFormat::Html => report::html(report),
        ReportFormat::Md => report::markdown(report),
        ReportFormat::Tex => report::latex(report),
        ReportFormat::Json => serde_json::to_string_pretty(report)?,
    })
}

/// The file to write; none for stdout.
fn target(arguments: &ReportArguments, format: ReportFormat, report: &Report) -> Option<PathBuf> {
    match &arguments.output {
        Some(path) if path.as_os_str() == "-" => None,
        Some(path) => Some(path.clone()),
        None => (format == ReportFormat::Html).then(|| Path::new(FOLDER).join(format!("{}.html", report.pipeline))),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("could not write the report to `{}`", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        create_folder(folder).with_context(failed)?;
    }
    write_atomically(path, text.as_bytes()).with_context(failed)
}
