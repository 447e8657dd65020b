//! Settings of a fingerprint as a table: one row for each, lists and mappings
//! as JSON. They hold no value of the environment: the fingerprint has `${env}`.

use maud::{Markup, html};
use serde_json::Value;

/// A setting's name and its value as text.
fn rows(settings: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    flatten("", settings, &mut rows);
    rows
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&below, value, rows);
            }
        }
        Value::Null => rows.push((path.to_owned(), "–".to_owned())),
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        other => rows.push((path.to_owned(), other.to_string())),
    }
}

/// The table; a sentence where there are none.
pub(super) fn table(settings: &Value) -> Markup {
    let rows: Vec<(String, String)> = rows(settings).into_iter().filter(|(name, _)| !name.is_empty()).collect();
    if rows.is_empty() {
        return html! { p.dim { "This stage has no settings." } };
    }
    html! {
        table.settings {
            tbody {
                @for (name, value) in &rows {
                    tr {
                        th scope="row" { (name) }
                        td { @if value.trim_end().contains('\n') { pre tabindex="0" { (value) } } @else { (value) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_flat_and_escaped() {
        let settings = json!({"tower": "text", "loss": {"kind": "bce", "k": [1, 2]}, "url": "${env}", "none": null});
        let told: Vec<String> = rows(&settings).iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["loss.k=[1,2]", "loss.kind=bce", "none=–", "tower=text", "url=${env}"]);
        assert!(table(&json!({"a": "<b>\nc"})).into_string().contains("&lt;b&gt;"));
        assert!(table(&json!({})).into_string().contains("no settings"));
    }
}
