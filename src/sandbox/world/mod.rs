//! The world: songs, listeners and what a language model says of the songs, a
//! pure function of the settings. Knows nothing of HTTP.

mod catalog;
mod draw;
mod languages;
mod listeners;
mod lyrics;
mod songs;
mod summaries;
mod vocabulary;

#[cfg(test)]
mod proxy;

use std::collections::BTreeMap;

use super::{SandboxError, SandboxSettings};
use crate::ground::Seed;

pub use listeners::{Listener, Loved, LovedTrack};
pub use songs::{LyricsAvailability, Song};

/// Songs of a world without a catalog, if no count is given.
const DEFAULT_SONGS: usize = 400;
/// The longest name, in words, that is looked for in a prompt.
const LONGEST_NAME: usize = 10;

/// A synthetic world: listeners, songs and words.
#[derive(Debug)]
pub struct World {
    seed: Seed,
    songs: Vec<Song>,
    listeners: Vec<Listener>,
    outside: Vec<(String, String)>,
    by_name: BTreeMap<(String, String), usize>,
    by_artist: BTreeMap<String, Vec<usize>>,
    by_listener: BTreeMap<String, usize>,
}

impl World {
    /// Makes the world that the settings describe: the same on every machine.
    /// 8,000 listeners and 8,000 songs take a second or two.
    ///
    /// # Errors
    /// [`SandboxError`] if the catalog cannot be read, or a setting makes no sense.
    pub fn generate(settings: &SandboxSettings) -> Result<Self, SandboxError> {
        check(settings)?;
        let seed = Seed::of_stage(settings.seed, "sandbox world");
        let songs = match &settings.catalog {
            None => songs::invented(&seed, settings.songs.unwrap_or(DEFAULT_SONGS)),
            Some(path) => {
                let mut names = catalog::read(path, settings)?;
                if let Some(most) = settings.songs.filter(|most| *most < names.len()) {
                    // Catalogs are often sorted by genre: a part must be of the whole.
                    names.sort_by_cached_key(|(artist, title)| {
                        seed.purpose("part").purpose(artist).purpose(title).as_u64()
                    });
                    names.truncate(most);
                    names.sort();
                }
                songs::over_catalog(&seed, names)
            }
        };
        let songs = songs::in_other_languages(&seed, songs, settings.other_languages);
        let outside = songs::outside(&seed, songs.len() / 3);
        let listeners = listeners::make(&seed, settings.users, settings.loved_per_user, &songs, outside.len());
        let mut by_name = BTreeMap::new();
        let mut by_artist: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, song) in songs.iter().enumerate() {
            let artist = comparable(&song.artist);
            by_name.entry((artist.clone(), comparable(&song.title))).or_insert(place);
            by_artist.entry(artist).or_default().push(place);
        }
        let by_listener = listeners.iter().enumerate().map(|(place, l)| (l.name.to_lowercase(), place)).collect();
        Ok(Self { seed, songs, listeners, outside, by_name, by_artist, by_listener })
    }

    /// All songs.
    #[must_use]
    pub fn songs(&self) -> &[Song] {
        &self.songs
    }

    /// All listeners; the first is `RJ`, from whom all others can be reached.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The listener of that name, whatever the case.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.by_listener.get(&name.to_lowercase()).and_then(|place| self.listeners.get(*place))
    }

    /// The song of that artist and title; case, punctuation and white space make no difference.
    #[must_use]
    pub fn song(&self, artist: &str, title: &str) -> Option<&Song> {
        self.by_name.get(&(comparable(artist), comparable(title))).map(|place| &self.songs[*place])
    }

    /// Songs whose artist is `artist` and whose title holds `title`, at most `most`.
    #[must_use]
    pub fn search(&self, artist: &str, title: &str) -> Vec<&Song> {
        let title = comparable(title);
        let places = self.by_artist.get(&comparable(artist)).map_or(&[][..], Vec::as_slice);
        places.iter().map(|place| &self.songs[*place]).filter(|song| comparable(&song.title).contains(&title)).collect()
    }

    /// Artist and title of a loved track.
    #[must_use]
    pub fn name_of(&self, track: LovedTrack) -> (&str, &str) {
        match track {
            LovedTrack::Song(place) => self.songs.get(place).map(|song| (song.artist.as_str(), song.title.as_str())),
            LovedTrack::Outside(place) => {
                self.outside.get(place).map(|(artist, title)| (artist.as_str(), title.as_str()))
            }
        }
        .unwrap_or_default()
    }

    /// The name of a theme, by its place; empty if there is none there.
    #[must_use]
    pub fn theme_name(theme: usize) -> &'static str {
        vocabulary::themes().get(theme).map_or("", |theme| theme.name)
    }

    /// The seed from which the world was made: for choices that belong to it.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// What the world's language model answers to a prompt: always the same.
    #[must_use]
    pub fn chat(&self, prompt: &str) -> String {
        summaries::answer(self, prompt)
    }

    /// The song whose artist and title both stand in the text; of several, the
    /// one with the longest name.
    fn song_named_in(&self, text: &str) -> Option<&Song> {
        let text = comparable(text);
        let padded = format!(" {text} ");
        let words: Vec<&str> = text.split(' ').collect();
        let mut found: Option<(usize, usize)> = None;
        for start in 0..words.len() {
            for end in start + 1..=words.len().min(start + LONGEST_NAME) {
                let artist = words[start..end].join(" ");
                for place in self.by_artist.get(&artist).into_iter().flatten() {
                    let title = comparable(&self.songs[*place].title);
                    let length = artist.len() + title.len();
                    if padded.contains(&format!(" {title} ")) && found.is_none_or(|(longest, _)| longest < length) {
                        found = Some((length, *place));
                    }
                }
            }
        }
        found.map(|(_, place)| &self.songs[place])
    }
}

