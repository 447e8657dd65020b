//! Every recorded answer in `../shared/api_fixtures`: each is read by its
//! provider's parser, or at least judged, or told apart by name. Skipped, with
//! a line, where the folder is not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_yaml::Value as Yaml;
use tokio_util::sync::CancellationToken;

use super::chat::{Chat, ChatRequest, parse_completion};
use super::lastfm::{Miss, classify, parse_friends, parse_loved_tracks, parse_top_tags, parse_user};
use super::lyrics::{Lyrics, LyricsProvider};
use super::tolerant::answer;
use super::{Answer, CallError, Client, ClientSettings, Endpoints, ManualTimer, Patience, Verdict, WebError, deezer};

/// What has become of the recorded answers: how many in which way.
type Tally = BTreeMap<&'static str, usize>;

fn folders() -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/api_fixtures");
    let Ok(entries) = std::fs::read_dir(&path) else {
        eprintln!("SKIPPED: there are no recorded answers at {}", path.display());
        return Vec::new();
    };
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let name = |file: &Path| file.file_name().expect("a name").to_string_lossy().into_owned();
    let files = files.iter().filter(|file| name(file) != "LICENSE");
    files.map(|file| (name(file), std::fs::read_to_string(file).expect("a text"))).collect()
}

#[tokio::test]
async fn every_recorded_answer_is_read_or_judged() {
    for folder in folders() {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let mut tally = Tally::new();
        for (file, text) in files(&folder) {
            let at = format!("{name}/{file}");
            match name.split('_').next().unwrap_or_default() {
                "lastfm" => *tally.entry(of_lastfm(&at, &text)).or_default() += 1,
                "lyricsovh" => of_lyrics_ovh(&at, &text, &mut tally),
                "deezer" | "groq" | "openai" => of_cassette(&at, &text, &mut tally).await,
                _ => panic!("nobody reads {at}: say here who does"),
            }
        }
        println!("{name}: {tally:?}");
        assert!(tally.values().sum::<usize>() > 0, "{name} holds no answer");
    }
}

/// An answer of Last.fm: of our four methods it is read, of others it is judged.
fn of_lastfm(at: &str, text: &str) -> &'static str {
    let given = answer(200, text);
    let error = given.json().is_some_and(|body| body.get("error").is_some());
    let verdict = classify(&given);
    assert!(!matches!(verdict, Verdict::Stop { .. }), "{at}: {verdict:?}");
    let empty = at.contains("Empty");
    let read = if at.contains("UserGetLovedTracks") {
        parse_loved_tracks(&given).map(|page| {
            assert_eq!(page.unreadable, 0, "{at}");
            assert!(page.pages.is_some() && page.items.iter().all(|track| track.at.is_some()), "{at}");
            page.items.len()
        })
    } else if at.contains("GetTopTags") {
        parse_top_tags(&given).map(|tags| tags.len())
    } else if at.contains("UserGetInfo") {
        parse_user(&given).map(|_| 1)
    } else if at.contains("UserGetFriends") {
        parse_friends(&given).map(|page| page.items.len())
    } else {
        // One was recorded by hand and is no JSON.
        let is_json = given.json().is_some();
        assert_eq!(matches!(verdict, Verdict::Retry { .. }), !is_json, "{at}: {verdict:?}");
        return if error { "judged: an error" } else { "judged: another method" };
    };
    match read {
        Ok(count) => {
            assert_eq!((count == 0, error), (empty, false), "{at}");
            assert!(!at.contains("Single") || count == 1, "{at}");
            "read"
        }
        Err(miss) => {
            assert_eq!((miss, error), (Miss::NotFound, true), "{at}");
            "read: not found"
        }
    }
}

/// The answers that the API's description shows.
fn of_lyrics_ovh(at: &str, text: &str, tally: &mut Tally) {
    for shown in text.split("+ Response ").skip(1) {
        let status: u16 = shown.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a status");
        let body = shown.find('{').and_then(|open| shown.get(open..)).expect("a body");
        let body = body.rfind('}').and_then(|close| body.get(..=close)).expect("a body");
        let read = LyricsProvider::LyricsOvh.parse(&answer(status, body));
        let known = match status {
            200 => matches!(read, Lyrics::Text(_)),
            _ => read == Lyrics::NotFound,
        };
        assert!(known, "{at}: {status} {read:?}");
        *tally.entry("read").or_default() += 1;
    }
}

