//! Fields of fingerprints as a table, before and now: for `why` and `diff`.

use serde_json::Value;

use super::grid::{Align, Grid, cut, width};
use super::lines::difference;
use super::terminal::count;
use crate::engine::{Field, Part};

/// Values wider than this, or of several lines, stand below the table.
const WIDE: usize = 26;

/// The changed fields: a table, then the long values line by line. Empty
/// without any.
pub(super) fn table(fields: &[&Field], before: &str, now: &str) -> String {
    if fields.is_empty() {
        return String::new();
    }
    let has_places = fields.iter().any(|field| !place(field).is_empty());
    let head = ["field", before, now, "where"].into_iter().take(if has_places { 4 } else { 3 });
    let mut grid = Grid::new(head.map(|name| (name, Align::Left)));
    let mut below = Vec::new();
    for field in fields {
        let (old, new) = (value(field, field.before.as_ref()), value(field, field.now.as_ref()));
        let new = if field.undecided { "(not known yet)".to_owned() } else { new };
        let long = is_long(&old) || is_long(&new);
        let cells = if long { ["(below)".to_owned(), "(below)".to_owned()] } else { [old.clone(), new.clone()] };
        let [old_cell, new_cell] = cells;
        grid.row([name(field), old_cell, new_cell, place(field)]);
        if long {
            let lines = difference(&old, &new).into_iter().map(|line| format!("\n    {line}"));
            below.push(format!("  {}:{}", name(field), lines.collect::<String>()));
        }
    }
    let mut text = grid.text(2, 48);
    for part in below {
        text.push_str("\n\n");
        text.push_str(&part);
    }
    text
}

/// `unchanged: the kind, 5 settings, 2 input columns`; empty if nothing is.
pub(super) fn unchanged(fields: &[Field]) -> String {
    let is_same = |field: &Field| !field.is_changed() && !field.undecided && !field.name.ends_with(".(order)");
    let count_of = |part: Part| fields.iter().filter(|field| field.part == part && is_same(field)).count();
    let mut parts = Vec::new();
    for (part, word) in
        [(Part::Setting, "setting"), (Part::Input, "input column"), (Part::File, "file"), (Part::Fact, "fact")]
    {
        if count_of(part) > 0 {
            parts.push(count(count_of(part) as u64, word));
        }
    }
    if count_of(Part::Seed) > 0 {
        parts.push("the seed".to_owned());
    }
    if parts.is_empty() { String::new() } else { format!("unchanged: {}", parts.join(", ")) }
}

fn name(field: &Field) -> String {
    let name = &field.name;
    match field.part {
        Part::Setting if name.is_empty() => "setting with".to_owned(),
        Part::Setting => format!("setting {name}"),
        Part::Input => format!("input {name}"),
        Part::Fact => format!("fact {name}"),
        Part::Kind if name == "version" => "version of the kind".to_owned(),
        Part::File | Part::Kind | Part::Seed | Part::World | Part::Format => name.clone(),
    }
}

fn is_long(value: &str) -> bool {
    width(value) > WIDE || value.contains('\n')
}

/// A value as text; hashes short.
fn value(field: &Field, value: Option<&Value>) -> String {
    match (field.part, value) {
        (Part::World, None) => "the real services".to_owned(),
        (_, None) => "–".to_owned(),
        (Part::Input | Part::File | Part::Fact, Some(Value::String(hash))) if is_hash(hash) => {
            hash.chars().take(12).collect()
        }
        (_, Some(Value::String(text))) => text.clone(),
        (_, Some(other)) => other.to_string(),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn place(field: &Field) -> String {
    let written = field.at.as_ref().map(ToString::to_string);
    match (&field.from, written) {
        (Some(from), Some(at)) => cut(&format!("from {from}, {at}"), 48),
        (Some(from), None) => format!("from {from}"),
        (None, at) => at.unwrap_or_default(),
    }
}
