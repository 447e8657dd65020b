//! The setting `model` of `embed`: which sentence encoder, and where its files
//! are from. No kind by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::ground::ContentHash;
use crate::model::{
    BERT_FILES, Device, MINILM, ModelError, ModelFiles, ModelSource, Precision, Selection, TextEncoder,
};
use crate::stage::{SettingProblem, StageContext, StageError};
use crate::weights;

/// A sentence encoder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Model {
    /// all-MiniLM-L6-v2, pinned in the program.
    #[default]
    MiniLm,
    /// A BERT of the Hugging Face hub, pinned by whoever uses it.
    Hub(Hub),
    /// A BERT's files in a folder, as they are.
    Folder(PathBuf),
}

/// A model of the hub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Hub {
    /// `owner/name`.
    #[serde(rename = "hub")]
    name: String,
    /// A commit: 40 digits.
    revision: String,
    /// Each file's SHA-256.
    sha256: BTreeMap<String, String>,
}

/// The mapping as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    hub: Option<String>,
    #[serde(default)]
    revision: String,
    #[serde(default)]
    sha256: BTreeMap<String, String>,
    folder: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Model;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`, `{{ hub, revision, sha256 }}` or `{{ folder }}`", MINILM.name)
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Model, E> {
                if name == MINILM.name {
                    return Ok(Model::MiniLm);
                }
                Err(E::custom(format!(
                    "unknown model `{name}`: by name alone there is `{}`; others are `{{ hub: OWNER/NAME, revision, \
                     sha256 }}`, which `refrain model fetch OWNER/NAME` prints, or `{{ folder: PATH }}`",
                    MINILM.name
                )))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Model, M::Error> {
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                match (written.hub, written.folder) {
                    (Some(name), None) => {
                        Ok(Model::Hub(Hub { name, revision: written.revision, sha256: written.sha256 }))
                    }
                    (None, Some(folder)) if written.revision.is_empty() && written.sha256.is_empty() => {
                        Ok(Model::Folder(folder))
                    }
                    (None, Some(_)) => Err(M::Error::custom("`folder` stands alone: its files are hashed as they are")),
                    _ => Err(M::Error::custom("a model has either `hub` or `folder`")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Model {
    /// As the fingerprint has it: a folder's path decides nothing, the content of its files does.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::MiniLm => serializer.serialize_str(&MINILM.name),
            Self::Hub(hub) => hub.serialize(serializer),
            Self::Folder(_) => json!({ "folder": "by the content of its files" }).serialize(serializer),
        }
    }
}

impl JsonSchema for Model {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Model".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "enum": [MINILM.name], "description": "384 numbers per text, trained on English; texts are cut at 256 tokens." },
            {
                "type": "object", "additionalProperties": false, "required": ["hub", "revision", "sha256"],
                "properties": {
                    "hub": { "type": "string", "description": "`owner/name` on the Hugging Face hub." },
                    "revision": { "type": "string", "description": "A commit: 40 digits." },
                    "sha256": {
                        "type": "object", "additionalProperties": { "type": "string" },
                        "description": "Each file's SHA-256; `refrain model fetch OWNER/NAME` prints them."
                    }
                }
            },
            {
                "type": "object", "additionalProperties": false, "required": ["folder"],
                "properties": { "folder": { "type": "string", "description": "A folder with the model's files." } }
            }
        ] })
    }
}

impl Model {
    /// What is wrong with it, each with its path below the settings.
    pub(super) fn problems(&self) -> Vec<SettingProblem> {
        let Self::Hub(hub) = self else { return Vec::new() };
        let mut problems = Vec::new();
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if hub.name.split('/').count() != 2 || !hub.name.split('/').all(plain) {
            let what = format!("`{}` is not a name on the hub", hub.name);
            problems
                .push(SettingProblem::new("model.hub", what).hint("it is OWNER/NAME, such as BAAI/bge-small-en-v1.5"));
            return problems;
        }
        let digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let command = format!("`refrain model fetch {}` gets the model and prints what to write", hub.name);
        if !digits(&hub.revision, 40) {
            let what = if hub.revision.is_empty() {
                "the model has no `revision`".to_owned()
            } else {
                format!("the revision `{}` is not a commit of 40 digits", hub.revision)
            };
            problems.push(SettingProblem::new("model.revision", what).hint(command.clone()));
        }
        let missing: Vec<&str> = BERT_FILES.into_iter().filter(|name| !hub.sha256.contains_key(*name)).collect();
        if !missing.is_empty() {
            let what = format!("the SHA-256 of {} is missing", missing.join(", "));
            problems.push(SettingProblem::new("model.sha256", what).hint(command.clone()));
        }
        for (name, sha256) in &hub.sha256 {
            if !BERT_FILES.contains(&name.as_str()) {
                let what = format!("`{name}` is not a file that is used");
                let hint = format!("the files are {}", BERT_FILES.join(", "));
                problems.push(SettingProblem::new("model.sha256", what).hint(hint));
            } else if !digits(sha256, 64) {
                let what = format!("the SHA-256 of {name} is not 64 lower-case hexadecimal digits");
                problems.push(SettingProblem::new("model.sha256", what).hint(command.clone()));
            }
        }
        problems
    }

    /// The files whose content decides the vectors and that the user named.
    pub(super) fn named_files(&self) -> Vec<PathBuf> {
        match self {
            Self::Folder(folder) => BERT_FILES.iter().map(|name| folder.join(name)).collect(),
            Self::MiniLm | Self::Hub(_) => Vec::new(),
        }
    }

    /// The pinned files' SHA-256.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        self.source().hashes().map(|(name, sha256)| (name.to_owned(), sha256.to_owned())).collect()
    }

    /// What is fetched; a folder is never.
    fn source(&self) -> ModelSource {
        match self {
            Self::MiniLm => MINILM.clone(),
            Self::Hub(hub) => ModelSource::of_hub(&hub.name, &hub.revision, &hub.sha256),
            Self::Folder(_) => ModelSource::of_hub("", "", &BTreeMap::new()),
        }
    }

    /// What vectors are remembered under, on a device. Reads a folder's files.
    ///
    /// # Errors
    /// [`ModelError`] if a folder's files cannot be read.
    pub(super) fn identity(&self, device: Device, precision: Precision) -> Result<ContentHash, ModelError> {
        let hashes = match self {
            Self::Folder(folder) => ModelFiles::read_folder(folder)?.hashes(),
            Self::MiniLm | Self::Hub(_) => self.facts(),
        };
        let hashes = hashes.iter().map(|(name, sha256)| (name.as_str(), sha256.as_str()));
        Ok(TextEncoder::identity(hashes, device, precision))
    }

    /// The encoder, its files fetched if need be.
    pub(super) async fn open(
        &self,
        context: &StageContext,
        selection: Selection,
        precision: Precision,
    ) -> Result<TextEncoder, StageError> {
        let failed = |error: ModelError| StageError::failed(format!("could not use the model: {error}"));
        let note = |text: &str| context.progress.note(text);
        if let Self::Folder(folder) = self {
            let files = ModelFiles::read_folder(folder).map_err(failed)?;
            note(&selection.note);
            return TextEncoder::described(&files, selection, precision).map_err(failed);
        }
        let files = weights::get(&self.source(), &context.models, &context.environment, &note)
            .await
            .map_err(|error| StageError::with_hint(error.to_string(), error.hint))?;
        context.check_cancelled()?;
        note(&selection.note);
        let opened = match self {
            Self::MiniLm => TextEncoder::new(&files, selection, precision),
            Self::Hub(_) | Self::Folder(_) => TextEncoder::described(&files, selection, precision),
        };
        opened.map_err(failed)
    }

    /// The length of the vectors where it is known without the model's files.
    pub(super) fn known_width(&self) -> Option<usize> {
        (*self == Self::MiniLm).then_some(384)
    }
}
