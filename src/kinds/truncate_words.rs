//! `truncate_words`: keep the first words of each text.
//!
//! Not for shortening by meaning: that is `summarize`.

use std::num::NonZeroU32;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{
    InputPort, OutputPort, SettingProblem, Sharding, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::Table;
use crate::text::first_words;

/// The kind.
#[derive(Debug)]
pub(super) struct TruncateWords;

/// Columns that are passed on where the input has them.
const CARRIED: [&str; 3] = ["source", "instrumental", "status"];

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How many words are kept, at least 1; default 25.
    #[serde(default = "default_words")]
    words: NonZeroU32,
}

fn default_words() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(24)
}

impl StageKind for TruncateWords {
    fn name(&self) -> &'static str {
        "truncate_words"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Keep the first words of each text, 25 by default"
    }

    fn documentation(&self) -> &'static str {
        "Reads `texts` (item_id, text; and source, instrumental, status where there are such columns).\n\
         Writes `texts`, the same columns and rows in the same order.\n\n\
         A word is a run of characters other than white space, as Unicode defines it. The words kept are \
         joined by single spaces, also where the text is short enough; so lines become one line. Text \
         without spaces between words (Chinese, Japanese, Thai) is one word however long it is. A missing \
         text stays missing, an empty one empty. No seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: truncate_words\ninputs: { texts: lyrics }\nwith: { words: 25 }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        Ok(Arc::new(Checked { settings: decode_settings(with)? }))
    }
}

struct Checked {
    settings: Settings,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("texts", ["item_id", "text"]).and_optional(CARRIED)]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![OutputPort::new("texts", &[("item_id", "str"), ("text", "str")]).keyed_by(&["item_id"])]
    }

    fn sharding(&self) -> Result<Sharding, &'static str> {
        Ok(Sharding::new("texts", "item_id"))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = context.table("texts")?;
        let words = self.settings.words.get() as usize;
        let texts: StringArray =
            table.strings("text")?.iter().map(|text| text.map(|t| first_words(t, words))).collect();
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("item_id", Arc::new(table.strings("item_id")?)), ("text", Arc::new(texts))];
        for name in CARRIED.into_iter().filter(|name| table.has_column(name)) {
            columns.push((name, table.column(name)?));
        }
        context.write("texts", &Table::of_columns(columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refused, run, texts};
    use super::*;
    use serde_json::json;

    fn lyrics() -> Table {
        let columns = [
            ("status", texts(&["ok", "ok", "not_found", "ok"])),
            ("item_id", texts(&["a", "b", "c", "d"])),
            ("text", texts(&["one  two\nthree", " \u{2003}un\u{a0}deux ", "-", ""])),
            ("unread", texts(&["1", "2", "3", "4"])),
        ];
        Table::of_columns(columns).unwrap()
    }

    #[test]
    fn the_first_words_are_kept_and_missing_texts_stay_missing() {
        let ran = run(&TruncateWords, &json!({"words": 2}), vec![("texts", lyrics())]).unwrap();
        assert_eq!(ran.rows("texts"), ["a|one two|ok", "b|un deux|ok", "c|-|not_found", "d||ok"]);
        insta::assert_snapshot!(ran.golden(), @r"
        texts.item_id c5c113c1f724
        texts.status 49f2eabb3c71
        texts.text fb6f7f270112
        ");
    }

    #[test]
    fn twenty_five_words_by_default_and_no_words_are_refused() {
        assert_eq!(TruncateWords.parse(&Value::Null).unwrap().settings(), json!({"words": 25}));
        assert_eq!(refused(&TruncateWords, &json!({"words": 0}))[0].path, "words");
    }
}
