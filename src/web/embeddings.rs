//! Embeddings of every OpenAI-compatible server: `OpenAI`, TEI, Ollama, vLLM,
//! llama.cpp. Several texts are one request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Metering, Price, Secret, Usage, Verdict};
use super::compatible::{Complaint, classify as classify_any, complaint, read_usage, reason};
use super::endpoints::CHAT;

/// Asks one server for vectors, with one key.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// The address before `/embeddings`.
    pub base_url: String,
    /// The key, if the server wants one.
    pub key: Option<Secret>,
    /// The limiter that calls wait for.
    pub limiter: String,
    /// What tokens cost, for budgets in dollars.
    pub price: Option<Price>,
    /// The model's name at the server.
    pub model: String,
    /// How many numbers a vector shall have, where the model can do that.
    pub dimensions: Option<u32>,
    /// Further fields of the request.
    pub extra: Map<String, Value>,
}

/// Why there are no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVectors {
    /// The request as it is will not be answered: fewer texts, or shorter ones, may be.
    #[error("{0}")]
    Refused(String),
    /// It is not what was asked for.
    #[error("{0}")]
    Unreadable(String),
}

/// Tokens that texts of so many bytes take, guessed: four bytes each, and two for a text's ends.
pub fn estimate(bytes: impl Iterator<Item = usize>) -> u64 {
    bytes.map(|bytes| bytes as u64 / 4 + 2).sum()
}

impl Embeddings {
    /// Asks for the vectors of some texts, for [`parse_embeddings`].
    #[must_use]
    pub fn embed(&self, texts: &[&str]) -> Call {
        let mut body = Map::new();
        body.insert("model".into(), json!(self.model));
        body.insert("input".into(), json!(texts));
        body.insert("encoding_format".into(), json!("float"));
        if let Some(dimensions) = self.dimensions {
            body.insert("dimensions".into(), json!(dimensions));
        }
        body.extend(self.extra.clone());
        let mut call = Call::new(CHAT, "/embeddings", classify).limiter(&self.limiter);
        call.base_url = Some(self.base_url.clone());
        call.bearer.clone_from(&self.key);
        call.body = Some(Value::Object(body));
        let estimate = estimate(texts.iter().map(|text| text.len()));
        let most = Usage { prompt: estimate, completion: 0 };
        call.metering = Some(Metering { estimate, most, used: usage, price: self.price });
        // The vectors are kept one by one; what cannot be read is kept as it came.
        call.keep = |answer| matches!(parse_all(answer), Err(NoVectors::Unreadable(_)));
        call
    }
}

/// What an answer means. That a request was refused for what is in it is an
/// answer too: its texts may be asked for in smaller parts.
fn classify(answer: &Answer) -> Verdict {
    // Most answers are good ones, and long.
    if (200..300).contains(&answer.status) && parse_all(answer).is_ok() {
        return Verdict::Keep;
    }
    match classify_any(answer) {
        Verdict::Row { .. } if answer.status >= 400 => Verdict::Keep,
        other => other,
    }
}

/// The tokens that the texts took.
fn usage(answer: &Answer) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Counted {
        usage: Value,
    }
    let counted: Counted = serde_json::from_str(answer.text().trim_start()).ok()?;
    read_usage(&counted.usage)
}

/// Reads the vectors of `count` texts, in the order of the texts.
///
/// # Errors
/// [`NoVectors`] if they are not there, or not all.
pub fn parse_embeddings(answer: &Answer, count: usize) -> Result<Vec<Vec<f32>>, NoVectors> {
    let found = parse_all(answer)?;
    if found.len() == count {
        return Ok(found);
    }
    Err(NoVectors::Unreadable(format!("{} vectors for {count} texts", found.len())))
}

/// The usual shape: `data`, each with its place and its vector.
#[derive(Deserialize)]
struct Body {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vector,
}

