//! `refrain sql`: a query over the results of a pipeline.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::arguments::{Global, Reading};
use super::errors::{Exit, Mistake};
use super::project::{self, Project};
use super::records::{Format, Records};
use super::tables::{self, Opened};
use super::terminal::{Style, say};
use crate::ground::files::{FileError, Replacement};
use crate::table::{Query, QueryMistake, Table, TableError, tables_of_query};

/// Rows of a table for people, if it is not said how many.
const SHOWN: u64 = 100;
/// Most rows of a table for people.
const MOST_SHOWN: u64 = 10_000;

pub(super) const SQL_HELP: &str = "\
Tables are named as stages are: songs, \"vectors@V4\", \"evaluate.ranks@V4#0\"; without a query, all are listed. Names with
`.`, `@`, `#`, `-` or `+` in them stand in double quotes. A name that means several instances is all of them, one after the
other, with first columns `variant` and `seed`:

  refrain sql 'select variant, avg(rank) from \"evaluate.ranks\" group by variant order by 2'

The language is Polars' SQL. Nothing is run and nothing can be changed. Over more than a million rows only ORDER BY says in
which order rows come.";

/// What `sql` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct SqlArguments {
    /// The pipeline, if not the default one, then the query; `-` reads it from stdin
    #[arg(value_name = "[FILE] QUERY", num_args = 0..=2)]
    words: Vec<OsString>,
    #[command(flatten)]
    reading: Reading,
    /// How to write the rows: `table` if neither this nor the file's name says otherwise
    #[arg(long, short = 'F', value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Write to this file; what is there is replaced when all is written
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Give no more rows than this; 100 in a table for people
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u64>,
}

impl SqlArguments {
    fn format(&self) -> Format {
        self.format.or_else(|| Format::of_file(self.output.as_deref()?)).unwrap_or(Format::Table)
    }
}

