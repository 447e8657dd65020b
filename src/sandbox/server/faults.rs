//! Faults: answers that fail as real servers fail, decided by the request and
//! the attempt, so that a run can be repeated and a retry succeeds.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream;
use serde_json::json;

use super::connection::Connection;
use super::exchange::{Answer, Provider, number};
use super::limits::Refusal;
use super::{chat, lastfm, limited};
use crate::ground::{Hasher, Seed};

/// After so many faults in a row a request succeeds, unless everything fails.
const MOST_IN_A_ROW: u32 = 2;

/// How one answer fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// 429, though nothing was exceeded.
    Limited,
    /// 500 with the provider's error body.
    Internal,
    /// 503; Last.fm's says error 8.
    Unavailable,
    /// A proxy's page with 502.
    BadGateway,
    /// A proxy's page with 200.
    PageForAnswer,
    /// The connection is reset before the first byte.
    Reset,
    /// Half a body, then the end.
    Cut,
    /// Half a body, a pause, then the end.
    Stalled,
}

const FAULTS: [Fault; 8] = [
    Fault::Limited,
    Fault::Internal,
    Fault::Unavailable,
    Fault::BadGateway,
    Fault::PageForAnswer,
    Fault::Reset,
    Fault::Cut,
    Fault::Stalled,
];

impl Fault {
    /// Whether and how the given attempt (from 0) at a request fails. With a
    /// share below 1 no request fails more than twice in a row; with 1 all fail.
    pub(super) fn of(seed: &Seed, share: f64, request: u64, attempt: u32) -> Option<Self> {
        if share >= 1.0 {
            return Some(Self::drawn(seed, share, request, attempt).unwrap_or(Self::Unavailable));
        }
        let drawn = |attempt| Self::drawn(seed, share, request, attempt);
        // Every third attempt succeeds: that keeps the rule without memory.
        if attempt % (MOST_IN_A_ROW + 1) == MOST_IN_A_ROW { None } else { drawn(attempt) }
    }

    fn drawn(seed: &Seed, share: f64, request: u64, attempt: u32) -> Option<Self> {
        let mut hasher = Hasher::new("sandbox fault");
        hasher.field(&seed.as_u64().to_le_bytes()).field(&request.to_le_bytes()).field(&attempt.to_le_bytes());
        let drawn = number(&hasher);
        let uniform = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
        (uniform < share).then(|| FAULTS[(drawn % FAULTS.len() as u64) as usize])
    }

    /// The failed response in place of `answer`; a stalled one stalls for `stall`.
    pub(super) fn response(
        self,
        provider: Provider,
        answer: Answer,
        connection: &Connection,
        stall: Duration,
    ) -> Response {
        match self {
            Self::Limited => limited(provider, &Refusal::for_nothing(Duration::from_secs(1))).into_response(),
            Self::Internal => Self::error(provider, 500).into_response(),
            Self::Unavailable => Self::error(provider, 503).into_response(),
            Self::BadGateway => Answer::html(502, "502 Bad Gateway").into_response(),
            Self::PageForAnswer => Answer::html(200, "We will be back soon").into_response(),
            Self::Reset => {
                connection.reset();
                answer.into_response()
            }
            Self::Cut => broken(answer, Duration::ZERO),
            Self::Stalled => broken(answer, stall),
        }
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
    let mut response = answer.with("content-length", length).into_response();
    *response.body_mut() = Body::from_stream(parts);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_the_same_attempt_fails_the_same_way_and_the_third_succeeds() {
        let seed = Seed::of_stage(0, "test");
        let failed = (0..4000).filter(|request| Fault::of(&seed, 0.25, *request, 0).is_some()).count();
        assert!((850..1150).contains(&failed), "{failed}");
        for request in 0..500 {
            assert_eq!(Fault::of(&seed, 0.25, request, 1), Fault::of(&seed, 0.25, request, 1));
            assert_eq!(Fault::of(&seed, 0.99, request, 2), None);
            assert!(Fault::of(&seed, 1.0, request, 2).is_some());
            assert_eq!(Fault::of(&seed, 0.0, request, 0), None);
        }
        let kinds = FAULTS.iter().filter(|fault| (0..500).any(|r| Fault::of(&seed, 0.5, r, 0) == Some(**fault)));
        assert_eq!(kinds.count(), FAULTS.len());
    }
}
