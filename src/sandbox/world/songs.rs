//! Songs: what they are about, their genre, tags, popularity and lyrics.

use std::collections::BTreeSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::draw::{Wheel, happens, pick, shuffle};
use super::languages::{self, languages};
use super::lyrics::{self, with_articles};
use super::vocabulary::{genres, names, theme_counts, themes};
use crate::ground::Seed;

/// Share of invented titles that hold a word of the song's main theme.
const TELLING_TITLES: f64 = 0.27;
/// How often a catalog's title that holds a theme's word tells the truth.
const TRUE_TITLES: f64 = 0.6;

/// A song of the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Song {
    /// The artist's name.
    pub artist: String,
    /// The title.
    pub title: String,
    /// What it is about: one or two themes with weights that sum to 1, the main one first.
    pub themes: Vec<(usize, f32)>,
    /// Its genre: a place in the world's list of genres.
    pub genre: usize,
    /// Last.fm tags with counts from 100 down; a few songs have none.
    pub tags: Vec<(String, u32)>,
    /// How often it is loved, all else equal: more than 0, long-tailed.
    pub popularity: f64,
    /// The lyrics; empty if it is an instrumental.
    pub lyrics: String,
    /// Who has the lyrics.
    pub availability: LyricsAvailability,
    /// How long it lasts.
    pub duration_seconds: u32,
    /// Whether Deezer marks its lyrics as explicit.
    pub explicit: bool,
}

/// Which lyrics servers know a song's lyrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LyricsAvailability {
    /// lyrics.ovh and LRCLIB.
    Everywhere,
    /// LRCLIB only: lyrics.ovh answers that it has none.
    LrclibOnly,
    /// LRCLIB only, and lyrics.ovh answers with an empty text.
    EmptyOnLyricsovh,
    /// Nobody.
    Nowhere,
    /// There are none, and LRCLIB says so.
    Instrumental,
}

/// Makes one song for each name.
pub(super) fn over_catalog(seed: &Seed, catalog: Vec<(String, String)>) -> Vec<Song> {
    let popularities = popularities(seed, catalog.len());
    let named = catalog.into_par_iter().zip(popularities);
    named
        .map(|((artist, title), popularity)| {
            let mut rng = seed.purpose("song").purpose(&artist).purpose(&title).rng();
            let mut mixture = mixture(&mut rng);
            let counts = theme_counts(&title);
            let hinted = (0..counts.len()).max_by_key(|theme| counts[*theme]).filter(|theme| counts[*theme] > 0);
            if let Some(theme) = hinted.filter(|_| happens(&mut rng, TRUE_TITLES)) {
                mixture.retain(|(other, _)| *other != theme);
                mixture.insert(0, (theme, 0.7));
                mixture.truncate(2);
                rescale(&mut mixture);
            }
            song(seed, &mut rng, (artist, title), mixture, popularity)
        })
        .collect()
}

/// Gives that share of the songs that have lyrics others, in a language other
/// than English; all of one artist's songs are in one language.
pub(super) fn in_other_languages(seed: &Seed, mut songs: Vec<Song>, share: f64) -> Vec<Song> {
    for song in songs.iter_mut().filter(|song| share > 0.0 && !song.lyrics.is_empty()) {
        let mut of_artist = seed.purpose("language").purpose(&song.artist).rng();
        if happens(&mut of_artist, share) {
            let language = &languages()[of_artist.random_range(0..languages().len())];
            let mut rng = seed.purpose("lyrics").purpose(&song.artist).purpose(&song.title).rng();
            song.lyrics = languages::write(&mut rng, language, &song.themes);
        }
    }
    songs
}

/// Invents `count` songs, about four for each artist.
pub(super) fn invented(seed: &Seed, count: usize) -> Vec<Song> {
    let artists = artists(&mut seed.purpose("artists").rng(), count / 4 + 1);
    let wheel = Wheel::new((0..artists.len()).map(|place| 1.0 / (place as f64 + 8.0)));
    let mut taken = BTreeSet::new();
    let popularities = popularities(seed, count);
    let made = popularities.into_iter().enumerate();
    made.map(|(place, popularity)| {
        let mut rng = seed.purpose("song").purpose(&place.to_string()).rng();
        let mixture = mixture(&mut rng);
        let artist = artists[wheel.draw(&mut rng).unwrap_or_default()].clone();
        let mut title = title(&mut rng, mixture[0].0);
        while !taken.insert((artist.clone(), title.to_lowercase())) {
            title = format!("{title} {}", pick(&mut rng, &["Again", "Tonight", "Now", "Reprise", "II", "III"]));
        }
        song(seed, &mut rng, (artist, title), mixture, popularity)
    })
    .collect()
}

/// Names of tracks outside the catalog, which listeners love all the same.
pub(super) fn outside(seed: &Seed, count: usize) -> Vec<(String, String)> {
    let mut rng = seed.purpose("outside").rng();
    let artists: Vec<String> =
        artists(&mut rng, count / 3 + 1).into_iter().map(|name| format!("{name} Trio")).collect();
    let mut tracks = BTreeSet::new();
    for place in 0..count {
        let theme = rng.random_range(0..themes().len());
        tracks.insert((artists[place % artists.len()].clone(), title(&mut rng, theme)));
    }
    tracks.into_iter().collect()
}

