//! `sql`: a query over the stage's inputs, each a table named by its port.
//!
//! Not for reading files: that is `read_table`, so that their content counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use polars::prelude::{LazyFrame, PolarsError, cols};
use polars::sql::{SQLContext, extract_table_identifiers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sql_columns;
use crate::ground::files;
use crate::stage::{
    Input, InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::{Table, from_polars, is_file_function, keep_order, lazy, near_names, polars_error, scan};

/// A file of more bytes than this is scanned.
const LARGE: u64 = 32 << 20;

/// The kind.
#[derive(Debug)]
pub(super) struct Sql;

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// One SELECT in Polars' SQL over the inputs, each under the name of its port.
    query: String,
}

impl StageKind for Sql {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Shape tables with a query in Polars' SQL"
    }

    fn documentation(&self) -> &'static str {
        "Reads any number of inputs under names of your choice; the query names them as tables. Of each, the columns \
         that the query uses decide the result: when others change, nothing runs.\n\
         Writes `table`: what the query gives, its rows in the query's order.\n\n\
         Without ORDER BY the order is still fixed: groups stand by their first row, joined rows by the left \
         table's order and then the right one's, distinct rows by their first occurrence. Rows that ORDER BY \
         finds equal stay as they were. Text columns `user_id` and `item_id` stay text: compare them with quoted \
         values. Files cannot be read from a query; use a `read_table` stage. No seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: sql\ninputs: { tags: tags }\nwith:\n  query: |\n    SELECT user_id, item_id, MAX(at) AS at\n    FROM tags GROUP BY user_id, item_id ORDER BY user_id, item_id\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let tables = extract_table_identifiers(&settings.query, false, true).map_err(|error| {
            vec![SettingProblem::new("query", message(&error)).hint("the query must be one SELECT in Polars' SQL")]
        })?;
        let first = settings.query.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !(first.starts_with("SELECT") || first.starts_with("WITH") || first.starts_with('(')) {
            let problem =
                SettingProblem::new("query", format!("the query begins with `{first}`, which gives no table"));
            return Err(vec![problem.hint("write a SELECT")]);
        }
        if let Some(function) = tables.iter().find(|name| is_file_function(name)) {
            let what = format!("the query reads a file through `{function}`, whose changes would go unnoticed");
            return Err(vec![
                SettingProblem::new("query", what).hint("read the file in a `read_table` stage and make it an input"),
            ]);
        }
        Ok(Arc::new(Checked { settings }))
    }
}

struct Checked {
    settings: Settings,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::whole("*")]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![OutputPort::new("table", &[])]
    }

    fn narrows(&self) -> bool {
        true
    }

    fn columns_read(&self, available: &BTreeMap<String, Vec<(String, String)>>) -> BTreeMap<String, Vec<String>> {
        sql_columns::columns_read(&self.settings.query, available)
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let inputs: Vec<(&str, &Input)> =
            context.inputs.iter().filter_map(|(port, list)| Some((port.as_str(), list.first()?))).collect();
        // A thread of its own: Polars may block on a runtime of its own, which
        // a thread that already drives one must not do.
        let query = &self.settings.query;
        let table = std::thread::scope(|scope| scope.spawn(|| answer(query, &inputs)).join()).unwrap_or_else(|_| {
            Err(StageError::failed("could not answer the query: Polars stopped in the middle of it"))
        })?;
        context.write("table", &table)
    }
}

fn answer(query: &str, inputs: &[(&str, &Input)]) -> Result<Table, StageError> {
    let mut sql = SQLContext::new();
    let mut frames = Vec::with_capacity(inputs.len());
    for (name, input) in inputs {
        // Polars reads a large file in parts; for a small one that takes longer than reading it at once.
        let large = input.path().filter(|path| files::size(path).is_ok_and(|bytes| bytes > LARGE));
        let frame = match large {
            Some(path) => {
                let frame = scan(path)?;
                match input.readable() {
                    Some(columns) => frame.select([cols(columns).as_expr()]),
                    None => frame,
                }
            }
            None => lazy(&input.table()?)?,
        };
        sql.register(name, frame.clone());
        frames.push((*name, frame));
    }
    let planned = sql.execute(query).map_err(|error| explain(&error, &mut frames))?;
    let frame = keep_order(planned).collect().map_err(|error| explain(&error, &mut frames))?;
    Ok(from_polars(&frame)?)
}

fn message(error: &PolarsError) -> String {
    polars_error(error).to_string()
}

