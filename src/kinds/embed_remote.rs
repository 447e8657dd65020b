//! Kind `embed_remote`: texts to vectors, by any OpenAI-compatible server.

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::remote_vectors::{Asking, Found};
use super::vectors::{OnMissing, ROWS_PER_PART, Rows, assemble, port};
use super::{rows, server};
use crate::ground::{ContentHash, Hasher, canonical_json};
use crate::memo::tally;
use crate::stage::{
    InputPort, Known, OutputPort, RequiredVariable, Resource, SettingProblem, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::{Table, complete};
use crate::web::embeddings::{Embeddings, estimate};
use crate::web::{Forecast, Price};

/// The kind.
#[derive(Debug)]
pub(super) struct EmbedRemote;

/// The most texts in one request: their answer must be shorter than the client reads.
const MOST_TEXTS: u32 = 128;

/// The settings of `embed_remote`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The model's name at the server.
    model: String,
    /// How many numbers a vector shall have, for models that can do that; the model's own width if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    /// Whether vectors are scaled to Euclidean length 1; true if not given.
    #[serde(default = "default_normalise")]
    normalise: bool,
    /// What becomes of rows whose text is null: `zero` (default) gives a vector of zeros, `skip` leaves the row out,
    /// `embed_empty` gives the vector of the empty text.
    #[serde(default)]
    on_missing: OnMissing,
    /// Further fields of the request, as the server names them; none if not given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    extra: Map<String, Value>,
    /// The server, before `/embeddings`; that of `OpenAI` if not given.
    #[serde(default = "default_base_url")]
    base_url: String,
    /// The limiter to wait for; `openai` if not given.
    #[serde(default = "default_limiter", skip_serializing)]
    limiter: String,
    /// The API key; `${env.OPENAI_API_KEY}` if not given; empty for a server that wants none.
    #[serde(default = "default_api_key", skip_serializing)]
    api_key: String,
    /// The most texts in one request, up to 128; 32 if not given, which every server takes.
    #[serde(default = "default_batch_texts", skip_serializing)]
    batch_texts: u32,
    /// The most bytes of text in one request, unless one text has more; 65,536 if not given.
    #[serde(default = "default_batch_bytes", skip_serializing)]
    batch_bytes: u32,
    /// US dollars per million tokens of the texts, for budgets in dollars.
    #[serde(default, skip_serializing)]
    usd_per_million_prompt_tokens: Option<f64>,
    /// The share of rows, 0 to 1, that may fail; 0.1 if not given.
    #[serde(default = "rows::default_max_failed_rows", skip_serializing)]
    max_failed_rows: f64,
}

fn default_normalise() -> bool {
    true
}

fn default_base_url() -> String {
    "https://api.openai.com/v1".to_owned()
}

fn default_limiter() -> String {
    "openai".to_owned()
}

fn default_api_key() -> String {
    "${env.OPENAI_API_KEY}".to_owned()
}

fn default_batch_texts() -> u32 {
    32
}

fn default_batch_bytes() -> u32 {
    65_536
}

impl StageKind for EmbedRemote {
    fn name(&self) -> &'static str {
        "embed_remote"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Turn texts into vectors with any OpenAI-compatible server"
    }

    fn documentation(&self) -> &'static str {
        "Reads `texts` (`item_id`, `text`) and writes one `vector` per row, in the order of the rows, as `embed` does: by \
         a model behind any server that has `/embeddings` as OpenAI has it: OpenAI, TEI, Ollama, vLLM, llama.cpp.\n\n\
         Texts are asked for in batches of `batch_texts` and `batch_bytes`. A text's vector is remembered in the store, \
         under the server, the model, `dimensions`, `extra` and the text: one text more is one text asked. A batch that \
         is refused for one of its texts is asked again in halves, so that only that text fails. Rows whose text failed \
         are treated as if it were missing, and are counted in a warning; the stage fails if they are more than \
         `max_failed_rows`.\n\n\
         What `on_missing` says of texts that are null is as with `embed`. A server may answer the same text with other \
         last bits when it stands in another batch."
    }

    fn example(&self) -> &'static str {
        "kind: embed_remote\n\
         inputs: { texts: summaries }\n\
         with: { model: text-embedding-3-small, dimensions: 384 }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        if settings.model.trim().is_empty() {
            problems.push(SettingProblem::new("model", "`model` is empty").hint("name a model that the server has"));
        }
        let counts = [
            ("batch_texts", settings.batch_texts),
            ("batch_bytes", settings.batch_bytes),
            ("dimensions", settings.dimensions.unwrap_or(1)),
        ];
        for (path, count) in counts {
            rows::check_positive(path, count.into(), &mut problems);
        }
        if settings.batch_texts > MOST_TEXTS {
            let problem = SettingProblem::new("batch_texts", format!("`batch_texts` is {}", settings.batch_texts));
            problems.push(problem.hint(format!("at most {MOST_TEXTS}: longer answers are not read")));
        }
        rows::check_prices(&[("usd_per_million_prompt_tokens", settings.usd_per_million_prompt_tokens)], &mut problems);
        server::check_extra(&settings.extra, &["model", "dimensions"], &mut problems);
        Ok(Arc::new(Ask { settings: rows::checked(settings, problems)? }))
    }
}

#[derive(Debug)]
struct Ask {
    settings: Settings,
}

