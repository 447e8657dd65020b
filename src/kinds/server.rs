//! What the kinds that ask an OpenAI-compatible server have in common: its
//! address, its key, its prices and further fields of a request. No kind by itself.

use serde_json::{Map, Value};

use super::rows;
use crate::stage::{RequiredVariable, SettingProblem, StageContext, StageError};
use crate::web::{Price, Secret};

/// A server's address and its key, with their variables put in.
pub(super) fn address(
    context: &StageContext,
    base_url: &str,
    api_key: &str,
) -> Result<(String, Option<Secret>), StageError> {
    let in_sandbox = context.web.is_sandbox();
    let base_url = if in_sandbox { base_url.to_owned() } else { context.environment.expand(base_url)? };
    let wants_key = !api_key.trim().is_empty();
    let key = if wants_key { Some(rows::api_key(context, api_key)?) } else { None };
    Ok((base_url, key))
}

/// The variables in an address and a key; `obtain` says where a key comes from.
pub(super) fn variables(base_url: &str, api_key: &str, obtain: &str) -> Vec<RequiredVariable> {
    let mut variables = rows::required_variables(api_key, obtain);
    variables.extend(rows::required_variables(base_url, "the address of the server"));
    variables
}

/// The prices, if one is given.
pub(super) fn price(prompt: Option<f64>, completion: Option<f64>, thousand_requests: Option<f64>) -> Option<Price> {
    let is_given = prompt.or(completion).or(thousand_requests).is_some();
    let [prompt, completion, thousand] = [prompt, completion, thousand_requests].map(Option::unwrap_or_default);
    is_given.then_some(Price { prompt, completion, request: thousand / 1000.0 })
}

/// Refuses fields in `extra` that are settings, or that would change the form of the answer.
pub(super) fn check_extra(extra: &Map<String, Value>, settings: &[&str], problems: &mut Vec<SettingProblem>) {
    for name in extra.keys() {
        let problem = SettingProblem::new(format!("extra.{name}"), format!("`{name}` cannot stand in `extra`"));
        if settings.contains(&name.as_str()) {
            problems.push(problem.hint(format!("it is a setting: write `{name}:` beside `extra`")));
        } else if ["stream", "n", "messages", "input", "encoding_format"].contains(&name.as_str()) {
            problems.push(problem.hint("remove it: the answer would have another form"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn extra_fields_may_be_all_that_is_no_setting() {
        let Value::Object(extra) = json!({"reasoning_effort": "low", "seed": 1, "stream": true}) else { return };
        let mut problems = Vec::new();
        check_extra(&extra, &["model", "seed"], &mut problems);
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["extra.seed", "extra.stream"]);
    }

    #[test]
    fn one_price_is_enough() {
        assert_eq!(price(None, None, None), None);
        assert_eq!(price(Some(2.0), None, None), Some(Price { prompt: 2.0, completion: 0.0, request: 0.0 }));
    }
}
