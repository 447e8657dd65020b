//! The settings of `run_command`, and what may be wrong with them. No kind by
//! itself.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::declared::Declared;
use crate::ground::parse_duration;
use crate::stage::SettingProblem;

/// Settings as written in YAML.
#[expect(clippy::struct_field_names, reason = "`settings` is what a user writes")]
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The program and its arguments, one word each: `[python3, scripts/score.py]`. No shell stands between.
    pub(super) run: Vec<String>,
    /// Files whose content decides the result, such as the program's own: `[scripts/score.py]`.
    #[serde(default, skip_serializing)]
    pub(super) code: Vec<PathBuf>,
    /// Commands whose output decides the result: `{ python: [python3, --version] }`.
    #[serde(default, skip_serializing)]
    pub(super) versions: BTreeMap<String, Vec<String>>,
    /// The tables that it writes, each with its columns and their types. The bare name of the stage means the first in
    /// the order of the alphabet.
    pub(super) outputs: BTreeMap<String, Declared>,
    /// Says that each row of every output is made from one row of this input alone, and has its key: the output is put
    /// in the input's order, and the stage may be cut into `shards:`.
    #[serde(default)]
    pub(super) rows: Option<Rows>,
    /// Anything that the program should know, given to it as JSON.
    #[serde(default)]
    pub(super) settings: BTreeMap<String, Value>,
    /// Environment variables that it is given. Their values are not kept, hashed or printed.
    #[serde(default)]
    pub(super) env: Vec<String>,
    /// How long it may take, such as `2h`; without it, any time.
    #[serde(default, skip_serializing)]
    pub(super) timeout: Option<String>,
    /// Processor cores that it uses; default 1.
    #[serde(default = "one", skip_serializing)]
    pub(super) cpus: NonZeroUsize,
    /// Whether it uses the GPU.
    #[serde(default, skip_serializing)]
    pub(super) gpu: bool,
    /// Whether it draws random numbers, from the seed in `REFRAIN_SEED`; then it is repeated per `seeds:`.
    #[serde(default, skip_serializing)]
    pub(super) seeded: bool,
}

/// The input whose rows are worked on one by one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rows {
    /// Its name under `inputs:`.
    pub(super) input: String,
    /// The column of it, and of every output, that tells rows apart.
    pub(super) key: String,
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

impl Settings {
    /// How long the program may take, and every mistake.
    pub(super) fn problems(&self) -> (Option<Duration>, Vec<SettingProblem>) {
        let mut problems = Vec::new();
        let commands = self.versions.iter().map(|(name, words)| (format!("versions.{name}"), words));
        for (path, words) in std::iter::once(("run".to_owned(), &self.run)).chain(commands) {
            if words.first().is_none_or(String::is_empty) {
                problems.push(SettingProblem::new(path, "no program is named").hint("write `[python3, scripts/x.py]`"));
            }
        }
        if self.outputs.is_empty() {
            let problem = SettingProblem::new("outputs", "no output is declared");
            problems.push(problem.hint("write `outputs: { NAME: { columns: { item_id: str } } }`"));
        }
        problems.extend(self.outputs.iter().flat_map(|(name, declared)| declared.problems(name)));
        problems.extend(row_problems(self));
        problems.extend(self.env.iter().filter(|name| !is_variable(name)).map(|name| {
            SettingProblem::new("env", format!("`{name}` is no name of a variable that a program may be given"))
                .hint("names have letters, digits and `_`, and do not begin with REFRAIN_")
        }));
        let timeout = self.timeout.as_deref().map(parse_duration).transpose();
        let timeout =
            timeout.map_err(|what| problems.push(SettingProblem::new("timeout", what).hint("write `2h` or `90m`")));
        (timeout.unwrap_or_default(), problems)
    }
}

/// What does not fit with `rows`.
fn row_problems(settings: &Settings) -> Vec<SettingProblem> {
    let Some(rows) = &settings.rows else { return Vec::new() };
    let mut problems = Vec::new();
    for (name, declared) in &settings.outputs {
        if !declared.columns.contains_key(&rows.key) {
            let what = format!("the output `{name}` has no column `{}`, which `rows.key` names", rows.key);
            problems.push(SettingProblem::new("rows.key", what).hint("name a column that every output has"));
        }
        if !declared.order_by.is_empty() {
            let what = format!("with `rows` the output `{name}` is in the order of `{}`", rows.input);
            problems.push(SettingProblem::new(format!("outputs.{name}.order_by"), what).hint("remove `order_by`"));
        }
    }
    problems
}

/// Commands that are written as one text, which would need a shell.
pub(super) fn one_text_commands(with: &Value) -> Vec<SettingProblem> {
    let versions = with.get("versions").and_then(Value::as_object).into_iter().flatten();
    let named = versions.map(|(name, words)| (format!("versions.{name}"), words));
    let all = with.get("run").map(|words| ("run".to_owned(), words)).into_iter().chain(named);
    let refused = |(path, words): (String, &Value)| {
        let text = words.as_str()?;
        let what = format!("`{path}` is one text, and a program is started from a list of words");
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let hint = format!("write `[{}]`, or `[sh, -c, {}]` if a shell is to read it", words.join(", "), json!(text));
        Some(SettingProblem::new(path, what).hint(hint))
    };
    all.filter_map(refused).collect()
}

fn is_variable(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty()
        && !name.starts_with("REFRAIN_")
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(is_letter)
}
