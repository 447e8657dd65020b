//! The JSON Schema of a pipeline file, for editors: made from the registry of
//! kinds, so that a new kind is completed and explained without an edit here.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::document::{STAGE_KEYS, TOP_KEYS};
use super::node::Node;
use super::providers::{PROVIDER, takes_provider};
use super::publication::ReportSettings;
use super::report::Report;
use super::yaml;
use crate::remote::StoreSettings;
use crate::sandbox::SandboxSettings;
use crate::stage::{InputPort, Stage, StageKind, schema_of};
use crate::web::{BudgetSettings, LimiterSettings};

/// The example of a kind, taken apart, and its checked stage; `None` if the
/// example is not one, which the registry's tests do not let pass.
pub(super) fn parsed_example(kind: &'static dyn StageKind) -> Option<(Node, Arc<dyn Stage>)> {
    let mut report = Report::new(Path::new("example"), kind.example());
    let node = yaml::parse(kind.example(), &mut report)?;
    let with = node.entry("with").map_or(Value::Null, |with| with.node.to_value());
    let stage = kind.parse(&with).ok()?;
    Some((node, stage))
}

/// The stage of a kind's example: for what can be asked of any stage of a kind.
#[must_use]
pub fn example_of(kind: &'static dyn StageKind) -> Option<Arc<dyn Stage>> {
    Some(parsed_example(kind)?.1)
}

/// The JSON Schema of a pipeline file: the stages' keys, and for each kind its
/// settings and its inputs. Every value may also be a text with a reference.
#[must_use]
pub fn schema(kinds: &[&'static dyn StageKind]) -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "reference".to_owned(),
        json!({ "type": "string", "pattern": "\\$\\{(var|variant|env)\\.", "description": "${var.NAME}, ${variant.NAME} or ${env.NAME}" }),
    );
    definitions.insert("input".to_owned(), input_schema());
    definitions.insert("refresh".to_owned(), refresh_schema());
    let mut rules = Vec::new();
    for kind in kinds {
        let settings = with_provider(adopt(kind.settings_schema(), kind.name(), &mut definitions));
        let mut then = Map::new();
        if settings.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty()) {
            then.insert("required".to_owned(), json!(["with"]));
        }
        then.insert("properties".to_owned(), json!({ "with": settings, "inputs": inputs_schema(*kind) }));
        rules.push(json!({
            "if": { "properties": { "kind": { "const": kind.name() } }, "required": ["kind"] },
            "then": then,
        }));
    }
    let names: Vec<Value> =
        kinds.iter().map(|kind| json!({ "const": kind.name(), "description": kind.summary() })).collect();
    definitions.insert("stage".to_owned(), stage_schema(&names, &rules));
    let limiter = adopt(schema_of::<LimiterSettings>(), "limiter", &mut definitions);
    let budget = adopt(schema_of::<BudgetSettings>(), "budget", &mut definitions);
    let sandbox = adopt(schema_of::<SandboxSettings>(), "sandbox", &mut definitions);
    let report = adopt(schema_of::<ReportSettings>(), "report", &mut definitions);
    let store = adopt(schema_of::<StoreSettings>(), "store", &mut definitions);
    let seed = with_reference(&json!({ "type": "integer", "minimum": 0 }));
    let or_taken_away = json!({
        "if": { "type": "string" },
        "then": { "const": "none", "description": "Takes away a stage of the base" },
        "else": { "$ref": "#/$defs/stage" },
    });
    let properties = json!({
        "pipeline": { "type": "string", "description": "The pipeline's name" },
        "base": { "type": "string", "description": "A pipeline file, relative to this one, of which all is taken over that this file does not give: stages, vars, limiters, budgets and providers by name, the rest as a whole" },
        "description": { "type": "string", "description": "What it is for" },
        "seed": described(&seed, "From which all random numbers are derived; 0 if not given"),
        "seeds": described(&json!({ "type": "array", "minItems": 1, "items": seed }), "Repeats what is random for each of these"),
        "device": described(
            &with_reference(&json!({ "type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]+)?)$" })),
            "Where models compute: auto (default), cpu, cuda or cuda:N; --device and REFRAIN_DEVICE go before",
        ),
        "vars": { "type": "object", "description": "Values of ${var.NAME}; --set NAME=VALUE goes before" },
        "limiters": { "type": "object", "description": "What providers allow", "additionalProperties": limiter },
        "budgets": { "type": "object", "description": "Ceilings per limiter", "additionalProperties": budget },
        "providers": {
            "type": "object",
            "description": "Named groups of settings, which a stage takes with `provider: NAME`",
            "additionalProperties": { "type": ["object", "null"], "properties": of_providers(kinds) },
        },
        "engine": adopt(super::engine::schema(), "engine", &mut definitions),
        "sandbox": described(&sandbox, "A synthetic world to run in instead of the network"),
        "report": described(&report, "What `refrain report` shows; decides no result"),
        "store": described(&store, "A store that is shared with others: what is there is not made again"),
        "stages": { "type": "object", "minProperties": 1, "description": "What is done", "additionalProperties": or_taken_away },
        "variants": {
            "type": "object",
            "description": "Values of ${variant.NAME}, for which stages are repeated",
            "additionalProperties": { "type": ["object", "null"] },
        },
    });
    debug_assert!(TOP_KEYS.iter().all(|key| properties.get(key).is_some()));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Refrain pipeline",
        "type": "object",
        "required": ["pipeline"],
        "anyOf": [{ "required": ["stages"] }, { "required": ["base"] }],
        "additionalProperties": false,
        "properties": properties,
        "$defs": definitions,
    })
}

