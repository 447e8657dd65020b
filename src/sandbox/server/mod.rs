//! The servers: one loopback port that speaks for every provider. What is said
//! is decided by `answer` functions that know no sockets; this file carries it.

mod chat;
mod connection;
mod deezer;
mod embeddings;
mod exchange;
mod faults;
mod lastfm;
mod limits;
mod lyrics;
mod traffic;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::connection::{Connection, Doors};
use self::exchange::{Answer, Ask, Provider};
use self::faults::Faults;
use self::limits::{Limits, Refusal, Room};
use self::traffic::Traffic;
use super::{SandboxError, SandboxSettings, World, identity, routes};
use crate::ground::{Clock, SystemClock};

/// The largest body of a request that is read, in bytes.
const LARGEST_BODY: usize = 4 << 20;
/// How long a stop waits for answers that are on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// The servers of one world, running until stopped or dropped.
#[derive(Debug)]
pub struct Sandbox {
    url: String,
    identity: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// What every request may look at.
struct Shared {
    world: World,
    settings: SandboxSettings,
    identity: String,
    limits: Limits,
    clock: Arc<dyn Clock>,
    traffic: Mutex<Traffic>,
    faults: Faults,
    key: Key,
}

impl Sandbox {
    /// Makes the world and listens on 127.0.0.1; port 0 is any free one.
    ///
    /// # Errors
    /// [`SandboxError`] if the world cannot be made or the port cannot be had.
    pub async fn start(settings: &SandboxSettings, port: u16) -> Result<Self, SandboxError> {
        Self::start_by(settings, port, Arc::new(SystemClock)).await
    }

    /// As [`Sandbox::start`], with limits that are measured by the given clock.
    ///
    /// # Errors
    /// [`SandboxError`] if the world cannot be made or the port cannot be had.
    pub async fn start_with_clock(settings: &SandboxSettings, clock: Arc<dyn Clock>) -> Result<Self, SandboxError> {
        Self::start_by(settings, 0, clock).await
    }

    /// As [`Sandbox::start`], with limits that are measured by the given clock.
    async fn start_by(settings: &SandboxSettings, port: u16, clock: Arc<dyn Clock>) -> Result<Self, SandboxError> {
        let refused = |source| SandboxError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let wanted = settings.clone();
        let making = tokio::task::spawn_blocking(move || Ok((identity(&wanted)?, World::generate(&wanted)?)));
        let (identity, world) = making.await.map_err(SandboxError::Generation)??;
        let shared = Arc::new(Shared {
            faults: Faults::new(*world.seed(), settings),
            key: Key::new(settings.revoke_after),
            world,
            settings: settings.clone(),
            identity: identity.clone(),
            limits: Limits::new(settings, Arc::clone(&clock)),
            clock,
            traffic: Mutex::default(),
        });
        let router = Router::new().fallback(handle).with_state(shared);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<Connection>();
            let ended = async {
                // An error means that the sandbox was dropped: it stops all the same.
                stopped.await.unwrap_or_default();
            };
            let served = axum::serve(Doors(listener), service).with_graceful_shutdown(ended).await;
            drop(served);
        });
        Ok(Self { url: format!("http://{address}"), identity, stop: Some(stop), task })
    }

    /// The base URL, `http://127.0.0.1:PORT`; [`routes`] stand below it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The world's [`identity()`].
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Stops listening; answers on their way have a second to arrive.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself: then there is nobody to tell.
            stop.send(()).unwrap_or_default();
        }
        if tokio::time::timeout(PATIENCE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// One request: limits, then faults, then what the world says.
async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return Answer::text(413, "the body is too large").into_response();
    };
    let ask = Ask::new(&parts, body);
    match parts.uri.path() {
        routes::STATS => return Answer::json(200, &shared.stats()).into_response(),
        routes::RESTORE => {
            shared.key.restore();
            return Answer::json(200, &json!({"key": "valid"})).into_response();
        }
        routes::WORLD => return Answer::json(200, &shared.description()).into_response(),
        _ => {}
    }
    let Some((provider, route)) = Provider::of(&ask) else {
        return Answer::json(404, &json!({"error": "the sandbox has no such route"})).into_response();
    };
    let key = ask.key();
    let now = shared.clock.now_millis();
    let attempt = shared.with_traffic(|traffic| traffic.received(&route, key, now));
    // Only where tokens are limited must the answer be known first.
    let counted =
        (provider == Provider::Chat && shared.limits.count_tokens(provider)).then(|| of_model(&shared.world, &ask));
    let room = match shared.limits.take(provider, counted.as_ref().map_or(0, |(_, tokens)| *tokens)) {
        Ok(room) => room,
        Err(refusal) => {
            shared.with_traffic(|traffic| traffic.limited(&route));
            return limited(provider, &refusal).into_response();
        }
    };
    if provider == Provider::Lastfm && shared.key.is_revoked() {
        shared.with_traffic(|traffic| traffic.failed(&route, key));
        return lastfm::error(403, 26, "Suspended API key - Access for your account has been suspended")
            .into_response();
    }
    let answer = shared.say(provider, &ask, &room, counted);
    if let Some(kind) = shared.faults.of(provider, key, attempt) {
        shared.with_traffic(|traffic| {
            if faults::is_true(kind) {
                traffic.answered(&route, key, answer.status == 200);
            } else {
                traffic.failed(&route, key);
            }
        });
        return shared.faults.response(kind, provider, answer, &peer).await;
    }
    let first_user = shared.world.listeners().first().map_or("", |listener| &listener.name);
    let altered = shared.faults.lasting(provider, &ask, first_user);
    shared.with_traffic(|traffic| traffic.answered(&route, key, answer.status == 200));
    altered.unwrap_or_else(|| answer.into_response())
}

