//! Lyrics from lyrics.ovh and LRCLIB.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Answer, Call, Verdict};
use super::tolerant::verdict_by_status;

/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Who is asked for lyrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LyricsProvider {
    /// lyrics.ovh: no key; long outages happen.
    LyricsOvh,
    /// LRCLIB: no key; knows instrumentals.
    Lrclib,
}

/// What a provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lyrics {
    /// The words, with `\n` between lines.
    Text(String),
    /// There are no words in it.
    Instrumental,
    /// It does not know the song.
    NotFound,
    /// It is not what was asked for; the memo keeps it as it came.
    Unreadable(String),
}

impl LyricsProvider {
    /// The provider's name: in settings, limiters and the `source` column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LyricsOvh => "lyricsovh",
            Self::Lrclib => "lrclib",
        }
    }

    /// Asks for one song; read the answer with [`LyricsProvider::parse`].
    #[must_use]
    pub fn call(self, artist: &str, title: &str) -> Call {
        match self {
            Self::LyricsOvh => {
                let segment = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
                Call::new(self.name(), format!("/v1/{}/{}", segment(artist), segment(title)), classify)
            }
            Self::Lrclib => Call::new(self.name(), "/api/get", classify)
                .query("artist_name", artist.to_owned())
                .query("track_name", title.to_owned()),
        }
    }

    /// Reads an answer.
    #[must_use]
    pub fn parse(self, answer: &Answer) -> Lyrics {
        if matches!(answer.status, 400 | 404) {
            return Lyrics::NotFound;
        }
        let Some(Value::Object(body)) = answer.json() else { return Lyrics::Unreadable(answer.excerpt()) };
        let words = |name: &str| body.get(name).and_then(Value::as_str).and_then(clean);
        match self {
            Self::LyricsOvh => match body.get("lyrics") {
                Some(Value::String(_) | Value::Null) => words("lyrics").map_or(Lyrics::NotFound, Lyrics::Text),
                _ if body.contains_key("error") => Lyrics::NotFound,
                _ => Lyrics::Unreadable(answer.excerpt()),
            },
            Self::Lrclib => {
                let synced =
                    || body.get("syncedLyrics").and_then(Value::as_str).and_then(|text| clean(&without_times(text)));
                match words("plainLyrics").or_else(synced) {
                    Some(text) => Lyrics::Text(text),
                    None if body.get("instrumental").and_then(Value::as_bool) == Some(true) => Lyrics::Instrumental,
                    None if ["plainLyrics", "instrumental", "name"].iter().any(|key| body.contains_key(*key)) => {
                        Lyrics::NotFound
                    }
                    None => Lyrics::Unreadable(answer.excerpt()),
                }
            }
        }
    }
}

/// What an answer of either provider means.
fn classify(answer: &Answer) -> Verdict {
    let is_data = answer.json().is_some_and(|body| body.is_object());
    if is_data && matches!(answer.status, 200..300 | 400 | 404) { Verdict::Keep } else { verdict_by_status(answer) }
}

/// One kind of line ends, no white space around, no line that only names the song.
fn clean(text: &str) -> Option<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("Paroles de la chanson ") => rest,
        _ => &text,
    };
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

/// Lyrics without the `[mm:ss.xx]` before each line.
fn without_times(text: &str) -> String {
    let bare = |line: &str| match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((time, words)) if time.starts_with(|c: char| c.is_ascii_digit()) => words.trim().to_owned(),
        _ => line.trim().to_owned(),
    };
    text.lines().map(bare).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::tolerant::answer;
    use super::*;

    #[test]
    fn names_are_encoded_as_one_segment_each() {
        let call = LyricsProvider::LyricsOvh.call("AC/DC", "Who Made Who? + 100% «é»");
        assert_eq!(call.path, "/v1/AC%2FDC/Who%20Made%20Who%3F%20%2B%20100%25%20%C2%AB%C3%A9%C2%BB");
        assert_eq!(LyricsProvider::Lrclib.call("A", "B").describe(), "lrclib GET /api/get?artist_name=A&track_name=B");
    }

    #[test]
    fn lyrics_ovh_has_text_nothing_or_errors() {
        let read = |status, body: &str| LyricsProvider::LyricsOvh.parse(&answer(status, body));
        let text = r#"{"lyrics":"Paroles de la chanson X par Y\r\nla la\r\n\nlo\r\n"}"#;
        assert_eq!(read(200, text), Lyrics::Text("la la\n\nlo".into()));
        assert_eq!(read(200, r#"{"lyrics":""}"#), Lyrics::NotFound);
        assert_eq!(read(200, r#"{"error":"No lyrics found"}"#), Lyrics::NotFound);
        assert_eq!(read(404, r#"{"error":"No lyrics found"}"#), Lyrics::NotFound);
        assert_eq!(read(400, r#"{"error":"Artist or title missing"}"#), Lyrics::NotFound);
        assert!(matches!(read(200, r#"{"words":1}"#), Lyrics::Unreadable(_)));
    }

    #[test]
    fn lrclib_knows_instrumentals_and_may_have_only_timed_lines() {
        let read = |body: &str| LyricsProvider::Lrclib.parse(&answer(200, body));
        assert_eq!(read(r#"{"plainLyrics":"la\nlo","instrumental":false}"#), Lyrics::Text("la\nlo".into()));
        assert_eq!(read(r#"{"plainLyrics":null,"instrumental":true}"#), Lyrics::Instrumental);
        assert_eq!(
            read(r#"{"plainLyrics":null,"syncedLyrics":"[00:01.50] la\n[00:02.00]lo","instrumental":false}"#),
            Lyrics::Text("la\nlo".into())
        );
        assert_eq!(read(r#"{"plainLyrics":"","instrumental":false}"#), Lyrics::NotFound);
        assert!(matches!(read("{}"), Lyrics::Unreadable(_)));
        let unknown = answer(404, r#"{"code":404,"name":"TrackNotFound","message":"Failed to find specified track"}"#);
        assert_eq!(classify(&unknown), Verdict::Keep);
        assert_eq!(LyricsProvider::Lrclib.parse(&unknown), Lyrics::NotFound);
    }

    #[test]
    fn only_data_is_kept() {
        let kept = |status, body: &str| classify(&answer(status, body)) == Verdict::Keep;
        assert!(kept(200, r#"{"lyrics":""}"#) && kept(404, r#"{"error":"x"}"#));
        assert!(!kept(404, "<html>") && !kept(503, r#"{"error":"x"}"#) && !kept(200, "<html>") && !kept(429, "{}"));
    }
}
