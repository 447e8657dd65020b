//! `detect_language`: which language each text is in.
//!
//! Not for translating, and not for texts of several languages: the one that
//! most of a text is in is told.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use whatlang::{Detector, Lang};

use crate::ground::closest;
use crate::stage::{
    InputPort, OutputPort, SettingProblem, Sharding, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::Table;

/// The kind.
#[derive(Debug)]
pub(super) struct DetectLanguage;

/// What ISO 639-3 has for a language that could not be told.
const UNDETERMINED: &str = "und";

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Fewest letters that a text must have before its language is told, at least 1; default 20.
    #[serde(default = "default_min_chars")]
    min_chars: u32,
    /// The languages that texts may be in, by their codes in ISO 639-3 (`[eng, spa, deu]`); all that are known if not
    /// given. Short texts are told better among few.
    #[serde(default)]
    languages: Option<Vec<String>>,
}

fn default_min_chars() -> u32 {
    20
}

impl StageKind for DetectLanguage {
    fn name(&self) -> &'static str {
        "detect_language"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Tell the language of each text by its letters"
    }

    fn documentation(&self) -> &'static str {
        "Reads `texts` (item_id, text).\n\
         Writes `languages` (item_id, language, confidence, reliable, status), one row for each row of `texts`, in the same \
         order. `language` is a code of ISO 639-3 (`eng`, `spa`, `deu`; `cmn` for Chinese), `confidence` from 0 to 1, \
         `reliable` whether that is more than 0.9. `status` is `ok`; `too_short` (fewer letters than `min_chars`) or \
         `undetermined` (no language fits), with the language `und` and no confidence; or `no_text`, with no language.\n\n\
         Told by alphabets and by the frequencies of three letters in a row, for about 70 languages. Related languages \
         are confused in short texts, and a title is short: give it whole lyrics, or name the `languages`. What is in none \
         of them is told as the likest, or as `und` where it is in another script. No seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: detect_language\ninputs: { texts: lyrics }\nwith: { languages: [eng, spa, deu, fra, por, ita] }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        if settings.min_chars == 0 {
            problems.push(SettingProblem::new("min_chars", "`min_chars` must be at least 1"));
        }
        let mut allowed = Vec::new();
        for (at, code) in settings.languages.iter().flatten().enumerate() {
            match Lang::from_code(code.as_str()) {
                Some(language) => allowed.push(language),
                None => problems.push(unknown(at, code)),
            }
        }
        if settings.languages.as_ref().is_some_and(Vec::is_empty) {
            let problem = SettingProblem::new("languages", "`languages` is empty");
            problems.push(problem.hint("name some, or leave the setting out"));
        }
        let detector = if allowed.is_empty() { Detector::new() } else { Detector::with_allowlist(allowed.clone()) };
        if problems.is_empty() { Ok(Arc::new(Checked { settings, allowed, detector })) } else { Err(problems) }
    }
}

fn unknown(at: usize, code: &str) -> SettingProblem {
    let what = format!("no language with the code `{code}` is known");
    let codes = Lang::all().iter().map(Lang::code);
    let by_name = Lang::all().iter().find(|language| language.eng_name().eq_ignore_ascii_case(code));
    let hint = match by_name.map(Lang::code).or_else(|| closest(code, codes)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "codes are those of ISO 639-3, of three letters".to_owned(),
    };
    SettingProblem::new(format!("languages[{at}]"), what).hint(hint)
}

struct Checked {
    settings: Settings,
    /// All languages if it is empty.
    allowed: Vec<Lang>,
    detector: Detector,
}

/// What was found out about one text.
struct Told {
    language: Option<&'static str>,
    confidence: Option<f64>,
    reliable: Option<bool>,
    status: &'static str,
}

