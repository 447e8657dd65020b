//! BLAKE3 content hashes, written as 64 lower-case hexadecimal digits.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A BLAKE3 hash.
///
/// - Displays and serialises as exactly 64 lower-case hexadecimal digits.
/// - Parsing and deserialising refuse anything else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

/// A text that is not a [`ContentHash`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a hash of 64 lower-case hexadecimal digits")]
pub struct ParseHashError {
    text: String,
}

impl ContentHash {
    /// The hash of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes, as a number in the same order as the hashes.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl Ord for ContentHash {
    /// As their bytes. Almost all differ in the first of them, and one number
    /// is compared faster than 32 bytes: memos sort millions.
    fn cmp(&self, other: &Self) -> Ordering {
        self.start().cmp(&other.start()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for ContentHash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<[u8; 32]> for ContentHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let refused = || ParseHashError { text: text.to_owned() };
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refused());
        }
        let hash = blake3::Hash::from_hex(text).map_err(|_| refused())?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How much is collected before it is hashed: a short key is hashed in one
/// piece, which costs a third of feeding BLAKE3 field by field.
const COLLECTED: usize = 8 * 1024;

/// An incremental hasher whose fields cannot run into one another: every
/// variable-length field is preceded by its length.
#[derive(Clone, Default)]
pub struct Hasher {
    /// What was hashed already, if there was too much to be kept.
    hashed: Option<Box<blake3::Hasher>>,
    collected: Vec<u8>,
}

impl Hasher {
    /// A hasher for values of one purpose; different purposes never collide.
    #[must_use]
    pub fn new(purpose: &str) -> Self {
        let mut hasher = Self { hashed: None, collected: Vec::with_capacity(256) };
        hasher.field(purpose.as_bytes());
        hasher
    }

    /// Adds one field, with its length.
    #[inline]
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw(&(bytes.len() as u64).to_le_bytes()).raw(bytes)
    }

    /// Adds bytes without a length: for streams of fixed-width values.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if self.collected.len() + bytes.len() <= COLLECTED {
            self.collected.extend_from_slice(bytes);
        } else {
            let hasher = self.hashed.get_or_insert_default();
            hasher.update(&self.collected).update(bytes);
            self.collected.clear();
        }
        self
    }

    /// The hash of all that was added.
    #[must_use]
    pub fn finish(&self) -> ContentHash {
        let hash = match &self.hashed {
            None => blake3::hash(&self.collected),
            Some(hashed) => hashed.clone().update(&self.collected).finalize(),
        };
        ContentHash::from(*hash.as_bytes())
    }
}

/// JSON with the keys of every object sorted and no white space: equal values
/// give equal texts, whatever the order of their keys was.
#[must_use]
pub fn canonical_json(value: &Value) -> String {
    fn put(value: &Value, text: &mut String) {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by(|a, b| a.0.cmp(b.0));
                for (number, (key, value)) in keys.into_iter().enumerate() {
                    text.push(if number == 0 { '{' } else { ',' });
                    text.push_str(&serde_json::to_string(key).unwrap_or_default());
                    text.push(':');
                    put(value, text);
                }
                text.push_str(if map.is_empty() { "{}" } else { "}" });
            }
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    text.push(if number == 0 { '[' } else { ',' });
                    put(item, text);
                }
                text.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            scalar => text.push_str(&serde_json::to_string(scalar).unwrap_or_default()),
        }
    }
    let mut text = String::new();
    put(value, &mut text);
    text
}

/// The hash of a JSON value's canonical text.
#[must_use]
pub fn hash_json(value: &Value) -> ContentHash {
    ContentHash::of(canonical_json(value).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_round_trip_and_refuse_other_texts() {
        let hash = ContentHash::of(b"song");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("ab".parse::<ContentHash>().is_err());
        assert!(hash.to_string().to_uppercase().parse::<ContentHash>().is_err());
    }

    #[test]
    fn hashes_are_in_the_order_of_their_bytes() {
        let with = |place: usize, byte: u8| {
            let mut bytes = [7; 32];
            bytes[place] = byte;
            ContentHash::from(bytes)
        };
        let (low, high) =
            ([with(0, 1), with(7, 1), with(8, 1), with(31, 1)], [with(31, 9), with(7, 200), with(0, 200)]);
        let middle = [ContentHash::from([7; 32])];
        let sorted: Vec<ContentHash> = low.into_iter().chain(middle).chain(high).collect();
        assert!(sorted.is_sorted_by(|a, b| a < b && a.as_bytes() < b.as_bytes()));
    }

    #[test]
    fn fields_do_not_run_into_one_another() {
        let one = Hasher::new("t").field(b"ab").field(b"c").finish();
        let other = Hasher::new("t").field(b"a").field(b"bc").finish();
        assert_ne!(one, other);
    }

    #[test]
    fn a_hash_is_that_of_all_bytes_however_they_were_added() {
        for sizes in [vec![1, 2], vec![COLLECTED - 8], vec![COLLECTED, 1], vec![3 * COLLECTED, 5, COLLECTED, 7]] {
            let mut hasher = Hasher::new("t");
            let mut bytes = [&1_u64.to_le_bytes()[..], b"t"].concat();
            for (number, size) in sizes.into_iter().enumerate() {
                hasher.raw(&vec![number as u8; size]);
                bytes.extend(vec![number as u8; size]);
            }
            assert_eq!(hasher.finish(), ContentHash::of(&bytes));
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter_and_the_order_of_items_does() {
        assert_eq!(
            hash_json(&json!({"a": 1, "b": {"c": 2, "d": 3}})),
            hash_json(&json!({"b": {"d": 3, "c": 2}, "a": 1}))
        );
        assert_ne!(hash_json(&json!([1, 2])), hash_json(&json!([2, 1])));
        let value = json!({"b": [1, {}, []], "a": {"y\n": null, "x": 0.5}});
        assert_eq!(canonical_json(&value), r#"{"a":{"x":0.5,"y\n":null},"b":[1,{},[]]}"#);
    }
}