/// One recorded answer, as it came over the wire.
#[derive(Debug, Clone)]
struct Recorded {
    uri: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The answers on a tape, of either recorder.
fn recorded(text: &str) -> Vec<Recorded> {
    let tape: Yaml = serde_yaml::from_str(text).expect("YAML");
    let both = ["interactions", "http_interactions"].iter().filter_map(|name| tape.get(*name)?.as_sequence());
    let read = |interaction: &Yaml| {
        let response = &interaction["response"];
        let of_header = |name: &str| {
            let (name, values) = response["headers"]
                .as_mapping()?
                .iter()
                .find(|(key, _)| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)))?;
            Some((name.as_str()?.to_lowercase(), values[0].as_str()?.to_owned()))
        };
        let headers: Vec<_> = ["content-type", "content-encoding", "retry-after", "retry-after-ms"]
            .into_iter()
            .filter_map(of_header)
            .collect();
        let body = response["body"]["string"].as_str().expect("a body");
        let zipped = headers.iter().any(|(name, _)| name == "content-encoding");
        // What is no text was written as base64.
        let body = if zipped {
            STANDARD.decode(body.split_whitespace().collect::<String>()).expect("base64")
        } else {
            body.into()
        };
        Recorded {
            uri: interaction["request"]["uri"].as_str().expect("an address").to_owned(),
            status: response["status"]["code"].as_u64().and_then(|code| u16::try_from(code).ok()).expect("a status"),
            headers,
            body,
        }
    };
    both.flatten().map(read).collect()
}

/// Answers as a server would, through the real client.
async fn replayed(recorded: &Recorded, is_chat: bool) -> Result<Answer, CallError> {
    let reply = recorded.clone();
    let app = Router::new().fallback(move || {
        let head = Response::builder().status(reply.status);
        let head = reply.headers.iter().fold(head, |head, (name, value)| head.header(name, value));
        let response = head.body(Body::from(reply.body.clone())).expect("a response");
        async move { response }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::new(ClientSettings {
        endpoints: Endpoints::sandbox(&url, "recorded"),
        timer: Arc::new(ManualTimer::default()),
        patience: Patience { attempts: 1, rate_attempts: 1, ..Patience::default() },
        ..ClientSettings::default()
    });
    let session = client.expect("a client").session(None, CancellationToken::new());
    let chat = Chat { base_url: String::new(), key: None, limiter: "groq".into(), price: None };
    let call = if is_chat { chat.complete(&ChatRequest::default()) } else { deezer::search("A", "B") };
    session.ask(&call).await
}

async fn of_cassette(at: &str, text: &str, tally: &mut Tally) {
    let all = recorded(text);
    assert!(!all.is_empty(), "{at} holds no answer");
    for recorded in all {
        let is_chat = !at.starts_with("deezer");
        let streamed = recorded.headers.iter().any(|(_, value)| value.starts_with("text/event-stream"));
        let told = match replayed(&recorded, is_chat).await {
            Ok(answer) if is_chat => {
                let completion = parse_completion(&answer).unwrap_or_else(|| panic!("{at}: {}", answer.excerpt()));
                assert!(completion.text.is_some() || completion.finish_reason.as_deref() == Some("tool_calls"), "{at}");
                assert!(completion.usage.is_some_and(|usage| usage.prompt > 0), "{at}");
                "read"
            }
            Ok(answer) => of_deezer(at, &recorded.uri, &answer),
            Err(CallError::Row(failure)) if streamed => {
                assert!(failure.reason.starts_with("a stream of events"), "{at}: {failure}");
                "told apart: a stream"
            }
            Err(CallError::Row(failure)) => {
                assert!(!failure.reason.contains("not JSON") && failure.reason.len() > 8, "{at}: {failure}");
                "judged: failed"
            }
            Err(CallError::Whole(WebError::Stopped { reason, .. })) => panic!("{at} stops the provider: {reason}"),
            Err(CallError::Whole(error)) => panic!("{at}: {error}"),
        };
        *tally.entry(told).or_default() += 1;
    }
}

fn of_deezer(at: &str, uri: &str, answer: &Answer) -> &'static str {
    let hits = deezer::parse_search(answer);
    if !uri.contains("/search") {
        // `no data` is an empty list, and a single track no list at all.
        return if hits.is_some() { "read: no data" } else { "judged: another method" };
    }
    let hits = hits.unwrap_or_else(|| panic!("{at}: {}", answer.excerpt()));
    let listed = answer.json().and_then(|body| body["data"].as_array().map(Vec::len));
    assert_eq!(Some(hits.hits.len()), listed, "{at}");
    assert!(
        hits.hits.iter().all(|hit| hit.duration_secs.is_some() && hit.rank.is_some() && hit.explicit.is_some()),
        "{at}"
    );
    "read"
}
