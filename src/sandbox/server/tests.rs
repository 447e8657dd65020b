//! The servers over a real loopback socket, by a client that knows no more of
//! HTTP than it must.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::ground::ManualClock;

/// A response as it came: status, headers in lower case, body.
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(self.body.trim_start_matches('\u{feff}')).unwrap()
    }
}

/// Sends one request on a connection of its own; an error is a broken connection.
async fn send(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> std::io::Result<Got> {
    let address = sandbox.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let text = String::from_utf8(bytes).map_err(|_| broken())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(str::parse::<usize>);
    if promised.is_some_and(|length| length != Ok(body.len())) {
        return Err(broken());
    }
    Ok(Got { status, head: head.clone(), body: body.to_owned() })
}

async fn get(sandbox: &Sandbox, path: &str) -> Got {
    send(sandbox, "GET", path, "").await.unwrap()
}

async fn lastfm(sandbox: &Sandbox, query: &str) -> Got {
    get(sandbox, &format!("{}?api_key=k&format=json&{query}", routes::LASTFM)).await
}

fn settings() -> SandboxSettings {
    SandboxSettings { users: 120, songs: Some(200), loved_per_user: 12, ..SandboxSettings::default() }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Entries of a list in any of its forms.
fn entries(list: &Value) -> Vec<Value> {
    match list {
        Value::Array(entries) => entries.clone(),
        Value::Object(_) => vec![list.clone()],
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn friends_of_friends_lead_to_every_listener_page_by_page() {
    let sandbox = Sandbox::start(&settings(), 0).await.unwrap();
    let mut seen = std::collections::BTreeSet::from(["RJ".to_owned()]);
    let mut queue = vec!["RJ".to_owned()];
    let mut pages = 0;
    while let Some(name) = queue.pop() {
        for page in 1.. {
            let got = lastfm(&sandbox, &format!("method=user.getFriends&user={name}&limit=50&page={page}")).await;
            let body = got.json();
            let friends = entries(&body["friends"]["user"]);
            pages += 1;
            for friend in &friends {
                let friend = friend["name"].as_str().unwrap().to_owned();
                if seen.insert(friend.clone()) {
                    queue.push(friend);
                }
            }
            if body["friends"]["@attr"]["totalPages"].as_str().unwrap() == page.to_string() {
                break;
            }
        }
    }
    assert_eq!(seen.len(), 120);
    assert!(pages > 120, "RJ has more than one page of friends");
    let stats = get(&sandbox, routes::STATS).await.json();
    assert_eq!(stats["routes"]["lastfm user.getFriends"]["received"], pages);
    assert_eq!(stats["total"]["ok"], pages);
    assert_eq!(stats["total"]["repeated"], 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn lastfm_answers_in_all_its_forms() {
    let sandbox = Sandbox::start(&settings(), 0).await.unwrap();
    let world = World::generate(&settings()).unwrap();
    let (mut single, mut empty, mut marked, mut old) = (0, 0, 0, 0);
    for listener in world.listeners().iter().filter(|listener| !listener.private) {
        let query = format!("method=user.getLovedTracks&user={}&limit=200", listener.name);
        let got = lastfm(&sandbox, &query).await;
        let body = got.json();
        let list = &body["lovedtracks"]["track"];
        let loved = entries(list);
        assert_eq!(loved.len(), listener.loved.len());
        marked += usize::from(got.body.starts_with('\u{feff}'));
        single += usize::from(list.is_object());
        empty += usize::from(loved.is_empty());
        for (told, loved) in loved.iter().zip(listener.loved.iter().rev()) {
            let (artist, title) = world.name_of(loved.track);
            old += usize::from(told["artist"]["#text"].is_string());
            assert_eq!(told["artist"]["name"].as_str().or(told["artist"]["#text"].as_str()), Some(artist));
            assert_eq!(told["name"], title);
            let at = (!loved.undated).then(|| loved.at.to_string());
            assert_eq!(told["date"]["uts"].as_str(), at.as_deref());
        }
    }
    assert!(marked > 0 && old > 0 && single + empty > 0);
    let song = world.songs().iter().find(|song| song.tags.len() > 1).unwrap();
    let query = format!("method=track.getTopTags&artist={}&track={}", encode(&song.artist), encode(&song.title));
    let tags = lastfm(&sandbox, &query).await.json();
    assert_eq!(tags["toptags"]["tag"][0]["name"], song.tags[0].0);
    assert_eq!(tags["toptags"]["@attr"]["track"], song.title);
    sandbox.stop().await;
}

#[tokio::test]
async fn errors_have_their_codes_and_unknown_routes_are_404() {
    let sandbox = Sandbox::start(&settings(), 0).await.unwrap();
    let unknown = lastfm(&sandbox, "method=user.getInfo&user=nobody-at-all").await.json();
    assert_eq!(unknown["error"], 6);
    let keyless = get(&sandbox, &format!("{}?method=user.getInfo&user=RJ&format=json", routes::LASTFM)).await;
    assert_eq!((keyless.status, &keyless.json()["error"]), (403, &json!(10)));
    assert_eq!(lastfm(&sandbox, "method=user.getFriends").await.json()["error"], 6);
    assert_eq!(lastfm(&sandbox, "method=track.getTopTags&artist=x&track=y").await.json()["error"], 6);
    assert_eq!(lastfm(&sandbox, "method=chart.getAll").await.json()["error"], 3);
    assert_eq!(get(&sandbox, "/lyricsovh/v1/Nobody/Nothing").await.json()["error"], "No lyrics found");
    assert_eq!(get(&sandbox, "/lyricsovh/v1/artist/title").await.status, 400);
    let missing = get(&sandbox, "/lrclib/api/get?artist_name=x&track_name=y").await;
    assert_eq!((missing.status, &missing.json()["name"]), (404, &json!("TrackNotFound")));
    assert_eq!(get(&sandbox, "/deezer/search").await.json()["error"]["code"], 501);
    assert_eq!(get(&sandbox, "/nothing").await.status, 404);
    let world = get(&sandbox, routes::WORLD).await.json();
    assert_eq!((&world["synthetic"], &world["users"]), (&json!(true), &json!(120)));
    assert_eq!(world["identity"], sandbox.identity());
    sandbox.stop().await;
}

#[tokio::test]
async fn lyrics_come_from_where_they_are_and_deezer_finds_the_song() {
    let sandbox = Sandbox::start(&settings(), 0).await.unwrap();
    let world = World::generate(&settings()).unwrap();
    for song in world.songs() {
        let (artist, title) = (encode(&song.artist), encode(&song.title));
        let ovh = get(&sandbox, &format!("/lyricsovh/v1/{artist}/{title}")).await;
        let lrclib = get(&sandbox, &format!("/lrclib/api/get?artist_name={artist}&track_name={title}")).await;
        match song.availability {
            super::super::LyricsAvailability::Everywhere => {
                assert_eq!(ovh.json()["lyrics"].as_str().unwrap().replace("\r\n", "\n"), song.lyrics);
                assert_eq!(lrclib.json()["plainLyrics"], song.lyrics);
            }
            super::super::LyricsAvailability::Instrumental => {
                assert_eq!((ovh.status, &lrclib.json()["instrumental"]), (404, &json!(true)));
            }
            super::super::LyricsAvailability::LrclibOnly => assert_eq!((ovh.status, lrclib.status), (404, 200)),
            super::super::LyricsAvailability::EmptyOnLyricsovh => assert_eq!(ovh.json()["lyrics"], ""),
            super::super::LyricsAvailability::Nowhere => assert_eq!((ovh.status, lrclib.status), (404, 404)),
        }
    }
    let song = &world.songs()[0];
    let query = encode(&format!("artist:\"{}\" track:\"{}\"", song.artist, song.title));
    let found = get(&sandbox, &format!("/deezer/search?q={query}")).await.json();
    assert_eq!(found["data"][0]["artist"]["name"], song.artist);
    sandbox.stop().await;
}

#[tokio::test]
async fn chat_answers_with_usage_and_limits_in_its_headers() {
    let sandbox = Sandbox::start(&settings(), 0).await.unwrap();
    let path = format!("{}/chat/completions", routes::CHAT);
    let message = json!({"role": "user", "content": "Summarise in 25 words: whiskey on the barstool, bartender"});
    let request = json!({"model": "any-model", "messages": [message]}).to_string();
    let got = send(&sandbox, "POST", &path, &request).await.unwrap();
    let body = got.json();
    assert_eq!(body["model"], "any-model");
    assert!(!body["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
    assert!(body["usage"]["prompt_tokens"].as_u64().unwrap() > 10);
    for name in
        ["limit", "remaining", "reset"].into_iter().flat_map(|n| [format!("{n}-requests"), format!("{n}-tokens")])
    {
        assert!(got.head.contains(&format!("x-ratelimit-{name}: ")), "{name}");
    }
    assert_eq!(send(&sandbox, "POST", &path, &request).await.unwrap().body, got.body);
    let short = json!({"model": "m", "max_tokens": 3, "messages": [message]}).to_string();
    let cut = send(&sandbox, "POST", &path, &short).await.unwrap().json();
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(send(&sandbox, "POST", &path, "{}").await.unwrap().status, 400);
    let long = json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(9000)}]}).to_string();
    let refused = send(&sandbox, "POST", &path, &long).await.unwrap().json();
    assert_eq!(refused["error"]["code"], "context_length_exceeded");
    assert_eq!(get(&sandbox, routes::STATS).await.json()["total"]["repeated"], 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn each_provider_says_in_its_own_words_that_it_is_asked_too_often() {
    let clock = Arc::new(ManualClock::at(0));
    let settings = SandboxSettings { per_second: Some(1.0), ..settings() };
    let sandbox = Sandbox::start_by(&settings, 0, Arc::<ManualClock>::clone(&clock) as _).await.unwrap();
    for _ in 0..2 {
        lastfm(&sandbox, "method=user.getInfo&user=RJ").await;
        get(&sandbox, "/lyricsovh/v1/a/b").await;
        get(&sandbox, "/deezer/search?q=x").await;
        send(&sandbox, "POST", "/openai/v1/chat/completions", "{}").await.unwrap();
    }
    let refused = lastfm(&sandbox, "method=user.getInfo&user=RJ").await;
    assert_eq!((refused.status, &refused.json()["error"]), (429, &json!(29)));
    let refused = get(&sandbox, "/lyricsovh/v1/a/b").await;
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1"));
    let refused = get(&sandbox, "/deezer/search?q=x").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (200, &json!(4)));
    let refused = send(&sandbox, "POST", "/openai/v1/chat/completions", "{}").await.unwrap();
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!(refused.head.contains("retry-after: 1") && refused.head.contains("x-ratelimit-remaining-requests: 0"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(lastfm(&sandbox, "method=user.getInfo&user=RJ").await.status, 200);
    assert_eq!(get(&sandbox, routes::STATS).await.json()["routes"]["lastfm user.getInfo"]["limited"], 2);
    sandbox.stop().await;
}

#[tokio::test]
async fn faults_break_requests_in_many_ways_and_the_third_attempt_gets_the_truth() {
    let settings_with_faults = SandboxSettings { faults: 0.8, stall_secs: 0.01, ..settings() };
    let faulty = Sandbox::start(&settings_with_faults, 0).await.unwrap();
    let sound = Sandbox::start(&settings(), 0).await.unwrap();
    let world = World::generate(&settings()).unwrap();
    let (mut broken, mut statuses) = (0, std::collections::BTreeSet::new());
    let asked = world.listeners().iter().filter(|listener| !listener.private).take(40);
    for listener in asked {
        let path = format!("{}?api_key=k&method=user.getInfo&user={}", routes::LASTFM, listener.name);
        let truth = get(&sound, &path).await.body;
        let mut reached = false;
        for _ in 0..3 {
            match send(&faulty, "GET", &path, "").await {
                Err(_) => broken += 1,
                Ok(got) => {
                    reached |= got.body.trim_start_matches('\u{feff}') == truth.trim_start_matches('\u{feff}');
                    statuses.insert(got.status);
                }
            }
        }
        assert!(reached, "{path}");
    }
    assert!(broken > 0, "resets and cuts");
    assert!([302, 429, 500, 502, 503].iter().all(|status| statuses.contains(status)), "{statuses:?}");
    let stats = get(&faulty, routes::STATS).await.json();
    assert_eq!(stats["total"]["received"], 120);
    assert_eq!(stats["total"]["failed"].as_u64().unwrap() + stats["total"]["ok"].as_u64().unwrap(), 120);
    faulty.stop().await;
    sound.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_refused_with_what_to_do() {
    let sandbox = Sandbox::start(&settings(), 0).await.unwrap();
    let port = sandbox.url().rsplit(':').next().unwrap().parse().unwrap();
    let refused = Sandbox::start(&settings(), port).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("could not listen on 127.0.0.1:{port}"));
    assert!(refused.hint().is_some());
    sandbox.stop().await;
}