/// Refuses settings that no world can have.
fn check(settings: &SandboxSettings) -> Result<(), SandboxError> {
    let refuse = |setting, why| Err(SandboxError::Setting { setting, why });
    match settings {
        SandboxSettings { users: 0, .. } => refuse("users", "must be at least 1"),
        SandboxSettings { songs: Some(0), .. } => refuse("songs", "must be at least 1"),
        SandboxSettings { faults, .. } if !(0.0..=1.0).contains(faults) => refuse("faults", "is a share from 0 to 1"),
        SandboxSettings { other_languages, .. } if !(0.0..=1.0).contains(other_languages) => {
            refuse("other_languages", "is a share from 0 to 1")
        }
        SandboxSettings { per_second: Some(rate), .. } if !(rate.is_finite() && *rate > 0.0) => {
            refuse("per_second", "must be more than 0")
        }
        _ => Ok(()),
    }
}

/// Letters and digits in lower case with single spaces between words; a name
/// without any keeps its signs.
fn comparable(name: &str) -> String {
    let lower = name.to_lowercase().replace(['\'', '\u{2019}'], "");
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { lower.trim().to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_a_function_of_its_settings() {
        let settings = SandboxSettings { users: 50, songs: Some(60), ..SandboxSettings::default() };
        let (one, same) = (World::generate(&settings).unwrap(), World::generate(&settings).unwrap());
        assert_eq!((one.songs(), one.listeners()), (same.songs(), same.listeners()));
        let other = World::generate(&SandboxSettings { seed: 1, ..settings.clone() }).unwrap();
        assert_ne!(one.songs(), other.songs());
        let refused = World::generate(&SandboxSettings { faults: 1.5, ..settings }).unwrap_err();
        assert_eq!(refused.to_string(), "`faults` of the sandbox is a share from 0 to 1");
    }

    #[test]
    fn other_languages_change_the_words_of_some_songs_and_nothing_else() {
        let settings = SandboxSettings { users: 20, songs: Some(200), ..SandboxSettings::default() };
        let english = World::generate(&settings).unwrap();
        let mixed = World::generate(&SandboxSettings { other_languages: 0.3, ..settings }).unwrap();
        assert_eq!(english.listeners(), mixed.listeners());
        let pairs = || english.songs().iter().zip(mixed.songs());
        let plain = |song: &Song| Song { lyrics: String::new(), ..song.clone() };
        assert!(pairs().all(|(one, other)| plain(one) == plain(other)));
        let changed = pairs().filter(|(one, other)| one.lyrics != other.lyrics).count();
        assert!((35..85).contains(&changed), "{changed} of 200");
    }

    #[test]
    fn songs_are_found_whatever_the_case_and_in_prompts() {
        let settings = SandboxSettings { users: 1, ..SandboxSettings::default() };
        let world = World::generate(&settings).unwrap();
        for song in world.songs() {
            let found = world.song(&song.artist.to_uppercase(), &song.title.replace(' ', "+")).unwrap();
            assert_eq!(comparable(&found.title), comparable(&song.title));
            let prompt = format!("In 25 words, what is '{}' of {} about?", song.title, song.artist);
            assert_eq!(world.song_named_in(&prompt).map(|song| &song.artist), Some(&song.artist), "{prompt}");
        }
        assert!(world.song("nobody", "nothing").is_none() && world.song_named_in("a song").is_none());
    }

    #[test]
    fn a_world_over_a_catalog_has_its_songs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("songs.csv");
        let rows: Vec<String> = (0..50).map(|row| format!("Artist {},Title {row}", row % 7)).collect();
        let text = format!("artists,track_name\n{}\n", rows.join("\n"));
        crate::ground::files::write_atomically(&path, text.as_bytes()).unwrap();
        let settings = SandboxSettings { users: 20, catalog: Some(path), ..SandboxSettings::default() };
        let world = World::generate(&settings).unwrap();
        assert_eq!((world.songs().len(), world.search("artist 3", "title 3").len()), (50, 3));
        let part = World::generate(&SandboxSettings { songs: Some(20), ..settings }).unwrap();
        assert!(
            part.songs().len() == 20 && part.songs().iter().all(|song| world.song(&song.artist, &song.title).is_some())
        );
    }
}
