//! Last.fm: the four methods that a crawl needs, and readers for every shape
//! in which their answers come.

use serde_json::Value;

use super::call::{Answer, Call, Secret, Verdict};
use super::redact::real_names;
use super::tolerant::{integer, list, text, verdict_by_status};
use std::time::Duration;

const PROVIDER: &str = "lastfm";
/// How long everyone waits after error 29, which comes without a time.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(10);
const KEY_HINT: &str = "check the key at https://www.last.fm/api/accounts; what was fetched is kept";

/// Entries of a page of friends.
pub const FRIENDS_PAGE: u64 = 50;

/// Makes calls with one key.
#[derive(Debug, Clone)]
pub struct Lastfm {
    key: Secret,
    limiter: String,
}

/// Why an answer holds nothing, though it is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// There is no such user or track (error 6 or 7).
    NotFound,
    /// Only the user may see it (error 17).
    Private,
    /// It is not what was asked for; the memo keeps it as it came.
    Unreadable(String),
}

/// One page of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// How many pages there are, if the answer says so.
    pub pages: Option<i64>,
    /// How many rows of the page could not be read.
    pub unreadable: usize,
}

/// A user, as far as the profile is public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The account's name, as the server writes it.
    pub name: String,
    /// Whether a real name is given; which it is is not kept.
    pub has_real_name: bool,
    /// The country as written in the profile, if one is given.
    pub country: Option<String>,
    /// When the account was made: seconds since 1970 UTC.
    pub registered_at: Option<i64>,
}

/// A track that a user has marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LovedTrack {
    /// The artist's name.
    pub artist: String,
    /// The track's title.
    pub title: String,
    /// When it was marked: seconds since 1970 UTC, if known.
    pub at: Option<i64>,
}

/// A tag of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag.
    pub name: String,
    /// How much of the listeners use it, 0 to 100, if given.
    pub count: Option<i64>,
}

impl Lastfm {
    /// Calls with this key, waiting for this limiter.
    #[must_use]
    pub fn new(key: Secret, limiter: &str) -> Self {
        Self { key, limiter: limiter.to_owned() }
    }

    /// A user's profile, for [`parse_user`].
    #[must_use]
    pub fn user(&self, user: &str) -> Call {
        let call = self.call("user.getInfo").query("user", user.to_owned());
        Call { withhold: Some(real_names), ..call }
    }

    /// A page (from 1) of 50 of a user's friends, for [`parse_friends`].
    #[must_use]
    pub fn friends(&self, user: &str, page: u64) -> Call {
        let call = self.call("user.getFriends").query("user", user.to_owned());
        let call = call.query("limit", "50").query("page", page.to_string());
        Call { withhold: Some(real_names), ..call }
    }

    /// A page (from 1) of a user's loved tracks, newest first, for [`parse_loved_tracks`].
    #[must_use]
    pub fn loved_tracks(&self, user: &str, limit: u64, page: u64) -> Call {
        let call = self.call("user.getLovedTracks").query("user", user.to_owned());
        call.query("limit", limit.to_string()).query("page", page.to_string())
    }

    /// The tags of a track, most used first, for [`parse_top_tags`].
    #[must_use]
    pub fn top_tags(&self, artist: &str, title: &str, autocorrect: bool) -> Call {
        let call = self.call("track.getTopTags").query("artist", artist.to_owned()).query("track", title.to_owned());
        if autocorrect { call.query("autocorrect", "1") } else { call }
    }

    fn call(&self, method: &'static str) -> Call {
        let mut call = Call::new(PROVIDER, "/", classify).query("method", method).query("format", "json");
        call.secret_query.push(("api_key", self.key.clone()));
        call.limiter(&self.limiter)
    }
}

/// What an answer of Last.fm means.
#[must_use]
pub fn classify(answer: &Answer) -> Verdict {
    let Some(body) = answer.json().filter(Value::is_object) else { return verdict_by_status(answer) };
    let Some((code, message)) = error(&body) else {
        return if (200..300).contains(&answer.status) { Verdict::Keep } else { verdict_by_status(answer) };
    };
    let reason = format!("Last.fm error {code}: {message}");
    match code {
        6 | 7 | 17 => Verdict::Keep,
        10 | 26 => Verdict::Stop { reason, hint: KEY_HINT.to_owned() },
        29 => Verdict::Retry { after: Some(RATE_LIMIT_PAUSE), everyone: true, reason },
        8 | 11 | 16 => Verdict::Retry { after: None, everyone: false, reason },
        _ if answer.status == 429 || answer.status >= 500 => verdict_by_status(answer),
        _ => Verdict::Row { reason },
    }
}

