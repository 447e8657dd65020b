//! What providers allow where the pipeline does not say.

use crate::web::known::KnownProvider;
use crate::web::limits::LimiterSettings;

/// By the provider's name: requests per second, per minute, and in flight.
const DEFAULT_LIMITERS: &[(&str, Option<f64>, Option<f64>, usize)] = &[
    ("lastfm", Some(5.0), None, 4),
    ("lyricsovh", Some(2.0), None, 4),
    ("lrclib", Some(5.0), None, 4),
    ("deezer", Some(10.0), None, 4),
    ("chat", None, Some(30.0), 4),
];

/// The limits that hold for a provider's limiter if `limiters:` does not name it.
#[must_use]
pub fn default_limiter(name: &str) -> Option<LimiterSettings> {
    // A server of one's own has no allowance to keep.
    let own = KnownProvider::find(name).filter(|known| known.key_variable.is_none()).map(|_| (None, None, 4));
    let listed = DEFAULT_LIMITERS.iter().find(|(known, ..)| *known == name);
    let listed = listed.map(|&(_, per_second, per_minute, concurrency)| (per_second, per_minute, concurrency));
    listed.or(own).map(|(per_second, per_minute, concurrency)| LimiterSettings {
        per_second,
        per_minute,
        concurrency: Some(concurrency),
        ..LimiterSettings::default()
    })
}
