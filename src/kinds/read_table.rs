//! `read_table`: a CSV, TSV or Parquet file as a table.
//!
//! Not for files on the network, and not for reshaping: that is `sql`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ground::{closest, files};
use crate::stage::{
    InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings, schema_of,
    settings_value,
};
use crate::table::{BadRow, ColumnType, Layout, Table, TableError, read_delimited, read_parquet};

/// The kind.
#[derive(Debug)]
pub(super) struct ReadTable;

/// How many bad rows a message shows.
const SHOWN: usize = 5;

/// Columns that are text in every table, whatever their ids look like.
const IDS: [&str; 2] = ["user_id", "item_id"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Csv,
    Tsv,
    Parquet,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnBadRow {
    #[default]
    Fail,
    Skip,
}

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The file. A relative path is relative to the folder in which refrain is started.
    #[serde(skip_serializing)]
    path: PathBuf,
    /// `csv`, `tsv` or `parquet`; default: what the file's extension says.
    #[serde(default)]
    format: Option<Format>,
    /// The one character between two values; default `,` for csv and a tab for tsv.
    #[serde(default)]
    delimiter: Option<String>,
    /// The text's encoding by its usual name, such as `windows-1252`; default
    /// `utf-8`. A byte order mark in the file wins over it.
    #[serde(default = "default_encoding")]
    encoding: String,
    /// Whether `"` encloses values; default true for csv and false for tsv.
    #[serde(default)]
    quote: Option<bool>,
    /// The columns wanted, new name to the file's name; default: all, under
    /// their own names.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// Types by column (new name): `str`, `int`, `float` or `bool`; default:
    /// found from all values, but `user_id` and `item_id` are `str`.
    #[serde(default)]
    types: BTreeMap<String, ColumnType>,
    /// What a row that cannot be read does to the stage: `fail` (default) or `skip`.
    #[serde(default)]
    on_bad_row: OnBadRow,
}

fn default_encoding() -> String {
    "utf-8".to_owned()
}

impl StageKind for ReadTable {
    fn name(&self) -> &'static str {
        "read_table"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Read a CSV, TSV or Parquet file"
    }

    fn documentation(&self) -> &'static str {
        "Reads the file at `path`, no tables.\n\
         Writes `table`: the file's columns, or those that `columns` names, in the file's order of columns and \
         rows.\n\n\
         The stage reruns when the file's content changes; where it lies does not matter. The first row of a CSV \
         or TSV file names the columns; one without a name is called `column_N`. An empty value is null. Types \
         that are not stated are found over the whole column: whole numbers, numbers, `true`/`false`, else text; \
         whole numbers with leading zeros stay text. `user_id` and `item_id` are always text. A row with another \
         number of values, with bytes that the encoding does not know, or with a value that is not of its stated \
         type is bad: the stage fails and shows the first few with their lines, or skips them and says so. In a \
         TSV file `\"` is a character like any other unless `quote` says otherwise."
    }

    fn example(&self) -> &'static str {
        "kind: read_table\nwith:\n  path: datasets/apple_music_dataset.csv\n  columns: { artist: artistName, title: trackName }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let mut settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        let format = settings.format.or_else(|| format_of(&settings.path));
        let mut refuse =
            |path: &str, what: String, hint: &str| problems.push(SettingProblem::new(path, what).hint(hint));
        if format.is_none() {
            let what = format!("the extension of `{}` does not say what it holds", settings.path.display());
            refuse("format", what, "add `format: csv`, `tsv` or `parquet`");
        }
        let encoding = Encoding::for_label(settings.encoding.as_bytes());
        if encoding.is_none() {
            let labels =
                ["utf-8", "windows-1252", "iso-8859-1", "utf-16le", "shift_jis", "gbk", "euc-kr", "windows-1251"];
            let near = closest(&settings.encoding, labels).unwrap_or("windows-1252");
            refuse(
                "encoding",
                format!("there is no encoding `{}`", settings.encoding),
                &format!("did you mean `{near}`?"),
            );
        }
        let delimiter = match (settings.delimiter.as_deref().map(str::as_bytes), format) {
            (Some([one]), _) if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r') => *one,
            (Some(_), _) => {
                refuse("delimiter", "the delimiter must be one ASCII character".to_owned(), "a tab is written \"\\t\"");
                b','
            }
            (None, Some(Format::Tsv)) => b'\t',
            (None, _) => b',',
        };
        if format == Some(Format::Parquet) && !settings.types.is_empty() {
            refuse(
                "types",
                "a Parquet file states its own types".to_owned(),
                "leave `types` out, or cast in a `sql` stage",
            );
        }
        let (Some(format), Some(encoding), true) = (format, encoding, problems.is_empty()) else {
            return Err(problems);
        };
        // Written out, so that the fingerprint does not depend on how it was said.
        let quote = settings.quote.unwrap_or(format != Format::Tsv);
        settings.format = Some(format);
        settings.quote = Some(quote);
        settings.delimiter = Some(char::from(delimiter).to_string());
        settings.encoding = encoding.name().to_ascii_lowercase();
        Ok(Arc::new(Checked { settings, format, delimiter, quote, encoding }))
    }
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "parquet" | "pq" => Some(Format::Parquet),
        _ => None,
    }
}

