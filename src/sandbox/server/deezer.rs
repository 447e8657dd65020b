//! Deezer's search. Its errors come with status 200.

use serde_json::{Value, json};

use super::super::{Song, World, routes};
use super::exchange::{Answer, Ask};
use super::lyrics::identifier;

/// Entries of a page, if no `limit` is given.
const DEFAULT_LIMIT: usize = 25;
/// The most entries of a page.
const MOST_ENTRIES: usize = 100;

/// The answer to `/search?q=artist:"…" track:"…"`; words without a field find nothing.
pub(super) fn answer(world: &World, ask: &Ask) -> Answer {
    let Some(query) = ask.value("q") else {
        return error("MissingParameterException", "Missing parameters: q", 501);
    };
    let found = match (field(query, "artist"), field(query, "track")) {
        (Some(artist), Some(title)) => world.search(artist, title),
        _ => Vec::new(),
    };
    let limit = ask.number("limit").unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_ENTRIES);
    let start = ask.number("index").unwrap_or_default().min(found.len());
    let end = (start + limit).min(found.len());
    let data: Vec<Value> = found[start..end].iter().map(|song| track(song)).collect();
    let mut body = json!({"data": data, "total": found.len()});
    if end < found.len() {
        let index = end.to_string();
        let next = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("q", query), ("limit", &limit.to_string()), ("index", &index)])
            .finish();
        body["next"] = json!(format!("http://{}{}/search?{next}", ask.host, routes::DEEZER));
    }
    Answer::json(200, &body)
}

/// An error as Deezer writes it.
pub(super) fn error(kind: &str, message: &str, code: u32) -> Answer {
    Answer::json(200, &json!({"error": {"type": kind, "message": message, "code": code}}))
}

/// The value of `name:"…"` in a query.
fn field<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = query.split_once(&format!("{name}:\""))?;
    rest.split('"').next()
}

fn track(song: &Song) -> Value {
    let id = identifier(song);
    json!({
        "id": id,
        "readable": true,
        "title": song.title,
        "title_short": song.title,
        "title_version": "",
        "link": format!("https://www.deezer.com/track/{id}"),
        "duration": song.duration_seconds,
        "rank": (song.popularity * 900_000.0) as u64,
        "explicit_lyrics": song.explicit,
        "artist": {"id": id % 100_000, "name": song.artist, "type": "artist"},
        "album": {"id": id / 10, "title": song.title, "type": "album"},
        "type": "track",
    })
}
