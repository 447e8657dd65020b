//! Chat completions as OpenAI and those who are compatible with it answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::World;
use super::exchange::{Answer, Ask, number};
use super::limits::Room;
use crate::ground::Hasher;

/// The longest prompt, in tokens.
const CONTEXT: u64 = 8192;
/// Tokens per minute in the headers: more than is ever used.
const TOKENS_PER_MINUTE: u64 = 6_000_000;
/// 2024-05-01 00:00 UTC: when all answers were created, so that they are the same each time.
const CREATED: u64 = 1_714_521_600;

/// What is read of a request; the rest makes no difference.
#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    content: Value,
}

/// The answer to `/chat/completions`; whoever asks may.
pub(super) fn answer(world: &World, ask: &Ask, room: &Room) -> Answer {
    let request: Request = match serde_json::from_slice(&ask.body) {
        Ok(request) => request,
        Err(why) => return error(400, &format!("Invalid request: {why}"), "invalid_request_error", None),
    };
    let prompt = request.messages.iter().map(|message| text(&message.content)).collect::<Vec<_>>().join("\n\n");
    let prompt_tokens = tokens(&prompt) + 4 * request.messages.len() as u64 + 3;
    if prompt.trim().is_empty() {
        return error(400, "'messages' : minimum number of items is 1", "invalid_request_error", None);
    }
    if prompt_tokens > CONTEXT {
        let message = "Please reduce the length of the messages or completion.";
        return error(400, message, "invalid_request_error", Some("context_length_exceeded"));
    }
    let mut content = world.chat(&prompt);
    let mut finish_reason = "stop";
    let most = request.max_completion_tokens.or(request.max_tokens).unwrap_or(CONTEXT);
    if tokens(&content) > most {
        content = content.chars().take(most as usize * 4).collect();
        finish_reason = "length";
    }
    let completion_tokens = tokens(&content);
    let id = number(Hasher::new("sandbox chat").field(prompt.as_bytes()).field(request.model.as_bytes()));
    let body = json!({
        "id": format!("chatcmpl-{id:016x}"),
        "object": "chat.completion",
        "created": CREATED,
        "model": request.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
        "system_fingerprint": "fp_sandbox",
    });
    let used = prompt_tokens + completion_tokens;
    let refill = Duration::from_millis(used * 60_000 / TOKENS_PER_MINUTE);
    headers(Answer::json(200, &body), room, TOKENS_PER_MINUTE.saturating_sub(used), refill)
}

/// An error as these servers write it.
pub(super) fn error(status: u16, message: &str, kind: &str, code: Option<&str>) -> Answer {
    Answer::json(status, &json!({"error": {"message": message, "type": kind, "code": code}}))
}

/// Too many requests: the words name the wait, in seconds.
pub(super) fn limited(wait_seconds: f64) -> Answer {
    let message = format!(
        "Rate limit reached for model in organization `org_sandbox` on requests per minute (RPM). \
         Please try again in {wait_seconds:.3}s. This is the sandbox."
    );
    let room = Room { limit: 14_400, left: 0, full_in: Duration::from_secs_f64(wait_seconds) };
    let answer = error(429, &message, "requests", Some("rate_limit_exceeded"));
    headers(answer, &room, TOKENS_PER_MINUTE, Duration::ZERO)
}

/// The `x-ratelimit-*` headers, which every answer has.
fn headers(answer: Answer, room: &Room, tokens_left: u64, tokens_full_in: Duration) -> Answer {
    answer
        .with("x-ratelimit-limit-requests", room.limit.to_string())
        .with("x-ratelimit-remaining-requests", room.left.to_string())
        .with("x-ratelimit-reset-requests", span(room.full_in))
        .with("x-ratelimit-limit-tokens", TOKENS_PER_MINUTE.to_string())
        .with("x-ratelimit-remaining-tokens", tokens_left.to_string())
        .with("x-ratelimit-reset-tokens", span(tokens_full_in))
}

/// A span as these servers write it: `26ms`, `10.33s`, `1m0.36s`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    let rounded = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    if seconds < 1.0 {
        format!("{}ms", span.as_millis())
    } else if seconds < 60.0 {
        format!("{}s", rounded(seconds))
    } else {
        format!("{}m{}s", span.as_secs() / 60, rounded(seconds % 60.0))
    }
}

/// A message's text: a string, or the texts of its parts.
fn text(content: &Value) -> String {
    let part = |part: &Value| part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(part).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// About how many tokens a text has: four characters each.
fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_in_the_three_forms() {
        assert_eq!(span(Duration::from_millis(26)), "26ms");
        assert_eq!(span(Duration::from_millis(10_330)), "10.33s");
        assert_eq!(span(Duration::from_millis(60_360)), "1m0.36s");
    }
}
