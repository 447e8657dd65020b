//! Prompt templates over the columns of a table. For `summarize`; no kind by
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::Array;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use rayon::prelude::*;

use crate::stage::{SettingProblem, StageError};
use crate::table::{Table, TableError};

const PROMPT: &str = "prompt";
const SYSTEM: &str = "system";
const WORD_LIMIT: &str = "word_limit";

/// Checked templates, and the columns that they name.
#[derive(Debug)]
pub(super) struct Prompt {
    templates: Environment<'static>,
    columns: BTreeSet<String>,
    optional: BTreeSet<String>,
    word_limit: Option<u32>,
    has_system: bool,
}

/// What one row asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rendered {
    /// Ask this.
    Ask {
        /// The question.
        prompt: String,
        /// What the model is told first.
        system: Option<String>,
    },
    /// Ask nothing: a required column is null or blank.
    Skip {
        /// The first such column.
        column: String,
    },
}

impl Prompt {
    /// Checks the templates.
    ///
    /// # Errors
    /// What is wrong with each, by the setting it stands in.
    pub(super) fn parse(
        prompt: &str,
        system: Option<&str>,
        word_limit: Option<u32>,
        optional: &BTreeSet<String>,
    ) -> Result<Self, Vec<SettingProblem>> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut problems = Vec::new();
        let mut columns = BTreeSet::new();
        let globals: BTreeSet<String> = templates.globals().map(|(name, _)| name.to_owned()).collect();
        for (name, source) in [(PROMPT, Some(prompt)), (SYSTEM, system)] {
            let Some(source) = source else { continue };
            match templates.add_template_owned(name, source.to_owned()) {
                Ok(()) => {
                    let found = templates.get_template(name).map(|template| template.undeclared_variables(false));
                    columns.extend(found.into_iter().flatten().filter(|name| !globals.contains(name)));
                }
                Err(error) => problems.push(explain(name, &error)),
            }
        }
        if columns.remove(WORD_LIMIT) && word_limit.is_none() {
            let problem = SettingProblem::new(PROMPT, "the template uses `word_limit`, which is not set");
            problems.push(problem.hint("set `word_limit:` or leave it out of the template"));
        }
        let parsed = problems.is_empty();
        for name in optional.difference(&columns).filter(|_| parsed) {
            let problem = SettingProblem::new("optional", format!("`{name}` is no column of the templates"));
            problems.push(problem.hint(format!("they name {}", list(&columns))));
        }
        if prompt.trim().is_empty() {
            problems.push(SettingProblem::new(PROMPT, "the template is empty").hint("write what the model is asked"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { templates, columns, optional: optional.clone(), word_limit, has_system: system.is_some() })
    }

    /// The columns that the templates name.
    pub(super) fn columns(&self) -> &BTreeSet<String> {
        &self.columns
    }

    /// What each row of a table asks.
    ///
    /// # Errors
    /// [`StageError`] if a column is missing or a template cannot be rendered.
    pub(super) fn render(&self, table: &Table) -> Result<Vec<Rendered>, StageError> {
        let columns = self.columns.iter().map(|name| Ok((name.as_str(), values(table, name)?)));
        let columns: BTreeMap<&str, Vec<Value>> = columns.collect::<Result<_, TableError>>()?;
        let rendered: Vec<_> = (0..table.rows()).into_par_iter().map(|row| self.render_row(&columns, row)).collect();
        // One after the other: the first row that fails is the one that is named.
        rendered.into_iter().collect()
    }

    fn render_row(&self, columns: &BTreeMap<&str, Vec<Value>>, row: usize) -> Result<Rendered, StageError> {
        let required = columns.iter().filter(|(name, _)| !self.optional.contains(**name));
        if let Some((column, _)) = required.into_iter().find(|(_, values)| is_blank(&values[row])) {
            return Ok(Rendered::Skip { column: (*column).to_owned() });
        }
        let mut values: BTreeMap<&str, Value> =
            columns.iter().map(|(name, values)| (*name, values[row].clone())).collect();
        if let Some(words) = self.word_limit {
            values.insert(WORD_LIMIT, Value::from(words));
        }
        let render = |name: &'static str| {
            let rendered = self.templates.get_template(name).and_then(|template| template.render(&values));
            let failed = |error: minijinja::Error| {
                StageError::with_hint(format!("`{name}` could not be rendered for row {}", row + 1), error.to_string())
            };
            rendered.map(|text| text.trim().to_owned()).map_err(failed)
        };
        let system = if self.has_system { Some(render(SYSTEM)?) } else { None };
        Ok(Rendered::Ask { prompt: render(PROMPT)?, system })
    }
}

