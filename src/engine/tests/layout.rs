//! The laws of writing and of running: neither how a pipeline is written nor
//! how many threads run it decides a key or an artifact. Over the real kinds
//! that ask nobody.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::edits::ends;
use super::lab::Lab;
use crate::ground::files;
use crate::kinds::KINDS;
use crate::pipeline::{Pipeline, load_text};

/// A pipeline from its text, over the real kinds.
pub(super) fn load(text: &str) -> Pipeline {
    load_text(Path::new("laws.yaml"), text, &BTreeMap::new(), KINDS)
        .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// Writes YAML by hand: with each choice it takes another of the ways in which
/// a value can be written, or another order where the order means nothing.
struct Hand<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl<'a> Hand<'a> {
    fn of(choices: &'a [u8]) -> Self {
        Self { choices: choices.iter().cycle() }
    }

    fn choose(&mut self, ways: u8) -> usize {
        usize::from(self.choices.next().unwrap() % ways)
    }

    /// The text of a whole file.
    fn file(&mut self, root: &Value) -> String {
        let mut text = ["", "---\n", "# By hand.\n\n"][self.choose(3)].to_owned();
        self.block(root.as_object().unwrap(), 0, &mut text);
        text
    }

    fn shuffled<'m>(&mut self, map: &'m Map<String, Value>) -> Vec<(&'m String, &'m Value)> {
        let mut entries: Vec<_> = map.iter().map(|entry| (self.choose(255), entry)).collect();
        entries.sort_by_key(|(place, _)| *place);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The entries of a mapping, a line or more for each.
    fn block(&mut self, map: &Map<String, Value>, indent: usize, text: &mut String) {
        for (key, value) in self.shuffled(map) {
            let pad = " ".repeat(indent);
            text.push_str(["", "", "\n", "# kind: none\n"][self.choose(4)]);
            write!(text, "{pad}{}:", self.plain_or_quoted(key)).unwrap();
            let deeper = indent + 1 + self.choose(4);
            self.value(value, deeper, text);
        }
    }

    /// What comes after a key and its colon.
    fn value(&mut self, value: &Value, indent: usize, text: &mut String) {
        let pad = " ".repeat(indent);
        match value {
            Value::Object(map) if self.choose(3) > 0 => {
                text.push_str(["\n", " # these:\n"][self.choose(2)]);
                self.block(map, indent, text);
            }
            Value::Array(items) if self.choose(2) == 0 => {
                text.push('\n');
                for item in items {
                    writeln!(text, "{pad}- {}", self.flow(item)).unwrap();
                }
            }
            Value::String(words) if self.choose(4) == 0 => writeln!(text, " |-\n{pad}{words}").unwrap(),
            Value::String(words) if self.choose(3) == 0 => {
                // Folded at its spaces, which a fold gives back.
                writeln!(text, " >-\n{pad}{}", words.replace(' ', &format!("\n{pad}"))).unwrap();
            }
            _ => writeln!(text, " {}{}", self.flow(value), ["", "  # so", " "][self.choose(3)]).unwrap(),
        }
    }

    /// A value on one line.
    fn flow(&mut self, value: &Value) -> String {
        match value {
            Value::String(text) => self.plain_or_quoted(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.flow(item)).collect();
                format!("[{}]", items.join([",", ", "][self.choose(2)]))
            }
            Value::Object(map) => {
                let entries = self.shuffled(map).into_iter();
                let entries: Vec<String> = entries
                    .map(|(key, value)| format!("{}: {}", self.plain_or_quoted(key), self.flow(value)))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
            other => other.to_string(),
        }
    }

    fn plain_or_quoted(&mut self, text: &str) -> String {
        let is_plain = text.chars().all(|c| c.is_ascii_alphabetic() || "_./".contains(c));
        match self.choose(3) {
            0 if is_plain => text.to_owned(),
            1 => format!("'{}'", text.replace('\'', "''")),
            _ => Value::from(text).to_string(),
        }
    }
}

/// Songs and who plays them, in the lab's folder.
fn write_files(lab: &Lab) {
    let songs = (0..12).map(|song| format!("{song},song {song} of the sea,{}\n", 1990 + song % 3));
    let plays = (0..60).map(|play| format!("u{},{},{}\n", play % 7, play * play % 12, 1_000 + play % 5));
    let table = |name: &str, header: &str, lines: String| {
        files::write_atomically(&lab.folder.path().join(name), format!("{header}\n{lines}").as_bytes()).unwrap();
    };
    table("songs.csv", "item_id,title,year", songs.collect());
    table("plays.csv", "user_id,item_id,at", plays.collect());
}

/// A pipeline of every kind that asks nobody and needs no weights.
fn document(lab: &Lab, words: u8, fewest: u8, year: u16) -> Value {
    let path = |name: &str| lab.folder.path().join(name);
    json!({
        "pipeline": "laws",
        "seed": 5,
        "stages": {
            "songs": {"kind": "read_table", "with": {
                "path": path("songs.csv"), "types": {"year": "int"}, "on_bad_row": "skip",
                "columns": {"item_id": "item_id", "name": "title", "year": "year"},
            }},
            "plays": {"kind": "read_table", "refresh": "once", "with": {"path": path("plays.csv")}},
            "titles": {"kind": "sql", "inputs": {"songs": "songs", "plays": "plays"}, "with": {"query": format!(
                "SELECT s.item_id, s.name AS text, COUNT(*) AS n FROM songs s JOIN plays p ON s.item_id = p.item_id \
                 WHERE s.year >= {year} AND s.name <> 'it''s: \"none\" # of these' GROUP BY s.item_id, s.name"
            )}},
            "short": {
                "kind": "truncate_words", "inputs": {"texts": "titles"}, "with": {"words": "${variant.words}"},
            },
            "core": {"kind": "filter_k_core", "inputs": {"interactions": "plays"}, "with": {
                "min_per_user": fewest, "min_per_item": 2,
            }},
            "split": {"kind": "split_leave_last_out", "inputs": {"interactions": "core"}},
            "popular": {"kind": "popularity", "inputs": {"split": "split"}},
            "scored": {
                "kind": "evaluate", "inputs": {"split": "split", "model": "popular"},
                "with": {"k": "${variant.k}"},
            },
            "board": {"kind": "compare", "inputs": {"metrics": ["scored@*"]}, "with": {"k": 2}},
        },
        "variants": {"A": {"words": words, "k": [2, 3]}, "B": {"words": 1, "k": [1, 2]}},
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn order_comments_quotes_and_layout_decide_nothing(
        (words, fewest, year) in (1..4_u8, 1..4_u8, 1989..1993_u16),
        one in prop::collection::vec(any::<u8>(), 300),
        other in prop::collection::vec(any::<u8>(), 300),
    ) {
        let lab = Lab::new();
        write_files(&lab);
        let document = document(&lab, words, fewest, year);
        let texts = [&one, &other].map(|choices| Hand::of(choices).file(&document));
        let [first, second] = [0, 1].map(|which| load(&texts[which]));
        let made = lab.summary(&first);
        prop_assert!(made.is_complete(), "{:?}\n{}", made.results, texts[0]);
        let keys = |pipeline: &Pipeline| -> BTreeMap<String, _> {
            lab.plan(pipeline).stages.iter().map(|stage| (stage.id.to_string(), stage.state.fresh_key())).collect()
        };
        prop_assert_eq!(keys(&first), keys(&second), "{}\n=====\n{}", texts[0], texts[1]);
        let again = lab.summary(&second);
        prop_assert_eq!((again.ran, again.cached), (0, 11), "{:?}", again.results);
        // Made anew from the other text it is the same, whatever the order of work.
        let mut empty = Lab::new();
        empty.options.jobs = 1 + words as usize;
        let anew = empty.summary(&second);
        prop_assert_eq!(ends(&anew), ends(&made));
    }
}

#[test]
fn the_number_of_jobs_decides_nothing() {
    let made = [1, 2, 8].map(|jobs| {
        let mut lab = Lab::new();
        lab.options.jobs = jobs;
        write_files(&lab);
        let text = Hand::of(&[7, 3]).file(&document(&lab, 2, 2, 1990));
        let summary = lab.summary(&load(&text));
        assert!(summary.is_complete(), "{:?}", summary.results);
        ends(&summary)
    });
    assert_eq!(made[0].len(), 11);
    assert_eq!(made[1], made[0]);
    assert_eq!(made[2], made[0]);
}

#[test]
fn what_a_value_says_does_count() {
    let lab = Lab::new();
    write_files(&lab);
    let before = document(&lab, 2, 2, 1990);
    lab.summary(&load(&before.to_string()));
    let edits: [fn(&mut Value); 3] = [
        |all| all["variants"]["A"]["k"] = json!([1, 3]),
        |all| all["stages"]["titles"]["with"]["query"] = json!("SELECT item_id, name AS text  FROM songs"),
        |all| all["stages"]["songs"]["with"]["on_bad_row"] = json!("fail"),
    ];
    for (edit, stale) in edits.into_iter().zip(["scored@A", "titles", "songs"]) {
        let mut after = before.clone();
        edit(&mut after);
        assert!(!lab.reasons(&load(&after.to_string()), stale).is_empty(), "{stale}");
    }
}
