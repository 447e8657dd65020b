//! What a model's answer is worth: a summary, a refusal or nothing. For
//! `summarize`; no kind by itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};

use super::rows;
use crate::stage::{StageContext, StageError};
use crate::table::Table;
use crate::web::Usage;
use crate::web::chat::Completion;
use crate::web::refusal::is_refusal;
use crate::web::tidy::tidy_summary;

/// The model declined.
pub(super) const REFUSED: &str = "refused";

/// What came of one row.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// How it ended.
    pub(super) status: String,
    /// The summary; only where the status is `ok`.
    text: Option<String>,
    /// The model's words where it declined.
    refusal: Option<String>,
    /// Whether something was removed from the answer to get the summary.
    tidied: Option<bool>,
    finish_reason: Option<String>,
    usage: Option<Usage>,
}

impl rows::HasStatus for Summary {
    fn status(&self) -> &str {
        &self.status
    }
}

impl Summary {
    /// A row without an answer.
    pub(super) fn without_answer(status: String) -> Self {
        Self { status, ..Self::default() }
    }

    /// What an answer is worth. A refusal is never a summary.
    pub(super) fn of(completion: Completion) -> Self {
        let Completion { text: words, finish_reason, refusal, usage } = completion;
        let tidy = words.as_deref().map(tidy_summary).filter(|text| !text.is_empty());
        let declined = refusal.is_some()
            || finish_reason.as_deref() == Some("content_filter")
            || tidy.as_deref().is_some_and(is_refusal);
        let none = Self { finish_reason, usage, ..Self::default() };
        match tidy {
            _ if declined => Self { status: REFUSED.to_owned(), refusal: refusal.or(words), ..none },
            None => Self { status: rows::EMPTY.to_owned(), ..none },
            Some(text) => {
                let tidied = Some(words.is_some_and(|words| words.trim() != text));
                Self { status: rows::OK.to_owned(), text: Some(text), tidied, ..none }
            }
        }
    }

    fn words(&self) -> usize {
        self.text.as_deref().map_or(0, |text| text.split_whitespace().count())
    }
}

/// Tells the user what the answers lack.
pub(super) fn warn(context: &StageContext, found: &[&Summary], word_limit: Option<u32>) {
    let count = |is: &dyn Fn(&Summary) -> bool| found.iter().filter(|row| is(row)).count();
    let cut = count(&|row| row.finish_reason.as_deref() == Some("length"));
    let refused = count(&|row| row.status == REFUSED);
    let long = word_limit.map_or(0, |limit| count(&|row| row.words() > limit as usize));
    let limit = word_limit.unwrap_or_default();
    let told = [
        (cut, "were cut off before their end: raise `max_tokens`".to_owned()),
        (refused, "are refusals, which are no summaries: their text is missing".to_owned()),
        (long, format!("have more than the {limit} words that were asked for; `truncate_words` cuts them")),
    ];
    for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
        context.progress.warn(&format!("{count} of {} answers {what}", found.len()));
    }
}

/// The columns of the output.
pub(super) const COLUMNS: [(&str, &str); 8] = [
    ("item_id", "str"),
    ("text", "str"),
    ("status", "str"),
    ("finish_reason", "str"),
    ("refusal", "str"),
    ("tidied", "bool"),
    ("prompt_tokens", "i64"),
    ("completion_tokens", "i64"),
];

/// The output.
pub(super) fn table(ids: StringArray, found: &[&Summary]) -> Result<Table, StageError> {
    let texts = |of: fn(&Summary) -> Option<&str>| -> ArrayRef {
        Arc::new(found.iter().map(|row| of(row)).collect::<StringArray>())
    };
    let counts = |of: fn(&Usage) -> u64| -> ArrayRef {
        Arc::new(found.iter().map(|row| row.usage.as_ref().map(|usage| of(usage) as i64)).collect::<Int64Array>())
    };
    let tidied: ArrayRef = Arc::new(found.iter().map(|row| row.tidied).collect::<BooleanArray>());
    let ids: ArrayRef = Arc::new(ids);
    Ok(Table::of_columns([
        ("item_id", ids),
        ("text", texts(|row| row.text.as_deref())),
        ("status", texts(|row| Some(&row.status))),
        ("finish_reason", texts(|row| row.finish_reason.as_deref())),
        ("refusal", texts(|row| row.refusal.as_deref())),
        ("tidied", tidied),
        ("prompt_tokens", counts(|usage| usage.prompt)),
        ("completion_tokens", counts(|usage| usage.completion)),
    ])?)
}
