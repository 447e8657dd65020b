//! Rows of artifacts as a table of a page.

use maud::{Markup, html};
use serde_json::Value;

use super::words;
use crate::ground::thousands;
use crate::table::{Table, TableError, rows_as_json, value_text};

/// A text longer than this is folded, and cut at the second length, in letters.
const FOLDED: usize = 90;
const LONGEST: usize = 4_000;

/// The rows, numbered from `first`; of no rows the columns alone.
///
/// # Errors
/// If the parts of the table do not fit together.
pub(super) fn table(table: &Table, first: u64) -> Result<Markup, TableError> {
    let names = table.column_names();
    let rows = rows_as_json(table)?;
    let numeric: Vec<bool> = table.schema().fields().iter().map(|field| field.data_type().is_numeric()).collect();
    Ok(html! {
        div.scroll tabindex="0" role="region" aria-label="Rows" {
            table {
                thead {
                    tr {
                        th.num.dim scope="col" { "#" }
                        @for (name, is_number) in names.iter().zip(&numeric) {
                            th scope="col" class=[is_number.then_some("num")] { (name) }
                        }
                    }
                }
                tbody {
                    @for (place, row) in rows.iter().enumerate() {
                        tr {
                            td.num.dim { (thousands(first + place as u64 + 1)) }
                            @for (name, is_number) in names.iter().zip(&numeric) {
                                td class=[is_number.then_some("num")] { (cell(&row[name.as_str()])) }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// One value; a long text can be unfolded.
pub(super) fn cell(value: &Value) -> Markup {
    let text = value_text(value);
    let length = text.chars().count();
    if length <= FOLDED {
        let is_null = value.is_null();
        return html! { @if is_null { span.dim { (text) } } @else { (text) } };
    }
    let start: String = text.chars().take(FOLDED).collect();
    let shown: String = text.chars().take(LONGEST).collect();
    html! {
        details.long {
            summary { (start) "…" }
            div { (shown) @if length > LONGEST { "… " (thousands((length - LONGEST) as u64)) " more letters" } }
        }
    }
}

/// Links to the pages of a long table; nothing where there is one. `link` gives
/// the address of a page, counted from 1.
pub(super) fn pager(page: u64, pages: u64, link: impl Fn(u64) -> String) -> Markup {
    if pages < 2 {
        return super::frame::nothing();
    }
    let mut shown: Vec<u64> = vec![1, page.saturating_sub(1), page, page + 1, pages];
    shown.retain(|number| (1..=pages).contains(number));
    shown.dedup();
    html! {
        nav.pager aria-label="Pages of rows" {
            @if page > 1 { a rel="prev" href=(link(page - 1)) { "← Previous" } }
            @for (place, number) in shown.iter().enumerate() {
                @if place > 0 && shown[place - 1] + 1 < *number { span.dim { "…" } }
                a href=(link(*number)) aria-current=[(*number == page).then_some("page")] { (thousands(*number)) }
            }
            @if page < pages { a rel="next" href=(link(page + 1)) { "Next →" } }
        }
    }
}

/// Warnings as a list; nothing without any.
pub(super) fn warnings<T: AsRef<str>>(warnings: impl IntoIterator<Item = T>) -> Markup {
    let warnings: Vec<T> = warnings.into_iter().collect();
    html! {
        @if !warnings.is_empty() {
            ul.warnings { @for warning in &warnings { li { (words::badge("warn", "warning")) " " (warning.as_ref()) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_escaped_and_long_ones_folded() {
        assert_eq!(cell(&json!("<script>")).into_string(), "&lt;script&gt;");
        assert_eq!(cell(&json!(0.25)).into_string(), "0.2500");
        let long = cell(&json!("é<".repeat(3_000))).into_string();
        assert!(long.starts_with("<details") && long.ends_with("… 2,000 more letters</div></details>"), "{long}");
        assert!(!long.contains("é<"));
    }

    #[test]
    fn a_pager_shows_where_one_is() {
        let text = |page, pages| {
            let pager = pager(page, pages, |number| format!("?page={number}")).into_string();
            let words = pager.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text.trim());
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(1, 1), "");
        assert_eq!(text(1, 3), "1 2 … 3 Next →".replace("2 … 3", "2 3"));
        assert_eq!(text(7, 1234), "← Previous 1 … 6 7 8 … 1,234 Next →");
    }
}
