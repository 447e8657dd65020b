//! Faults: answers that fail as real servers fail. Most are decided by the
//! request and the attempt, so that a run can be repeated and a retry succeeds;
//! some last, and those are decided by the request or the user alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};

use super::super::{FaultKind, SandboxSettings};
use super::connection::Connection;
use super::exchange::{Answer, Ask, Provider, number};
use super::limits::Refusal;
use super::{chat, lastfm, limited};
use crate::ground::{Hasher, Seed};

/// After so many faults in a row a request succeeds, unless everything fails.
const MOST_IN_A_ROW: u32 = 2;
/// How many requests a burst takes, the one that begins it included.
const BURST: u32 = 6;
/// Where redirects lead: nowhere.
const ELSEWHERE: &str = "http://portal.invalid/login";
/// The pieces in which a giant answer is sent.
const GIANT_PIECE: usize = 64 << 10;

/// The faults of one sandbox.
pub(super) struct Faults {
    seed: Seed,
    share: f64,
    passing: Vec<FaultKind>,
    lasting: Vec<FaultKind>,
    stall: Duration,
    giant_bytes: u64,
    /// How many more requests each provider's burst takes.
    bursts: Mutex<BTreeMap<Provider, u32>>,
}

impl Faults {
    /// The faults that the settings name; all that pass if they name none.
    pub(super) fn new(seed: Seed, settings: &SandboxSettings) -> Self {
        let named = |kind: &FaultKind| settings.fault_kinds.is_empty() || settings.fault_kinds.contains(kind);
        let passing = FaultKind::ALL.into_iter().filter(|kind| kind.passes()).filter(named);
        let lasting = FaultKind::ALL.into_iter().filter(|kind| !kind.passes() && settings.fault_kinds.contains(kind));
        Self {
            seed,
            share: settings.faults,
            passing: passing.collect(),
            lasting: lasting.collect(),
            stall: Duration::try_from_secs_f64(settings.stall_secs).unwrap_or_default(),
            giant_bytes: settings.giant_bytes,
            bursts: Mutex::default(),
        }
    }

    /// Whether and how the given attempt (from 0) at a request fails. With a
    /// share below 1 no request fails more than twice in a row; with 1 all do.
    pub(super) fn of(&self, provider: Provider, request: u64, attempt: u32) -> Option<FaultKind> {
        // Every third attempt succeeds: that keeps the rule without memory.
        if self.share < 1.0 && attempt % (MOST_IN_A_ROW + 1) == MOST_IN_A_ROW {
            return None;
        }
        let mut bursts = self.bursts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = bursts.get_mut(&provider).filter(|left| **left > 0) {
            *left -= 1;
            return Some(FaultKind::Burst);
        }
        let drawn = self.drawn(request, attempt);
        if drawn == Some(FaultKind::Burst) {
            bursts.insert(provider, BURST - 1);
        }
        drawn
    }

    fn drawn(&self, request: u64, attempt: u32) -> Option<FaultKind> {
        let draw = self.draw("sandbox fault", &request.to_le_bytes(), attempt);
        let kind = self.passing.get(draw as usize % self.passing.len().max(1)).copied();
        kind.filter(|_| share_of(draw) < self.share)
    }

    /// Whether a fault that lasts strikes what is named by `subject`.
    fn strikes(&self, kind: FaultKind, subject: &[u8]) -> bool {
        self.lasting.contains(&kind) && share_of(self.draw(kind.name(), subject, 0)) < self.share
    }

    fn draw(&self, what: &str, subject: &[u8], attempt: u32) -> u64 {
        let mut hasher = Hasher::new(what);
        number(hasher.field(&self.seed.as_u64().to_le_bytes()).field(subject).field(&attempt.to_le_bytes()))
    }

    /// The answer to a request that the world answers otherwise, for good.
    pub(super) fn lasting(&self, provider: Provider, ask: &Ask, first_user: &str) -> Option<Response> {
        if self.strikes(FaultKind::Giant, &ask.key().to_le_bytes()) {
            return Some(giant(self.giant_bytes));
        }
        let user = ask.value("user").filter(|_| provider == Provider::Lastfm)?.to_lowercase();
        let vanished = user != first_user.to_lowercase() && self.strikes(FaultKind::Vanish, user.as_bytes());
        vanished.then(|| lastfm::error(404, 6, "User not found").into_response())
    }

    /// Whether a user's lists have the same page for ever.
    pub(super) fn has_one_page(&self, ask: &Ask) -> bool {
        let user = ask.value("user").map(str::to_lowercase);
        user.is_some_and(|user| self.strikes(FaultKind::SamePage, user.as_bytes()))
    }

