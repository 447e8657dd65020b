//! How long the client asks, whom it blames when there is no answer, and what
//! it tells the user meanwhile.

use super::*;

/// A client that keeps what it warns of.
fn telling(lab: &Lab, change: impl FnOnce(&mut ClientSettings)) -> (Session, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let client = lab.client(|settings| {
        settings.on_warning = OnWarning::new(move |text| sink.lock().expect("warnings").push(text.to_owned()));
        change(settings);
    });
    (client.session(None, CancellationToken::new()), told)
}

fn lines(told: &Mutex<Vec<String>>) -> Vec<String> {
    told.lock().expect("warnings").clone()
}

async fn ask_all(session: &Session, users: std::ops::Range<usize>) -> Vec<Result<Answer, CallError>> {
    let calls: Vec<Call> = users.map(|n| call(&n.to_string())).collect();
    futures::future::join_all(calls.iter().map(|call| session.ask(call))).await
}

#[tokio::test]
async fn too_many_requests_without_a_word_of_when_are_asked_again_after_a_pause() {
    let lab = Lab::new(|n, _| if n < 3 { say(429, "") } else { say(200, "{}") }).await;
    lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!(lab.asked(), 4);
    assert!(lab.timer.now() >= Duration::from_millis(1750), "{:?}", lab.timer.now());
}

#[tokio::test]
async fn bursts_of_errors_are_survived() {
    let lab = Lab::new(|n, _| if n % 7 < 3 { say([500, 502, 503][n % 7], "oops") } else { say(200, "{}") }).await;
    let (session, told) = telling(&lab, |_| ());
    assert!(ask_all(&session, 0..40).await.iter().all(Result::is_ok));
    assert_eq!(lines(&told), [""; 0], "nothing of it is an outage");
}

#[tokio::test]
async fn marks_and_wrong_types_do_no_harm() {
    let marked = b"\xef\xbb\xbf{\"user\":{\"name\":\"RJ\"}}";
    let html: &[(&str, &str)] = &[("content-type", "text/html; charset=iso-8859-1")];
    let lab = Lab::new(move |_, _| Reply::Say(200, html, marked.to_vec())).await;
    let answer = lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!(lastfm::parse_user(&answer).expect("a user").name, "RJ");
    assert_eq!(lab.asked(), 1);
}

#[tokio::test]
async fn what_is_not_utf_8_is_asked_for_again_and_kept_if_it_stays_so() {
    let torn = |_: usize| Reply::Say(200, &[], b"{\"user\":{\"name\":\"R\xff\"}}".to_vec());
    let lab = Lab::new(move |n, _| if n == 0 { torn(n) } else { say(200, "{}") }).await;
    lab.session().ask(&call("RJ")).await.expect("an answer");
    let lab = Lab::new(move |n, _| torn(n)).await;
    let reason = row(lab.session().ask(&call("RJ")).await);
    assert_eq!(reason, "lastfm user.getInfo: the answer is not UTF-8 (6 attempts)");
    assert!(lab.memo_bytes().windows(2).any(|bytes| bytes == b"R\xff"), "as it came");
}

#[tokio::test]
async fn what_cannot_pass_is_asked_once() {
    for status in [400, 404, 410, 422] {
        let lab = Lab::new(move |_, _| say(status, "no")).await;
        assert_eq!(row(lab.session().ask(&call("RJ")).await), format!("HTTP {status}: no"));
        assert_eq!(lab.asked(), 1);
    }
}

#[tokio::test]
async fn while_a_provider_is_down_rows_wait_and_it_is_said_once() {
    let lab = Lab::new(|n, _| if (8..60).contains(&n) { say(503, "") } else { say(200, "{}") }).await;
    let (session, told) = telling(&lab, |_| ());
    assert!(ask_all(&session, 0..8).await.iter().all(Result::is_ok));
    assert!(ask_all(&session, 8..200).await.iter().all(Result::is_ok), "no row fails for it");
    let told = lines(&told);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("lastfm is down (HTTP 503): it is tried again in "), "{told:?}");
    assert!(told[1].starts_with("lastfm answers again, after "), "{told:?}");
}