/// A column's cells as template values: numbers as numbers, the rest as text.
fn values(table: &Table, name: &str) -> Result<Vec<Value>, TableError> {
    let data_type = table.column(name)?.data_type().clone();
    if data_type.is_integer() {
        return Ok(table.integers(name)?.iter().map(|cell| cell.map_or(Value::from(()), Value::from)).collect());
    }
    if data_type.is_floating() {
        return Ok(table.floats(name)?.iter().map(|cell| cell.map_or(Value::from(()), Value::from)).collect());
    }
    Ok(table.strings(name)?.iter().map(|cell| cell.map_or(Value::from(()), Value::from)).collect())
}

fn is_blank(value: &Value) -> bool {
    value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

fn explain(name: &str, error: &minijinja::Error) -> SettingProblem {
    let line = error.line().map_or_else(String::new, |line| format!(" in line {line} of the template"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let hint = match error.kind() {
        ErrorKind::SyntaxError => "write columns as {{ column }}; see the syntax of Jinja templates",
        _ => "see the syntax of Jinja templates",
    };
    SettingProblem::new(name, format!("{detail}{line}")).hint(hint)
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn table() -> Table {
        let titles: ArrayRef = Arc::new(StringArray::from(vec![Some("Song"), Some(" "), None]));
        let years: ArrayRef = Arc::new(Int64Array::from(vec![Some(1999), Some(2001), None]));
        Table::of_columns([("title", titles), ("year", years)]).expect("a table")
    }

    fn parse(prompt: &str, optional: &[&str]) -> Result<Prompt, Vec<SettingProblem>> {
        Prompt::parse(prompt, Some("Be brief."), None, &optional.iter().map(|name| (*name).to_owned()).collect())
    }

    fn asked(prompt: &Prompt) -> Vec<String> {
        let shown = |rendered| match rendered {
            Rendered::Ask { prompt, .. } => prompt,
            Rendered::Skip { column } => format!("no {column}"),
        };
        prompt.render(&table()).expect("rendered").into_iter().map(shown).collect()
    }

    #[test]
    fn rows_are_rendered_or_skipped() {
        let prompt = parse("{{ title }} {% if year > 2000 %}new{% else %}old{% endif %}\n", &[]).expect("good");
        assert_eq!(asked(&prompt), ["Song old", "no title", "no title"]);
        let prompt = parse("{{ title or 'untitled' }}{% for n in range(2) %}!{% endfor %}", &["title"]).expect("good");
        assert_eq!(prompt.columns().len(), 1, "`range` is a function, not a column");
        assert_eq!(asked(&prompt), ["Song!!", "!!", "untitled!!"]);
    }

    #[test]
    fn mistakes_are_told_by_their_setting() {
        let told = |prompt: &str, optional: &[&str]| {
            let problems = parse(prompt, optional).expect_err("a problem");
            format!("{}: {}", problems[0].path, problems[0].what)
        };
        assert!(told("{{ title", &[]).starts_with("prompt: "), "{}", told("{{ title", &[]));
        assert_eq!(told("{{ word_limit }} words", &[]), "prompt: the template uses `word_limit`, which is not set");
        assert_eq!(told("{{ title }}", &["lyrics"]), "optional: `lyrics` is no column of the templates");
        assert_eq!(told(" ", &[]), "prompt: the template is empty");
    }
}