/// Lets a stage that asks a provider take its settings from a group: then none
/// need stand in the stage itself.
fn with_provider(mut settings: Value) -> Value {
    if !takes_provider(&settings) {
        return settings;
    }
    settings["properties"][PROVIDER] = json!({
        "type": "string",
        "description": "The group of `providers:`, or the known provider, whose settings stand for those not given here",
    });
    if let Some(required) = settings.as_object_mut().and_then(|settings| settings.remove("required")) {
        settings["anyOf"] = json!([{ "required": [PROVIDER] }, { "required": required }]);
    }
    settings
}

/// What a group may hold: every setting of the kinds that ask providers.
fn of_providers(kinds: &[&'static dyn StageKind]) -> Map<String, Value> {
    let asking = kinds.iter().map(|kind| kind.settings_schema()).filter(takes_provider);
    let mut all = Map::new();
    for settings in asking {
        for (name, setting) in settings["properties"].as_object().into_iter().flatten() {
            let about = json!({ "description": setting.get("description").cloned().unwrap_or_default() });
            all.entry(name.clone()).or_insert(about);
        }
    }
    all
}

fn stage_schema(kinds: &[Value], rules: &[Value]) -> Value {
    let properties = json!({
        "kind": { "description": "What the stage does", "anyOf": [{ "oneOf": kinds }, { "$ref": "#/$defs/reference" }] },
        "inputs": { "type": ["object", "null"], "description": "From which stages its tables come, by port" },
        "with": { "description": "Its settings" },
        "refresh": { "$ref": "#/$defs/refresh" },
        "shards": {
            "description": "Into how many pieces its rows are cut, which are worked on apart",
            "anyOf": [{ "type": "integer", "minimum": 1 }, { "$ref": "#/$defs/reference" }],
        },
    });
    debug_assert!(STAGE_KEYS.iter().all(|key| properties.get(key).is_some()));
    json!({
        "type": "object",
        "required": ["kind"],
        "additionalProperties": false,
        "properties": properties,
        "allOf": rules,
    })
}

fn input_schema() -> Value {
    json!({
        "description": "STAGE, STAGE.OUTPUT, STAGE@VARIANT, STAGE@* or none",
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
    })
}

fn refresh_schema() -> Value {
    json!({
        "description": "When it is done again although nothing changed",
        "anyOf": [
            { "enum": ["once", "always"] },
            {
                "type": "object",
                "required": ["after"],
                "additionalProperties": false,
                "properties": { "after": { "type": "string", "description": "30d, 12h, 90m, 10s" } },
            },
            { "$ref": "#/$defs/reference" },
        ],
    })
}

/// The ports of a kind, as its example has them. Settings may give a stage
/// other ports, so that names not listed are left to `refrain check`.
fn inputs_schema(kind: &'static dyn StageKind) -> Value {
    let ports = example_of(kind).map(|stage| stage.inputs()).unwrap_or_default();
    let about = |port: &InputPort| {
        format!(
            "{}{}",
            if port.required { "required" } else { "optional" },
            if port.many { ", takes a list" } else { "" }
        )
    };
    let named: Map<String, Value> = ports
        .iter()
        .filter(|port| port.name != "*")
        .map(|port| (port.name.clone(), json!({ "$ref": "#/$defs/input", "description": about(port) })))
        .collect();
    json!({ "type": ["object", "null"], "properties": named, "additionalProperties": { "$ref": "#/$defs/input" } })
}

fn described(schema: &Value, text: &str) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        map.insert("description".to_owned(), json!(text));
    }
    schema
}

/// Makes a settings schema part of the file's: its definitions move to the
/// top under names of their own, and references may stand for its values.
fn adopt(schema: Value, prefix: &str, definitions: &mut Map<String, Value>) -> Value {
    let Value::Object(mut map) = schema else { return schema };
    map.remove("$schema");
    // It is the name of a Rust type, which editors would show.
    map.remove("title");
    let own = map.remove("$defs");
    let mut body = Value::Object(map);
    rename(&mut body, prefix);
    allow_references(&mut body);
    if let Some(Value::Object(own)) = own {
        for (name, mut definition) in own {
            rename(&mut definition, prefix);
            allow_references(&mut definition);
            definitions.insert(format!("{prefix}.{name}"), definition);
        }
    }
    body
}

fn rename(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/$defs/{prefix}.{name}");
                        }
                    }
                    other => rename(other, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, prefix)),
        _ => {}
    }
}

