//! One request over the wire: sockets, TLS, proxies, timeouts and the size of a
//! body. Knows nothing of limits, retries or the memo.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use reqwest::redirect::Policy;

use super::call::{Answer, Call};
use super::endpoints::{Endpoint, is_loopback};
use super::error::WebError;
use super::pace::tells_of_limits;
use super::settings::ClientSettings;

/// Headers of an answer that are worth keeping, beside those that tell of limits.
const KEPT_HEADERS: &[&str] = &["content-type", "date"];
/// How many redirects are followed, all to the same host.
const REDIRECTS: usize = 5;

/// Why one sending gave no answer at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendError {
    /// It may pass: a timeout, a lost connection.
    Passing(String),
    /// It will not: the body is too long, the request cannot be made.
    Lasting(String),
}

/// Makes the connections when the first request needs them: a run that is
/// answered by the memo loads no certificates.
#[derive(Debug, Default)]
pub(super) struct Transport {
    remote: OnceLock<Result<reqwest::Client, WebError>>,
    local: OnceLock<Result<reqwest::Client, WebError>>,
}

impl Transport {
    /// Sends a call once and reads its answer.
    ///
    /// # Errors
    /// The outer one if no client can be made, the inner one if there is no answer.
    pub(super) async fn send(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        settings: &ClientSettings,
    ) -> Result<Result<Answer, SendError>, WebError> {
        let url = address(call, endpoint)?;
        let client = self.client(is_loopback(&url), settings)?;
        let mut request = match &call.body {
            Some(body) => client.post(url).json(body),
            None => client.get(url),
        };
        if let Some(secret) = &call.bearer {
            request = request.bearer_auth(secret.reveal());
        }
        let request = request.header(reqwest::header::ACCEPT, "application/json, */*;q=0.5");
        Ok(read(call, request, settings).await)
    }

    /// Requests to this machine never go through a proxy, those to others do as
    /// the environment says.
    fn client(&self, local: bool, settings: &ClientSettings) -> Result<reqwest::Client, WebError> {
        let slot = if local { &self.local } else { &self.remote };
        slot.get_or_init(|| build(local, settings)).clone()
    }
}

fn build(local: bool, settings: &ClientSettings) -> Result<reqwest::Client, WebError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only if another thread was quicker with the same.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let builder = reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .connect_timeout(settings.timeouts.connect)
        .read_timeout(settings.timeouts.idle)
        .timeout(settings.timeouts.whole)
        .redirect(Policy::custom(|attempt| {
            let stays = attempt.previous().last().is_some_and(|from| same_place(from, attempt.url()));
            if stays && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
        }));
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| WebError::Setup(told(&error.without_url())))
}

/// Whether a redirect stays on the same host and does not give up encryption.
fn same_place(from: &url::Url, to: &url::Url) -> bool {
    let upgraded = from.scheme() == "http" && to.scheme() == "https";
    from.host() == to.host() && (upgraded || (from.scheme() == to.scheme() && from.port() == to.port()))
}

fn address(call: &Call, endpoint: &Endpoint) -> Result<url::Url, WebError> {
    let refused = |reason: String| WebError::Endpoint { provider: call.provider.to_owned(), reason };
    let mut url =
        url::Url::parse(&format!("{}{}", endpoint.base_url, call.path)).map_err(|error| refused(error.to_string()))?;
    if !call.query.is_empty() || !call.secret_query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        pairs.extend_pairs(call.query.iter().map(|(name, value)| (name, value)));
        pairs.extend_pairs(call.secret_query.iter().map(|(name, secret)| (name, secret.reveal())));
    }
    Ok(url)
}

async fn read(call: &Call, request: reqwest::RequestBuilder, settings: &ClientSettings) -> Result<Answer, SendError> {
    let failed = |error: reqwest::Error| {
        let lasting = error.is_builder() || error.is_redirect();
        let text = call.scrub(&told(&error.without_url()));
        if lasting { SendError::Lasting(text) } else { SendError::Passing(text) }
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let headers: BTreeMap<String, String> = response
        .headers()
        .iter()
        .filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str()) || tells_of_limits(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), call.scrub(value.to_str().ok()?))))
        .collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > settings.max_body_bytes {
            return Err(SendError::Lasting(format!("the answer is longer than {} bytes", settings.max_body_bytes)));
        }
        body.extend_from_slice(&chunk);
    }
    let body = Arc::from(call.scrub_bytes(body));
    Ok(Answer { status, headers, body, at: settings.clock.now_millis(), from_memo: false })
}

/// An error with all its causes, on one line. The URL must be gone already.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut parts = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        cause = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::call::Verdict;

    fn url(text: &str) -> url::Url {
        url::Url::parse(text).expect("an address")
    }

    #[test]
    fn redirects_stay_on_their_host() {
        let from = url("https://ws.example/2.0/");
        assert!(same_place(&from, &url("https://ws.example/elsewhere")));
        assert!(!same_place(&from, &url("https://evil.example/2.0/")));
        assert!(!same_place(&from, &url("http://ws.example/2.0/")), "encryption is not given up");
        assert!(!same_place(&url("http://127.0.0.1:1/"), &url("http://127.0.0.1:2/")));
        assert!(same_place(&url("http://ws.example/"), &url("https://ws.example/")));
    }

    #[test]
    fn queries_are_encoded_and_paths_are_kept() {
        let call = Call::new("lastfm", "/v1/AC%2FDC/T.N.T.", |_| Verdict::Keep).query("artist", "Simon & Garfunkel");
        let endpoint = Endpoint { base_url: "https://x.example/2.0".into(), identity: "i".into(), paced: true };
        let made = address(&call, &endpoint).expect("an address");
        assert_eq!(made.as_str(), "https://x.example/2.0/v1/AC%2FDC/T.N.T.?artist=Simon+%26+Garfunkel");
    }
}