fn error(body: &Value) -> Option<(i64, String)> {
    let code = integer(body.get("error")?)?;
    Some((code, body.get("message").and_then(text).unwrap_or_default()))
}

/// The part of an answer under `name`.
fn part(answer: &Answer, name: &str) -> Result<Value, Miss> {
    let unreadable = || Miss::Unreadable(format!("an answer without `{name}`: {}", answer.excerpt()));
    let mut body = answer.json().ok_or_else(unreadable)?;
    match error(&body) {
        Some((6 | 7, _)) => Err(Miss::NotFound),
        Some((17, _)) => Err(Miss::Private),
        Some((code, message)) => Err(Miss::Unreadable(format!("Last.fm error {code}: {message}"))),
        None => body.get_mut(name).map(Value::take).ok_or_else(unreadable),
    }
}

/// Reads a profile.
///
/// # Errors
/// [`Miss`] if there is none.
pub fn parse_user(answer: &Answer) -> Result<User, Miss> {
    let user = part(answer, "user")?;
    read_user(&user).ok_or_else(|| Miss::Unreadable(format!("a user without a name: {}", answer.excerpt())))
}

fn read_user(user: &Value) -> Option<User> {
    let given = |name: &str| user.get(name).and_then(text).filter(|text| text != "None");
    let registered = user.get("registered");
    let at = |name: &str| registered.and_then(|registered| integer(registered.get(name)?));
    Some(User {
        name: given("name")?,
        has_real_name: given("realname").is_some(),
        country: given("country"),
        registered_at: at("unixtime")
            .or_else(|| at("#text"))
            .or_else(|| registered.and_then(integer))
            .filter(|at| *at > 0),
    })
}

/// Reads a page of friends.
///
/// # Errors
/// [`Miss`] if there is none.
pub fn parse_friends(answer: &Answer) -> Result<Page<User>, Miss> {
    Ok(page(&part(answer, "friends")?, "user", read_user))
}

/// Reads a page of loved tracks.
///
/// # Errors
/// [`Miss`] if there is none.
pub fn parse_loved_tracks(answer: &Answer) -> Result<Page<LovedTrack>, Miss> {
    let read = |track: &Value| {
        let artist = track.get("artist")?;
        let artist = ["name", "#text"].iter().find_map(|name| text(artist.get(name)?)).or_else(|| text(artist))?;
        let date = track.get("date");
        let at = date.and_then(|date| integer(date.get("uts")?)).filter(|at| *at > 0);
        Some(LovedTrack { artist, title: text(track.get("name")?)?, at })
    };
    Ok(page(&part(answer, "lovedtracks")?, "track", read))
}

/// Reads a track's tags; none is an empty list.
///
/// # Errors
/// [`Miss`] if the track is unknown.
pub fn parse_top_tags(answer: &Answer) -> Result<Vec<Tag>, Miss> {
    let read = |tag: &Value| Some(Tag { name: text(tag.get("name")?)?, count: tag.get("count").and_then(integer) });
    Ok(page(&part(answer, "toptags")?, "tag", read).items)
}

/// The rows of `outer[name]` that can be read, whatever form the list has.
fn page<T>(outer: &Value, name: &str, read: impl Fn(&Value) -> Option<T>) -> Page<T> {
    let rows = outer.get(name).map(list).unwrap_or_default();
    let items: Vec<T> = rows.iter().filter_map(|row| read(row)).collect();
    let attributes = outer.get("@attr");
    let pages = attributes.and_then(|attributes| integer(attributes.get("totalPages")?));
    let none =
        [attributes, Some(outer)].into_iter().flatten().any(|part| part.get("total").and_then(integer) == Some(0));
    Page { unreadable: rows.len() - items.len(), items, pages: pages.or(if none { Some(0) } else { None }) }
}

#[cfg(test)]
mod tests {
    use super::super::tolerant::answer;
    use super::*;

    fn user(body: &str) -> Result<User, Miss> {
        parse_user(&answer(200, body))
    }

