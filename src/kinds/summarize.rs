//! `summarize`: ask a language model about each row, with a prompt template.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Array;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::prompt::{Prompt, Rendered};
use super::summaries::{self, Summary};
use super::{rows, server};
use crate::stage::{
    InputPort, Known, OutputPort, RequiredVariable, Resource, SettingProblem, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::complete;
use crate::web::Price;
use crate::web::chat::{Chat, ChatRequest, parse_completion};

/// The kind.
pub(super) struct Summarize;

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What the model is asked: a `MiniJinja` template over the row's columns and `word_limit`.
    prompt: String,
    /// What the model is told first, a template as well; nothing if not given.
    #[serde(default)]
    system: Option<String>,
    /// The model's name at the server.
    model: String,
    /// The number of words that `word_limit` stands for in the templates; none if not given.
    #[serde(default)]
    word_limit: Option<u32>,
    /// Columns of the templates that may be empty; a row in which another is empty is skipped.
    #[serde(default)]
    optional: BTreeSet<String>,
    /// 0 (the default) for the likeliest answer, up to 2; null for a model that has its own.
    #[serde(default = "default_temperature")]
    temperature: Option<f64>,
    /// The longest answer, in tokens; 1024 if neither this nor `max_completion_tokens` is given, null for no limit.
    #[serde(default = "default_max_tokens")]
    max_tokens: Option<u32>,
    /// The same for models that count what they think as well, and refuse `max_tokens`; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    /// Further fields of the request, as the server names them: `{ reasoning_effort: low }`; none if not given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    extra: Map<String, Value>,
    /// The seed that the server is given; none if not given.
    #[serde(default)]
    seed: Option<u64>,
    /// The server, before `/chat/completions`; Groq's if not given.
    #[serde(default = "default_base_url")]
    base_url: String,
    /// The limiter to wait for; `chat` if not given.
    #[serde(default = "default_limiter", skip_serializing)]
    limiter: String,
    /// The API key; `${env.GROQ_API_KEY}` if not given; empty for a server that wants none.
    #[serde(default = "default_api_key", skip_serializing)]
    api_key: String,
    /// US dollars per million tokens of the prompts, for budgets in dollars.
    #[serde(default, skip_serializing)]
    usd_per_million_prompt_tokens: Option<f64>,
    /// US dollars per million tokens of the answers, for budgets in dollars.
    #[serde(default, skip_serializing)]
    usd_per_million_completion_tokens: Option<f64>,
    /// US dollars per thousand requests, whatever they take, for budgets in dollars.
    #[serde(default, skip_serializing)]
    usd_per_thousand_requests: Option<f64>,
    /// The share of rows, 0 to 1, that may fail; 0.1 if not given.
    #[serde(default = "rows::default_max_failed_rows", skip_serializing)]
    max_failed_rows: f64,
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn default_temperature() -> Option<f64> {
    Some(0.0)
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn default_max_tokens() -> Option<u32> {
    Some(1024)
}

fn default_base_url() -> String {
    "https://api.groq.com/openai/v1".to_owned()
}

fn default_limiter() -> String {
    "chat".to_owned()
}

fn default_api_key() -> String {
    "${env.GROQ_API_KEY}".to_owned()
}

impl StageKind for Summarize {
    fn name(&self) -> &'static str {
        "summarize"
    }

    /// 2: refusals are told by their words and are no text; `refusal` and
    /// `tidied`; more is tidied.
    fn version(&self) -> u32 {
        2
    }

    fn summary(&self) -> &'static str {
        "Ask a language model about each row, with a prompt template"
    }

    fn documentation(&self) -> &'static str {
        "Reads `items` (item_id, and the columns that the templates name). Renders `prompt` for each row and asks the model \
         once for each distinct prompt, at any OpenAI-compatible server. `{{ word_limit }}` is the setting of that name.\n\n\
         Writes `summaries` (item_id, text, status, finish_reason, refusal, tidied, prompt_tokens, completion_tokens), one \
         row for each row of `items`, in the same order. What models put around an answer is removed: thinking aloud, \
         openings like `Sure! Here is a summary:`, Markdown, quotes around the whole, word counts, `Let me know if…`. \
         `tidied` says whether something was; the answer as it came stays in the memo.\n\n\
         `status` is `ok`; `empty`; `refused`; `skipped: no COLUMN` (a column that the templates name, and `optional` does \
         not, is null or blank: nothing was asked); or `failed: …`. Only `ok` has a text. An answer is a refusal if the \
         server says so (`refusal`, or the `finish_reason` `content_filter`), or if it begins with not being able or \
         willing to help (`I cannot provide a summary…`) or with knowing too little; the model's words are then in \
         `refusal`. An answer that was cut off is `ok` with the `finish_reason` `length`.\n\n\
         `word_limit` is only asked for. Answers that have more words are counted in a warning, and `truncate_words` cuts \
         them."
    }

    fn example(&self) -> &'static str {
        "kind: summarize\ninputs: { items: songs }\nwith:\n  model: llama-3.1-8b-instant\n  word_limit: 25\n  prompt: |\n    \
         Summarize the song {{ title }} by {{ artist }} in at most {{ word_limit }} words."
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let mut settings: Settings = decode_settings(with)?;
        if settings.max_completion_tokens.is_some() && with.get("max_tokens").is_none() {
            settings.max_tokens = None;
        }
        let mut problems = Vec::new();
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        if let Some(temperature) = settings.temperature.filter(|temperature| !(0.0..=2.0).contains(temperature)) {
            let problem = SettingProblem::new("temperature", format!("`temperature` is {temperature}"));
            problems.push(problem.hint("it lies between 0 and 2"));
        }
        let named = ["model", "temperature", "max_tokens", "max_completion_tokens", "seed"];
        server::check_extra(&settings.extra, &named, &mut problems);
        if settings.model.trim().is_empty() {
            problems.push(SettingProblem::new("model", "`model` is empty").hint("name a model that the server has"));
        }
        rows::check_prices(
            &[
                ("usd_per_million_prompt_tokens", settings.usd_per_million_prompt_tokens),
                ("usd_per_million_completion_tokens", settings.usd_per_million_completion_tokens),
                ("usd_per_thousand_requests", settings.usd_per_thousand_requests),
            ],
            &mut problems,
        );
        let limits = [
            ("word_limit", settings.word_limit),
            ("max_tokens", settings.max_tokens),
            ("max_completion_tokens", settings.max_completion_tokens),
        ];
        for (path, limit) in limits {
            rows::check_positive(path, limit.unwrap_or(1).into(), &mut problems);
        }
        match Prompt::parse(&settings.prompt, settings.system.as_deref(), settings.word_limit, &settings.optional) {
            Ok(prompt) => Ok(Arc::new(Ask { settings: rows::checked(settings, problems)?, prompt })),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }
}

