//! The whole client against servers on the loopback that answer as real ones
//! do when they are well, busy or broken. Pauses are jumped over, not waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Response;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ground::ManualClock;

mod faults;
mod wire;

const KEY: &str = "s3cr3t-0123456789";

/// What the server does with one request.
enum Reply {
    Say(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    /// Begins to answer and never ends.
    Stall,
    Endless,
}

fn say(status: u16, body: &str) -> Reply {
    Reply::Say(status, &[], body.as_bytes().to_vec())
}

type Script = dyn Fn(usize, &str) -> Reply + Send + Sync;

struct Lab {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    directory: tempfile::TempDir,
    timer: Arc<ManualTimer>,
    clock: Arc<ManualClock>,
}

impl Lab {
    /// A server that does to its n-th request (from 0) what `script` says.
    async fn new(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let log = Arc::clone(&asked);
        let app = Router::new().fallback(move |request: Request| {
            let reply = {
                let mut log = log.lock().expect("a log");
                let target = request.uri().to_string();
                log.push(target.clone());
                script(log.len() - 1, &target)
            };
            async move { respond(reply) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self::at(url, asked)
    }

    fn at(url: String, asked: Arc<Mutex<Vec<String>>>) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        Self { url, asked, directory, timer: Arc::default(), clock: Arc::new(ManualClock::at(1_000_000)) }
    }

    fn client(&self, change: impl FnOnce(&mut ClientSettings)) -> Client {
        let mut settings = ClientSettings {
            endpoints: Endpoints::sandbox(&self.url, "sandbox:test"),
            memo: Some(self.directory.path().join("http")),
            clock: Arc::<ManualClock>::clone(&self.clock),
            timer: Arc::<ManualTimer>::clone(&self.timer),
            timeouts: Timeouts { idle: Duration::from_millis(100), ..Timeouts::default() },
            ..ClientSettings::default()
        };
        change(&mut settings);
        Client::new(settings).expect("good settings")
    }

    fn session(&self) -> Session {
        self.client(|_| {}).session(None, CancellationToken::new())
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("a log").len()
    }

    fn memo_bytes(&self) -> Vec<u8> {
        let Ok(entries) = std::fs::read_dir(self.directory.path().join("http")) else { return Vec::new() };
        entries.flat_map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a segment")).collect()
    }
}

fn respond(reply: Reply) -> Response<Body> {
    let piece = |text: &'static [u8]| Ok::<_, std::io::Error>(Bytes::from_static(text));
    match reply {
        Reply::Say(status, headers, body) => {
            let response =
                headers.iter().fold(Response::builder().status(status), |r, (name, value)| r.header(*name, *value));
            response.body(Body::from(body)).expect("a response")
        }
        Reply::Stall => {
            let first = futures::stream::once(async move { piece(b"{") });
            Response::new(Body::from_stream(first.chain(futures::stream::pending())))
        }
        Reply::Endless => Response::new(Body::from_stream(futures::stream::repeat_with(move || piece(&[b' '; 4096])))),
    }
}

fn call(user: &str) -> Call {
    lastfm::Lastfm::new(Secret::new(KEY), "lastfm").user(user)
}

fn row(result: Result<Answer, CallError>) -> String {
    match result {
        Err(CallError::Row(failure)) => failure.reason,
        other => panic!("not a failed row: {other:?}"),
    }
}

fn whole(result: Result<Answer, CallError>) -> WebError {
    match result {
        Err(CallError::Whole(error)) => error,
        other => panic!("not a failed provider: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_answered_is_never_asked_again() {
    let lab = Lab::new(|_, _| say(200, r#"{"user":{"name":"RJ"}}"#)).await;
    let session = lab.session();
    let first = session.ask(&call("RJ")).await.expect("an answer");
    let second = session.ask(&call("RJ")).await.expect("an answer");
    assert_eq!((first.from_memo, second.from_memo, first.body == second.body), (false, true, true));
    assert_eq!((session.requests(), lab.asked()), (1, 1));
    let next_run = lab.client(|settings| settings.offline = true);
    let session = next_run.session(None, CancellationToken::new());
    assert!(session.ask(&call("RJ")).await.expect("an answer").from_memo);
    assert_eq!(row(session.ask(&call("other")).await), "the memo has no answer");
    assert_eq!((next_run.requests(), lab.asked()), (0, 1));
}

#[tokio::test]
async fn old_answers_are_asked_for_again_where_the_session_says_so() {
    let lab = Lab::new(|_, _| say(200, r#"{"user":{"name":"RJ"}}"#)).await;
    let client = lab.client(|_| {});
    let session = client.session(Some(Duration::from_mins(1)), CancellationToken::new());
    session.ask(&call("RJ")).await.expect("an answer");
    lab.clock.advance(Duration::from_secs(61));
    assert!(!session.ask(&call("RJ")).await.expect("an answer").from_memo);
    assert!(session.ask(&call("RJ")).await.expect("an answer").from_memo);
    assert_eq!(lab.asked(), 2);
}

#[tokio::test]
async fn a_busy_server_is_given_the_time_it_asks_for() {
    let busy: &[(&str, &str)] = &[("retry-after", "7")];
    let lab = Lab::new(move |n, _| if n == 0 { Reply::Say(429, busy, vec![]) } else { say(200, "{}") }).await;
    lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!((lab.asked(), lab.timer.now()), (2, Duration::from_secs(7)));
}

#[tokio::test]
async fn an_asked_wait_that_is_too_long_ends_the_stage() {
    let busy: &[(&str, &str)] = &[("retry-after", "200000")];
    let lab = Lab::new(move |_, _| Reply::Say(429, busy, vec![])).await;
    assert!(matches!(whole(lab.session().ask(&call("RJ")).await), WebError::TooLong { .. }));
    assert_eq!(lab.asked(), 1);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_growing_pauses() {
    let lab = Lab::new(|n, _| if n < 3 { say(500, "oops") } else { say(200, "{}") }).await;
    lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!(lab.asked(), 4);
    let pauses = lab.timer.now();
    assert!(
        (Duration::from_millis(1750)..=Duration::from_millis(3500)).contains(&pauses),
        "0.5, 1 and 2 s, each at least half: {pauses:?}"
    );
}

#[tokio::test]
async fn pages_of_proxies_fail_their_row_and_are_kept_for_people_who_look() {
    let lab = Lab::new(|_, _| say(200, "<html>maintenance</html>")).await;
    let session = lab.session();
    let reason = row(session.ask(&call("RJ")).await);
    assert_eq!(reason, "lastfm user.getInfo: not JSON: <html>maintenance</html> (6 attempts)");
    let kept = String::from_utf8_lossy(&lab.memo_bytes()).into_owned();
    assert!(kept.contains("<html>maintenance</html>") && kept.contains("user=RJ"), "it can be looked at: {kept}");
    row(session.ask(&call("RJ")).await);
    assert_eq!(lab.asked(), 12, "but it is no answer");
}

#[tokio::test]
async fn a_stalled_body_times_out() {
    let lab = Lab::new(|n, _| if n == 0 { Reply::Stall } else { say(200, "{}") }).await;
    lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!(lab.asked(), 2);
}

#[tokio::test]
async fn a_lost_connection_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let mut buffer = [0; 4096];
            if socket.read(&mut buffer).await.is_err() {
                continue;
            }
            if n > 0 {
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.ok();
            }
        }
    });
    let lab = Lab::at(url, Arc::default());
    let session = lab.session();
    session.ask(&call("RJ")).await.expect("an answer");
    assert!(session.requests() >= 2);
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let lab = Lab::new(|_, _| Reply::Endless).await;
    let client = lab.client(|settings| settings.max_body_bytes = 100_000);
    let reason = row(client.session(None, CancellationToken::new()).ask(&call("RJ")).await);
    assert_eq!((reason.as_str(), lab.asked()), ("the answer is longer than 100000 bytes", 1));
}

#[tokio::test]
async fn a_bad_key_stops_the_provider_at_once() {
    let lab = Lab::new(|_, _| say(403, r#"{"error":10,"message":"Invalid API key"}"#)).await;
    let session = lab.session();
    let error = whole(session.ask(&call("RJ")).await);
    assert_eq!(error.to_string(), "lastfm can no longer be asked: Last.fm error 10: Invalid API key");
    assert!(error.hint().is_some());
    assert!(matches!(whole(session.ask(&call("other")).await), WebError::Stopped { .. }));
    assert_eq!(lab.asked(), 1);
    let other = lyrics::LyricsProvider::Lrclib.call("A", "B");
    assert!(matches!(session.ask(&other).await, Err(CallError::Row(_))), "others are still asked");
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_given_up() {
    let lab = Lab::new(|_, _| say(503, "")).await;
    let client = lab.client(|settings| settings.patience = Patience { attempts: 2, ..Patience::default() });
    let session = client.session(None, CancellationToken::new());
    let error = whole(session.ask(&call("a")).await);
    assert!(error.to_string().contains("it has not answered for 5 min, the last time with: HTTP 503"), "{error}");
    let asked = lab.asked();
    assert!(asked < 20, "it is tried with growing pauses: {asked}");
    assert!(matches!(whole(session.ask(&call("b")).await), WebError::Stopped { .. }));
    assert_eq!(lab.asked(), asked);
}

#[tokio::test]
async fn a_budget_is_a_ceiling() {
    let lab = Lab::new(|_, _| say(200, "{}")).await;
    let budget = BudgetSettings { requests: Some(1), ..BudgetSettings::default() };
    let client = lab.client(|settings| settings.budgets = BTreeMap::from([("lastfm".to_owned(), budget)]));
    let session = client.session(None, CancellationToken::new());
    session.ask(&call("a")).await.expect("within the budget");
    assert!(session.ask(&call("a")).await.is_ok(), "the memo is free");
    assert!(matches!(whole(session.ask(&call("b")).await), WebError::Budget { .. }));
    assert_eq!(lab.asked(), 1);
}

#[tokio::test]
async fn the_same_question_at_the_same_time_is_asked_once() {
    let lab = Lab::new(|_, _| say(200, "{}")).await;
    let client = lab.client(|settings| settings.memo = None);
    let sessions = [(); 3].map(|()| client.session(None, CancellationToken::new()));
    let asked = call("RJ");
    let answers = futures::future::join_all(sessions.iter().map(|session| session.ask(&asked))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((lab.asked(), client.requests()), (1, 1));
}

#[tokio::test]
async fn a_waiting_call_survives_the_one_that_began_it() {
    let lab = Lab::new(|n, _| if n == 0 { Reply::Stall } else { say(200, "{}") }).await;
    let client = lab.client(|_| {});
    let cancel = CancellationToken::new();
    let (first, second) = (client.session(None, cancel.clone()), client.session(None, CancellationToken::new()));
    let asked = call("RJ");
    let (one, two, ()) = futures::join!(first.ask(&asked), second.ask(&asked), async { cancel.cancel() });
    assert!(matches!(whole(one), WebError::Cancelled));
    assert!(two.is_ok());
}

#[tokio::test]
async fn no_more_are_in_flight_than_the_limiter_allows() {
    static FLYING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let app = Router::new().fallback(|| async {
        MOST.fetch_max(FLYING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        FLYING.fetch_sub(1, Ordering::SeqCst);
        "{}"
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let endpoint = Endpoint { base_url: url.clone(), identity: "test".into(), paced: true };
    let lab = Lab::at(url, Arc::default());
    let client = lab.client(|settings| {
        settings.endpoints = Endpoints::default().with("lastfm", endpoint);
        let limits = LimiterSettings { concurrency: Some(2), ..LimiterSettings::default() };
        settings.limiters = BTreeMap::from([("lastfm".to_owned(), limits)]);
    });
    let session = client.session(None, CancellationToken::new());
    let calls: Vec<Call> = (0..12).map(|n| call(&n.to_string())).collect();
    let answers = futures::future::join_all(calls.iter().map(|call| session.ask(call))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(MOST.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn bodies_may_be_zipped() {
    const ZIPPED: &[u8] = &[
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0xaa, 0xca, 0x2c, 0x28, 0x48, 0x4d,
        0x51, 0xb2, 0x2a, 0x29, 0x2a, 0x4d, 0xad, 0x05, 0x00, 0x84, 0x28, 0xbc, 0x08, 0x0f, 0x00, 0x00, 0x00,
    ];
    let lab = Lab::new(|_, _| Reply::Say(200, &[("content-encoding", "gzip")], ZIPPED.to_vec())).await;
    let answer = lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!(answer.text(), r#"{"zipped":true}"#);
}

#[tokio::test]
async fn redirects_to_other_hosts_are_not_followed() {
    let lab = Lab::new(|n, _| match n {
        0 => Reply::Say(302, &[("location", "/elsewhere")], vec![]),
        1 => say(200, "{}"),
        _ => Reply::Say(302, &[("location", "http://192.0.2.1/")], vec![]),
    })
    .await;
    let session = lab.session();
    session.ask(&call("a")).await.expect("the same host");
    let error = whole(session.ask(&call("b")).await).to_string();
    assert!(error.contains("HTTP 302: it points to another host, 192.0.2.1"), "{error}");
}

#[tokio::test]
async fn secrets_reach_no_file_key_or_message() {
    let echo = |_: usize, target: &str| say(200, &format!(r#"{{"user":{{"name":"RJ","url":"{target}"}}}}"#));
    let lab = Lab::new(echo).await;
    let answer = lab.session().ask(&call("RJ")).await.expect("an answer");
    assert!(lab.asked.lock().expect("a log")[0].contains(KEY), "it was sent");
    assert!(!answer.text().contains(KEY), "a server that echoes it is silenced");
    let kept = lab.memo_bytes();
    assert!(!kept.is_empty() && !kept.windows(KEY.len()).any(|window| window == KEY.as_bytes()));

    // Nobody listens at this port: the error of the connection knows the URL.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let lab = Lab::at(format!("http://{free}"), Arc::default());
    let error = lab.session().ask(&call("RJ")).await.expect_err("nobody listens");
    let told = format!("{error} {error:?}");
    assert!(!told.contains(KEY) && !told.contains("api_key"), "{told}");
    assert!(told.contains("refused"), "{told}");

    let refuse =
        |_: usize, _: &str| say(401, &format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}"}}}}"#));
    let lab = Lab::new(refuse).await;
    let chat = chat::Chat { base_url: String::new(), key: Some(Secret::new(KEY)), limiter: "groq".into(), price: None };
    let request = chat::ChatRequest { model: "m".into(), prompt: "p".into(), ..chat::ChatRequest::default() };
    let error = whole(lab.session().ask(&chat.complete(&request)).await);
    assert!(!format!("{error} {error:?}").contains(KEY));
}