impl Checked {
    fn tell(&self, text: Option<&str>) -> Told {
        let nothing = |language, status| Told { language, confidence: None, reliable: None, status };
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return nothing(None, "no_text") };
        let letters = text.chars().filter(|c| c.is_alphabetic()).take(self.settings.min_chars as usize).count();
        if letters < self.settings.min_chars as usize {
            return nothing(Some(UNDETERMINED), "too_short");
        }
        // A script that one language alone is written in is told whatever is allowed.
        let found = self.detector.detect(text);
        let found = found.filter(|found| self.allowed.is_empty() || self.allowed.contains(&found.lang()));
        match found {
            None => nothing(Some(UNDETERMINED), "undetermined"),
            Some(found) => Told {
                language: Some(found.lang().code()),
                confidence: Some(found.confidence()),
                reliable: Some(found.is_reliable()),
                status: "ok",
            },
        }
    }
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("texts", ["item_id", "text"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let columns =
            [("item_id", "str"), ("language", "str"), ("confidence", "f64"), ("reliable", "bool"), ("status", "str")];
        vec![OutputPort::new("languages", &columns).keyed_by(&["item_id"])]
    }

    fn sharding(&self) -> Result<Sharding, &'static str> {
        Ok(Sharding::new("texts", "item_id"))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = context.table("texts")?;
        let told: Vec<Told> = table.strings("text")?.iter().map(|text| self.tell(text)).collect();
        let columns: [(&str, ArrayRef); 5] = [
            ("item_id", Arc::new(table.strings("item_id")?)),
            ("language", Arc::new(told.iter().map(|told| told.language).collect::<StringArray>())),
            ("confidence", Arc::new(told.iter().map(|told| told.confidence).collect::<Float64Array>())),
            ("reliable", Arc::new(told.iter().map(|told| told.reliable).collect::<BooleanArray>())),
            ("status", Arc::new(told.iter().map(|told| Some(told.status)).collect::<StringArray>())),
        ];
        context.write("languages", &Table::of_columns(columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refused, run, texts};
    use super::*;
    use serde_json::json;

    fn songs() -> Table {
        let columns = [
            ("item_id", texts(&["de", "en", "es", "none", "short", "signs", "zh"])),
            (
                "text",
                texts(&[
                    "Die Straße ist lang und ich weiß nicht, wohin sie mich noch führen wird",
                    "The road is long and I do not know where it is going to take me",
                    "El camino es largo y no sé adónde me lleva, pero sigo cantando porque nadie me espera en la noche",
                    "-",
                    "la la la",
                    "1234 5678 !!! ... 999",
                    "这条路很长，我不知道它会把我带到哪里，也不知道今晚谁在等我回家",
                ]),
            ),
        ];
        Table::of_columns(columns).unwrap()
    }

    #[test]
    fn languages_are_told_and_what_cannot_be_told_says_so() {
        let ran = run(&DetectLanguage, &json!({}), vec![("texts", songs())]).unwrap();
        let table = &ran.outputs["languages"];
        let column = |name: &str| -> Vec<String> {
            table.strings(name).unwrap().iter().map(|text| text.unwrap_or("-").to_owned()).collect()
        };
        assert_eq!(column("language"), ["deu", "eng", "spa", "-", "und", "und", "cmn"]);
        assert_eq!(column("status"), ["ok", "ok", "ok", "no_text", "too_short", "too_short", "ok"]);
        insta::assert_snapshot!(ran.golden(), @r"
        languages.confidence d9a2947166d5
        languages.item_id a39132478e5a
        languages.language bc6f381859de
        languages.reliable a18c08dadf24
        languages.status 626371490baf
        ");
    }

    #[test]
    fn among_few_languages_the_likest_is_told() {
        let with = json!({"languages": ["eng", "fra"], "min_chars": 5});
        let ran = run(&DetectLanguage, &with, vec![("texts", songs())]).unwrap();
        let languages = ran.outputs["languages"].strings("language").unwrap();
        assert!(languages.iter().flatten().all(|code| ["eng", "fra", "und"].contains(&code)), "{languages:?}");
        assert_eq!(ran.outputs["languages"].strings("status").unwrap().value(6), "undetermined");
    }

    #[test]
    fn codes_that_are_none_and_no_letters_are_refused() {
        let problems = refused(&DetectLanguage, &json!({"min_chars": 0, "languages": ["eng", "German", "xx"]}));
        let told: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.hint.as_deref())).collect();
        assert_eq!(told[0].0, "min_chars");
        assert_eq!(told[1], ("languages[1]", Some("did you mean `deu`?")));
        assert_eq!(told[2].0, "languages[2]");
        assert_eq!(refused(&DetectLanguage, &json!({"languages": []}))[0].path, "languages");
    }
}
