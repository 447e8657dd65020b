//! The settings of a stage: decoding them with every mistake told, and what
//! of them stands in fingerprints.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ground::closest;

/// A mistake in the settings of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// Keys and indices below `with`, joined by `.`; empty for `with` itself.
    pub path: String,
    /// What is wrong: a sentence without full stop.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SettingProblem {
    /// A problem at a path, with no hint yet.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The JSON Schema of a settings type, for [`StageKind::settings_schema`](super::StageKind::settings_schema).
#[must_use]
pub fn schema_of<S: JsonSchema>() -> Value {
    schemars::schema_for!(S).to_value()
}

/// Decodes settings and reports every mistake that can be told apart: all
/// unknown and missing keys, and the types that do not fit.
///
/// # Errors
/// The mistakes, with their paths and hints.
pub fn decode_settings<S: DeserializeOwned + JsonSchema>(with: &Value) -> Result<S, Vec<SettingProblem>> {
    let nothing = Value::Object(serde_json::Map::new());
    let with = if with.is_null() { &nothing } else { with };
    // Settings refuse unknown keys, so what decodes has no mistake. The schema
    // and the paths cost much more than the decoding, and only serve messages.
    if with.is_object()
        && let Ok(settings) = S::deserialize(with)
    {
        return Ok(settings);
    }
    let schema = schema_of::<S>();
    let known = schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = known.map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
    let Value::Object(given) = with else {
        return Err(vec![SettingProblem::new("", "`with` must be a mapping of settings")]);
    };
    let mut problems = Vec::new();
    let mut rest = given.clone();
    for key in given.keys().filter(|key| !names.contains(&key.as_str())) {
        rest.remove(key);
        let hint = closest(key, names.iter().copied())
            .map_or_else(|| format!("the settings are {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
        problems.push(SettingProblem::new(key.clone(), format!("unknown setting `{key}`")).hint(hint));
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !rest.contains_key(name) {
            let about = known.and_then(|k| k[name].get("description")).and_then(Value::as_str).unwrap_or_default();
            problems.push(
                SettingProblem::new("", format!("the setting `{name}` is missing")).hint(format!("{name}: {about}")),
            );
        }
    }
    let missing = problems.iter().any(|p| p.path.is_empty());
    match serde_path_to_error::deserialize::<_, S>(Value::Object(rest)) {
        Ok(settings) if problems.is_empty() => Ok(settings),
        Ok(_) => Err(problems),
        Err(error) => {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            if !(missing && path.is_empty()) {
                let name = path.split(['.', '[']).next().unwrap_or_default();
                let about = known.and_then(|k| k.get(name)?.get("description")?.as_str());
                let about = about.map(|about| format!("{name}: {}", about.replace('\n', " ")));
                let mut problem = SettingProblem::new(path, error.into_inner().to_string());
                problem.hint = about.filter(|_| problem.what.starts_with("invalid "));
                problems.push(problem);
            }
            Err(problems)
        }
    }
}

/// The fingerprint's view of a settings type: what serialises. Operational
/// fields carry `#[serde(skip_serializing)]`.
///
/// # Panics
/// If the type does not serialise to JSON: this is a bug in the kind.
#[must_use]
pub fn settings_value<S: Serialize>(settings: &S) -> Value {
    serde_json::to_value(settings).unwrap_or_else(|error| panic!("settings do not serialise, this is a bug: {error}"))
}
