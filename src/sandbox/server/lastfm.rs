//! Last.fm, with its habits: numbers as strings or as numbers, a list of one
//! as an object, an empty list in three forms, errors under several statuses.
//! Which habit an answer has depends on the request alone.

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::super::{Listener, Loved, World};
use super::exchange::{Answer, Ask};

/// The methods that are spoken.
pub(super) const METHODS: &[&str] = &["user.getInfo", "user.getFriends", "user.getLovedTracks", "track.getTopTags"];
/// Entries of a page, if no `limit` is given.
const DEFAULT_LIMIT: usize = 50;
/// The most entries of a page.
const MOST_ENTRIES: usize = 1000;

/// Bits that decide habits, from the request.
#[derive(Debug, Clone, Copy)]
struct Habits(u64);

impl Habits {
    /// Whether a habit that one answer in `of` has is had; `habit` tells habits apart.
    fn one_in(self, of: u64, habit: u32) -> bool {
        self.0.rotate_left(habit * 7).is_multiple_of(of)
    }
}

/// The answer to `?method=…`.
pub(super) fn answer(world: &World, ask: &Ask) -> Answer {
    let habits = Habits(ask.key());
    let told = match ask.value("method") {
        Some(method) if !METHODS.contains(&method) => Err((400, 3, "Invalid Method - No method with that name")),
        None => Err((400, 3, "Invalid Method - No method with that name")),
        Some(_) if ask.value("api_key").is_none() => {
            Err((403, 10, "Invalid API key - You must be granted a valid key by last.fm"))
        }
        Some("track.getTopTags") => top_tags(world, ask, habits),
        Some(method) => of_listener(world, ask, method, habits),
    };
    let mut answer = match told {
        Ok(body) => Answer::json(200, &body),
        // Some errors come with 200, whatever they are.
        Err((status, code, message)) if !habits.one_in(4, 1) || code == 10 => error(status, code, message),
        Err((_, code, message)) => error(200, code, message),
    };
    if habits.one_in(50, 2) {
        answer.body.insert(0, '\u{feff}');
    }
    answer
}

/// An error as Last.fm writes it.
pub(super) fn error(status: u16, code: u32, message: &str) -> Answer {
    Answer::json(status, &json!({"error": code, "message": message, "links": []}))
}

type Told = Result<Value, (u16, u32, &'static str)>;

/// The three methods that are asked of a user.
fn of_listener(world: &World, ask: &Ask, method: &str, habits: Habits) -> Told {
    let Some(name) = ask.value("user") else {
        return Err((400, 6, "Invalid parameters - Your request is missing the [user] parameter"));
    };
    let Some(listener) = world.listener(name) else {
        return Err((404, 6, "User not found"));
    };
    match method {
        "user.getInfo" => Ok(json!({"user": person(listener, habits)})),
        "user.getFriends" => {
            let friends: Vec<&Listener> =
                listener.friends.iter().filter_map(|place| world.listeners().get(*place)).collect();
            let told = page(ask, "friends", "user", &listener.name, friends.len(), habits, |range| {
                friends[range].iter().map(|friend| person(friend, habits)).collect()
            });
            Ok(told)
        }
        _ if listener.private => Err((403, 17, "Login: User required to be logged in")),
        _ => {
            let newest: Vec<&Loved> = listener.loved.iter().rev().collect();
            let told = page(ask, "lovedtracks", "track", &listener.name, newest.len(), habits, |range| {
                newest[range].iter().map(|loved| loved_track(world, loved, habits)).collect()
            });
            Ok(told)
        }
    }
}

/// A page of a list, with Last.fm's attributes.
fn page(
    ask: &Ask,
    list: &str,
    entry: &str,
    user: &str,
    total: usize,
    habits: Habits,
    entries: impl FnOnce(std::ops::Range<usize>) -> Vec<Value>,
) -> Value {
    let limit = ask.number("limit").unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_ENTRIES);
    let page = ask.number("page").unwrap_or(1).max(1);
    let start = (page - 1).saturating_mul(limit).min(total);
    let mut entries = entries(start..(start + limit).min(total));
    let attributes = json!({
        "user": user,
        "page": page.to_string(),
        "perPage": limit.to_string(),
        "totalPages": total.div_ceil(limit).to_string(),
        "total": total.to_string(),
    });
    let mut body = Map::new();
    match entries.len() {
        0 if habits.one_in(3, 3) => {
            // Very old answers have no `@attr`, only flat fields.
            body.insert("#text".to_owned(), json!("\n"));
            body.insert("user".to_owned(), json!(user));
            body.insert("total".to_owned(), json!(total.to_string()));
            return json!({ list: body });
        }
        0 => body.insert(entry.to_owned(), if habits.one_in(2, 4) { json!("") } else { json!([]) }),
        1 => body.insert(entry.to_owned(), entries.remove(0)),
        _ => body.insert(entry.to_owned(), Value::Array(entries)),
    };
    body.insert("@attr".to_owned(), attributes);
    json!({ list: body })
}

