//! Chat completions as OpenAI and those who are compatible with it answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::World;
use super::exchange::{Answer, Ask, number};
use super::limits::{Counts, Refusal, Room, Share};
use crate::ground::Hasher;

/// The longest prompt, in tokens.
const CONTEXT: u64 = 8192;
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

/// The answer to `/chat/completions`, and the tokens it takes; whoever asks may.
pub(super) fn answer(world: &World, ask: &Ask) -> (Answer, u64) {
    let refused = |message: &str, code| (error(400, message, "invalid_request_error", code), 0);
    let request: Request = match serde_json::from_slice(&ask.body) {
        Ok(request) => request,
        Err(why) => return refused(&format!("Invalid request: {why}"), None),
    };
    let prompt = request.messages.iter().map(|message| text(&message.content)).collect::<Vec<_>>().join("\n\n");
    let prompt_tokens = tokens(&prompt) + 4 * request.messages.len() as u64 + 3;
    if prompt.trim().is_empty() {
        return refused("'messages' : minimum number of items is 1", None);
    }
    if prompt_tokens > CONTEXT {
        let message = "Please reduce the length of the messages or completion.";
        return refused(message, Some("context_length_exceeded"));
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
    (Answer::json(200, &body), prompt_tokens + completion_tokens)
}

/// A good answer that says what is left after the tokens it took.
pub(super) fn with_room(answer: Answer, room: &Room, tokens: u64) -> Answer {
    if answer.status != 200 {
        return answer;
    }
    let plenty = room.tokens.left == room.tokens.limit;
    let left = room.tokens.left.saturating_sub(if plenty { tokens } else { 0 });
    let full_in = Duration::from_millis((room.tokens.limit - left) * 60_000 / room.tokens.limit.max(1));
    let tokens = if plenty { Share { left, full_in, ..room.tokens } } else { room.tokens };
    headers(answer, &Room { tokens, ..*room })
}

/// An error as these servers write it.
pub(super) fn error(status: u16, message: &str, kind: &str, code: Option<&str>) -> Answer {
    Answer::json(status, &json!({"error": {"message": message, "type": kind, "code": code}}))
}

/// Too many requests or tokens: the words name the wait, in seconds.
pub(super) fn limited(refusal: &Refusal) -> Answer {
    let (kind, unit) = match refusal.counts {
        Counts::Requests => ("requests", "R"),
        Counts::Tokens => ("tokens", "T"),
    };
    let (period, short) = match refusal.period.as_secs() {
        0..=1 => ("second", "S"),
        2..=60 => ("minute", "M"),
        _ => ("day", "D"),
    };
    let wait = span(refusal.wait.unwrap_or_default());
    let message = format!(
        "Rate limit reached for model in organization `org_sandbox` on {kind} per {period} ({unit}P{short}). \
         Please try again in {wait}. This is the sandbox."
    );
    headers(error(429, &message, kind, Some("rate_limit_exceeded")), &refusal.room)
}

/// More tokens than there are in a whole period: it never fits.
pub(super) fn too_large() -> Answer {
    let message = "Request too large for model in organization `org_sandbox` on tokens per minute (TPM). \
                   Please reduce your message size and try again. This is the sandbox.";
    error(413, message, "tokens", Some("rate_limit_exceeded"))
}

/// The `x-ratelimit-*` headers, which every good answer has.
fn headers(answer: Answer, room: &Room) -> Answer {
    let Room { requests, tokens } = room;
    answer
        .with("x-ratelimit-limit-requests", requests.limit.to_string())
        .with("x-ratelimit-remaining-requests", requests.left.to_string())
        .with("x-ratelimit-reset-requests", span(requests.full_in))
        .with("x-ratelimit-limit-tokens", tokens.limit.to_string())
        .with("x-ratelimit-remaining-tokens", tokens.left.to_string())
        .with("x-ratelimit-reset-tokens", span(tokens.full_in))
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