/// Answers a query, or lists what can be asked.
///
/// # Errors
/// If the query is wrong, names what is not there, or cannot be answered or written.
pub(super) fn sql(global: &Global, arguments: &SqlArguments) -> anyhow::Result<Exit> {
    let (file, query) = words(&arguments.words)?;
    let format = arguments.format();
    check(arguments, format)?;
    let query = query.map(|query| text_of(&query)).transpose()?;
    let names = query.as_deref().map(tables_of_query).transpose().map_err(refused)?;
    let project = match project::open(global, file, &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let style = Style::of_stderr(global.color);
    let (Some(query), Some(names)) = (query, names) else {
        list(&project, arguments, format)?;
        return Ok(Exit::Done);
    };
    let opened = tables::open(&project, &names)?;
    opened.warnings.iter().for_each(|warning| say(&style.yellow(&format!("! {warning}"))));
    answer(&query, &opened, arguments, format)?;
    if opened.synthetic {
        say(&style.yellow(super::run::SYNTHETIC));
    }
    Ok(Exit::Done)
}

pub(super) fn refused(mistake: QueryMistake) -> Mistake {
    let told = Mistake::new(mistake.what);
    match mistake.hint {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// The pipeline and the query: a word is a file if its name ends so.
fn words(words: &[OsString]) -> Result<(Option<PathBuf>, Option<String>), Mistake> {
    let is_file = |word: &OsString| Path::new(word).extension().is_some_and(|end| end == "yaml" || end == "yml");
    let (file, query) = match words {
        [] => (None, None),
        [one] if is_file(one) => (Some(one), None),
        [one] => (None, Some(one)),
        [file, query, ..] if is_file(file) => (Some(file), Some(query)),
        [file, ..] => {
            let mistake = Mistake::new(format!("`{}` is no pipeline file", file.display()));
            return Err(mistake.hint("its name ends with .yaml or .yml; the query is one word, in quotes"));
        }
    };
    let query =
        query.map(|query| query.to_str().map(str::to_owned).ok_or_else(|| Mistake::new("the query is not UTF-8")));
    Ok((file.map(PathBuf::from), query.transpose()?))
}

fn text_of(query: &str) -> Result<String, Mistake> {
    if query != "-" {
        return Ok(query.to_owned());
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Mistake::new("could not read the query from stdin").because(error))?;
    Ok(text)
}

/// Refuses what cannot be written, before anything is opened.
fn check(arguments: &SqlArguments, format: Format) -> Result<(), Mistake> {
    if format == Format::Parquet && arguments.output.is_none() && io::stdout().is_terminal() {
        return Err(Mistake::new("Parquet is not for a terminal").hint("write it to a file with --output FILE"));
    }
    if format == Format::Table && arguments.limit.is_some_and(|limit| limit > MOST_SHOWN) {
        let mistake = Mistake::new("a table for people has no more than 10,000 rows");
        return Err(mistake.hint("write the rows with --format csv, json, jsonl or parquet"));
    }
    Ok(())
}

fn answer(query: &str, opened: &Opened, arguments: &SqlArguments, format: Format) -> anyhow::Result<()> {
    let query = Query::new(query, &opened.tables).map_err(refused)?;
    let head = query.head().clone();
    // One more than is shown tells whether there are more.
    let shown = if format == Format::Table { Some(arguments.limit.unwrap_or(SHOWN)) } else { arguments.limit };
    let asked = if arguments.limit.is_none() { shown.map(|rows| rows + 1) } else { shown };
    let query = if let Some(rows) = asked { query.limited(rows) } else { query };
    write(arguments, format, &head, |records| {
        let mut left = shown.unwrap_or(u64::MAX);
        let mut more = None;
        let answered = query.answer(|table| -> anyhow::Result<bool> {
            let rows = table.rows() as u64;
            if rows > left {
                more = Some("… more: --limit N shows more of them, --format csv all");
            }
            records.rows(&table.first_rows(left))?;
            left = left.saturating_sub(rows);
            Ok(true)
        });
        answered.map_err(unanswered)?;
        Ok(more)
    })
}

/// What Polars says on the way is about the query.
pub(super) fn unanswered(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<TableError>() {
        Ok(TableError::Polars(text)) => Mistake::new(format!("could not answer the query: {text}")).into(),
        Ok(other) => other.into(),
        Err(other) => other,
    }
}

/// Lists the tables that can be asked.
fn list(project: &Project, arguments: &SqlArguments, format: Format) -> anyhow::Result<()> {
    let listed = tables::list(project)?;
    let made = listed.iter().map(|table| Some(table.made as i64));
    let texts = |of: fn(&tables::Listed) -> String| -> ArrayRef {
        Arc::new(listed.iter().map(|table| Some(of(table))).collect::<StringArray>())
    };
    let columns: [(&str, ArrayRef); 5] = [
        ("table", texts(|table| table.name.clone())),
        ("instances", Arc::new(listed.iter().map(|table| Some(table.instances as i64)).collect::<Int64Array>())),
        ("made", Arc::new(made.collect::<Int64Array>())),
        ("rows", Arc::new(listed.iter().map(|table| Some(table.rows as i64)).collect::<Int64Array>())),
        ("columns", texts(|table| table.columns.join(", "))),
    ];
    let table = Table::of_columns(columns)?;
    write(arguments, format, &table.first_rows(0), |records| records.rows(&table).map(|()| None))
}

/// Writes rows to where they are wanted; a file appears whole or not at all.
fn write(
    arguments: &SqlArguments,
    format: Format,
    head: &Table,
    fill: impl FnOnce(&mut Records<Out>) -> anyhow::Result<Option<&'static str>>,
) -> anyhow::Result<()> {
    let out = match &arguments.output {
        None => Out::Stdout(BufWriter::new(io::stdout())),
        Some(path) => Out::of_file(path)?,
    };
    let named = |error: anyhow::Error| match &arguments.output {
        Some(path) if error.is::<io::Error>() => error.context(format!("could not write `{}`", path.display())),
        _ => error,
    };
    let mut records = Records::start(format, out, head).map_err(named)?;
    let more = fill(&mut records).map_err(named)?;
    match records.finish(more).map_err(named)? {
        Out::Replacement(file) => {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            Ok(file.publish()?)
        }
        Out::Stdout(_) | Out::Device(_) => Ok(()),
    }
}

/// Where rows go.
enum Out {
    Stdout(BufWriter<io::Stdout>),
    Replacement(BufWriter<Replacement>),
    /// A pipe or a device by name: it is written to, not replaced.
    Device(BufWriter<std::fs::File>),
}

impl Out {
    fn of_file(path: &Path) -> Result<Self, FileError> {
        let Ok(there) = std::fs::metadata(path) else {
            return Ok(Self::Replacement(BufWriter::new(Replacement::create(path)?)));
        };
        if there.is_file() {
            // What a link leads to is replaced, not the link.
            let path = std::fs::canonicalize(path).map_err(FileError::with("write", path))?;
            return Ok(Self::Replacement(BufWriter::new(Replacement::create(&path)?)));
        }
        let file = std::fs::OpenOptions::new().write(true).open(path).map_err(FileError::with("write", path))?;
        Ok(Self::Device(BufWriter::new(file)))
    }
}

impl Write for Out {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(buffer),
            Self::Replacement(out) => out.write(buffer),
            Self::Device(out) => out.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Replacement(out) => out.flush(),
            Self::Device(out) => out.flush(),
        }
    }
}