/// A vector as numbers, as base64 of 32-bit floats, or, from servers that pool
/// nothing, as a list of one vector.
struct Vector(Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Vector;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of numbers, or base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vector, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("not whole numbers"));
                }
                Ok(Vector(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vector, A::Error> {
                let mut numbers = Vec::with_capacity(list.size_hint().unwrap_or_default());
                while let Some(part) = list.next_element::<Part>()? {
                    match part {
                        Part::Number(number) => numbers.push(number as f32),
                        Part::List(inner) if numbers.is_empty() => numbers = inner,
                        Part::List(_) => return Err(serde::de::Error::custom("a vector for each token")),
                    }
                }
                Ok(Vector(numbers))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A number of a vector, or the vector that is alone in a list.
enum Part {
    Number(f64),
    List(Vec<f32>),
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        // By hand: a derived choice would copy each of the many numbers first.
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Part;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, number: f64) -> Result<Part, E> {
                Ok(Part::Number(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Part, E> {
                Ok(Part::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Part, E> {
                Ok(Part::Number(number as f64))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = list.next_element()? {
                    numbers.push(number);
                }
                Ok(Part::List(numbers))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

fn parse_all(answer: &Answer) -> Result<Vec<Vec<f32>>, NoVectors> {
    let body = answer.text();
    let read = serde_json::from_str::<Body>(body.trim_start());
    let Ok(Body { data }) = read else {
        let found: Option<Complaint> = answer.json().as_ref().and_then(complaint);
        return Err(match found {
            Some(complaint) if answer.status >= 400 => NoVectors::Refused(reason(answer.status, &complaint)),
            _ if answer.status >= 400 => NoVectors::Refused(format!("HTTP {}: {}", answer.status, answer.excerpt())),
            _ => NoVectors::Unreadable(format!("an answer without vectors: {}", answer.excerpt())),
        });
    };
    let count = data.len();
    let mut placed: Vec<Option<Vec<f32>>> = vec![None; count];
    for (at, item) in data.into_iter().enumerate() {
        let usable = !item.embedding.0.is_empty() && item.embedding.0.iter().all(|number| number.is_finite());
        match placed.get_mut(item.index.unwrap_or(at)) {
            Some(place @ None) if usable => *place = Some(item.embedding.0),
            _ => return Err(NoVectors::Unreadable("vectors that are empty, not finite or twice for one text".into())),
        }
    }
    Ok(placed.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::super::tolerant::answer;
    use super::*;

    fn server() -> Embeddings {
        Embeddings {
            base_url: "https://x/v1".into(),
            key: None,
            limiter: "tei".into(),
            price: None,
            model: "m".into(),
            dimensions: None,
            extra: Map::new(),
        }
    }

    fn read(body: &str, count: usize) -> Result<Vec<Vec<f32>>, NoVectors> {
        parse_embeddings(&answer(200, body), count)
    }

    #[test]
    fn a_request_says_only_what_was_set() {
        let call = server().embed(&["a", "b"]);
        assert_eq!(call.body, Some(json!({"model": "m", "input": ["a", "b"], "encoding_format": "float"})));
        assert_eq!((call.path.as_ref(), call.limiter.as_str(), call.method()), ("/embeddings", "tei", "POST"));
        let extra = Map::from_iter([("truncate".to_owned(), json!(true))]);
        let body = Embeddings { dimensions: Some(8), extra, ..server() }.embed(&["a"]).body.expect("a body");
        assert_eq!((&body["dimensions"], &body["truncate"]), (&json!(8), &json!(true)));
    }

    #[test]
    fn vectors_are_put_where_their_index_says() {
        let swapped = r#"{"data":[{"index":1,"embedding":[2,2.5]},{"index":0,"embedding":[1,-1e-3]}],"usage":{"prompt_tokens":2}}"#;
        assert_eq!(read(swapped, 2), Ok(vec![vec![1.0, -0.001], vec![2.0, 2.5]]));
        assert_eq!(read(r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, 2), Ok(vec![vec![1.0], vec![2.0]]));
        assert_eq!(usage(&answer(200, swapped)), Some(Usage { prompt: 2, completion: 0 }));
    }

    #[test]
    fn vectors_may_come_as_base64_or_in_a_list_of_one() {
        let bytes: Vec<u8> = [1.5_f32, -0.25].iter().flat_map(|number| number.to_le_bytes()).collect();
        let body = json!({"data": [{"index": 0, "embedding": STANDARD.encode(bytes)}]}).to_string();
        assert_eq!(read(&body, 1), Ok(vec![vec![1.5, -0.25]]));
        assert_eq!(read(r#"{"data":[{"index":0,"embedding":[[1,2]]}]}"#, 1), Ok(vec![vec![1.0, 2.0]]));
    }

    #[test]
    fn what_is_not_all_that_was_asked_for_is_unreadable() {
        for bad in [
            r#"{"data":[{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[2]}]}"#,
            r#"{"data":[{"index":0,"embedding":[]},{"index":1,"embedding":[2]}]}"#,
            r#"{"data":[{"index":0,"embedding":[[1],[2]]},{"index":1,"embedding":[[1],[2]]}]}"#,
            r#"{"data":[{"index":0,"embedding":"?"},{"index":1,"embedding":"?"}]}"#,
            "{}",
        ] {
            assert!(matches!(read(bad, 2), Err(NoVectors::Unreadable(_))), "{bad}");
        }
    }

    #[test]
    fn a_request_that_was_refused_for_its_texts_is_told_from_one_that_may_pass() {
        let long =
            answer(413, r#"{"error":"batch size 64 > maximum allowed batch size 32","error_type":"Validation"}"#);
        assert_eq!(classify(&long), Verdict::Keep);
        let said = "HTTP 413: batch size 64 > maximum allowed batch size 32";
        assert_eq!(parse_embeddings(&long, 64), Err(NoVectors::Refused(said.into())));
        let too_long =
            r#"{"error":{"code":500,"message":"input (2004 tokens) is too large to process","type":"server_error"}}"#;
        assert_eq!(classify(&answer(500, too_long)), Verdict::Keep);
        let busy = answer(429, r#"{"error":"Model is overloaded","error_type":"overloaded"}"#);
        assert!(matches!(classify(&busy), Verdict::Retry { everyone: true, .. }));
        assert!(matches!(classify(&answer(401, r#"{"error":"no"}"#)), Verdict::Stop { .. }));
    }

    #[test]
    fn only_what_cannot_be_read_is_kept_as_it_came() {
        let keep = server().embed(&["a"]).keep;
        assert!(!keep(&answer(200, r#"{"data":[{"index":0,"embedding":[1]}]}"#)));
        assert!(!keep(&answer(413, r#"{"error":"too long"}"#)));
        assert!(keep(&answer(200, r#"{"vectors":[]}"#)));
    }
}