    /// The failed response in place of `answer`.
    pub(super) async fn response(
        &self,
        kind: FaultKind,
        provider: Provider,
        mut answer: Answer,
        connection: &Connection,
    ) -> Response {
        match kind {
            FaultKind::Limited => {
                let answer = limited(provider, &Refusal::for_nothing(Duration::from_secs(1)));
                let says = answer.headers.iter().any(|(name, _)| *name == "retry-after");
                if says { answer } else { answer.with("retry-after", "1".to_owned()) }.into_response()
            }
            FaultKind::LimitedSilently => Answer::text(429, "").into_response(),
            FaultKind::Internal => error(provider, 500).into_response(),
            FaultKind::Unavailable => error(provider, 503).into_response(),
            FaultKind::BadGateway => Answer::html(502, "502 Bad Gateway").into_response(),
            FaultKind::Burst => match answer.body.len() % 3 {
                0 => Answer::html(502, "502 Bad Gateway").into_response(),
                1 => error(provider, 500).into_response(),
                _ => error(provider, 503).into_response(),
            },
            FaultKind::Html => Answer::html(200, "We will be back soon").into_response(),
            FaultKind::Cut => broken(answer, Duration::ZERO),
            FaultKind::Stall => broken(answer, self.stall),
            FaultKind::Reset | FaultKind::HeaderStall => {
                if kind == FaultKind::HeaderStall {
                    tokio::time::sleep(self.stall).await;
                }
                connection.reset();
                answer.into_response()
            }
            FaultKind::Gzip => half_a_gzip(answer),
            FaultKind::Bom => {
                answer.body = format!("\u{feff}{}", answer.body.trim_start_matches('\u{feff}'));
                answer.into_response()
            }
            FaultKind::ContentType => {
                answer.content_type = "text/html; charset=iso-8859-1";
                answer.into_response()
            }
            FaultKind::InvalidUtf8 => {
                let mut body = answer.body.clone().into_bytes();
                let middle = body.len() / 2;
                body.splice(middle..middle, [b'\xff', b'\xfe']);
                with_body(answer, Body::from(body))
            }
            FaultKind::Redirect => Answer::text(302, "").with("location", ELSEWHERE.to_owned()).into_response(),
            FaultKind::Giant => giant(self.giant_bytes),
            // These are answered before: they are decided by the user.
            FaultKind::SamePage | FaultKind::Vanish => answer.into_response(),
        }
    }
}

/// Whether a client gets the truth all the same.
pub(super) fn is_true(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Bom | FaultKind::ContentType)
}

/// A list that claims to have more pages than anyone can ask for.
pub(super) fn endless(mut answer: Answer) -> Answer {
    let Ok(mut body) = serde_json::from_str::<Value>(answer.body.trim_start_matches('\u{feff}')) else { return answer };
    for list in ["friends", "lovedtracks"] {
        if let Some(attributes) = body.get_mut(list).and_then(|list| list.get_mut("@attr")) {
            attributes["totalPages"] = json!("1000000");
            answer.body = body.to_string();
            return answer;
        }
    }
    answer
}

/// A number from 0 up to 1.
fn share_of(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// The provider's own words for a failure of its servers.
fn error(provider: Provider, status: u16) -> Answer {
    match provider {
        Provider::Lastfm if status == 503 => lastfm::error(503, 8, "Operation failed - Something else went wrong"),
        Provider::Lastfm => lastfm::error(500, 16, "There was a temporary error processing your request"),
        Provider::Deezer => {
            let error = json!({"error": {"type": "Exception", "message": "Service busy", "code": 700}});
            Answer::json(if status == 503 { 200 } else { status }, &error)
        }
        Provider::Chat => chat::error(status, "The server is over capacity", "internal_server_error", None),
        Provider::Lyricsovh | Provider::Lrclib => Answer::html(status, "Internal Server Error"),
    }
}

/// An answer that promises its whole length and breaks off in the middle.
fn broken(answer: Answer, pause: Duration) -> Response {
    let body = Bytes::from(answer.body.clone());
    let half = body.slice(..body.len() / 2);
    let length = body.len().max(2).to_string();
    let parts = stream::unfold((Some(half), pause), |(half, pause)| async move {
        if let Some(half) = half {
            return Some((Ok(half), (None, pause)));
        }
        // Also without a pause the first half must have left before the end.
        tokio::time::sleep(pause.max(Duration::from_millis(5))).await;
        Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), (None, pause)))
    });
    with_body(answer.with("content-length", length), Body::from_stream(parts))
}

