//! What all servers that call themselves compatible with `OpenAI` have in
//! common, for chat and embeddings alike: what their failures say, in every
//! shape in which they say it, and what that means.

use serde_json::Value;

use super::call::{Answer, Usage, Verdict};
use super::pace::wait_in_message;
use super::tolerant::{integer, text, verdict_by_status};

/// What a server says went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// For people; empty if there are no words.
    pub(super) message: String,
    /// `code`, `type` and `error_type`, as far as they are given.
    pub(super) codes: Vec<String>,
    /// Which field of the request it is about, if that is said.
    pub(super) field: Option<String>,
}

/// The complaint in a body, whatever its shape; none if it is an answer.
///
/// | who | shape |
/// | --- | --- |
/// | `OpenAI`, Groq, llama.cpp, Ollama | `{"error": {"message", "type", "code", "param"}}` |
/// | TGI, TEI | `{"error": "words", "error_type"}` |
/// | vLLM before 0.10, TEI, Mistral | `{"message", "type", "code"}`, with `"object": "error"` or without |
/// | `FastAPI` | `{"detail": "words"}`, or a list of `{"loc", "msg"}` |
/// | Gemini | the first of these in a list of one |
pub(super) fn complaint(body: &Value) -> Option<Complaint> {
    match body {
        Value::Array(items) => complaint(items.first()?),
        Value::Object(_) if body.get("error").is_some_and(|error| !error.is_null()) => {
            let error = &body["error"];
            let mut found = read(error, &["message", "msg", "detail", "error"]);
            if found.message.is_empty() {
                let words = error.as_str().or_else(|| body.get("message")?.as_str()).unwrap_or_default();
                words.clone_into(&mut found.message);
            }
            found.codes.extend(body.get("error_type").and_then(text));
            Some(found)
        }
        Value::Object(_) if body.get("choices").is_some() || body.get("data").is_some() => None,
        Value::Object(_) => {
            let found = match body.get("detail") {
                Some(Value::Array(several)) => read(several.first()?, &["msg", "message"]),
                Some(Value::Object(_)) => read(&body["detail"], &["message", "msg"]),
                _ => read(body, &["message", "detail"]),
            };
            (!found.message.is_empty()).then_some(found)
        }
        _ => None,
    }
}

fn read(error: &Value, words: &[&str]) -> Complaint {
    let given = |name: &&str| error.get(*name).and_then(text);
    let place = error.get("loc").and_then(Value::as_array).and_then(|place| place.iter().rev().find_map(text));
    Complaint {
        message: words.iter().find_map(given).unwrap_or_default(),
        codes: ["code", "type", "error_type"].iter().filter_map(given).collect(),
        field: given(&"param").or(place),
    }
}

impl Complaint {
    /// Whether a code is one of these.
    pub(super) fn says(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }

    fn mentions(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    /// Whether the server's own filter refused the prompt.
    pub(super) fn is_filtered(&self) -> bool {
        self.says(&["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"])
    }

    /// Whether the request can never be answered, because it is too long.
    fn is_too_long(&self) -> bool {
        self.says(&["context_length_exceeded", "exceed_context_size_error", "string_above_max_length"])
            || self.message.starts_with("Request too large")
            || self.mentions(&[
                "maximum context length",
                "context window",
                "available context size",
                // llama.cpp says so with HTTP 500.
                "too large to process",
            ])
    }

    /// What to write instead of a setting that the model refuses, if that is the matter.
    fn refused_setting(&self) -> Option<&'static str> {
        let refused = self.says(&["unsupported_parameter", "unsupported_value"])
            || self.mentions(&["unsupported parameter", "unsupported value"]);
        let about = |name: &str| self.field.as_deref() == Some(name) || self.message.contains(&format!("'{name}'"));
        if !refused {
            None
        } else if about("max_tokens") {
            Some("this model counts otherwise: write `max_completion_tokens: N` in place of `max_tokens`")
        } else if about("temperature") {
            Some("this model has its own temperature: write `temperature: null`")
        } else if about("seed") {
            Some("this model takes no seed: leave `seed` out")
        } else if about("dimensions") {
            Some("this model has one width only: leave `dimensions` out")
        } else {
            Some("take the field that it names out of the settings or of `extra:`")
        }
    }
}