#[derive(Debug)]
struct Ask {
    settings: Settings,
    prompt: Prompt,
}

#[async_trait]
impl Stage for Ask {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        let columns = ["item_id".to_owned()].into_iter().chain(self.prompt.columns().iter().cloned());
        vec![InputPort::new("items", columns.collect::<BTreeSet<String>>())]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![OutputPort::new("summaries", &summaries::COLUMNS).keyed_by(&["item_id"])]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn variables(&self) -> Vec<RequiredVariable> {
        let groq = "a free key from https://console.groq.com/keys";
        let key = if self.settings.base_url == default_base_url() { groq } else { "a key of the server in `base_url`" };
        server::variables(&self.settings.base_url, &self.settings.api_key, key)
    }

    fn is_priced(&self) -> bool {
        self.price().is_some()
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let chat = self.chat(context).ok()?;
        let columns: Vec<&str> = self.prompt.columns().iter().map(String::as_str).collect();
        let asked = self.prompt.render(&context.input("items")?.columns(&columns).ok()?).ok()?;
        rows::known_calls(context, asked.len(), |row| match &asked[row] {
            Rendered::Ask { prompt, system } => Some(chat.complete(&self.request(prompt, system.clone()))),
            Rendered::Skip { .. } => None,
        })
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let chat = self.chat(context)?;
        let items = context.table("items")?;
        let ids = complete("item_id", items.strings("item_id")?)?;
        let prompts = rows::distinct(self.prompt.render(&items)?);
        context.progress.total(ids.len() as u64);
        let width = context.web.concurrency(&self.settings.limiter, "chat") * 2;
        let (chat, keys) = (&chat, &prompts.keys);
        let ask = |place: usize| async move {
            match &keys[place] {
                Rendered::Ask { prompt, system } => self.summarize(context, chat, prompt, system.clone()).await,
                Rendered::Skip { column } => Ok(Summary::without_answer(format!("skipped: no {column}"))),
            }
        };
        let found = rows::ask_each(context, &prompts.rows, width, ask).await?;
        let of_row: Vec<&Summary> = prompts.of_row.iter().map(|place| &found[*place]).collect();
        let statuses = of_row.iter().map(|row| row.status.as_str());
        rows::check_failures(context, "summaries", statuses, self.settings.max_failed_rows)?;
        summaries::warn(context, &of_row, self.settings.word_limit);
        context.write("summaries", &summaries::table(ids, &of_row)?)
    }
}