#[tokio::test]
async fn a_row_that_is_never_answered_is_not_taken_for_an_outage() {
    let bad = |target: &str| target.contains("user=bad");
    let lab = Lab::new(move |_, target| if bad(target) { say(500, "oops") } else { say(200, "{}") }).await;
    let (session, told) = telling(&lab, |_| ());
    session.ask(&call("good")).await.expect("an answer");
    // Nothing else is asked meanwhile: a call that was answered before tells.
    assert_eq!(row(session.ask(&call("bad")).await), "HTTP 500: oops (6 attempts)");
    assert_eq!(lines(&told), [""; 0]);
    // The same where only the memo has answered: a run that goes on after another.
    let (next, told) = telling(&lab, |_| ());
    assert!(next.ask(&call("good")).await.expect("an answer").from_memo);
    assert_eq!(row(next.ask(&call("bad1")).await), "HTTP 500: oops (6 attempts)");
    assert_eq!(row(next.ask(&call("bad2")).await), "HTTP 500: oops (6 attempts)");
    assert_eq!(lines(&told), [""; 0]);
}

#[tokio::test]
async fn a_provider_that_stays_down_is_given_up_and_what_was_fetched_is_kept() {
    let lab = Lab::new(|n, _| if n < 3 { say(200, "{}") } else { say(503, "") }).await;
    let outage = Duration::from_mins(40);
    let (session, told) = telling(&lab, |settings| settings.patience.outage = outage);
    assert!(ask_all(&session, 0..3).await.iter().all(Result::is_ok));
    for result in ask_all(&session, 3..20).await {
        let error = whole(result);
        let expected = "lastfm can no longer be asked: it has not answered for 40 min, the last time with: HTTP 503";
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().expect("a hint").contains("kept"));
    }
    assert!(lab.timer.now() < outage + Duration::from_mins(2), "{:?}", lab.timer.now());
    assert!(lab.asked() < 80, "it is tried about once a minute: {}", lab.asked());
    assert_eq!(lines(&told).len(), 1);
    let (next, _) = telling(&lab, |settings| settings.offline = true);
    assert!(ask_all(&next, 0..3).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn who_can_ask_another_does_not_wait() {
    let lab = Lab::new(|n, _| if n == 0 { say(200, "{}") } else { say(503, "") }).await;
    let session = lab.session();
    session.ask(&call("first")).await.expect("an answer");
    for user in ["a", "b"] {
        let error = whole(session.ask(&call(user).without_waiting()).await);
        assert!(matches!(error, WebError::Down { .. }), "{error}");
    }
    assert!(lab.timer.now() < Duration::from_mins(1), "{:?}", lab.timer.now());
}

#[tokio::test]
async fn a_connection_that_is_lost_later_is_an_outage_and_not_a_wrong_address() {
    let lab = Lab::new(|_, _| say(200, "{}")).await;
    let (session, told) = telling(&lab, |settings| settings.patience.outage = Duration::from_mins(10));
    session.ask(&call("first")).await.expect("an answer");
    let elsewhere =
        Endpoint { base_url: "http://127.0.0.1:1".into(), identity: "sandbox:test/lastfm".into(), paced: false };
    // The next run finds the same memo, but nobody at the address.
    let moved = lab.client(|settings| settings.endpoints = Endpoints::default().with("lastfm", elsewhere));
    let moved = moved.session(None, CancellationToken::new());
    moved.ask(&call("first")).await.expect("the memo's");
    let error = whole(moved.ask(&call("second")).await).to_string();
    assert!(error.contains("it has not answered for 60 min") && error.contains("refused"), "{error}");
    assert_eq!(lines(&told), [""; 0]);
}

#[tokio::test]
async fn a_wrong_path_is_given_up_before_every_row_has_failed() {
    let lab = Lab::new(|_, _| say(404, "<html>not found</html>")).await;
    let session = lab.session();
    let mut failed = 0;
    let error = loop {
        match session.ask(&call(&failed.to_string())).await {
            Err(CallError::Row(_)) => failed += 1,
            Err(CallError::Whole(error)) => break error,
            Ok(_) => panic!("nothing is there"),
        }
    };
    assert_eq!(failed, 19);
    assert!(error.hint().expect("a hint").contains("base_url"), "{error}");
}

#[tokio::test]
async fn a_key_that_is_revoked_halfway_stops_everything_at_once() {
    let revoked = r#"{"error":26,"message":"Suspended API key"}"#;
    let lab = Lab::new(move |n, _| if n < 50 { say(200, "{}") } else { say(403, revoked) }).await;
    let (session, told) = telling(&lab, |_| ());
    let results = ask_all(&session, 0..500).await;
    let answered = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(answered, 50);
    for result in results.into_iter().filter(Result::is_err) {
        let error = whole(result);
        assert_eq!(error.to_string(), "lastfm can no longer be asked: Last.fm error 26: Suspended API key");
        assert!(error.hint().expect("a hint").contains("https://www.last.fm/api/accounts"));
    }
    assert!(lab.asked() <= 50 + 16, "only what was in flight already: {}", lab.asked());
    assert_eq!(lines(&told), [""; 0]);
    let (next, _) = telling(&lab, |settings| settings.offline = true);
    let kept = ask_all(&next, 0..500).await.iter().filter(|result| result.is_ok()).count();
    assert_eq!(kept, 50, "what was answered is kept");
}

#[tokio::test]
async fn a_clock_that_jumps_changes_ages_and_nothing_else() {
    let lab = Lab::new(|n, _| if n % 2 == 0 { say(503, "") } else { say(200, "{}") }).await;
    let client = lab.client(|_| ());
    let minute = client.session(Some(Duration::from_mins(1)), CancellationToken::new());
    minute.ask(&call("RJ")).await.expect("an answer");
    let paced = lab.timer.now();
    lab.clock.advance(Duration::from_hours(1));
    assert!(!minute.ask(&call("RJ")).await.expect("an answer").from_memo, "it is an hour old now");
    assert!(lab.timer.now() < paced + Duration::from_secs(2), "pauses do not look at the clock");
    // The clock of the next run is an hour behind: the answer is from the future, and not too old.
    let behind = Arc::new(ManualClock::at(0));
    let next =
        lab.client(|settings| settings.clock = behind).session(Some(Duration::from_mins(1)), CancellationToken::new());
    assert!(next.ask(&call("RJ")).await.expect("an answer").from_memo);
    assert_eq!(lab.asked(), 4);
}

#[tokio::test]
async fn a_date_to_come_back_at_is_read_by_the_clock_of_the_server() {
    let dates: &[(&str, &str)] =
        &[("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT")];
    let lab = Lab::new(move |n, _| if n == 0 { Reply::Say(429, dates, vec![]) } else { say(200, "{}") }).await;
    lab.session().ask(&call("RJ")).await.expect("an answer");
    assert_eq!((lab.asked(), lab.timer.now()), (2, Duration::from_secs(9)), "this machine thinks it is 1970");
}

#[tokio::test]
async fn a_memo_that_cannot_be_written_stops_every_provider() {
    let lab = Lab::new(|_, _| say(200, "{}")).await;
    // Where the memo's folder belongs there is a file.
    let blocked = lab.directory.path().join("blocked");
    crate::ground::files::write_atomically(&blocked, b"").expect("a file");
    let client = lab.client(|settings| settings.memo = Some(blocked.join("http")));
    let session = client.session(None, CancellationToken::new());
    assert!(matches!(whole(session.ask(&call("RJ")).await), WebError::Memo(_)));
    let other = lyrics::LyricsProvider::Lrclib.call("A", "B");
    assert!(matches!(whole(session.ask(&other).await), WebError::Memo(_)));
    assert_eq!(lab.asked(), 1);
}

#[tokio::test]
async fn servers_are_told_who_asks() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request| {
        let agent = request.headers()["user-agent"].to_str().expect("a text").to_owned();
        log.lock().expect("a log").push(agent);
        async { "{}" }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let lab = Lab::at(url, Arc::default());
    lab.session().ask(&call("a")).await.expect("an answer");
    let agent = UserAgent::with_contact("crawl@lab.example").expect("a contact");
    let client = lab.client(|settings| settings.user_agent = agent);
    client.session(None, CancellationToken::new()).ask(&call("b")).await.expect("an answer");
    let seen = seen.lock().expect("a log");
    assert!(seen[0].starts_with("refrain/") && seen[0].contains("(+https://"), "{seen:?}");
    assert!(seen[1].ends_with("; crawl@lab.example)"), "{seen:?}");
}
