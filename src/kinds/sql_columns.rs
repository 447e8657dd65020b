//! Which columns of its inputs a query reads, found from its plan: the query
//! is planned over empty tables of the inputs' columns, Polars pushes the
//! projections down to them, and what is left at a table is read.
//!
//! No kind by itself.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::{
    Column, DataFrame, DataType, Field, IntoLazy, OptFlags, PlSmallStr, PolarsResult, Schema, TimeUnit, TimeZone,
};
use polars::sql::SQLContext;
use polars_plan::plans::IR;

/// Names and types of the columns of each input.
type Available = BTreeMap<String, Vec<(String, String)>>;

/// The columns that decide what a query gives, by input. An input that is left
/// out is read whole: because it is, or because that cannot be told.
///
/// What is named here is enough: over tables that have no other columns the
/// query has been planned again, and it means the same.
pub(super) fn columns_read(query: &str, available: &Available) -> BTreeMap<String, Vec<String>> {
    narrowed(query, available).unwrap_or_default()
}

fn narrowed(query: &str, available: &Available) -> Option<BTreeMap<String, Vec<String>>> {
    let whole = Meaning::of(query, available)?;
    let words: BTreeSet<&str> = query.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    // A column may be named and yet not count, in a subquery that gives more than is taken from it.
    let fewer = whole.of_read_columns(query, available, |_| false);
    let fewer = fewer.or_else(|| whole.of_read_columns(query, available, |name| words.contains(name)))?;
    let narrower = fewer.into_iter().filter(|(input, columns)| available[input].len() > columns.len());
    Some(narrower.map(|(input, columns)| (input, columns.into_iter().map(|(name, _)| name).collect())).collect())
}

/// What a query means over tables of certain columns.
struct Meaning {
    /// The columns read of each input.
    read: BTreeMap<String, BTreeSet<String>>,
    /// The columns of the result, in order.
    output: Vec<(PlSmallStr, DataType)>,
}

impl Meaning {
    fn of(query: &str, available: &Available) -> Option<Self> {
        let mut sql = SQLContext::new();
        let mut inputs = Vec::new();
        for (number, (input, columns)) in available.iter().enumerate() {
            // The number of rows tells which input a table of the plan is.
            sql.register(input, nulls(columns, number + 1)?.lazy());
            inputs.push(input);
        }
        let optimisations = OptFlags::PROJECTION_PUSHDOWN | OptFlags::TYPE_COERCION | OptFlags::TYPE_CHECK;
        let plan = sql.execute(query).ok()?.with_optimizations(optimisations).to_alp_optimized().ok()?;
        let mut read: BTreeMap<String, BTreeSet<String>> =
            inputs.iter().map(|input| ((*input).clone(), BTreeSet::new())).collect();
        let mut nodes = vec![plan.lp_top];
        while let Some(node) = nodes.pop() {
            let part = plan.lp_arena.get(node);
            match part {
                IR::DataFrameScan { df, schema, output_schema } => {
                    let input = inputs.get(df.height().checked_sub(1)?)?;
                    let columns = output_schema.as_ref().unwrap_or(schema).iter_names().map(ToString::to_string);
                    read.get_mut(*input)?.extend(columns);
                }
                other => nodes.extend(other.inputs()),
            }
        }
        let output: &Schema = &plan.lp_arena.get(plan.lp_top).schema(&plan.lp_arena);
        Some(Self { read, output: output.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect() })
    }
}

impl Meaning {
    /// Tables of the columns that are read and of those that are `kept` besides,
    /// if the query means the same over them: names may be resolved by what
    /// else there is, and then all of it decides.
    fn of_read_columns(&self, query: &str, available: &Available, kept: impl Fn(&str) -> bool) -> Option<Available> {
        let mut fewer = available.clone();
        for (input, columns) in &mut fewer {
            let read = self.read.get(input)?;
            // A table without columns has no rows either, and they may be counted.
            let first = columns.first()?.0.clone();
            columns.retain(|(name, _)| read.contains(name) || kept(name) || (read.is_empty() && *name == first));
        }
        let again = Self::of(query, &fewer)?;
        (again.output == self.output && again.read == self.read).then_some(fewer)
    }
}

/// A table of these columns without any value.
fn nulls(columns: &[(String, String)], rows: usize) -> Option<DataFrame> {
    let empty = |(name, kind): &(String, String)| -> Option<Column> {
        Some(Column::full_null(name.as_str().into(), rows, &polars_type(kind)?))
    };
    let columns = columns.iter().map(empty).collect::<Option<Vec<_>>>()?;
    let frame: PolarsResult<DataFrame> = DataFrame::new(rows, columns);
    frame.ok()
}