/// Lets a text with a reference stand for each property and item.
fn allow_references(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for (key, value) in map {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for property in properties.values_mut() {
                    allow_references(property);
                    *property = with_reference(property);
                }
            }
            ("items" | "additionalProperties", inner @ Value::Object(_)) => {
                allow_references(inner);
                *inner = with_reference(inner);
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(several)) => {
                several.iter_mut().for_each(allow_references);
            }
            _ => {}
        }
    }
}

fn with_reference(schema: &Value) -> Value {
    let mut whole = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = schema.get(key) {
            whole.insert(key.to_owned(), value.clone());
        }
    }
    whole.insert("anyOf".to_owned(), json!([schema, { "$ref": "#/$defs/reference" }]));
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{KINDS, SAMPLE};
    use super::*;

    fn is(name: &str, value: &Value) -> bool {
        match name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            _ => value.is_object(),
        }
    }

    /// As much of JSON Schema as the schema uses; the first thing refused.
    fn refused(root: &Value, schema: &Value, value: &Value) -> Option<String> {
        let Value::Object(rules) = schema else { return None };
        let no = |why: &str| Some(format!("{why}: {value} by {schema}"));
        let fits = |schema: &Value| refused(root, schema, value).is_none();
        let all = |list: &Value| list.as_array().cloned().unwrap_or_default();
        for (rule, given) in rules {
            let bad = match rule.as_str() {
                "$ref" => {
                    let target = given.as_str().and_then(|to| root.pointer(to.trim_start_matches('#')));
                    match target {
                        Some(target) => refused(root, target, value),
                        None => no("dangling $ref"),
                    }
                }
                "type" => {
                    let types = if given.is_array() { all(given) } else { vec![given.clone()] };
                    if types.iter().filter_map(Value::as_str).any(|name| is(name, value)) { None } else { no("type") }
                }
                "const" => {
                    if given == value {
                        None
                    } else {
                        no("const")
                    }
                }
                "enum" => {
                    if all(given).contains(value) {
                        None
                    } else {
                        no("enum")
                    }
                }
                "pattern" => {
                    if value.as_str().is_none_or(|text| text.contains("${")) {
                        None
                    } else {
                        no("pattern")
                    }
                }
                "anyOf" | "oneOf" => {
                    if all(given).iter().any(fits) {
                        None
                    } else {
                        no(rule)
                    }
                }
                "allOf" => all(given).iter().find_map(|one| refused(root, one, value)),
                "if" if fits(given) => rules.get("then").and_then(|then| refused(root, then, value)),
                "if" => rules.get("else").and_then(|other| refused(root, other, value)),
                "required" => {
                    let lacks =
                        |key: &Value| value.is_object() && key.as_str().is_some_and(|key| value.get(key).is_none());
                    if all(given).iter().any(lacks) { no("required") } else { None }
                }
                "properties" => {
                    given.as_object().into_iter().flatten().find_map(|(key, of)| refused(root, of, value.get(key)?))
                }
                "additionalProperties" => {
                    let named = |key: &String| rules.get("properties").is_some_and(|known| known.get(key).is_some());
                    let others = value.as_object().into_iter().flatten().filter(|(key, _)| !named(key));
                    if *given == json!(false) {
                        if others.count() > 0 { no("additionalProperties") } else { None }
                    } else {
                        others.into_iter().find_map(|(_, inner)| refused(root, given, inner))
                    }
                }
                "items" => all(value).iter().find_map(|item| refused(root, given, item)),
                _ => None,
            };
            if bad.is_some() {
                return bad;
            }
        }
        None
    }

    fn check(text: &str) -> Option<String> {
        let node = yaml::parse(text, &mut Report::new(Path::new("p.yaml"), text)).unwrap();
        let schema = schema(KINDS);
        refused(&schema, &schema, &node.to_value())
    }

    #[test]
    fn the_schema_accepts_the_sample_and_refuses_mistakes() {
        assert_eq!(check(SAMPLE), None);
        for (right, wrong) in [
            ("vars:", "varz:"),
            ("kind: compare", "kind: compaer"),
            ("min_per_user:", "min_per_usr:"),
            ("after: 30d", "before: 30d"),
            ("per_second: 5", "per_secnd: 5"),
            ("seed: 7", "seed: -1.5"),
            ("with: { tower:", "with: { layers: deep, tower:"),
            ("kind: embed", "kind: embed\n    input: {}"),
        ] {
            assert!(check(&SAMPLE.replace(right, wrong)).is_some(), "{wrong}");
        }
    }

    #[test]
    fn every_kind_explains_its_ports_and_settings() {
        let schema = schema(KINDS);
        let rules = schema["$defs"]["stage"]["allOf"].as_array().unwrap();
        assert_eq!(rules.len(), KINDS.len());
        let keep = rules.iter().find(|rule| rule["if"]["properties"]["kind"]["const"] == "filter_k_core").unwrap();
        assert_eq!(keep["then"]["properties"]["inputs"]["properties"]["interactions"]["description"], "required");
        assert_eq!(
            keep["then"]["properties"]["with"]["properties"]["min_per_user"]["description"],
            "Fewest rows per user."
        );
    }
}
