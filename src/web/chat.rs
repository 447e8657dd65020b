//! Chat completions of every OpenAI-compatible server.

use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Metering, Price, Secret, Usage, Verdict};
use super::compatible::{self, Complaint, complaint, read_usage, usage};
use super::endpoints::CHAT;
use super::tolerant::text;

/// Tokens of an answer, where nothing makes it shorter.
const USUAL_ANSWER: u64 = 256;

/// What is asked of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatRequest {
    /// The model's name at the server.
    pub model: String,
    /// What the model is told first, if anything.
    pub system: Option<String>,
    /// What it is asked.
    pub prompt: String,
    /// 0 for the likeliest answer; up to 2. None leaves it to the server.
    pub temperature: Option<f64>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// The same for models that count what they think as well, and take no `max_tokens`.
    pub max_completion_tokens: Option<u32>,
    /// The server's seed, if it takes one.
    pub seed: Option<u64>,
    /// Further fields of the request.
    pub extra: Map<String, Value>,
}

/// Makes calls to one server with one key.
#[derive(Debug, Clone)]
pub struct Chat {
    /// The address before `/chat/completions`.
    pub base_url: String,
    /// The key, if the server wants one.
    pub key: Option<Secret>,
    /// The limiter that calls wait for.
    pub limiter: String,
    /// What tokens cost, for budgets in dollars.
    pub price: Option<Price>,
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The words, as they came; nothing if there are none.
    pub text: Option<String>,
    /// `stop`, `length`, `content_filter`, …
    pub finish_reason: Option<String>,
    /// Why the model declined, if it says so.
    pub refusal: Option<String>,
    /// What it took, if the server says so.
    pub usage: Option<Usage>,
}

impl Chat {
    /// Asks for one completion, for [`parse_completion`].
    #[must_use]
    pub fn complete(&self, request: &ChatRequest) -> Call {
        let mut call = Call::new(CHAT, "/chat/completions", classify).limiter(&self.limiter);
        call.base_url = Some(self.base_url.clone());
        call.bearer.clone_from(&self.key);
        call.body = Some(request.body());
        let most = request.most();
        call.metering = Some(Metering { estimate: request.estimate(), most, used: usage, price: self.price });
        call
    }
}

impl ChatRequest {
    fn body(&self) -> Value {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let mut messages: Vec<Value> = self.system.iter().map(|system| message("system", system)).collect();
        messages.push(message("user", &self.prompt));
        let mut body = Map::new();
        body.insert("model".into(), json!(self.model));
        body.insert("messages".into(), Value::Array(messages));
        if let Some(temperature) = self.temperature {
            body.insert("temperature".into(), json!(temperature));
        }
        for (name, most) in [("max_tokens", self.max_tokens), ("max_completion_tokens", self.max_completion_tokens)] {
            if let Some(most) = most {
                body.insert(name.into(), json!(most));
            }
        }
        if let Some(seed) = self.seed {
            body.insert("seed".into(), json!(seed));
        }
        body.extend(self.extra.clone());
        Value::Object(body)
    }

    /// Tokens it will take: about four bytes each for the prompt, and a summary's
    /// worth for the answer. Corrected by what the server counts.
    fn estimate(&self) -> u64 {
        let most = self.most();
        most.prompt + most.completion.min(USUAL_ANSWER)
    }

    /// The same with the longest answer that is allowed, if one is given.
    fn most(&self) -> Usage {
        let bytes = self.prompt.len() + self.system.as_ref().map_or(0, String::len);
        let longest = self.max_tokens.or(self.max_completion_tokens);
        Usage { prompt: bytes as u64 / 4 + 16, completion: longest.map_or(USUAL_ANSWER, u64::from) }
    }
}

/// What an answer of a chat server means.
#[must_use]
pub fn classify(answer: &Answer) -> Verdict {
    compatible::classify(answer)
}