/// One or two themes; the main one weighs at least as much as the other.
fn mixture(rng: &mut ChaCha8Rng) -> Vec<(usize, f32)> {
    let main = rng.random_range(0..themes().len());
    if happens(rng, 0.2) {
        return vec![(main, 1.0)];
    }
    let other = (main + rng.random_range(1..themes().len())) % themes().len();
    let weight = 0.6 + 0.2 * rng.random::<f32>();
    vec![(main, weight), (other, 1.0 - weight)]
}

fn rescale(mixture: &mut [(usize, f32)]) {
    let total: f32 = mixture.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in mixture.iter_mut() {
        *weight /= total;
    }
}

/// A long tail over a random order: the commonest song is loved about 20 times
/// as often as the rarest.
fn popularities(seed: &Seed, count: usize) -> Vec<f64> {
    let mut ranks: Vec<usize> = (0..count).collect();
    let mut rng = seed.purpose("popularity").rng();
    shuffle(&mut rng, &mut ranks);
    let head = count as f64 / 15.0 + 1.0;
    ranks.into_iter().map(|rank| (head / (rank as f64 + head)).powf(1.1)).collect()
}

fn song(
    seed: &Seed,
    rng: &mut ChaCha8Rng,
    (artist, title): (String, String),
    mixture: Vec<(usize, f32)>,
    popularity: f64,
) -> Song {
    let genre = seed.purpose("genre").purpose(&artist).rng().random_range(0..genres().len());
    let availability = match rng.random_range(0..100) {
        0..=83 => LyricsAvailability::Everywhere,
        84..=90 => LyricsAvailability::LrclibOnly,
        91..=92 => LyricsAvailability::EmptyOnLyricsovh,
        93..=96 => LyricsAvailability::Nowhere,
        _ => LyricsAvailability::Instrumental,
    };
    let lyrics = match availability {
        LyricsAvailability::Instrumental => String::new(),
        _ => lyrics::write(rng, &mixture),
    };
    Song {
        artist,
        title,
        genre,
        tags: tags(rng, genre),
        popularity,
        lyrics,
        availability,
        duration_seconds: rng.random_range(120..330),
        explicit: happens(rng, 0.1),
        themes: mixture,
    }
}

/// The genre's tags, with another genre's now and then, and none for 4 % of the songs.
fn tags(rng: &mut ChaCha8Rng, genre: usize) -> Vec<(String, u32)> {
    if happens(rng, 0.04) {
        return Vec::new();
    }
    let named = if happens(rng, 0.08) { rng.random_range(0..genres().len()) } else { genre };
    let mut tags: Vec<&str> = genres()[named].tags.clone();
    if happens(rng, 0.15) && tags.len() > 1 {
        tags.swap(0, 1);
    }
    tags.truncate(rng.random_range(1..=tags.len()));
    tags.extend(["seen live", "favourites", "want to hear again"].into_iter().filter(|_| happens(rng, 0.3)));
    let mut count = 100;
    let counted = tags.into_iter().map(|tag| {
        let pair = (tag.to_owned(), count);
        count = (count * rng.random_range(30..95) / 100).max(1);
        pair
    });
    counted.collect()
}

/// `count` different names of artists.
fn artists(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut artists = Vec::with_capacity(count);
    while artists.len() < count {
        let (adjective, noun) = (pick(rng, names("adjectives")), pick(rng, names("nouns")));
        let (first, last) = (pick(rng, names("first names")), pick(rng, names("last names")));
        let name = match rng.random_range(0..6) {
            0 => format!("The {adjective} {noun}s"),
            1 => format!("{adjective} {noun}"),
            2 => format!("{first} & the {noun}s"),
            3 => format!("{noun} Parade of {}", pick(rng, names("towns"))),
            4 => format!("DJ {adjective} {last}"),
            _ => format!("{first} {last}"),
        };
        // Where the lists are used up, numbers tell namesakes apart.
        let name = if taken.contains(&name) { format!("{name} {}", artists.len()) } else { name };
        if taken.insert(name.clone()) {
            artists.push(name);
        }
    }
    artists
}

/// A title; some hold a word of the theme.
fn title(rng: &mut ChaCha8Rng, theme: usize) -> String {
    let telling = happens(rng, TELLING_TITLES);
    let patterns = names(if telling { "title patterns with a theme" } else { "title patterns" });
    let (word, word2) = (pick(rng, names("title words")), pick(rng, names("title words")));
    let filled = pick(rng, patterns)
        .replace("{theme}", pick(rng, &themes()[theme].titles))
        .replace("{word}", word)
        .replace("{word2}", word2)
        .replace("{first}", pick(rng, names("first names")))
        .replace("{adj}", pick(rng, names("adjectives")))
        .replace("{noun}", pick(rng, names("nouns")));
    with_articles(&filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_songs_have_names_of_their_own_and_about_a_quarter_of_the_titles_tell_a_theme() {
        let songs = invented(&Seed::of_stage(3, "test"), 2000);
        let names: BTreeSet<_> =
            songs.iter().map(|song| (song.artist.to_lowercase(), song.title.to_lowercase())).collect();
        assert_eq!(names.len(), songs.len());
        let told = songs.iter().filter(|song| theme_counts(&song.title)[song.themes[0].0] > 0).count();
        assert!((400..700).contains(&told), "{told}");
        for song in &songs {
            assert!((song.themes.iter().map(|(_, weight)| weight).sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(!song.title.contains(['{', '}']) && song.popularity > 0.0);
        }
        let untagged = songs.iter().filter(|song| song.tags.is_empty()).count();
        assert!((40..140).contains(&untagged), "{untagged}");
        assert_eq!(songs, invented(&Seed::of_stage(3, "test"), 2000));
    }
}
