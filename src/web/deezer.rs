//! Deezer's public search: the canonical artist and title of a song. It carries
//! no lyrics.

use std::time::Duration;

use serde_json::Value;

use super::call::{Answer, Call, Verdict};
use super::tolerant::{integer, list, text, verdict_by_status};

/// How long everyone waits after error 4: the quota counts 5 seconds.
const QUOTA_PAUSE: Duration = Duration::from_secs(5);

/// A song that Deezer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Deezer's number of the track.
    pub id: i64,
    /// The artist's name as Deezer writes it.
    pub artist: String,
    /// The full title.
    pub title: String,
    /// The title without its version (`Remastered`, `Live`), if given.
    pub title_short: Option<String>,
    /// The album's title, if given.
    pub album: Option<String>,
    /// Length in seconds, if given.
    pub duration_secs: Option<i64>,
    /// Popularity, 0 to about 1,000,000, if given.
    pub rank: Option<i64>,
    /// Whether the words are marked as explicit, if given.
    pub explicit: Option<bool>,
}

/// The songs found, and how many there are in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    /// The songs on this page, best first.
    pub hits: Vec<Hit>,
    /// How many there are in all, if given.
    pub total: Option<i64>,
}

/// Searches for a song by artist and title, for [`parse_search`].
#[must_use]
pub fn search(artist: &str, title: &str) -> Call {
    let quoted = |text: &str| text.replace('"', " ");
    Call::new("deezer", "/search", classify)
        .query("q", format!("artist:\"{}\" track:\"{}\"", quoted(artist), quoted(title)))
}

/// What an answer of Deezer means. Its errors come with HTTP 200, sometimes
/// without a code.
#[must_use]
pub fn classify(answer: &Answer) -> Verdict {
    let Some(body) = answer.json().filter(Value::is_object) else { return verdict_by_status(answer) };
    let Some(error) = body.get("error").filter(|error| error.as_str().is_some() || !list(error).is_empty()) else {
        return if (200..300).contains(&answer.status) { Verdict::Keep } else { verdict_by_status(answer) };
    };
    let message = error.get("message").and_then(text).or_else(|| text(error)).unwrap_or_default();
    let code = error.get("code").and_then(integer);
    let reason = code.map_or_else(|| format!("Deezer: {message}"), |code| format!("Deezer error {code}: {message}"));
    match code {
        Some(4) => Verdict::Retry { after: Some(QUOTA_PAUSE), everyone: true, reason },
        None if message.to_lowercase().contains("quota") => {
            Verdict::Retry { after: Some(QUOTA_PAUSE), everyone: true, reason }
        }
        Some(700) => Verdict::Retry { after: None, everyone: false, reason },
        Some(800) => Verdict::Keep,
        _ if answer.status == 429 || answer.status >= 500 => verdict_by_status(answer),
        _ => Verdict::Row { reason },
    }
}

/// Reads the songs of a search; none is an empty list.
#[must_use]
pub fn parse_search(answer: &Answer) -> Option<Hits> {
    let body = answer.json()?;
    if body.get("error").is_some_and(|error| error.get("code").and_then(integer) == Some(800)) {
        return Some(Hits::default());
    }
    let hits = list(body.get("data")?).into_iter().filter_map(read_hit).collect();
    Some(Hits { hits, total: body.get("total").and_then(integer) })
}

fn read_hit(hit: &Value) -> Option<Hit> {
    let given = |name: &str| hit.get(name).and_then(text);
    Some(Hit {
        id: integer(hit.get("id")?)?,
        artist: text(hit.get("artist")?.get("name")?)?,
        title: given("title")?,
        title_short: given("title_short"),
        album: hit.get("album").and_then(|album| text(album.get("title")?)),
        duration_secs: hit.get("duration").and_then(integer),
        rank: hit.get("rank").and_then(integer),
        explicit: hit.get("explicit_lyrics").and_then(Value::as_bool),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tolerant::answer;
    use super::*;

    #[test]
    fn songs_are_read_with_whatever_is_given() {
        let body = r#"{"data":[{"id":"7","title":"Song (Live)","title_short":"Song","duration":"199","rank":"5","explicit_lyrics":false,
            "artist":{"name":"A"},"album":{"title":"L"}},{"id":8,"title":"no artist"}],"total":2,"next":"u"}"#;
        let hits = parse_search(&answer(200, body)).expect("hits");
        assert_eq!((hits.hits.len(), hits.total), (1, Some(2)));
        assert_eq!((hits.hits[0].id, hits.hits[0].duration_secs, hits.hits[0].explicit), (7, Some(199), Some(false)));
        assert_eq!(parse_search(&answer(200, r#"{"data":[],"total":0}"#)).expect("none").hits, []);
        let call = search("The \"A\"", "B");
        assert_eq!(call.query[0].1, "artist:\"The  A \" track:\"B\"");
    }

    #[test]
    fn errors_come_with_status_200() {
        let error = |error: &str| classify(&answer(200, &format!(r#"{{"error":{error}}}"#)));
        let quota = error(r#"{"type":"Exception","message":"Quota limit exceeded","code":4}"#);
        assert!(matches!(quota, Verdict::Retry { everyone: true, after: Some(QUOTA_PAUSE), .. }));
        assert!(matches!(
            error(r#"{"type":"Exception","message":"Quota limit exceeded"}"#),
            Verdict::Retry { everyone: true, .. }
        ));
        assert!(matches!(error(r#"{"message":"busy","code":700}"#), Verdict::Retry { everyone: false, .. }));
        assert_eq!(error(r#"{"type":"DataException","message":"no data","code":800}"#), Verdict::Keep);
        assert!(matches!(error(r#"{"message":"wrong parameter","code":500}"#), Verdict::Row { .. }));
        assert_eq!(error(r#""Not Found""#), Verdict::Row { reason: "Deezer: Not Found".into() });
        assert_eq!(classify(&answer(200, r#"{"data":[]}"#)), Verdict::Keep);
    }
}