struct Checked {
    settings: Settings,
    format: Format,
    delimiter: u8,
    quote: bool,
    encoding: &'static Encoding,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![OutputPort::new("table", &[])]
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.settings.path.clone()]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = match self.format {
            Format::Parquet => self.parquet()?,
            Format::Csv | Format::Tsv => self.text(context)?,
        };
        context.write("table", &table)
    }
}

impl Checked {
    fn text(&self, context: &StageContext) -> Result<Table, StageError> {
        let bytes = files::read_bytes(&self.settings.path).map_err(TableError::from)?;
        let layout = Layout {
            delimiter: self.delimiter,
            quote: self.quote,
            encoding: self.encoding,
            columns: &self.settings.columns,
            types: &self.settings.types,
            texts: &IDS,
        };
        let read = read_delimited(&bytes, &layout).map_err(|error| self.explain(error))?;
        if read.table.column_names().is_empty() {
            let what = format!("could not read `{}`: it is empty", self.settings.path.display());
            return Err(StageError::with_hint(what, "its first row should name the columns"));
        }
        if read.bad.is_empty() {
            return Ok(read.table);
        }
        let what = describe(&self.settings.path, &read.bad, read.table.rows());
        match self.settings.on_bad_row {
            OnBadRow::Fail => Err(StageError::with_hint(what, self.hint(&read.bad))),
            OnBadRow::Skip => {
                context.progress.warn(&format!("{what}; they were skipped"));
                Ok(read.table)
            }
        }
    }

    fn parquet(&self) -> Result<Table, StageError> {
        let table = read_parquet(&self.settings.path, None)?;
        let mut wanted: Vec<(usize, String, String)> = Vec::new();
        let place = |source: &String| table.column_names().iter().position(|name| name == source);
        if self.settings.columns.is_empty() {
            wanted.extend(table.column_names().into_iter().enumerate().map(|(at, name)| (at, name.clone(), name)));
        }
        for (name, source) in &self.settings.columns {
            let missing = || TableError::NoColumn { column: source.clone(), columns: table.column_names() };
            let at = place(source).ok_or_else(missing).map_err(|error| self.explain(error))?;
            wanted.push((at, name.clone(), source.clone()));
        }
        wanted.sort();
        let mut columns = Vec::with_capacity(wanted.len());
        for (_, name, source) in wanted {
            let mut column = table.column(&source)?;
            if IDS.contains(&name.as_str()) && column.data_type() != &DataType::Utf8 {
                column = cast(&column, &DataType::Utf8)
                    .map_err(|source| TableError::Arrow { action: "read the ids of", source })?;
            }
            columns.push((name, column));
        }
        Ok(Table::of_columns(columns)?)
    }