/// Polars' reason, with the tables and columns there are.
fn explain(error: &PolarsError, frames: &mut [(&str, LazyFrame)]) -> StageError {
    let text = message(error);
    let columns = |frame: &mut LazyFrame| -> Vec<String> {
        let schema = frame.collect_schema();
        schema.map(|schema| schema.iter_names().map(ToString::to_string).collect()).unwrap_or_default()
    };
    let tables: Vec<(&str, Vec<String>)> = frames.iter_mut().map(|(name, frame)| (*name, columns(frame))).collect();
    let tables: Vec<(&str, &[String])> = tables.iter().map(|(name, columns)| (*name, columns.as_slice())).collect();
    let what = format!("could not answer the query: {text}");
    match near_names(&text, &tables) {
        Some(hint) => StageError::with_hint(what, hint),
        None => StageError::failed(what),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ran, numbers, refused, run, run_inputs, texts};
    use super::*;
    use crate::table::write_parquet;
    use serde_json::json;

    fn songs(rows: i64) -> Table {
        let ids: Vec<i64> = (0..rows).collect();
        let artists: Vec<String> = ids.iter().map(|id| format!("artist {}", (id * 7919) % 1_009)).collect();
        let artists: Vec<&str> = artists.iter().map(String::as_str).collect();
        Table::of_columns([("song_id", numbers(&ids)), ("artist", texts(&artists))]).unwrap()
    }

    fn ask(query: &str, tables: Vec<(&str, Table)>) -> Result<Ran, StageError> {
        run(&Sql, &json!({"query": query}), tables)
    }

    #[test]
    fn inputs_are_tables_by_their_ports() {
        let query = "SELECT artist, CAST(COUNT(*) AS BIGINT) AS songs, MAX(song_id) AS last FROM songs GROUP BY artist ORDER BY songs DESC, artist LIMIT 2";
        let ran = ask(query, vec![("songs", songs(1_010))]).unwrap();
        assert_eq!(ran.rows("table"), ["artist 0|2|1009", "artist 1|1|244"]);
        insta::assert_snapshot!(ran.golden(), @r"
        table.artist 725ed2be8b99
        table.last 73f73e1af010
        table.songs 5f000e838c9e
        ");
    }

    #[test]
    fn rows_of_a_union_are_counted() {
        let union = "SELECT artist FROM songs UNION ALL SELECT artist FROM other";
        let tables = || vec![("songs", songs(40)), ("other", songs(2))];
        for query in [
            format!("SELECT CAST(COUNT(*) AS BIGINT) AS n FROM ({union}) AS u"),
            format!("SELECT COUNT(*) AS n FROM ({union}) AS u WHERE artist <> ''"),
        ] {
            assert_eq!(ask(&query, tables()).unwrap().rows("table"), ["42"], "{query}");
        }
    }

    #[test]
    fn the_order_is_fixed_where_the_query_does_not_say_one() {
        let tables = || vec![("songs", songs(50_000)), ("other", songs(3_000))];
        let groups = ask("SELECT artist, COUNT(*) AS n FROM songs GROUP BY artist", tables()).unwrap();
        let first: Vec<String> = groups.rows("table").into_iter().take(3).collect();
        assert_eq!(first, ["artist 0|50", "artist 856|50", "artist 703|50"]);
        let distinct = ask("SELECT DISTINCT artist FROM songs", tables()).unwrap();
        assert_eq!(distinct.rows("table")[..2], ["artist 0", "artist 856"]);
        let joined =
            ask("SELECT s.song_id, o.song_id AS other FROM songs s JOIN other o ON s.artist = o.artist", tables())
                .unwrap();
        let rows: Vec<(i64, i64)> = {
            let table = &joined.outputs["table"];
            let (left, right) = (table.integers("song_id").unwrap(), table.integers("other").unwrap());
            left.values().iter().copied().zip(right.values().iter().copied()).collect()
        };
        assert!(rows.is_sorted() && rows.len() > 100_000);
        let ties = ask("SELECT song_id FROM songs ORDER BY song_id % 3", tables()).unwrap();
        assert_eq!(ties.rows("table")[..3], ["0", "3", "6"]);
    }

    /// Polars gave up the order above a join that it took to have none: the
    /// result was another each time.
    #[test]
    fn the_order_is_fixed_above_joins_that_only_choose_rows() {
        let tables = || vec![("songs", songs(5_000)), ("other", songs(900)), ("one", songs(1))];
        let kept = |from: fn(usize) -> bool| -> Vec<String> {
            (0..1_009).filter(|id| from(*id)).map(|id| format!("artist {}", (id * 7_919) % 1_009)).collect()
        };
        let of_other = "IN (SELECT artist FROM other)";
        for (query, expected) in [
            ("SELECT artist FROM songs EXCEPT SELECT artist FROM other".to_owned(), kept(|id| id >= 900)),
            ("SELECT artist FROM songs INTERSECT SELECT artist FROM other".to_owned(), kept(|id| id < 900)),
            (format!("SELECT DISTINCT artist FROM songs WHERE artist {of_other}"), kept(|id| id < 900)),
            (format!("SELECT artist FROM songs WHERE artist {of_other} GROUP BY artist"), kept(|id| id < 900)),
            ("SELECT DISTINCT songs.artist FROM songs CROSS JOIN one".to_owned(), kept(|_| true)),
        ] {
            assert_eq!(ask(&query, tables()).unwrap().rows("table"), expected, "{query}");
        }
    }

    #[test]
    fn inputs_in_files_are_scanned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("songs.parquet");
        drop(write_parquet(&songs(5), std::fs::File::create(&path).unwrap()).unwrap());
        let input = || vec![("songs", vec![Input::of_file("songs", &path, None, 5)])];
        let ran = run_inputs(&Sql, &json!({"query": "SELECT * FROM songs WHERE song_id > 3"}), input()).unwrap();
        assert_eq!(ran.rows("table"), ["4|artist 397"]);
    }

    #[test]
    fn mistakes_name_the_tables_and_columns_there_are() {
        let hint = |query: &str| match ask(query, vec![("songs", songs(1))]) {
            Err(StageError::Failed { what, hint }) => {
                assert!(what.starts_with("could not answer the query: "), "{what}");
                hint.unwrap()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(hint("SELECT artst FROM songs"), "did you mean `artist`? the tables are songs(song_id, artist)");
        assert_eq!(hint("SELECT artist FROM song"), "did you mean `songs`? the tables are songs(song_id, artist)");
    }

    #[test]
    fn what_is_no_query_is_refused_before_anything_runs() {
        for query in ["SELECT a FROM (songs", "DROP TABLE songs", "SELECT * FROM read_csv('x.csv')", ""] {
            assert_eq!(refused(&Sql, &json!({"query": query}))[0].path, "query", "{query}");
        }
    }
}
