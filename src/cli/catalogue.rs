//! `refrain kinds`, `refrain schema` and `refrain check`: what can be written
//! in a pipeline, and whether what is written can be run.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{CheckArguments, Global, KindsArguments};
use super::errors::{Exit, Mistake};
use super::grid::Grid;
use super::project;
use super::terminal::{Style, count, data};
use crate::ground::closest;
use crate::kinds::{self, KINDS};
use crate::stage::{Columns, InputPort, OutputPort, StageKind};

/// Checks a pipeline file.
///
/// # Errors
/// If no file is named and there is no default.
pub(super) fn check(global: &Global, arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let pipeline = match project::read(global, arguments.file.clone(), &arguments.reading)? {
        Ok(pipeline) => pipeline,
        Err(exit) => return Ok(exit),
    };
    let mut stages: Vec<&str> = pipeline.instances.iter().map(|instance| instance.id.stage.as_str()).collect();
    stages.sort_unstable();
    stages.dedup();
    let mut facts = vec![count(stages.len() as u64, "stage")];
    if !pipeline.variants.is_empty() {
        facts.push(count(pipeline.variants.len() as u64, "variant"));
    }
    if pipeline.seeds.len() > 1 {
        facts.push(count(pipeline.seeds.len() as u64, "seed"));
    }
    if pipeline.instances.len() > stages.len() {
        facts.push(format!("{} in all", count(pipeline.instances.len() as u64, "instance")));
    }
    let style = Style::of_stdout(global.color);
    data(&format!("{} {}: {}", style.green("✓"), pipeline.file.display(), facts.join(", ")))?;
    Ok(Exit::Done)
}

/// Prints the JSON Schema of pipeline files.
///
/// # Errors
/// If it cannot be printed.
pub(super) fn schema() -> anyhow::Result<Exit> {
    data(&schema_text()?)?;
    Ok(Exit::Done)
}

/// The JSON Schema of pipeline files, without a line's end.
///
/// # Errors
/// If it cannot be written as text.
pub(super) fn schema_text() -> serde_json::Result<String> {
    serde_json::to_string_pretty(&crate::pipeline::schema(KINDS))
}