    fn explain(&self, error: TableError) -> StageError {
        match &error {
            TableError::NoColumn { column, columns } => {
                let near = closest(column, columns.iter().map(String::as_str));
                let list = || format!("the columns are {}", columns.join(", "));
                StageError::with_hint(
                    format!("could not read `{}`: it has no column `{column}`", self.settings.path.display()),
                    near.map_or_else(list, |near| format!("did you mean `{near}`?")),
                )
            }
            _ => error.into(),
        }
    }

    fn hint(&self, bad: &[BadRow]) -> String {
        if bad.iter().any(|row| row.why.contains("is not UTF-8")) {
            return "say which encoding the file has, such as `encoding: windows-1252`".to_owned();
        }
        let quotes = if self.quote {
            "`quote: false` if quotes are characters like any other"
        } else {
            "`quote: true` if values are quoted"
        };
        format!("correct the file, or add `on_bad_row: skip` to go on without such rows, or {quotes}")
    }
}

fn describe(path: &Path, bad: &[BadRow], good: usize) -> String {
    let shown: Vec<String> = bad.iter().take(SHOWN).map(|row| format!("line {}: {}", row.line, row.why)).collect();
    let more = if bad.len() > SHOWN { format!("; and {} more", bad.len() - SHOWN) } else { String::new() };
    format!(
        "{} of {} rows of `{}` cannot be read: {}{more}",
        bad.len(),
        bad.len() + good,
        path.display(),
        shown.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ran, real_data, refused, run, stage, texts};
    use super::*;
    use crate::table::write_parquet;
    use serde_json::json;

    fn read(name: &str, bytes: &[u8], mut with: Value) -> Result<Ran, StageError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        files::write_atomically(&path, bytes).unwrap();
        with["path"] = json!(path);
        run(&ReadTable, &with, vec![])
    }

    fn message(error: &StageError) -> (String, String) {
        let StageError::Failed { what, hint } = error else { panic!("{error:?}") };
        let (_, after) = what.split_once("`: ").or_else(|| what.split_once("` ")).unwrap();
        (after.to_owned(), hint.clone().unwrap_or_default())
    }

    #[test]
    fn columns_are_renamed_and_ids_stay_text() {
        let text = b"userID,artist,plays\n2,\"a, b\",7\n10,,8\n";
        let with = json!({"columns": {"user_id": "userID", "name": "artist", "plays": "plays"}});
        let ran = read("t.csv", text, with).unwrap();
        assert_eq!(ran.rows("table"), ["2|a, b|7", "10|-|8"]);
        assert_eq!(ran.outputs["table"].schema().field(0).data_type(), &DataType::Utf8);
        insta::assert_snapshot!(ran.golden(), @r"
        table.name 29b2c662a716
        table.plays d9eff3276db6
        table.user_id 7ad0b9d6e3f5
        ");
    }

    #[test]
    fn an_empty_file_is_refused_and_one_with_a_header_alone_is_an_empty_table() {
        assert!(read("t.csv", b"", json!({})).unwrap_err().to_string().ends_with("it is empty"));
        assert_eq!(read("t.csv", b"a,b\n", json!({})).unwrap().outputs["table"].column_names(), ["a", "b"]);
    }

    #[test]
    fn a_missing_column_names_the_nearest() {
        let error = read("t.csv", b"artistName\nx\n", json!({"columns": {"artist": "artistNam"}})).unwrap_err();
        assert_eq!(
            message(&error),
            ("it has no column `artistNam`".to_owned(), "did you mean `artistName`?".to_owned())
        );
    }

    #[test]
    fn bad_rows_fail_with_five_of_them_or_are_skipped_and_told() {
        let text = b"a,b\n1,2\n1\n2\n3\n4\n5\n6\n";
        let told = "line 3: 1 values instead of 2; line 4: 1 values instead of 2; line 5: 1 values instead of 2; \
                    line 6: 1 values instead of 2; line 7: 1 values instead of 2; and 1 more";
        let error = read("t.csv", text, json!({})).unwrap_err();
        assert_eq!(message(&error).0, format!("cannot be read: {told}"));
        let ran = read("t.csv", text, json!({"on_bad_row": "skip"})).unwrap();
        assert_eq!(ran.rows("table"), ["1|2"]);
        assert!(ran.warnings[0].starts_with("6 of 7 rows of") && ran.warnings[0].ends_with("; they were skipped"));
        let error = read("t.tsv", b"a\ncaf\xe9\n", json!({})).unwrap_err();
        assert!(message(&error).1.contains("encoding: windows-1252"));
        assert_eq!(read("t.tsv", b"a\ncaf\xe9\n", json!({"encoding": "latin1"})).unwrap().rows("table"), ["caf\u{e9}"]);
    }

    #[test]
    fn parquet_files_are_read_as_they_are() {
        let table =
            Table::of_columns([("a", texts(&["x", "-"])), ("b", super::super::testing::numbers(&[1, 2]))]).unwrap();
        let bytes = write_parquet(&table, Vec::new()).unwrap();
        assert_eq!(read("t.parquet", &bytes, json!({})).unwrap().rows("table"), ["x|1", "-|2"]);
        let ran = read("t.data", &bytes, json!({"format": "parquet", "columns": {"item_id": "b"}})).unwrap();
        assert_eq!(ran.rows("table"), ["1", "2"]);
        assert_eq!(ran.outputs["table"].schema().field(0).data_type(), &DataType::Utf8);
    }

    #[test]
    fn the_path_is_not_part_of_the_settings_and_what_it_says_is() {
        let one = stage(&ReadTable, &json!({"path": "a/t.tsv"}));
        let other =
            stage(&ReadTable, &json!({"path": "b/t.dat", "format": "tsv", "delimiter": "\t", "encoding": "UTF8"}));
        assert_eq!(one.settings(), other.settings());
        assert_eq!(one.files(), [PathBuf::from("a/t.tsv")]);
        assert_ne!(one.settings(), stage(&ReadTable, &json!({"path": "t.csv"})).settings());
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let with = json!({"path": "t.dat", "encoding": "utf-99", "delimiter": "ab"});
        let problems = refused(&ReadTable, &with);
        assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["format", "encoding", "delimiter"]);
        assert_eq!(refused(&ReadTable, &json!({"path": "t.pq", "types": {"a": "int"}}))[0].path, "types");
    }

    #[test]
    fn the_real_files_load() {
        let Some(folder) = real_data("") else { return };
        let rows = |name: &str, mut with: Value| {
            with["path"] = json!(folder.join(name));
            let ran = run(&ReadTable, &with, vec![]).unwrap();
            assert!(ran.warnings.is_empty());
            ran.outputs["table"].clone()
        };
        let apple = rows("apple_music_10k/apple_music_dataset.csv", json!({}));
        assert_eq!((apple.rows(), apple.column_names().len()), (10_000, 24));
        let spotify = rows("spotify_tracks_114k/dataset.csv", json!({}));
        assert_eq!((spotify.rows(), spotify.column_names()[0].as_str()), (114_000, "column_1"));
        assert_eq!(spotify.strings("track_name").map(|c| arrow::array::Array::null_count(&c)).unwrap(), 1);
        let tsv = || json!({"format": "tsv"});
        assert_eq!(rows("hetrec2011-lastfm-2k/artists.dat", tsv()).rows(), 17_632);
        assert_eq!(rows("hetrec2011-lastfm-2k/user_taggedartists-timestamps.dat", tsv()).rows(), 186_479);
        let tags = rows("hetrec2011-lastfm-2k/tags.dat", json!({"format": "tsv", "encoding": "windows-1252"}));
        assert_eq!(tags.rows(), 11_946);
    }
}