/// The type that Polars has for one of ours, by its name.
fn polars_type(name: &str) -> Option<DataType> {
    let inside = |open: &str, close: char| name.strip_prefix(open)?.strip_suffix(close);
    if let Some(item) = inside("list<", '>') {
        return Some(DataType::List(Box::new(polars_type(item)?)));
    }
    if let Some(fields) = inside("struct<", '>') {
        let field = |text: &str| -> Option<Field> {
            let (name, kind) = text.split_once(": ")?;
            Some(Field::new(name.into(), polars_type(kind)?))
        };
        // Fields that are themselves nested are left to be read whole.
        return fields.split(", ").map(field).collect::<Option<Vec<_>>>().map(DataType::Struct);
    }
    if let Some(text) = inside("timestamp[", ']') {
        let (unit, zone) = text.split_once(", ").map_or((text, None), |(unit, zone)| (unit, Some(zone)));
        let zone = zone.map(|zone| TimeZone::opt_try_new(Some(zone))).transpose().ok()?.flatten();
        return Some(DataType::Datetime(time_unit(unit)?, zone));
    }
    Some(match name {
        "bool" => DataType::Boolean,
        "i8" => DataType::Int8,
        "i16" => DataType::Int16,
        "i32" => DataType::Int32,
        "i64" => DataType::Int64,
        "u8" => DataType::UInt8,
        "u16" => DataType::UInt16,
        "u32" => DataType::UInt32,
        "u64" => DataType::UInt64,
        "f32" => DataType::Float32,
        "f64" => DataType::Float64,
        "str" => DataType::String,
        "bytes" => DataType::Binary,
        "date" => DataType::Date,
        _ => return None,
    })
}

