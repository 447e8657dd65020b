//! One request over the wire: sockets, TLS, proxies, timeouts and the size of a
//! body. Knows nothing of limits, retries or the memo.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;

use super::call::{Answer, Call};
use super::endpoints::{Endpoint, is_loopback, place};
use super::error::{WebError, human};
use super::pace::tells_of_limits;
use super::settings::ClientSettings;

/// Headers of an answer that are worth keeping, beside those that tell of limits.
const KEPT_HEADERS: &[&str] = &["content-type", "date"];
/// How many redirects are followed, all to the same host.
const REDIRECTS: usize = 5;
/// What is told before the first request to a service of others.
const NO_CONTACT: &str = "the services are not told whom to write to: set REFRAIN_CONTACT to a mail address or a URL";

/// Why one sending gave no answer at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendError {
    /// There was no connection; `unknown_host` if not even its name is known.
    Unreachable { reason: String, unknown_host: bool },
    /// It may pass: a timeout, a lost connection, half an answer.
    Passing(String),
    /// It will not: the body is too long, the request cannot be made.
    Lasting(String),
    /// The server is not who it says, as far as its certificate tells.
    Untrusted(String),
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
        let host = place(&url);
        let client = self.client(is_loopback(&url), settings)?;
        let mut request = match &call.body {
            Some(body) => client.post(url).json(body),
            None => client.get(url),
        };
        if let Some(secret) = &call.bearer {
            request = request.bearer_auth(secret.reveal());
        }
        let request = request.header(reqwest::header::ACCEPT, "application/json, */*;q=0.5");
        let whole = settings.timeouts.whole;
        let late = || Err(SendError::Passing(format!("the answer was not whole after {}", human(whole))));
        let sent = tokio::time::timeout(whole, read(call, request, &host, settings)).await;
        Ok(sent.unwrap_or_else(|_| late()))
    }

    /// Requests to this machine never go through a proxy, those to others do as
    /// the environment says.
    fn client(&self, local: bool, settings: &ClientSettings) -> Result<reqwest::Client, WebError> {
        let slot = if local { &self.local } else { &self.remote };
        let made = slot.get_or_init(|| {
            if !local && !settings.user_agent.has_contact() {
                settings.on_warning.tell(NO_CONTACT);
            }
            build(local, settings)
        });
        made.clone()
    }
}

fn build(local: bool, settings: &ClientSettings) -> Result<reqwest::Client, WebError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only if another thread was quicker with the same.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let builder = reqwest::Client::builder()
        .user_agent(settings.user_agent.as_str())
        .connect_timeout(settings.timeouts.connect)
        .redirect(Policy::custom(|attempt| {
            let stays = attempt.previous().last().is_some_and(|from| same_place(from, attempt.url()));
            if stays && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
        }));
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| WebError::Setup(chain(&error.without_url())))
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

async fn read(
    call: &Call,
    request: reqwest::RequestBuilder,
    host: &str,
    settings: &ClientSettings,
) -> Result<Answer, SendError> {
    let (headers, idle) = (settings.timeouts.headers, settings.timeouts.idle);
    let failed = |error: reqwest::Error| explain(call, error, settings.timeouts.connect);
    let begun = tokio::time::timeout(headers, request.send()).await;
    let mut response =
        begun.map_err(|_| SendError::Passing(format!("no answer began within {}", human(headers))))?.map_err(failed)?;
    let status = response.status().as_u16();
    if let Some(reason) = redirected(&response, host) {
        return Err(SendError::Passing(call.scrub(&reason)));
    }
    let headers: BTreeMap<String, String> = response
        .headers()
        .iter()
        .filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str()) || tells_of_limits(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), call.scrub(value.to_str().ok()?))))
        .collect();
    let most = settings.max_body_bytes;
    let too_long = || SendError::Lasting(format!("the answer is longer than {most} bytes"));
    if response.content_length().is_some_and(|length| length > most as u64) {
        return Err(too_long());
    }
    let mut body = Vec::new();
    loop {
        let piece = tokio::time::timeout(idle, response.chunk()).await;
        let piece = piece.map_err(|_| SendError::Passing(format!("the answer stalled for {}", human(idle))))?;
        let Some(piece) = piece.map_err(failed)? else { break };
        if body.len() + piece.len() > most {
            return Err(too_long());
        }
        body.extend_from_slice(&piece);
    }
    let body = Arc::from(call.scrub_bytes(body));
    Ok(Answer { status, headers, body, at: settings.clock.now_millis(), from_memo: false })
}

/// Where an answer points that was not followed: a portal, most likely, or a
/// proxy that turns in a circle.
fn redirected(response: &reqwest::Response, host: &str) -> Option<String> {
    let location = response.headers().get("location")?.to_str().ok()?;
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let to = response.url().join(location).ok();
    Some(match to.as_ref().map(place) {
        Some(to) if to != host => format!("HTTP {}: it points to another host, {to}", status.as_u16()),
        _ => format!("HTTP {}: it points on and on, or gives up encryption", status.as_u16()),
    })
}

/// What an error of the connection means for the call.
fn explain(call: &Call, error: reqwest::Error, connect: Duration) -> SendError {
    let error = error.without_url();
    let reason = call.scrub(&chain(&error));
    // The type of the error lies below several wrappings; its words are always there.
    if reason.contains("invalid peer certificate") {
        return SendError::Untrusted(reason);
    }
    if error.is_builder() || error.is_redirect() {
        return SendError::Lasting(reason);
    }
    if error.is_connect() && error.is_timeout() {
        let reason = format!("no connection within {}", human(connect));
        return SendError::Unreachable { reason, unknown_host: false };
    }
    if error.is_connect() {
        return SendError::Unreachable { unknown_host: reason.contains("dns error"), reason };
    }
    SendError::Passing(reason)
}

/// An error and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// An error with all its causes, on one line, without what says nothing. The URL
/// must be gone already.
fn chain(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        let says_nothing = text == "error sending request" || text.starts_with("client error (");
        if parts.last() != Some(&text) && !says_nothing {
            parts.push(text);
        }
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
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