/// Reads a completion. `None` if the answer is none; the memo keeps it as it came.
#[must_use]
pub fn parse_completion(answer: &Answer) -> Option<Completion> {
    let body = answer.json()?;
    if let Some(complaint) = complaint(&body).filter(Complaint::is_filtered) {
        let finish_reason = Some("content_filter".to_owned());
        return Some(Completion { finish_reason, refusal: Some(complaint.message), ..Completion::default() });
    }
    let choice = body.get("choices")?.get(0)?;
    let message = choice.get("message");
    let content = message.and_then(|message| message.get("content"));
    let words = match content {
        Some(Value::Array(parts)) => Some(parts.iter().filter_map(|part| text(part.get("text")?)).collect::<String>()),
        Some(one) => text(one),
        None => choice.get("text").and_then(text),
    };
    Some(Completion {
        text: words.filter(|words| !words.trim().is_empty()),
        finish_reason: choice.get("finish_reason").and_then(text),
        refusal: message.and_then(|message| text(message.get("refusal")?)),
        usage: body.get("usage").and_then(read_usage),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tolerant::answer;
    use super::*;

    #[test]
    fn a_request_says_only_what_was_set() {
        let request = ChatRequest {
            model: "m".into(),
            prompt: "p".into(),
            temperature: Some(0.0),
            seed: Some(1),
            ..ChatRequest::default()
        };
        assert_eq!(
            request.body(),
            json!({"model": "m", "messages": [{"role": "user", "content": "p"}], "temperature": 0.0, "seed": 1})
        );
        let extra = Map::from_iter([("reasoning_effort".to_owned(), json!("low"))]);
        let thinking =
            ChatRequest { temperature: None, max_completion_tokens: Some(9), seed: None, extra, ..request.clone() };
        assert_eq!(
            thinking.body(),
            json!({"model": "m", "messages": [{"role": "user", "content": "p"}], "max_completion_tokens": 9, "reasoning_effort": "low"})
        );
        let chat = Chat {
            base_url: "https://x/v1".into(),
            key: Some(Secret::new("gsk_k")),
            limiter: "groq".into(),
            price: None,
        };
        let call = chat.complete(&ChatRequest { system: Some("s".into()), max_tokens: Some(60), ..request });
        assert_eq!((call.method(), call.path.as_ref(), call.limiter.as_str()), ("POST", "/chat/completions", "groq"));
        assert_eq!(call.body.as_ref().expect("a body")["messages"][0], json!({"role": "system", "content": "s"}));
    }

    #[test]
    fn completions_are_read_in_the_shapes_they_come_in() {
        let read = |body: &str| parse_completion(&answer(200, body));
        let plain = read(r#"{"choices":[{"message":{"content":"la"},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":"3"}}"#).expect("one");
        assert_eq!((plain.text.as_deref(), plain.finish_reason.as_deref()), (Some("la"), Some("length")));
        assert_eq!(plain.usage, Some(Usage { prompt: 9, completion: 3 }));
        let parts =
            read(r#"{"choices":[{"message":{"content":[{"type":"text","text":"la"},{"type":"text","text":"lo"}]}}]}"#);
        assert_eq!(parts.expect("one").text.as_deref(), Some("lalo"));
        let refused =
            read(r#"{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"content_filter"}]}"#)
                .expect("one");
        assert_eq!((refused.text, refused.refusal.as_deref()), (None, Some("no")));
        let filtered = r#"{"error":{"message":"The prompt was filtered","code":"content_filter"}}"#;
        let filtered = parse_completion(&answer(400, filtered)).expect("one");
        assert_eq!((filtered.finish_reason.as_deref(), filtered.text), (Some("content_filter"), None));
        assert_eq!(read(r#"{"choices":[]}"#), None);
    }

    #[test]
    fn failures_are_told_apart() {
        let kind = |status, message: &str, code: &str| {
            let body = format!(r#"{{"error":{{"message":"{message}","type":"t","code":"{code}"}}}}"#);
            match classify(&answer(status, &body)) {
                Verdict::Keep => "keep".to_owned(),
                Verdict::Retry { after, everyone, .. } => {
                    format!("again {} {everyone}", after.unwrap_or_default().as_millis())
                }
                Verdict::Stop { .. } => "stop".to_owned(),
                Verdict::Row { .. } => "never".to_owned(),
            }
        };
        assert_eq!(
            kind(429, "Rate limit reached. Please try again in 1m0.5s. Need more?", "rate_limit_exceeded"),
            "again 60500 true"
        );
        assert_eq!(kind(429, "Request too large for model `m`", "rate_limit_exceeded"), "never");
        assert_eq!(kind(413, "Request too large for model `m`", "rate_limit_exceeded"), "never");
        assert_eq!(kind(429, "You exceeded your current quota", "insufficient_quota"), "stop");
        assert_eq!(kind(404, "The model `m` does not exist", "model_not_found"), "stop");
        assert_eq!(kind(400, "The model `m` has been decommissioned", "model_decommissioned"), "stop");
        assert_eq!(kind(401, "Invalid API Key", "invalid_api_key"), "stop");
        assert_eq!(kind(400, "too long", "context_length_exceeded"), "never");
        assert_eq!([498, 503, 500].map(|status| kind(status, "over capacity", "x")), ["again 0 false"; 3]);
        assert_eq!(kind(200, "overloaded", "x"), "again 0 false");
        assert_eq!(classify(&answer(200, r#"{"choices":[]}"#)), Verdict::Keep);
        assert!(matches!(classify(&answer(200, "<html>")), Verdict::Retry { .. }));
    }
}