    #[test]
    fn profiles_are_read_with_numbers_of_both_kinds_and_missing_parts() {
        let both = [
            r##"{"unixtime":"1037793040","#text":1037793040}"##,
            r##"{"#text":"1037793040"}"##,
            r##"{"unixtime":1037793040,"#text":"2002-11-20"}"##,
        ];
        for registered in both {
            let body = format!(
                r#"{{"user":{{"name":"RJ","realname":"Richard","country":"United Kingdom","registered":{registered}}}}}"#
            );
            let read = user(&format!("\u{feff}{body}")).expect("a user");
            assert_eq!((read.country.as_deref(), read.registered_at), (Some("United Kingdom"), Some(1_037_793_040)));
        }
        let bare = user(r#"{"user":{"name":"x","realname":"","country":"None"}}"#).expect("a user");
        assert_eq!(bare, User { name: "x".into(), ..User::default() });
        assert_eq!(user(r#"{"error":6,"message":"User not found"}"#), Err(Miss::NotFound));
        assert!(matches!(user("[]"), Err(Miss::Unreadable(_))));
    }

    #[test]
    fn loved_tracks_come_as_lists_single_objects_and_nothing() {
        let read = |body: &str| parse_loved_tracks(&answer(200, body)).expect("a page");
        let today = r##"{"name":"Song","artist":{"name":"A","url":"u"},"date":{"uts":"1419006075","#text":"d"}}"##;
        let older = r##"{"name":"Song","artist":{"#text":"A"}}"##;
        let many = read(&format!(
            r#"{{"lovedtracks":{{"track":[{today},{older}],"@attr":{{"page":"1","totalPages":"3","total":"55"}}}}}}"#
        ));
        let dated = LovedTrack { artist: "A".into(), title: "Song".into(), at: Some(1_419_006_075) };
        assert_eq!(many.items, [dated.clone(), LovedTrack { at: None, ..dated.clone() }]);
        assert_eq!(many.pages, Some(3));
        assert_eq!(read(&format!(r#"{{"lovedtracks":{{"track":{today}}}}}"#)).items, [dated]);
        for empty in [
            r#"{"track":[]}"#,
            r#"{"track":""}"#,
            r##"{"#text":"\n","user":"x","total":"0"}"##,
            r#"{"user":"x","total":0}"#,
        ] {
            let page = read(&format!(r#"{{"lovedtracks":{empty}}}"#));
            assert!(page.items.is_empty() && page.unreadable == 0, "{empty}");
        }
        let broken = read(r#"{"lovedtracks":{"track":[{"name":"no artist"},{"name":"ok","artist":"plain"}]}}"#);
        assert_eq!((broken.items.len(), broken.unreadable), (1, 1));
    }

    #[test]
    fn friends_come_as_lists_single_objects_and_nothing() {
        let read = |body: &str| parse_friends(&answer(200, &format!(r#"{{"friends":{body}}}"#))).expect("a page");
        let names = |body: &str| read(body).items.into_iter().map(|user| user.name).collect::<Vec<_>>();
        assert_eq!(
            names(r#"{"user":[{"name":"a"},{"name":"b","country":""}],"@attr":{"totalPages":"2"}}"#),
            ["a", "b"]
        );
        assert_eq!(names(r#"{"user":{"name":"a"}}"#), ["a"]);
        let flat = read(r##"{"#text":"\n","for":"x","page":"1","total":"0"}"##);
        assert_eq!((flat.items.len(), flat.pages), (0, Some(0)));
        let nameless = read(r#"{"user":[{"realname":"?"}]}"#);
        assert_eq!((nameless.items.len(), nameless.unreadable), (0, 1));
    }

    #[test]
    fn the_first_tag_is_the_top_tag() {
        let read = |body: &str| parse_top_tags(&answer(200, body));
        let one = read(r#"{"toptags":{"tag":{"name":"rock","count":"100"}}}"#).expect("tags");
        assert_eq!(one, [Tag { name: "rock".into(), count: Some(100) }]);
        let two = read(r#"{"toptags":{"tag":[{"name":"pop","count":88},{"name":"rock"}]}}"#).expect("tags");
        assert_eq!((two[0].name.as_str(), two[0].count, two[1].count), ("pop", Some(88), None));
        assert_eq!(read(r##"{"toptags":{"#text":"\n","artist":"x"}}"##), Ok(vec![]));
        assert_eq!(read(r#"{"error":"6","message":"Track not found"}"#), Err(Miss::NotFound));
    }

    #[test]
    fn answers_mean_what_their_error_says_whatever_the_status() {
        let kind = |status, body: &str| match classify(&answer(status, body)) {
            Verdict::Keep => "keep",
            Verdict::Retry { everyone: true, .. } => "wait",
            Verdict::Retry { .. } => "again",
            Verdict::Stop { .. } => "stop",
            Verdict::Row { .. } => "never",
        };
        let error = |code: i64| format!(r#"{{"error":{code},"message":"m"}}"#);
        for status in [200, 400, 503] {
            let kinds = [6, 17, 10, 26, 29, 8, 16, 11].map(|code| kind(status, &error(code)));
            assert_eq!(kinds, ["keep", "keep", "stop", "stop", "wait", "again", "again", "again"]);
        }
        assert_eq!(kind(200, "<html>busy</html>"), "again");
        assert_eq!(kind(200, r#"{"user":{}}"#), "keep");
        assert_eq!(kind(502, r#"{"user":{}}"#), "again");
        assert_eq!(kind(400, &error(3)), "never");
    }
}
