//! What the store remembers about artifacts and stages, and how it is written:
//! JSON for people and programs, sealed with a hash of its own text so that a
//! torn or edited record is never believed.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StoreError;
use crate::ground::ContentHash;
use crate::table::ColumnFacts;

/// The number in [`Manifest::format`]: raised when the layout of a manifest,
/// of an artifact or of a column hash changes.
pub const FORMAT: u32 = 1;

/// One immutable Parquet file of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The BLAKE3 of its bytes, which is also its name.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many rows it has.
    pub rows: u64,
    /// Its columns, in order.
    pub columns: Vec<ColumnFacts>,
}

impl Artifact {
    /// The facts of one column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// What one key produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The layout of this record: [`FORMAT`].
    pub format: u32,
    /// The hash of the fingerprint.
    pub key: ContentHash,
    /// The instance that made it first, as `stage@VARIANT#SEED`.
    pub instance: String,
    /// The pipeline in which it was made first.
    pub pipeline: String,
    /// The kind of stage.
    pub kind: String,
    /// Everything that decided the result.
    pub fingerprint: Value,
    /// The artifacts, by output port.
    pub outputs: BTreeMap<String, Artifact>,
    /// What the user should know whenever the result is used.
    pub warnings: Vec<String>,
    /// When it was made: milliseconds since 1970-01-01 UTC.
    pub made_at_millis: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many requests it sent over the network.
    pub requests: u64,
    /// How it came to stand for this key though it was made for another, oldest
    /// first; empty for a result that was made for its key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blessed: Vec<Blessing>,
}

/// A user's word that a result made under one key is good for another too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blessing {
    /// When it was given: milliseconds since 1970-01-01 UTC.
    pub at_millis: u64,
    /// Why, in the user's words.
    pub why: String,
    /// The key that the result stood for before.
    pub from: ContentHash,
    /// The differences that were accepted.
    pub accepted: Vec<Value>,
}

const OPENING: &str = "{\n  \"check\": \"";
const AFTER_CHECK: &str = "\",\n  ";

/// Writes a record as JSON whose first member, `check`, is the BLAKE3 of all
/// the text that follows it.
pub(super) fn seal<T: Serialize>(what: &'static str, record: &T) -> Result<String, StoreError> {
    let text = serde_json::to_string_pretty(record).map_err(|source| StoreError::Encode { what, source })?;
    let body = text.trim_start_matches('{').trim_start();
    Ok(format!("{OPENING}{}{AFTER_CHECK}{body}\n", ContentHash::of(format!("{body}\n").as_bytes())))
}

/// Reads a sealed record; says why it cannot be believed.
pub(super) fn unseal<T: DeserializeOwned>(mut bytes: Vec<u8>) -> Result<T, String> {
    let torn = || "it is not a whole record".to_owned();
    let rest = bytes.strip_prefix(OPENING.as_bytes()).ok_or_else(torn)?;
    let (check, rest) = rest.split_at_checked(64).ok_or_else(torn)?;
    let body = rest.strip_prefix(AFTER_CHECK.as_bytes()).ok_or_else(torn)?;
    if ContentHash::of(body).to_string().as_bytes() != check {
        return Err("its text does not have the hash that it was sealed with".to_owned());
    }
    // What stands before the body becomes the object's opening.
    let start = bytes.len() - body.len() - 1;
    bytes[start] = b'{';
    serde_json::from_slice(&bytes[start..]).map_err(|error| format!("it does not decode: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        key: ContentHash,
        fingerprint: Value,
        at_millis: u64,
    }

    fn record() -> Sample {
        Sample { key: ContentHash::of(b"k"), fingerprint: json!({"rate": 0.1, "n": [1, 2]}), at_millis: 7 }
    }

    #[test]
    fn a_sealed_record_is_json_and_round_trips() {
        let text = seal("a record", &record()).unwrap();
        assert!(serde_json::from_str::<Value>(&text).unwrap()["key"].is_string());
        assert_eq!(unseal::<Sample>(text.clone().into_bytes()), Ok(record()));
    }

    /// A manifest as it was written before there were blessings.
    const OLD_MANIFEST: &str = include_str!("old_manifest.json");

    #[test]
    fn a_manifest_of_before_blessings_reads_and_seals_to_the_same_bytes() {
        let manifest: Manifest = unseal(OLD_MANIFEST.into()).unwrap();
        assert!(manifest.blessed.is_empty());
        assert_eq!(seal("a manifest", &manifest).unwrap(), OLD_MANIFEST);
        let blessing =
            Blessing { at_millis: 1, why: "only a comment".into(), from: manifest.key, accepted: vec![json!({})] };
        let blessed = Manifest { blessed: vec![blessing], ..manifest };
        assert_eq!(unseal(seal("a manifest", &blessed).unwrap().into_bytes()), Ok(blessed));
    }

    #[test]
    fn a_torn_or_edited_record_is_not_believed() {
        let text = seal("a record", &record()).unwrap();
        for length in 0..text.len() {
            assert!(unseal::<Sample>(text.as_bytes()[..length].to_vec()).is_err(), "cut at {length}");
        }
        let edited = text.replace("\"at_millis\": 7", "\"at_millis\": 8");
        assert_ne!(edited, text);
        assert!(unseal::<Sample>(edited.into_bytes()).is_err());
    }
}