#[async_trait]
impl Stage for Ask {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("texts", ["item_id", "text"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![port()]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn variables(&self) -> Vec<RequiredVariable> {
        let openai = "a key from https://platform.openai.com/api-keys";
        let own = self.settings.base_url == default_base_url();
        let obtain = if own { openai } else { "a key of the server in `base_url`" };
        server::variables(&self.settings.base_url, &self.settings.api_key, obtain)
    }

    fn is_priced(&self) -> bool {
        self.price().is_some()
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let memo = context.vectors.as_ref()?;
        let model = self.identity(context, &self.server(context).ok()?).ok()?;
        let texts = context.input("texts")?.columns(&["text"]).ok()?.strings("text").ok()?;
        let keys = self.settings.on_missing.keys(&model, &texts);
        let (tally, missing) = tally(&keys, |keys| memo.known(keys));
        let expected = self.forecast(&keys, &missing, &texts);
        Some(Known::to_embed(tally).expecting(expected))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = context.table("texts")?;
        let ids = complete("item_id", table.strings("item_id")?)?;
        let texts = table.strings("text")?;
        let rows = Rows::begin(context, &texts, self.settings.on_missing);
        let server = self.server(context)?;
        let asking = Asking {
            context,
            server: &server,
            identity: self.identity(context, &server)?,
            batch_texts: self.settings.batch_texts as usize,
            batch_bytes: self.settings.batch_bytes as usize,
        };
        let found = asking.vectors(&rows.texts).await?;
        let status = |text: &usize| found.failed.get(text).map_or(rows::OK, String::as_str);
        rows::check_failures(context, "texts", found.of_text.iter().map(status), self.settings.max_failed_rows)?;
        let output = self.settled(&rows, &found);
        let width = found.width.or(self.settings.dimensions.map(|width| width as usize));
        let width = match width {
            Some(width) => width,
            None if output.is_empty() => 0,
            None => {
                let what = "no text has a vector, and it is not known how many numbers the model gives";
                return Err(StageError::with_hint(what, "set `dimensions`, or `on_missing: skip`"));
            }
        };
        for part in output.chunks(ROWS_PER_PART) {
            context.write("vectors", &self.assemble(context, &ids, part, width, &found)?)?;
        }
        if output.is_empty() {
            context.write("vectors", &assemble(&ids, &[], width, |_, _| {})?)?;
        }
        Ok(())
    }
}

impl Ask {
    fn price(&self) -> Option<Price> {
        server::price(self.settings.usd_per_million_prompt_tokens, None, None)
    }

    /// What asking for the missing texts will take, in full batches.
    fn forecast(&self, keys: &[Option<ContentHash>], missing: &[ContentHash], texts: &StringArray) -> Forecast {
        let mut bytes = vec![0_usize; missing.len()];
        for (row, key) in keys.iter().enumerate() {
            if let Some(place) = key.and_then(|key| missing.binary_search(&key).ok()) {
                bytes[place] = if texts.is_valid(row) { texts.value(row).len() } else { 0 };
            }
        }
        let tokens = estimate(bytes.iter().copied());
        let requests = (missing.len() as u64).div_ceil(u64::from(self.settings.batch_texts.max(1)));
        let usd = self.price().map(|price| price.request * requests as f64 + price.prompt * tokens as f64 / 1e6);
        Forecast { requests, prompt_tokens: tokens, completion_tokens: 0, usd, at_least: requests > 0 }
    }

    fn server(&self, context: &StageContext) -> Result<Embeddings, StageError> {
        let settings = &self.settings;
        let (base_url, key) = server::address(context, &settings.base_url, &settings.api_key)?;
        Ok(Embeddings {
            base_url,
            key,
            limiter: settings.limiter.clone(),
            price: self.price(),
            model: settings.model.clone(),
            dimensions: settings.dimensions,
            extra: settings.extra.clone(),
        })
    }

    /// What stands for all that decides a text's vector besides the text.
    fn identity(&self, context: &StageContext, server: &Embeddings) -> Result<ContentHash, StageError> {
        let settings = &self.settings;
        let asked = json!({"model": settings.model, "dimensions": settings.dimensions, "extra": settings.extra});
        let identity = context.web.identity(&server.embed(&[]))?;
        let mut hasher = Hasher::new("refrain remote vectors v1");
        Ok(hasher.field(identity.as_bytes()).field(canonical_json(&asked).as_bytes()).finish())
    }

    /// The rows of the output, where those whose text failed are as those that have none.
    fn settled(&self, rows: &Rows<'_>, found: &Found) -> Vec<(usize, Option<usize>)> {
        let failed = |text: usize| found.failed.contains_key(&found.of_text[text]);
        let settle = |&(row, text): &(usize, Option<usize>)| match text {
            Some(text) if failed(text) => (self.settings.on_missing != OnMissing::Skip).then_some((row, None)),
            other => Some((row, other)),
        };
        rows.output.iter().filter_map(settle).collect()
    }

    fn assemble(
        &self,
        context: &StageContext,
        ids: &StringArray,
        part: &[(usize, Option<usize>)],
        width: usize,
        found: &Found,
    ) -> Result<Table, StageError> {
        let mut lost = 0;
        let table = assemble(ids, part, width, |text, place| {
            let text = found.of_text[text];
            match found.vector(context, text).filter(|vector| vector.len() == place.len()) {
                Some(vector) if self.settings.normalise => scale(&vector, place),
                Some(vector) => place.copy_from_slice(&vector),
                None => lost += 1,
            }
        })?;
        if lost > 0 {
            let what = format!("{lost} vectors that were just kept cannot be read from the memo");
            return Err(StageError::with_hint(what, "run again: they are asked for again; and check the disk"));
        }
        Ok(table)
    }
}

/// The vector at Euclidean length 1; zeros stay zeros.
fn scale(vector: &[f32], place: &mut [f32]) {
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    let factor = if length > 0.0 { length.recip() } else { 0.0 };
    for (scaled, number) in place.iter_mut().zip(vector) {
        *scaled = (f64::from(*number) * factor) as f32;
    }
}