/// What a model answers, in words or in vectors, and the tokens it takes.
fn of_model(world: &World, ask: &Ask) -> (Answer, u64) {
    if ask.path.ends_with(routes::EMBEDDINGS) { embeddings::answer(ask) } else { chat::answer(world, ask) }
}

/// How each provider says that there were too many requests.
fn limited(provider: Provider, refusal: &Refusal) -> Answer {
    let seconds = refusal.wait.unwrap_or_default().as_secs_f64();
    let whole = seconds.ceil().max(1.0).to_string();
    match provider {
        Provider::Chat if refusal.wait.is_none() => chat::too_large(),
        Provider::Lastfm => lastfm::error(429, 29, "Rate Limit Exceeded - Your IP has made too many requests"),
        Provider::Deezer => deezer::error("Exception", "Quota limit exceeded", 4),
        Provider::Chat => chat::limited(refusal).with("retry-after", whole),
        Provider::Lyricsovh => Answer::json(429, &json!({"error": "Too many requests"})).with("retry-after", whole),
        Provider::Lrclib => {
            let body = json!({"message": "Too many requests", "name": "TooManyRequests", "statusCode": 429});
            Answer::json(429, &body).with("retry-after", whole)
        }
    }
}

/// Last.fm's key: valid, until it has been used too often.
struct Key {
    left: Option<AtomicU64>,
    restored: AtomicBool,
}

impl Key {
    fn new(revoke_after: Option<u64>) -> Self {
        Self { left: revoke_after.map(AtomicU64::new), restored: AtomicBool::new(false) }
    }

    /// Counts a request.
    fn is_revoked(&self) -> bool {
        let Some(left) = &self.left else { return false };
        let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        spent && !self.restored.load(Ordering::SeqCst)
    }

    fn restore(&self) {
        self.restored.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// What the world says.
    fn say(&self, provider: Provider, ask: &Ask, room: &Room, counted: Option<(Answer, u64)>) -> Answer {
        match provider {
            Provider::Lastfm if self.faults.has_one_page(ask) => {
                let mut first = ask.clone();
                first.query.insert("page".to_owned(), "1".to_owned());
                faults::endless(lastfm::answer(&self.world, &first))
            }
            Provider::Lastfm => lastfm::answer(&self.world, ask),
            Provider::Lyricsovh => lyrics::lyricsovh(&self.world, ask),
            Provider::Lrclib => lyrics::lrclib(&self.world, ask),
            Provider::Deezer => deezer::answer(&self.world, ask),
            Provider::Chat => {
                let (answer, tokens) = counted.unwrap_or_else(|| of_model(&self.world, ask));
                chat::with_room(answer, room, tokens)
            }
        }
    }

    fn with_traffic<T>(&self, act: impl FnOnce(&mut Traffic) -> T) -> T {
        act(&mut self.traffic.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stats(&self) -> serde_json::Value {
        let mut stats = self.with_traffic(|traffic| traffic.stats());
        stats["identity"] = json!(self.identity);
        stats["synthetic"] = json!(true);
        stats
    }

    fn description(&self) -> serde_json::Value {
        json!({
            "identity": self.identity,
            "seed": self.settings.seed,
            "users": self.world.listeners().len(),
            "songs": self.world.songs().len(),
            "limited": self.settings.limited(),
            "synthetic": true,
        })
    }
}

impl Answer {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .header("content-type", self.content_type);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        response.body(Body::from(self.body)).unwrap_or_default()
    }
}
