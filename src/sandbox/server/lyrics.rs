//! lyrics.ovh and LRCLIB.

use serde_json::json;

use super::super::{LyricsAvailability, Song, World, routes};
use super::exchange::{Answer, Ask, number};
use crate::ground::Hasher;

/// Names that lyrics.ovh takes for a client's mistake.
const PLACEHOLDERS: &[&str] = &["artist", "title", "undefined", "null", "{artist}", "{title}"];

/// lyrics.ovh: `/v1/{artist}/{title}`.
pub(super) fn lyricsovh(world: &World, ask: &Ask) -> Answer {
    let segments = ask.segments_below(&format!("{}/v1", routes::LYRICSOVH)).unwrap_or_default();
    let [artist, title] = segments.as_slice() else {
        return Answer::json(404, &json!({"error": "Not found"}));
    };
    let unnamed = |name: &str| name.trim().is_empty() || PLACEHOLDERS.contains(&name.to_lowercase().as_str());
    if unnamed(artist) || unnamed(title) {
        return Answer::json(400, &json!({"error": "Artist and title needed"}));
    }
    let found = world.song(artist, title).map(|song| (song, song.availability));
    match found {
        Some((song, LyricsAvailability::Everywhere)) => {
            // Some of its sources end lines as Windows does.
            let windows = identifier(song).is_multiple_of(5);
            let lyrics = if windows { song.lyrics.replace('\n', "\r\n") } else { song.lyrics.clone() };
            Answer::json(200, &json!({ "lyrics": lyrics }))
        }
        Some((_, LyricsAvailability::EmptyOnLyricsovh)) => Answer::json(200, &json!({"lyrics": ""})),
        _ => Answer::json(404, &json!({"error": "No lyrics found"})),
    }
}

/// LRCLIB: `/api/get?artist_name=…&track_name=…`.
pub(super) fn lrclib(world: &World, ask: &Ask) -> Answer {
    let (Some(artist), Some(title)) = (ask.value("artist_name"), ask.value("track_name")) else {
        let message = "Failed to deserialize query string: missing field";
        return Answer::json(400, &json!({"message": message, "name": "BadRequest", "statusCode": 400}));
    };
    match world.song(artist, title) {
        Some(song) if song.availability != LyricsAvailability::Nowhere => {
            let instrumental = song.availability == LyricsAvailability::Instrumental;
            let lyrics = (!instrumental).then_some(song.lyrics.as_str());
            Answer::json(
                200,
                &json!({
                    "id": identifier(song),
                    "name": song.title,
                    "trackName": song.title,
                    "artistName": song.artist,
                    "albumName": song.title,
                    "duration": f64::from(song.duration_seconds),
                    "instrumental": instrumental,
                    "plainLyrics": lyrics,
                    "syncedLyrics": null,
                }),
            )
        }
        _ => {
            let message = "Failed to find specified track";
            Answer::json(404, &json!({"message": message, "name": "TrackNotFound", "statusCode": 404}))
        }
    }
}

/// A number that stands for a song at providers that number them.
pub(super) fn identifier(song: &Song) -> u64 {
    let mut hasher = Hasher::new("sandbox song");
    number(hasher.field(song.artist.as_bytes()).field(song.title.as_bytes())) >> 34
}
