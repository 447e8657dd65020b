//! Carries the answers: a port of the loopback, until it is told to stop.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, answer, failed};
use super::feed::Feed;
use super::project::{View, ViewSettings};
use super::query::Query;
use super::{download, guard};

/// How long a stop waits for answers that are on their way.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a live page looks for news.
const LOOK: Duration = Duration::from_millis(250);
/// How often a live page without news hears that the view is there.
const ALIVE: Duration = Duration::from_secs(10);

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The port cannot be had.
    #[error("could not listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ViewError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self::Listen { port, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "something listens on {port} already, perhaps another view; choose one with --port, or any free one with --port 0"
                )
            }
            _ => "choose another port with --port, or any free one with --port 0".to_owned(),
        }
    }
}

/// A view that is served until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    url: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What every request may look at.
struct Shared {
    view: Arc<View>,
    stop: CancellationToken,
}

impl Server {
    /// Listens on 127.0.0.1; port 0 is any free one. Call it inside of a runtime.
    ///
    /// # Errors
    /// [`ViewError`] if the port cannot be had.
    pub async fn start(settings: ViewSettings, port: u16) -> Result<Self, ViewError> {
        let refused = |source| ViewError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { view: Arc::new(View::new(settings)), stop: stop.clone() });
        let router = Router::new().fallback(handle).with_state(shared);
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            // It ends when it is told to, and not by an error.
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap_or_default();
        });
        Ok(Self { url: format!("http://{address}/"), stop, task })
    }

    /// Where it is: `http://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops listening. Live pages are ended; other answers on their way have
    /// two seconds to arrive.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(PATIENCE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let mut response = match guard::refusal(&parts.method, &parts.uri, &parts.headers) {
        Some(refusal) => refusal,
        None => match Query::of(parts.uri.path(), parts.uri.query()) {
            Some(query) => respond(shared, query).await,
            None => (StatusCode::BAD_REQUEST, "the address is not UTF-8\n").into_response(),
        },
    };
    guard::harden(&mut response);
    response
}

/// Pages read files, so they are made on threads of their own.
async fn respond(shared: Arc<Shared>, query: Query) -> Response {
    let view = Arc::clone(&shared.view);
    let made = tokio::task::spawn_blocking(move || answer(&view, &query)).await;
    match made.unwrap_or_else(|_| failed("this page could not be made: this is a bug", None)) {
        Answer::Page { status, page } => (status, Html(page.into_string())).into_response(),
        Answer::Asset { content_type, text } => {
            let keep = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=31536000, immutable")];
            (keep, text).into_response()
        }
        Answer::Redirect(to) => Redirect::to(&to).into_response(),
        Answer::File { path, name, bytes } => match download::stream(&path).await {
            Ok(stream) => file(stream, &name, bytes),
            Err(_) => (StatusCode::NOT_FOUND, "the artifact is gone from the store\n").into_response(),
        },
        Answer::Feed { run } => {
            let feed = Feed::new(Arc::clone(&shared.view), run);
            let events = news(feed).take_until(shared.stop.clone().cancelled_owned());
            Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
        }
    }
}

fn file(stream: impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static, name: &str, bytes: u64) -> Response {
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.apache.parquet"));
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    // Names of stages and variants hold nothing that would need quoting.
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// What a live page is sent, as long as it listens.
fn news(feed: Feed) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold((feed, true), |(mut feed, mut is_first)| async move {
        loop {
            if !std::mem::take(&mut is_first) {
                tokio::time::sleep(LOOK).await;
            }
            let looked = tokio::task::spawn_blocking(move || {
                let message = feed.next_message();
                (feed, message)
            });
            let (back, message) = looked.await.ok()?;
            feed = back;
            if let Some(message) = message {
                return Some((Ok(Event::default().data(message)), (feed, false)));
            }
        }
    })
}
