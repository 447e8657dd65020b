//! One request as the providers' modules describe it, its answer, and what the
//! answer means. Knows nothing of sockets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::ground::{ContentHash, Hasher, canonical_json};

/// A text that must reach no file, log, key or message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: only for putting it on the wire.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What an answer means for the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An answer, good or bad, that will not change soon: it goes to the memo.
    Keep,
    /// It may pass: ask again.
    Retry {
        /// Not before this has passed, if the answer says so.
        after: Option<Duration>,
        /// Whether the whole limiter must wait, not only this call.
        everyone: bool,
        /// What the answer said.
        reason: String,
    },
    /// The provider will refuse everything: a bad or suspended key.
    Stop {
        /// What the answer said.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// This request will never be answered; others may.
    Row {
        /// What the answer said.
        reason: String,
    },
}

/// Tokens that an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
}

/// What asking costs, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Price {
    /// Per million tokens of the prompt.
    pub prompt: f64,
    /// Per million tokens of the answer.
    pub completion: f64,
    /// Per request, whatever it takes.
    pub request: f64,
}

impl Price {
    /// What these tokens cost, in US dollars, the request itself not counted.
    #[must_use]
    pub fn of(self, usage: Usage) -> f64 {
        (usage.prompt as f64 * self.prompt + usage.completion as f64 * self.completion) / 1e6
    }
}

/// How a call counts against limits in tokens and budgets in money.
#[derive(Debug, Clone, Copy)]
pub struct Metering {
    /// Tokens it will take, guessed beforehand.
    pub estimate: u64,
    /// The most it may take as far as that is known: the prompt's tokens,
    /// guessed, and the longest answer. Budgets set this aside until the
    /// answer is there.
    pub most: Usage,
    /// Tokens it took, read from the answer.
    pub used: fn(&Answer) -> Option<Usage>,
    /// What it costs, if the stage says so.
    pub price: Option<Price>,
}

impl Metering {
    /// The estimate, prompt and answer apart.
    #[must_use]
    pub fn expected(&self) -> Usage {
        let prompt = self.most.prompt.min(self.estimate);
        Usage { prompt, completion: self.estimate - prompt }
    }
}

/// One request: a GET, or a POST if it has a body.
#[derive(Debug, Clone)]
pub struct Call {
    /// The provider's name, which finds its endpoint.
    pub provider: &'static str,
    /// The address from the stage's settings, where the provider has none of its own.
    pub base_url: Option<String>,
    /// The path below the endpoint, percent-encoded, with its leading slash; or empty.
    pub path: Cow<'static, str>,
    /// The query, without secrets.
    pub query: Vec<(&'static str, Cow<'static, str>)>,
    /// Secrets that travel in the query.
    pub secret_query: Vec<(&'static str, Secret)>,
    /// A secret that travels in the `Authorization` header.
    pub bearer: Option<Secret>,
    /// A JSON body.
    pub body: Option<Value>,
    /// The limiter it waits for.
    pub limiter: String,
    /// What answers mean.
    pub classify: fn(&Answer) -> Verdict,
    /// How it counts in tokens.
    pub metering: Option<Metering>,
    /// Whether it waits while the provider is down; else it fails with
    /// [`WebError::Down`](super::WebError::Down), for whoever can ask another.
    pub waits: bool,
    /// Takes out of the body what is not to be kept, not even in the memo.
    pub withhold: Option<fn(Vec<u8>) -> Vec<u8>>,
    /// Which of the answers that will not change go to the memo: all, but for
    /// those whose contents are remembered elsewhere.
    pub keep: fn(&Answer) -> bool,
}

impl Call {
    /// A GET with no query yet, whose limiter is named as the provider.
    #[must_use]
    pub fn new(provider: &'static str, path: impl Into<Cow<'static, str>>, classify: fn(&Answer) -> Verdict) -> Self {
        Self {
            provider,
            base_url: None,
            path: path.into(),
            query: Vec::new(),
            secret_query: Vec::new(),
            bearer: None,
            body: None,
            limiter: provider.to_owned(),
            classify,
            metering: None,
            waits: true,
            withhold: None,
            keep: |_| true,
        }
    }

    /// Does not wait while the provider is down.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }

    /// Adds a pair to the query.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Waits for another limiter.
    #[must_use]
    pub fn limiter(mut self, name: &str) -> Self {
        name.clone_into(&mut self.limiter);
        self
    }

    /// `GET` or `POST`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        if self.body.is_some() { "POST" } else { "GET" }
    }