impl Ask {
    fn chat(&self, context: &StageContext) -> Result<Chat, StageError> {
        let (base_url, key) = server::address(context, &self.settings.base_url, &self.settings.api_key)?;
        Ok(Chat { base_url, key, limiter: self.settings.limiter.clone(), price: self.price() })
    }

    /// What asking costs, if the settings say anything of it.
    fn price(&self) -> Option<Price> {
        let settings = &self.settings;
        server::price(
            settings.usd_per_million_prompt_tokens,
            settings.usd_per_million_completion_tokens,
            settings.usd_per_thousand_requests,
        )
    }

    fn request(&self, prompt: &str, system: Option<String>) -> ChatRequest {
        ChatRequest {
            model: self.settings.model.clone(),
            system,
            prompt: prompt.to_owned(),
            temperature: self.settings.temperature,
            max_tokens: self.settings.max_tokens,
            max_completion_tokens: self.settings.max_completion_tokens,
            seed: self.settings.seed,
            extra: self.settings.extra.clone(),
        }
    }

    async fn summarize(
        &self,
        context: &StageContext,
        chat: &Chat,
        prompt: &str,
        system: Option<String>,
    ) -> Result<Summary, StageError> {
        let request = self.request(prompt, system);
        let answer = match context.web.ask(&chat.complete(&request)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Summary::without_answer(rows::row_status(error)?)),
        };
        Ok(parse_completion(&answer).map_or_else(
            || Summary::without_answer(rows::failed(&format!("an answer without a choice: {}", answer.excerpt()))),
            Summary::of,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lab::{Lab, cells, strings};
    use super::*;
    use crate::table::Table;
    use serde_json::json;

    fn world(target: &str) -> (u16, String) {
        let (path, body) = target.split_once(' ').expect("a body");
        assert_eq!(path, "/openai/v1/chat/completions");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let prompt = body["messages"][0]["content"].as_str().expect("a prompt");
        let content = match prompt {
            "25: Refuse by A" => json!({"content": null, "refusal": "no"}),
            "25: Silence by A" => json!({"content": ""}),
            "25: Thought by A" => json!({"content": "<think>What is it"}),
            "25: Sorry by A" => json!({"content": "I'm sorry, but I can't help with that."}),
            "25: Plain by A" => json!({"content": "word ".repeat(26)}),
            other => json!({"content": format!("Here is a summary: \"About {other}\"")}),
        };
        let answer = json!({"choices": [{"message": content, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}});
        (200, answer.to_string())
    }

    fn items(titles: &[&str]) -> Vec<(&'static str, Table)> {
        let ids: Vec<String> = (0..titles.len()).map(|n| format!("i{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let columns =
            [("item_id", strings(&ids)), ("artist", strings(&vec!["A"; titles.len()])), ("title", strings(titles))];
        vec![("items", Table::of_columns(columns).expect("a table"))]
    }

    fn with() -> Value {
        json!({"model": "m", "word_limit": 25, "prompt": "{{ word_limit }}: {{ title }} by {{ artist }}"})
    }

    #[tokio::test]
    async fn every_row_has_its_summary_or_says_why_not() {
        let lab = Lab::new(world).await;
        let titles = ["Song", "", "Refuse", "Silence", "Song", "Thought", "Sorry", "Plain"];
        let tables = lab.run(&Summarize, with(), items(&titles)).await.expect("summaries");
        let expected = [
            "i0|About 25: Song by A|ok|stop||true|9|3".to_owned(),
            "i1||skipped: no title|||||".to_owned(),
            "i2||refused|stop|no||9|3".to_owned(),
            "i3||empty|stop|||9|3".to_owned(),
            "i4|About 25: Song by A|ok|stop||true|9|3".to_owned(),
            "i5||empty|stop|||9|3".to_owned(),
            "i6||refused|stop|I'm sorry, but I can't help with that.||9|3".to_owned(),
            format!("i7|{}|ok|stop||false|9|3", ["word"; 26].join(" ")),
        ];
        assert_eq!(cells(&tables["summaries"]), expected);
        assert_eq!(lab.asked(), 6, "the same prompt is asked once, a skipped row never");
        let warnings = [
            "2 of 8 answers are refusals, which are no summaries: their text is missing",
            "1 of 8 answers have more than the 25 words that were asked for; `truncate_words` cuts them",
        ];
        assert_eq!(lab.warnings(), warnings);
    }

    #[tokio::test]
    async fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let lab = Lab::new(world).await;
        let wrong = json!({"model": "m", "prompt": "{{ lyrics }}"});
        let error = lab.run(&Summarize, wrong, items(&["Song"])).await.expect_err("no lyrics");
        assert_eq!(error.to_string(), "there is no column `lyrics`; the columns are item_id, artist, title");
    }

    #[test]
    fn only_what_decides_the_answer_is_in_the_settings() {
        let mut given = with();
        given["limiter"] = json!("groq");
        given["usd_per_million_prompt_tokens"] = json!(0.05);
        let stage = Summarize.parse(&given).unwrap_or_else(|problems| panic!("{problems:?}"));
        let settings = stage.settings();
        let names: Vec<&str> = settings.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected =
            ["base_url", "max_tokens", "model", "optional", "prompt", "seed", "system", "temperature", "word_limit"];
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
        assert_eq!(stage.inputs()[0], InputPort::new("items", ["artist", "item_id", "title"]));
        assert_eq!(stage.resource(), Resource::Api("groq".to_owned()));
        assert_eq!(stage.variables()[0].name, "GROQ_API_KEY");
    }

    #[test]
    fn models_that_refuse_what_others_want_are_asked_their_own_way() {
        let mut given = with();
        given["temperature"] = Value::Null;
        given["max_completion_tokens"] = json!(2000);
        given["extra"] = json!({"reasoning_effort": "low"});
        let settings = Summarize.parse(&given).unwrap_or_else(|problems| panic!("{problems:?}")).settings();
        assert_eq!((&settings["temperature"], &settings["max_tokens"]), (&Value::Null, &Value::Null));
        assert_eq!(settings["extra"], json!({"reasoning_effort": "low"}), "it decides the answer");
        given["extra"] = json!({"seed": 1});
        assert_eq!(Summarize.parse(&given).err().expect("a problem")[0].path, "extra.seed");
    }

    #[test]
    fn mistakes_are_all_told() {
        let bad = json!({"model": "", "prompt": "{{ title", "temperature": 3, "word_limit": 0});
        let problems = Summarize.parse(&bad).err().expect("problems");
        let paths: BTreeSet<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, BTreeSet::from(["model", "prompt", "temperature", "word_limit"]), "{problems:?}");
    }
}