/// A whole body that is half a gzip stream: a header, and a stored block that
/// is longer than what there is of it.
fn half_a_gzip(answer: Answer) -> Response {
    let text = answer.body.as_bytes();
    let length = text.len().clamp(2, usize::from(u16::MAX)) as u16;
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    body.extend(length.to_le_bytes());
    body.extend((!length).to_le_bytes());
    body.extend(&text[..text.len().min(usize::from(length) / 2)]);
    with_body(answer.with("content-encoding", "gzip".to_owned()), Body::from(body))
}

/// An answer that goes on and on, sent as fast as it is read.
fn giant(bytes: u64) -> Response {
    static PIECE: [u8; GIANT_PIECE] = [b' '; GIANT_PIECE];
    let parts = stream::unfold(bytes, |left| async move {
        let size = left.min(GIANT_PIECE as u64) as usize;
        (size > 0).then(|| (Ok::<_, io::Error>(Bytes::from_static(&PIECE[..size])), left - size as u64))
    });
    with_body(Answer::json(200, &Value::Null), Body::from_stream(parts))
}

fn with_body(answer: Answer, body: Body) -> Response {
    let mut response = answer.into_response();
    *response.body_mut() = body;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(share: f64, kinds: &[FaultKind]) -> Faults {
        let settings = SandboxSettings { faults: share, fault_kinds: kinds.to_vec(), ..SandboxSettings::default() };
        Faults::new(Seed::of_stage(0, "test"), &settings)
    }

    fn ask(user: &str, page: usize) -> Ask {
        let query = [("user", user), ("page", &page.to_string())].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Ask { query: query.into(), ..Ask::default() }
    }

    #[test]
    fn the_share_is_kept_the_same_attempt_fails_the_same_way_and_the_third_succeeds() {
        let (quarter, most, all, none) = (faults(0.25, &[]), faults(0.99, &[]), faults(1.0, &[]), faults(0.0, &[]));
        let failed = (0..4000).filter(|request| quarter.drawn(*request, 0).is_some()).count();
        assert!((850..1150).contains(&failed), "{failed}");
        for request in 0..500 {
            assert_eq!(quarter.drawn(request, 1), quarter.drawn(request, 1));
            assert_eq!(most.of(Provider::Lastfm, request, 2), None);
            assert!(all.of(Provider::Lastfm, request, 2).is_some());
            assert_eq!(none.drawn(request, 0), None);
        }
        let happens = |kind: &FaultKind| (0..1000).any(|request| quarter.drawn(request, 0) == Some(*kind));
        assert!(FaultKind::ALL.iter().all(|kind| happens(kind) == kind.passes()), "what lasts must be named");
    }

    #[test]
    fn only_what_is_named_happens() {
        let named = faults(0.5, &[FaultKind::Reset, FaultKind::Vanish]);
        let kinds = (0..200).filter_map(|request| named.drawn(request, 0));
        assert!(kinds.into_iter().all(|kind| kind == FaultKind::Reset));
        let lasting = faults(1.0, &[FaultKind::Vanish]);
        assert_eq!(lasting.drawn(1, 0), None, "what lasts is not drawn for attempts");
    }

    #[test]
    fn a_burst_takes_the_next_requests_at_its_provider_and_ends() {
        let faults = faults(0.02, &[FaultKind::Burst]);
        let first = (0..10_000).find(|request| faults.drawn(*request, 0).is_some()).expect("one begins");
        let sound =
            |n: u64| (first + 1..).filter(|request| faults.drawn(*request, 0).is_none()).nth(n as usize).expect("many");
        assert_eq!(faults.of(Provider::Lastfm, first, 0), Some(FaultKind::Burst));
        let hit = |provider| (0..20).filter(|n| faults.of(provider, sound(*n), 0).is_some()).count();
        assert_eq!(faults.of(Provider::Lastfm, sound(0), 2), None, "the third attempt is spared even so");
        assert_eq!((hit(Provider::Deezer), hit(Provider::Lastfm)), (0, BURST as usize - 1));
    }

    #[test]
    fn lasting_faults_strike_the_same_users_each_time() {
        let faults = faults(0.5, &[FaultKind::Vanish, FaultKind::SamePage]);
        let names: Vec<String> = (0..100).map(|n| format!("user{n}")).collect();
        let gone = |name: &str, page| faults.lasting(Provider::Lastfm, &ask(name, page), "RJ").is_some();
        let count = names.iter().filter(|name| gone(name, 1)).count();
        assert!((30..70).contains(&count), "{count}");
        assert!(names.iter().all(|name| gone(name, 1) == gone(&name.to_uppercase(), 2)));
        assert!(!gone("RJ", 1), "somebody has to be there");
        assert!(names.iter().any(|name| faults.has_one_page(&ask(name, 3)) && !gone(name, 1)));
    }
}