    /// The model that is asked, if the body names one.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.body.as_ref()?.get("model")?.as_str()
    }

    /// What the memo files the answer under: the endpoint's identity, the
    /// method, the path, the query in the order of its names, and the body's
    /// canonical JSON. No secret is in it.
    #[must_use]
    pub fn key(&self, identity: &str) -> ContentHash {
        let query = self.query.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let body = self.body.as_ref().map(canonical_json);
        key_of_parts(identity, self.method(), &self.path, query, body.as_deref())
    }

    /// The request for people: `lastfm GET ?method=user.getinfo&user=RJ`.
    #[must_use]
    pub fn describe(&self) -> String {
        let pairs: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        format!("{} {} {}{query}", self.provider, self.method(), self.path)
    }

    /// What is asked, without whom or what it is asked about: `lastfm user.getInfo`.
    pub(super) fn brief(&self) -> String {
        let method = self.query.iter().find(|(name, _)| *name == "method");
        let first = || self.path.split('/').take(2).collect::<Vec<_>>().join("/");
        format!("{} {}", self.provider, method.map_or_else(first, |(_, method)| method.to_string()))
    }

    /// The request for people, with the beginning of the prompt or the text
    /// where its body has one.
    #[must_use]
    pub fn told(&self) -> String {
        const SHOWN: usize = 100;
        let Some(text) = self.body.as_ref().and_then(asked) else { return self.describe() };
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        let more = if line.chars().count() > SHOWN { "…" } else { "" };
        let start: String = line.chars().take(SHOWN).collect();
        self.scrub(&format!("{} “{start}{more}”", self.describe()))
    }

    /// Where it is sent, without secrets: `https://lrclib.net/api/get?artist_name=…`.
    /// An address that a pipeline gives may come from the environment and is
    /// not told.
    pub(super) fn address(&self, identity: &str, is_sandbox: bool) -> String {
        let base = if self.base_url.is_some() && !is_sandbox { "<base_url>" } else { identity };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.query.iter().map(|(name, value)| (name, value.as_ref())));
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}{}{mark}{query}", self.path)
    }

    /// The body as it is sent, in canonical JSON and without secrets.
    pub(super) fn sent(&self) -> Option<String> {
        self.body.as_ref().map(|body| self.scrub(&canonical_json(body)))
    }

    /// A text with this call's secrets blotted out.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.secrets().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// A body without what is to be withheld, and with this call's secrets
    /// blotted out, should a server echo them.
    pub(super) fn scrub_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        let mut bytes = match self.withhold {
            Some(withhold) => withhold(bytes),
            None => bytes,
        };
        for secret in self.secrets().filter(|secret| secret.len() >= 8) {
            while let Some(at) = bytes.windows(secret.len()).position(|window| window == secret.as_bytes()) {
                bytes.splice(at..at + secret.len(), *b"***");
            }
        }
        bytes
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        let in_query = self.secret_query.iter().map(|(_, secret)| secret.reveal());
        in_query.chain(self.bearer.iter().map(Secret::reveal)).filter(|secret| !secret.is_empty())
    }
}

/// What a chat or embeddings request is about: the last message, or the first text.
fn asked(body: &Value) -> Option<&str> {
    let message = body.get("messages").and_then(|messages| messages.as_array()?.last()?.get("content"));
    let input = body.get("input").map(|input| input.get(0).unwrap_or(input));
    message.or(input)?.as_str()
}

/// What [`Call::key`] is of a call with these parts; the body is canonical JSON.
pub(super) fn key_of_parts(
    identity: &str,
    method: &str,
    path: &str,
    mut query: Vec<(&str, &str)>,
    body: Option<&str>,
) -> ContentHash {
    query.sort_unstable();
    let mut hasher = Hasher::new("refrain http v1");
    hasher.field(identity.as_bytes()).field(method.as_bytes()).field(path.as_bytes());
    hasher.raw(&(query.len() as u64).to_le_bytes());
    for (name, value) in query {
        hasher.field(name.as_bytes()).field(value.as_bytes());
    }
    if let Some(body) = body {
        hasher.field(body.as_bytes());
    }
    hasher.finish()
}

/// What a server answered, or the memo remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that are kept, by their lower-case names: the type, and what
    /// tells of limits.
    pub headers: BTreeMap<String, String>,
    /// The body as it came, decompressed.
    pub body: Arc<[u8]>,
    /// When it was received: milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// Whether it comes from the memo.
    pub from_memo: bool,
}

impl Answer {
    /// The body as text, without a byte order mark; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        String::from_utf8_lossy(body)
    }

    /// The body as JSON, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(self.text().trim_start()).ok()
    }

    /// The beginning of the body, on one line: for messages.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let words: Vec<String> = self.text().split_whitespace().map(str::to_owned).collect();
        let line = words.join(" ");
        if line.chars().count() > 120 { format!("{}…", line.chars().take(120).collect::<String>()) } else { line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call() -> Call {
        Call::new("lastfm", "/x", |_| Verdict::Keep).query("b", "2").query("a", "1")
    }

    #[test]
    fn keys_see_all_that_matters_and_no_secret() {
        let key = call().key("i");
        let mut swapped = call();
        swapped.query.reverse();
        swapped.secret_query.push(("api_key", Secret::new("abc")));
        swapped.bearer = Some(Secret::new("def"));
        swapped.limiter = "other".into();
        assert_eq!(swapped.key("i"), key, "neither order, secrets nor limiter matter");
        assert_ne!(call().key("j"), key);
        assert_ne!(call().query("c", "3").key("i"), key);
        let mut posted = call();
        posted.body = Some(json!({"x": 1, "y": 2}));
        let posted_key = posted.key("i");
        assert_ne!(posted_key, key);
        posted.body = Some(json!({"y": 2, "x": 1}));
        assert_eq!(posted.key("i"), posted_key);
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let mut call = call();
        call.secret_query.push(("api_key", Secret::new("s3cr3t-key")));
        call.bearer = Some(Secret::new("gsk_abcdef"));
        let shown = format!("{call:?} {} {}", call.describe(), call.scrub("at s3cr3t-key with gsk_abcdef"));
        assert!(!shown.contains("s3cr3t") && !shown.contains("gsk_"), "{shown}");
        let body = call.scrub_bytes(b"you sent s3cr3t-key, s3cr3t-key".to_vec());
        assert_eq!(body, b"you sent ***, ***");
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let body: Arc<[u8]> = Arc::from(&b"\xef\xbb\xbf{\"a\":1}"[..]);
        let answer = Answer { status: 200, headers: BTreeMap::new(), body, at: 0, from_memo: false };
        assert_eq!(answer.json(), Some(json!({"a": 1})));
    }
}