fn time_unit(name: &str) -> Option<TimeUnit> {
    match name {
        "ms" => Some(TimeUnit::Milliseconds),
        "us" => Some(TimeUnit::Microseconds),
        "ns" => Some(TimeUnit::Nanoseconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sql::Sql;
    use super::super::testing::{Ran, numbers, run, texts};
    use super::*;
    use crate::table::Table;
    use proptest::prelude::*;
    use serde_json::json;

    fn available() -> Available {
        let columns = |list: &[(&str, &str)]| list.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        BTreeMap::from([
            (
                "songs".to_owned(),
                columns(&[
                    ("item_id", "str"),
                    ("artist", "str"),
                    ("title", "str"),
                    ("year", "i64"),
                    ("tags", "list<str>"),
                    ("at", "timestamp[us, UTC]"),
                ]),
            ),
            ("plays".to_owned(), columns(&[("user_id", "str"), ("item_id", "str"), ("n", "i64"), ("year", "i64")])),
        ])
    }

    fn read(query: &str) -> String {
        let found = columns_read(query, &available());
        let words = found.iter().map(|(input, columns)| format!("{input}({})", columns.join(", ")));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_selected_filtered_grouped_joined_or_sorted_by_is_read() {
        let both = "plays(user_id, item_id) songs(item_id, artist)";
        let join = "SELECT p.user_id, s.artist FROM plays p JOIN songs s ON p.item_id = s.item_id";
        assert_eq!(read(join), both);
        let only = |columns: &str| format!("plays(user_id) songs({columns})");
        assert_eq!(read("SELECT artist FROM songs WHERE year > 1990"), only("artist, year"));
        assert_eq!(read("SELECT artist FROM songs ORDER BY year"), only("artist, year"));
        assert_eq!(
            read("SELECT artist, COUNT(*) AS n FROM songs GROUP BY artist HAVING MAX(year) > 3"),
            only("artist, year")
        );
        assert_eq!(read("WITH x AS (SELECT * FROM songs) SELECT title FROM x"), only("title"));
        assert_eq!(
            read("WITH x AS (SELECT title, year FROM songs) SELECT title FROM x"),
            "plays(user_id, year) songs(title, year)"
        );
        assert_eq!(read("SELECT artist FROM songs UNION ALL SELECT title FROM songs"), only("artist, title"));
        assert_eq!(
            read("SELECT artist FROM songs WHERE item_id IN (SELECT item_id FROM plays WHERE n > 1)"),
            "plays(item_id, n) songs(item_id, artist)"
        );
    }

    #[test]
    fn rows_that_are_only_counted_are_those_of_the_first_column() {
        assert_eq!(read("SELECT COUNT(*) AS n FROM songs"), "plays(user_id) songs(item_id)");
    }

    #[test]
    fn what_is_read_whole_or_cannot_be_told_is_left_out() {
        assert_eq!(read("SELECT * FROM songs"), "plays(user_id)");
        assert_eq!(read("SELECT nothing FROM songs"), "");
        assert_eq!(read("SELECT artist FROM nowhere"), "");
        let mut odd = available();
        odd.get_mut("songs").unwrap().push(("x".to_owned(), "interval".to_owned()));
        assert_eq!(columns_read("SELECT artist FROM songs", &odd), BTreeMap::new());
    }

    /// Over `t` and `u`, each with the whole numbers `a`, `b`, `c` and the texts `d`, `e`.
    const QUERIES: [&str; 33] = [
        "SELECT a FROM t",
        "SELECT b AS a, a AS b FROM t",
        "SELECT * FROM t",
        "SELECT * EXCLUDE (a, d) FROM t",
        "SELECT t.* FROM t JOIN u ON t.a = u.a",
        "SELECT COUNT(*) AS n FROM t",
        "SELECT COUNT(b) AS n FROM t",
        "SELECT 1 AS one FROM t",
        "SELECT COUNT(*) AS n FROM t CROSS JOIN u",
        "SELECT COUNT(DISTINCT b) AS n FROM t WHERE c IS NOT NULL",
        "SELECT a FROM t WHERE b > 1 OR d = 'x1'",
        "SELECT d, SUM(b) AS b FROM t GROUP BY d",
        "SELECT d, COUNT(*) AS n FROM t GROUP BY d HAVING MAX(c) > 0",
        "SELECT d, MIN(a) AS a FROM t GROUP BY d, e ORDER BY a, d",
        "SELECT a FROM t ORDER BY b DESC, c",
        "SELECT a FROM t ORDER BY b LIMIT 2 OFFSET 1",
        "SELECT DISTINCT b FROM t",
        "SELECT COUNT(*) AS n FROM (SELECT DISTINCT a, b FROM t)",
        "SELECT a FROM (SELECT a, b FROM t WHERE c > 0) ORDER BY b",
        "WITH x AS (SELECT * FROM t), y AS (SELECT a, d FROM x) SELECT d FROM y",
        "SELECT t.a, u.d FROM t JOIN u ON t.b = u.c",
        "SELECT t.a, u.d FROM t LEFT JOIN u ON t.b = u.c AND t.d = u.e",
        "SELECT t.d FROM t JOIN u USING (a, b)",
        "SELECT d FROM t NATURAL JOIN u",
        "SELECT x.a, y.b FROM t x JOIN t y ON x.b = y.c",
        "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = 'x1')",
        "SELECT t.a FROM t SEMI JOIN u ON t.b = u.b",
        "SELECT t.a FROM t ANTI JOIN u ON t.b = u.b",
        "SELECT a, b FROM t UNION SELECT c, b FROM u",
        "SELECT a FROM t UNION ALL SELECT b FROM u",
        "SELECT a FROM t EXCEPT SELECT b FROM u",
        "SELECT a, ROW_NUMBER() OVER (PARTITION BY b ORDER BY c) AS n FROM t",
        "SELECT CASE WHEN b > 1 THEN d ELSE 'none' END AS d, COALESCE(c, a) AS c FROM t",
    ];

    type Rows = Vec<([i64; 3], [u8; 2])>;

    fn tables() -> impl Strategy<Value = Rows> {
        prop::collection::vec((prop::array::uniform3(0..3_i64), prop::array::uniform2(0..3_u8)), 0..6)
    }

    fn table(rows: &Rows) -> Table {
        let number = |at: usize| numbers(&rows.iter().map(|row| row.0[at]).collect::<Vec<_>>());
        let words = ["-", "x1", "x2"];
        let word = |at: usize| texts(&rows.iter().map(|row| words[usize::from(row.1[at])]).collect::<Vec<_>>());
        let columns = [("a", number(0)), ("b", number(1)), ("c", number(2)), ("d", word(0)), ("e", word(1))];
        Table::of_columns(columns).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn the_columns_that_are_read_alone_give_what_the_whole_tables_give(t in tables(), u in tables()) {
            let whole = BTreeMap::from([("t", table(&t)), ("u", table(&u))]);
            let kinds = [("a", "i64"), ("b", "i64"), ("c", "i64"), ("d", "str"), ("e", "str")];
            let columns: Vec<_> = kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into();
            let available = whole.keys().map(|name| ((*name).to_owned(), columns.clone())).collect();
            for query in QUERIES {
                let read = columns_read(query, &available);
                let fewer = |(name, table): (&&'static str, &Table)| {
                    let names = read.get(*name).map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
                    (*name, names.map_or_else(|| table.clone(), |names| table.select(&names).unwrap()))
                };
                let asked = |tables| run(&Sql, &json!({"query": query}), tables).map(|ran: Ran| (ran.rows("table"), ran.golden()));
                let of_whole = asked(whole.iter().map(|(name, table)| (*name, table.clone())).collect());
                let of_fewer = asked(whole.iter().map(fewer).collect());
                prop_assert_eq!(of_fewer.unwrap(), of_whole.unwrap(), "{} over {:?}", query, read);
            }
        }
    }
}