/// Lists the kinds, or describes one.
///
/// # Errors
/// If there is no kind of that name.
pub(super) fn kinds(global: &Global, arguments: &KindsArguments) -> anyhow::Result<Exit> {
    let style = Style::of_stdout(global.color);
    let Some(name) = &arguments.name else {
        if arguments.json {
            let all: Vec<Value> = KINDS.iter().map(|kind| as_json(*kind)).collect();
            data(&serde_json::to_string_pretty(&all)?)?;
        } else {
            let mut grid = Grid::headless(2);
            for kind in KINDS {
                grid.row([kind.name(), kind.summary()]);
            }
            data(&grid.text(0, 100))?;
        }
        return Ok(Exit::Done);
    };
    let kind = kinds::find(name).ok_or_else(|| {
        let hint = closest(name, KINDS.iter().map(|kind| kind.name()))
            .map_or_else(|| "`refrain kinds` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
        Mistake::new(format!("there is no kind `{name}`")).hint(hint)
    })?;
    let text = if arguments.json { serde_json::to_string_pretty(&as_json(kind))? } else { describe(kind, style) };
    data(&text)?;
    Ok(Exit::Done)
}

fn as_json(kind: &dyn StageKind) -> Value {
    json!({
        "kind": kind.name(),
        "version": kind.version(),
        "summary": kind.summary(),
        "documentation": kind.documentation(),
        "example": kind.example(),
        "settings": kind.settings_schema(),
    })
}

fn describe(kind: &dyn StageKind, style: Style) -> String {
    let mut parts =
        vec![format!("{}: {}", style.bold(kind.name()), kind.summary()), kind.documentation().trim().to_owned()];
    if let Some((inputs, outputs)) = ports(kind) {
        parts.extend(section("inputs", &input_lines(&inputs), style));
        parts.extend(section("outputs", &output_lines(&outputs), style));
    }
    parts.extend(section("with", &settings(&kind.settings_schema()), style));
    parts.extend(section("example", &indented_example(kind.example()), style));
    parts.join("\n\n")
}

fn section(title: &str, body: &str, style: Style) -> Option<String> {
    (!body.is_empty()).then(|| format!("{}\n{body}", style.bold(&format!("{title}:"))))
}

/// The ports of the kind's example.
fn ports(kind: &dyn StageKind) -> Option<(Vec<InputPort>, Vec<OutputPort>)> {
    let example: Value = serde_yaml::from_str(kind.example()).ok()?;
    let stage = kind.parse(example.get("with").unwrap_or(&Value::Null)).ok()?;
    Some((stage.inputs(), stage.outputs()))
}

fn input_lines(ports: &[InputPort]) -> String {
    let mut grid = Grid::headless(3);
    for port in ports {
        let name = if port.name == "*" { "(any name)" } else { &port.name };
        let columns = match &port.columns {
            Columns::All => "all columns".to_owned(),
            Columns::Named(names) => names.join(", "),
            Columns::NamedAndOptional(names, optional) => {
                let optional: Vec<String> = optional.iter().map(|name| format!("{name} (if there)")).collect();
                [names.as_slice(), optional.as_slice()].concat().join(", ")
            }
        };
        let how = match (port.required, port.many) {
            (true, false) => "",
            (true, true) => "one or several",
            (false, false) => "optional",
            (false, true) => "optional, one or several",
        };
        grid.row([name, columns.as_str(), how]);
    }
    grid.text(2, 90)
}

fn output_lines(ports: &[OutputPort]) -> String {
    let mut grid = Grid::headless(2);
    for port in ports {
        let columns: Vec<String> = port.columns.iter().map(|(name, of)| format!("{name}: {of}")).collect();
        grid.row([
            port.name.clone().into_owned(),
            if columns.is_empty() { "as the settings say".to_owned() } else { columns.join(", ") },
        ]);
    }
    grid.text(2, 110)
}

/// The settings of a JSON Schema, one paragraph each.
fn settings(schema: &Value) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return String::new() };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let lines = properties.iter().map(|(name, property)| {
        let mut facts = vec![type_of(property, schema)];
        if required.contains(&name.as_str()) {
            facts.push("required".to_owned());
        } else if let Some(default) = property.get("default").filter(|default| !default.is_null()) {
            facts.push(format!("default {default}"));
        }
        facts.retain(|fact| !fact.is_empty());
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let mut text = format!("  {name}  ({})", facts.join(", "));
        for line in about.lines() {
            write!(text, "\n      {}", line.trim()).ok();
        }
        text
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A property's type in a few words.
fn type_of(property: &Value, schema: &Value) -> String {
    if let Some(name) = property.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        return schema
            .get("$defs")
            .and_then(|defs| defs.get(name))
            .map_or_else(String::new, |found| type_of(found, schema));
    }
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(value) = property.get("const") {
        return value.to_string();
    }
    for any in ["anyOf", "oneOf"] {
        if let Some(options) = property.get(any).and_then(Value::as_array) {
            let names: Vec<String> =
                options.iter().map(|option| type_of(option, schema)).filter(|t| t != "null").collect();
            return names.join(" | ");
        }
    }
    match property.get("type") {
        Some(Value::String(name)) if name == "array" => {
            format!(
                "list of {}",
                property.get("items").map_or_else(|| "anything".to_owned(), |items| type_of(items, schema))
            )
        }
        Some(Value::String(name)) => plain_type(name).to_owned(),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null").map(plain_type);
            names.collect::<Vec<_>>().join(" | ")
        }
        _ => String::new(),
    }
}

fn plain_type(name: &str) -> &str {
    match name {
        "string" => "text",
        "object" => "mapping",
        "boolean" => "true or false",
        "array" => "list",
        other => other,
    }
}

fn indented_example(example: &str) -> String {
    example.trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_described_from_their_schema() {
        let schema = json!({
            "properties": {
                "min": {"type": "integer", "description": "Fewest rows.\nAt least 1."},
                "mode": {"$ref": "#/$defs/Mode", "default": "fast"},
                "names": {"type": ["array", "null"], "items": {"type": "string"}},
                "limit": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": null},
            },
            "required": ["min"],
            "$defs": {"Mode": {"enum": ["fast", "slow"], "type": "string"}},
        });
        let text = "  limit  (number)\n  min  (integer, required)\n      Fewest rows.\n      At least 1.\n  \
            mode  (\"fast\" | \"slow\", default \"fast\")\n  names  (list)";
        assert_eq!(settings(&schema), text);
    }

    #[test]
    fn every_kind_can_be_described() {
        for kind in KINDS {
            let text = describe(*kind, Style::new(false));
            assert!(text.starts_with(kind.name()) && text.contains("example:") && text.contains("outputs:"), "{text}");
        }
    }
}
