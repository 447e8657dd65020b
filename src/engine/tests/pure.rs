//! The laws of the cache over `sql`, which reads only the columns that its
//! query uses: what it does not use never makes it run, what it uses always does.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::Index;

use super::edits::ends;
use super::lab::{Lab, outcome};
use super::laws::{decided, stood};
use super::layout::load;
use crate::ground::files;
use crate::pipeline::Pipeline;

/// Over `t` and `u`, each with the whole numbers `a`, `b`, `c` and the text `d`.
const QUERIES: [&str; 12] = [
    "SELECT a FROM t",
    "SELECT COUNT(*) AS n FROM t",
    "SELECT d, SUM(b) AS b FROM t WHERE c > 0 GROUP BY d",
    "SELECT t.a, u.d FROM t JOIN u ON t.a = u.b",
    "SELECT a FROM t WHERE b IN (SELECT c FROM u)",
    "SELECT DISTINCT b FROM u ORDER BY c",
    "WITH x AS (SELECT * FROM t) SELECT MAX(c) AS c FROM x",
    "SELECT a FROM t UNION ALL SELECT b AS a FROM u",
    "SELECT * FROM u",
    "SELECT COUNT(*) AS n FROM (SELECT DISTINCT a, b FROM t)",
    "SELECT a, ROW_NUMBER() OVER (PARTITION BY b ORDER BY c) AS n FROM t",
    "SELECT d FROM t NATURAL JOIN u",
];

/// The rows of one table: `a`, `b`, `c`, and `d`.
type Rows = Vec<[Option<u8>; 4]>;

#[derive(Debug, Clone)]
enum Edit {
    /// Another value in one column of one row.
    Value(bool, Index, Index, Option<u8>),
    /// Another table.
    Table(bool, Rows),
    /// A column more, which no query names, or that column less.
    Column(bool),
}

fn rows() -> impl Strategy<Value = Rows> {
    prop::collection::vec(prop::array::uniform4(prop::option::weighted(0.9, 0..3_u8)), 0..5)
}

fn edits() -> impl Strategy<Value = Edit> {
    let value = (any::<bool>(), any::<Index>(), any::<Index>(), prop::option::weighted(0.9, 0..3_u8));
    prop_oneof![
        5 => value.prop_map(|(table, row, column, value)| Edit::Value(table, row, column, value)),
        1 => (any::<bool>(), rows()).prop_map(|(table, rows)| Edit::Table(table, rows)),
        1 => any::<bool>().prop_map(Edit::Column),
    ]
}

/// Two tables, and whether each has a column more.
#[derive(Debug, Clone)]
struct World([(Rows, bool); 2]);

impl World {
    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Value(table, row, column, value) => {
                let rows = &mut self.0[usize::from(table)].0;
                if !rows.is_empty() {
                    let row = row.index(rows.len());
                    rows[row][column.index(4)] = value;
                }
            }
            Edit::Table(table, rows) => self.0[usize::from(table)].0 = rows,
            Edit::Column(table) => self.0[usize::from(table)].1 ^= true,
        }
    }

    /// Writes the tables, and gives a pipeline that asks every query of them.
    fn pipeline(&self, lab: &Lab) -> Pipeline {
        let mut text = "pipeline: laws\nstages:\n".to_owned();
        for (name, (rows, more)) in ["t", "u"].iter().zip(&self.0) {
            let path = lab.folder.path().join(format!("{name}.csv"));
            let mut csv = ["a,b,c,d\n", "a,b,c,d,extra\n"][usize::from(*more)].to_owned();
            for row in rows {
                let [a, b, c, d] = row.map(|cell| cell.map(|cell| cell.to_string()).unwrap_or_default());
                writeln!(csv, "{a},{b},{c},{d}{}", if *more { ",7" } else { "" }).unwrap();
            }
            files::write_atomically(&path, csv.as_bytes()).unwrap();
            let types = "{ a: int, b: int, c: int, d: str }";
            writeln!(text, "  {name}: {{ kind: read_table, with: {{ path: {path:?}, types: {types} }} }}").unwrap();
        }
        for (number, query) in QUERIES.iter().enumerate() {
            let inputs = "{ t: t, u: u }";
            writeln!(text, "  q{number}: {{ kind: sql, inputs: {inputs}, with: {{ query: {query:?} }} }}").unwrap();
        }
        load(&text)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_query_runs_when_what_it_reads_changed_and_only_then(
        tables in [rows(), rows()],
        edits in prop::collection::vec(edits(), 1..4),
    ) {
        let lab = Lab::new();
        let mut world = World(tables.map(|rows| (rows, false)));
        let first = world.pipeline(&lab);
        let summary = lab.summary(&first);
        prop_assert!(summary.is_complete(), "{:?}", summary.results);
        let mut before = decided(&lab, &first);
        for edit in edits {
            world.edit(edit);
            let pipeline = world.pipeline(&lab);
            let summary = lab.summary(&pipeline);
            prop_assert!(summary.is_complete(), "{:?}", summary.results);
            let now = decided(&lab, &pipeline);
            for (stage, decided) in &now {
                let stood = stood(&summary, stage);
                prop_assert_eq!(stood, before[stage] == *decided, "{}: {:?}", stage, outcome(&summary, stage));
            }
            before = now;
            let empty = Lab::new();
            prop_assert_eq!(ends(&summary), ends(&empty.summary(&world.pipeline(&empty))));
        }
    }
}