/// What an answer of such a server means.
pub(super) fn classify(answer: &Answer) -> Verdict {
    let body = answer.json();
    let found = body.as_ref().and_then(complaint);
    let is_data = body.as_ref().is_some_and(|body| body.is_object() || body.is_array());
    let Some(complaint) = found else {
        return match answer.status {
            200..300 if is_stream(answer) => {
                Verdict::Row { reason: "a stream of events, which was not asked for".to_owned() }
            }
            200..300 if is_data => Verdict::Keep,
            401..=404 => refused(answer, is_data, &Complaint::default()),
            _ => verdict_by_status(answer),
        };
    };
    let reason = reason(answer.status, &complaint);
    let stop = |hint: &str| Verdict::Stop { reason: reason.clone(), hint: hint.to_owned() };
    if complaint.is_filtered() {
        return Verdict::Keep;
    }
    if let Some(hint) = complaint.refused_setting() {
        return stop(hint);
    }
    if complaint.says(&["model_not_found", "model_decommissioned"]) {
        return stop(NAME_A_MODEL);
    }
    if complaint.says(&["insufficient_quota"]) {
        return stop(NO_CREDIT);
    }
    if complaint.says(&["invalid_api_key"]) {
        return stop(CHECK_KEY);
    }
    if answer.status == 413 || complaint.is_too_long() {
        return Verdict::Row { reason };
    }
    match answer.status {
        501 => stop("this server does not do that: start it so that it does, or name another in `base_url:`"),
        401..=404 => refused(answer, true, &complaint),
        429 => Verdict::Retry { after: wait_in_message(&complaint.message), everyone: true, reason },
        200..300 | 408 | 425 | 498 | 500.. => Verdict::Retry { after: None, everyone: false, reason },
        _ => Verdict::Row { reason },
    }
}

/// Whether it was sent in events, as it is when a request says `stream`.
fn is_stream(answer: &Answer) -> bool {
    ["data:", "event:", ": "].iter().any(|start| answer.text().trim_start().starts_with(start))
}

const NAME_A_MODEL: &str = "name a model that the server has, in `model:`";
const NO_CREDIT: &str = "the account has no credit left; what was fetched is kept";
const CHECK_KEY: &str = "check the key in the variable that `api_key:` names";

/// 401 to 404: whoever asks, it would be the same.
fn refused(answer: &Answer, is_data: bool, complaint: &Complaint) -> Verdict {
    let hint = match answer.status {
        401 => CHECK_KEY,
        402 => NO_CREDIT,
        403 => "the key may not use this server or model",
        _ if complaint.mentions(&["model"]) => NAME_A_MODEL,
        // A page of a proxy in between may pass.
        _ if !is_data && answer.text().trim_start().starts_with('<') => return verdict_by_status(answer),
        _ => "nothing is at this address: check `base_url:`; most end in `/v1`",
    };
    let reason = match reason(answer.status, complaint) {
        bare if complaint.message.is_empty() && !answer.excerpt().is_empty() => format!("{bare}: {}", answer.excerpt()),
        whole => whole,
    };
    Verdict::Stop { reason, hint: hint.to_owned() }
}

/// The status and the words.
pub(super) fn reason(status: u16, complaint: &Complaint) -> String {
    match complaint.message.as_str() {
        "" => format!("HTTP {status}"),
        message => format!("HTTP {status}: {message}"),
    }
}

/// The tokens of an answer, if the server counts them.
pub(super) fn usage(answer: &Answer) -> Option<Usage> {
    read_usage(answer.json()?.get("usage")?)
}