/// A user.
fn person(listener: &Listener, habits: Habits) -> Value {
    let registered = listener.registered.to_string();
    let text = if habits.one_in(2, 5) { json!(listener.registered) } else { json!(registered) };
    let mut person = json!({
        "name": listener.name,
        "realname": listener.real_name,
        "playcount": listener.plays.to_string(),
        "subscriber": "0",
        "bootstrap": "0",
        "type": "user",
        "url": format!("https://www.last.fm/user/{}", listener.name),
        "image": [{"size": "small", "#text": ""}, {"size": "extralarge", "#text": ""}],
        "registered": {"unixtime": registered, "#text": text},
    });
    let country = match &listener.country {
        Some(country) => Some(country.as_str()),
        // Having none is said in one of three ways.
        None => [None, Some(""), Some("None")][listener.name.len() % 3],
    };
    if let Some(country) = country {
        person["country"] = json!(country);
    }
    person
}

/// A loved track; older answers have the artist's name under `#text`.
fn loved_track(world: &World, loved: &Loved, habits: Habits) -> Value {
    let (artist, title) = world.name_of(loved.track);
    let field = if habits.one_in(5, 6) { "#text" } else { "name" };
    let mut track = json!({
        "artist": {field: artist, "mbid": "", "url": link(&[artist])},
        "name": title,
        "mbid": "",
        "url": link(&[artist, "_", title]),
        "streamable": {"fulltrack": "0", "#text": "0"},
        "image": [{"size": "small", "#text": ""}, {"size": "extralarge", "#text": ""}],
    });
    if !loved.undated {
        let text = Timestamp::from_second(loved.at).map(|at| at.strftime("%d %b %Y, %H:%M").to_string());
        track["date"] = json!({"uts": loved.at.to_string(), "#text": text.unwrap_or_default()});
    }
    track
}

/// A song's tags.
fn top_tags(world: &World, ask: &Ask, habits: Habits) -> Told {
    let (Some(artist), Some(title)) = (ask.value("artist"), ask.value("track")) else {
        return Err((400, 6, "Invalid parameters - Your request is missing a required parameter"));
    };
    let Some(song) = world.song(artist, title) else {
        return Err((404, 6, "Track not found"));
    };
    let number = |count: u32| if habits.one_in(3, 7) { json!(count.to_string()) } else { json!(count) };
    let mut tags: Vec<Value> = song
        .tags
        .iter()
        .map(|(tag, count)| json!({"name": tag, "count": number(*count), "url": link(&["..", "tag", tag])}))
        .collect();
    Ok(match tags.len() {
        0 if habits.one_in(2, 8) => {
            json!({"toptags": {"#text": "\n", "artist": song.artist, "track": song.title}})
        }
        0 => json!({"toptags": {"tag": [], "@attr": {"artist": song.artist, "track": song.title}}}),
        1 => json!({"toptags": {"tag": tags.remove(0), "@attr": {"artist": song.artist, "track": song.title}}}),
        _ => json!({"toptags": {"tag": tags, "@attr": {"artist": song.artist, "track": song.title}}}),
    })
}

/// The page of an artist, track or tag.
fn link(segments: &[&str]) -> String {
    let encode = |segment: &&str| match *segment {
        ".." | "_" => (*segment).to_owned(),
        name => utf8_percent_encode(name, NON_ALPHANUMERIC).to_string().replace("%20", "+"),
    };
    format!("https://www.last.fm/music/{}", segments.iter().map(encode).collect::<Vec<_>>().join("/"))
}
