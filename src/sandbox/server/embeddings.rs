//! Embeddings as `OpenAI` and those who are compatible with it answer: a text's
//! vector is the sum of its words' vectors, so that texts that share words are alike.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::chat::error;
use super::exchange::{Answer, Ask, number};
use crate::ground::Hasher;

/// Numbers of a vector, if the request does not say how many.
const WIDTH: usize = 64;
/// The widest vector.
const WIDEST: usize = 4096;
/// The longest text, in tokens of four characters.
const CONTEXT: usize = 8192;
/// The most texts in one request.
const MOST_TEXTS: usize = 2048;

/// What is read of a request.
#[derive(Deserialize)]
struct Request {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Several(Vec<String>),
}

/// The answer to `/embeddings`, and the tokens it takes; whoever asks may. The vectors come last first:
/// their order is not promised, their `index` is.
pub(super) fn answer(ask: &Ask) -> (Answer, u64) {
    let refused = |message: &str| (error(400, message, "invalid_request_error", None), 0);
    let request: Request = match serde_json::from_slice(&ask.body) {
        Ok(request) => request,
        Err(why) => return refused(&format!("Invalid request: {why}")),
    };
    let texts = match request.input {
        Input::One(text) => vec![text],
        Input::Several(texts) => texts,
    };
    let width = request.dimensions.unwrap_or(WIDTH);
    if texts.is_empty() || texts.len() > MOST_TEXTS || !(1..=WIDEST).contains(&width) {
        return refused("'input' holds 1 to 2048 texts, and 'dimensions' is 1 to 4096");
    }
    let tokens: Vec<usize> = texts.iter().map(|text| text.chars().count().div_ceil(4).max(1)).collect();
    if tokens.iter().any(|tokens| *tokens > CONTEXT) {
        let message = format!("This model's maximum context length is {CONTEXT} tokens.");
        return (error(400, &message, "invalid_request_error", Some("context_length_exceeded")), 0);
    }
    let encoded = request.encoding_format.as_deref() == Some("base64");
    let bytes = |vector: &[f32]| vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let write = |vector: Vec<f32>| if encoded { json!(STANDARD.encode(bytes(&vector))) } else { json!(vector) };
    let item = |(index, text): (usize, &String)| json!({"object": "embedding", "index": index, "embedding": write(vector(&request.model, text, width))});
    let data: Vec<Value> = texts.iter().enumerate().rev().map(item).collect();
    let used: usize = tokens.iter().sum();
    let usage = json!({"prompt_tokens": used, "total_tokens": used});
    let body = json!({"object": "list", "model": request.model, "data": data, "usage": usage});
    (Answer::json(200, &body), used as u64)
}

/// A text's vector, of Euclidean length 1.
fn vector(model: &str, text: &str, width: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; width];
    // Every text has something in common, so that none is all zeros.
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase);
    for word in words.chain([String::new()]) {
        let mut state = number(Hasher::new("sandbox vector").field(model.as_bytes()).field(word.as_bytes()));
        for place in &mut sum {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *place += ((state >> 40) as f32 / 8_388_608.0) - 1.0;
        }
    }
    let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    sum.iter().map(|number| if length > 0.0 { number / length } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> (u16, Value) {
        let ask = Ask { body: body.to_string().into(), ..Ask::default() };
        let (answer, _) = answer(&ask);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn like(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn texts_that_share_words_are_alike_and_the_order_is_the_indexs() {
        let (status, body) = ask(&json!({"model": "m", "input": ["Rain falls", "sun"], "dimensions": 8}));
        assert_eq!((status, &body["data"][0]["index"], &body["data"][1]["index"]), (200, &json!(1), &json!(0)));
        assert_eq!(body["data"][0]["embedding"].as_array().unwrap().len(), 8);
        let [rain, falling, sun] = ["rain falls", "RAIN, falls!", "a cold sun"].map(|text| vector("m", text, 64));
        assert_eq!(rain, falling);
        assert!(like(&rain, &vector("m", "rain falls softly", 64)) > like(&rain, &sun) + 0.2);
        assert!((like(&rain, &rain) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn vectors_come_as_base64_when_asked_for_and_long_texts_are_refused() {
        let (_, body) = ask(&json!({"model": "m", "input": "x", "encoding_format": "base64", "dimensions": 3}));
        let bytes = STANDARD.decode(body["data"][0]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes.len(), 12);
        let (status, body) = ask(&json!({"model": "m", "input": ["x", "y".repeat(40_000)]}));
        assert_eq!((status, &body["error"]["code"]), (400, &json!("context_length_exceeded")));
        assert_eq!(ask(&json!({"model": "m", "input": []})).0, 400);
        assert_eq!(ask(&json!({"model": "m"})).0, 400);
    }
}