/// The tokens in a `usage`; servers of embeddings may give the total alone.
pub(super) fn read_usage(usage: &Value) -> Option<Usage> {
    let count = |name: &str| integer(usage.get(name)?).and_then(|count| u64::try_from(count).ok());
    let prompt = count("prompt_tokens").or_else(|| count("total_tokens"))?;
    Some(Usage { prompt, completion: count("completion_tokens").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::super::tolerant::answer;
    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        match classify(&answer(status, body)) {
            Verdict::Keep => "keep",
            Verdict::Retry { everyone: true, .. } => "wait",
            Verdict::Retry { .. } => "again",
            Verdict::Stop { .. } => "stop",
            Verdict::Row { .. } => "never",
        }
    }

    fn hint(status: u16, body: &str) -> String {
        match classify(&answer(status, body)) {
            Verdict::Stop { hint, .. } => hint,
            other => panic!("no stop: {other:?}"),
        }
    }

    #[test]
    fn complaints_are_read_in_every_shape() {
        let words = |body: &str| {
            let found = complaint(&serde_json::from_str(body).expect("JSON")).expect("a complaint");
            format!("{} {:?} {:?}", found.message, found.codes, found.field.unwrap_or_default())
        };
        let cases = [
            (r#"{"error":{"message":"no","type":"t","param":"p","code":"c"}}"#, r#"no ["c", "t"] "p""#),
            (
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                r#"Loading model ["503", "unavailable_error"] """#,
            ),
            (r#"{"error":"no","error_type":"validation"}"#, r#"no ["validation"] """#),
            (
                r#"{"object":"error","message":"no","type":"NotFoundError","param":null,"code":404}"#,
                r#"no ["404", "NotFoundError"] """#,
            ),
            (r#"{"message":"no"}"#, r#"no [] """#),
            (r#"{"detail":"Not Found"}"#, r#"Not Found [] """#),
            (
                r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required"}]}"#,
                r#"Field required ["missing"] "model""#,
            ),
            (r#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#, r#"no ["400"] """#),
        ];
        for (body, expected) in cases {
            assert_eq!(words(body), expected);
        }
        for good in [r#"{"choices":[],"message":"x"}"#, r#"{"data":[],"error":null}"#, "[]", "3", "{}"] {
            assert_eq!(complaint(&serde_json::from_str(good).expect("JSON")), None, "{good}");
        }
    }

    #[test]
    fn what_a_model_refuses_ends_the_stage_with_what_to_write() {
        let unsupported = |parameter: &str| {
            format!(
                r#"{{"error":{{"message":"Unsupported parameter: '{parameter}' is not supported with this model.","type":"invalid_request_error","param":"{parameter}","code":"unsupported_parameter"}}}}"#
            )
        };
        assert!(hint(400, &unsupported("max_tokens")).contains("`max_completion_tokens: N`"));
        assert!(hint(400, &unsupported("top_k")).contains("`extra:`"));
        let value = r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}"#;
        assert!(hint(400, value).contains("`temperature: null`"));
    }

    #[test]
    fn addresses_keys_and_models_that_are_wrong_end_the_stage() {
        assert!(hint(404, r#"{"detail":"Not Found"}"#).contains("`base_url:`"));
        assert!(hint(404, "404 page not found").contains("`base_url:`"));
        assert!(
            hint(404, r#"{"error":{"message":"model \"x\" not found, try pulling it first"}}"#).contains("`model:`")
        );
        assert!(hint(401, r#"{"detail":"Unauthorized"}"#).contains("key"));
        assert!(hint(403, r#"{"message":"Forbidden"}"#).contains("key"));
        let embedding = r#"{"error":{"code":501,"message":"This server does not support embeddings.","type":"not_supported_error"}}"#;
        assert!(hint(501, embedding).contains("`base_url:`"));
        assert_eq!(kind(404, "<html>not found</html>"), "never");
    }

    #[test]
    fn what_is_too_long_is_never_asked_again() {
        for (status, body) in [
            (413, r#"{"error":"batch size 64 > maximum allowed batch size 32","error_type":"Validation"}"#),
            (413, r#"{"error":{"message":"Request too large for model `m`","code":"rate_limit_exceeded"}}"#),
            (
                429,
                r#"{"error":{"message":"Request too large for model `m` on tokens per minute","code":"rate_limit_exceeded"}}"#,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            ),
            (400, r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}"#),
            (
                500,
                r#"{"error":{"code":500,"message":"input (2004 tokens) is too large to process. increase the physical batch size","type":"server_error"}}"#,
            ),
            (
                422,
                r#"{"error":"Input validation error: `inputs` must have less than 1024 tokens","error_type":"validation"}"#,
            ),
        ] {
            assert_eq!(kind(status, body), "never", "{body}");
        }
    }

    #[test]
    fn what_may_pass_is_asked_again() {
        let busy = r#"{"error":"Model is overloaded","error_type":"overloaded"}"#;
        assert_eq!(
            [429, 498, 503, 500, 200].map(|status| kind(status, busy)),
            ["wait", "again", "again", "again", "again"]
        );
        assert_eq!(
            kind(503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#),
            "again"
        );
        assert_eq!(
            kind(429, r#"{"error":{"code":"RateLimitReached","message":"Your requests have exceeded rate limit."}}"#),
            "wait"
        );
        assert_eq!(kind(200, "<html>"), "again");
        assert_eq!(kind(200, "data: {\"choices\":[]}\n\n"), "never", "a stream stays one");
    }

    #[test]
    fn a_refusal_of_the_servers_filter_is_an_answer() {
        let body = r#"{"error":{"message":"The response was filtered","param":"prompt","code":"content_filter","status":400}}"#;
        assert_eq!(kind(400, body), "keep");
    }

    #[test]
    fn tokens_are_read_where_they_are_counted() {
        let read = |body: &str| usage(&answer(200, body));
        assert_eq!(read(r#"{"usage":{"prompt_tokens":8,"total_tokens":8}}"#), Some(Usage { prompt: 8, completion: 0 }));
        assert_eq!(read(r#"{"usage":{"total_tokens":"8"}}"#), Some(Usage { prompt: 8, completion: 0 }));
        assert_eq!(read(r#"{"usage":null}"#), None);
    }
}
