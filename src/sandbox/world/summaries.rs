//! What the sandbox's language model answers: a summary of the song that the
//! prompt is about.
//!
//! Lyrics in the prompt are read for themes, so the summary is about the song
//! but in other words and with a model's blur. A prompt with only artist and
//! title gets what a model has heard of the song: the genre, and at times a theme.

use std::collections::BTreeSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::World;
use super::draw::{happens, pick};
use super::lyrics::{capitalised, with_articles};
use super::songs::Song;
use super::vocabulary::{genres, theme_counts, themes, words};

/// Telling words that a prompt must have before it counts as holding lyrics.
const WORDS_OF_LYRICS: u32 = 7;
/// How often reading the lyrics gets the main theme right.
const READ: f64 = 0.8;
/// How often knowing the song's name is knowing its main theme.
const HEARD: f64 = 0.62;
/// How often it is believing in another one.
const MISHEARD: f64 = 0.14;

const BLUR: &[&str] = &[
    "The verses build gradually toward a memorable chorus that gathers the central idea.",
    "Its language is direct, mixing personal confession with vivid imagery.",
    "The repetition of the hook underlines the singer's state of mind.",
    "Overall, the piece invites the listener to find their own meaning.",
    "The narrator moves between vulnerability and determination as the music unfolds.",
    "Contrasting images give the words a layered, cinematic quality.",
    "The tone shifts subtly in the bridge before resolving.",
    "It balances the personal with a broader, universal message.",
    "The closing lines do not say how it ends.",
    "Emotion is conveyed through simple, repeated phrases.",
];
const SOUND: &[&str] = &[
    "It showcases the artist's signature sound, with memorable melodies and heartfelt vocals.",
    "The track blends catchy hooks with an expressive performance.",
    "Its production and delivery have made it a favourite among fans.",
    "The arrangement supports an expressive and emotional vocal.",
    "The song captures universal feelings that many listeners can relate to.",
    "Its details reward those who come back to it.",
];
const VAGUE: &[&str] = &[
    "human emotions and personal experience",
    "life, love and everything in between",
    "the ups and downs of everyday life",
    "feelings that are hard to put into words",
    "inner conflict and personal growth",
];
const PREAMBLES: &[&str] = &["Here is a summary:", "Here is a summary of the song:", "Sure! Here's a summary:"];
const REFUSAL: &str = "I'm sorry, but I can't help with summarizing that song.";

/// The answer to a prompt: the same for the same world and prompt.
pub(super) fn answer(world: &World, prompt: &str) -> String {
    let mut rng = world.seed.purpose("chat").purpose(prompt).rng();
    if happens(&mut rng, 0.006) {
        return REFUSAL.to_owned();
    }
    let limit = word_limit(prompt);
    let counts = theme_counts(prompt);
    let sentences = if counts.iter().sum::<u32>() >= WORDS_OF_LYRICS {
        of_lyrics(&mut rng, &counts, limit.is_some())
    } else {
        of_name(&mut rng, world.song_named_in(prompt), limit.is_some())
    };
    let text = fit(&mut rng, &sentences, limit);
    match rng.random_range(0..100) {
        0..6 => format!("\"{text}\""),
        6..12 => format!("{}\n\n{text}", pick(&mut rng, PREAMBLES)),
        _ => text,
    }
}

/// The first whole number before `word`, `words` or `-word` in the prompt.
fn word_limit(prompt: &str) -> Option<usize> {
    let lower = prompt.to_lowercase();
    let words: Vec<&str> = words(&lower).collect();
    let limits = words.windows(2).filter(|pair| matches!(pair[1], "word" | "words"));
    limits.filter_map(|pair| pair[0].parse().ok()).find(|limit| (1..=1000).contains(limit))
}

/// Sentences about the themes whose words were counted, the main one first.
fn of_lyrics(rng: &mut ChaCha8Rng, counts: &[u32], short: bool) -> Vec<String> {
    let mut ranked: Vec<usize> = (0..counts.len()).collect();
    ranked.sort_by_key(|theme| std::cmp::Reverse(counts[*theme]));
    let second = ranked.get(1).copied().filter(|theme| counts[*theme] * 5 >= counts[ranked[0]]);
    let read = happens(rng, READ);
    let main = if read { ranked[0] } else { second.unwrap_or_else(|| rng.random_range(0..counts.len())) };
    let other = second.filter(|theme| *theme != main && happens(rng, 0.5));
    let (subject, image) = (pick(rng, &themes()[main].subjects), pick(rng, &themes()[main].images));
    let mood = pick(rng, &themes()[main].moods);
    let mut sentences = vec![match (rng.random_range(0..4), other) {
        (0, Some(other)) => {
            format!("A {mood} song about {subject} and {}, told through {image}.", pick(rng, &themes()[other].subjects))
        }
        (1, Some(other)) => {
            let aside = pick(rng, &themes()[other].images);
            format!("The lyrics explore {subject}, evoking {image} alongside {aside} in a {mood} tone.")
        }
        (2, _) => format!("The song is a {mood} reflection on {subject}, with references to {image}."),
        _ => format!("Through images of {image}, the singer describes {subject} in a {mood} voice."),
    }];
    if !short {
        let more = pick(rng, &themes()[main].subjects);
        sentences.push(format!(
            "At its heart, the narrator returns to {more}, picturing {}.",
            pick(rng, &themes()[main].images)
        ));
        if let Some(other) = other {
            let (subject, image) = (pick(rng, &themes()[other].subjects), pick(rng, &themes()[other].images));
            sentences.push(format!("There is also a strand of {subject}, suggested by {image}."));
        }
    }
    sentences.extend(blur(rng, BLUR));
    sentences
}

/// Sentences about a song of which only the name is known.
fn of_name(rng: &mut ChaCha8Rng, song: Option<&Song>, short: bool) -> Vec<String> {
    let guess = rng.random::<f64>();
    let any = rng.random_range(0..themes().len());
    let theme = match song {
        Some(song) if guess < HEARD => song.themes.first().map(|(theme, _)| *theme),
        _ if guess < HEARD + MISHEARD => Some(any),
        _ => None,
    };
    let genre = song.and_then(|song| genres().get(song.genre)).map_or("popular", |genre| genre.name);
    let subject = pick(rng, theme.map_or(VAGUE, |theme| themes()[theme].subjects.as_slice()));
    // Short answers spare the name more often than not: the reader knows it.
    let named = song.filter(|_| !short || happens(rng, 0.35));
    let name =
        named.map_or_else(|| "This".to_owned(), |song| format!("\u{201c}{}\u{201d} by {}", song.title, song.artist));
    let image = theme.map_or("", |theme| pick(rng, &themes()[theme].images));
    let mut sentences = vec![match (rng.random_range(0..3), theme) {
        (0, Some(_)) => format!("{name} is a {genre} song about {subject}, with hints of {image}."),
        (1, Some(_)) => format!("{name} is a {genre} track that touches on {subject} and {image}."),
        (2, _) if named.is_some() => format!("A {genre} song, {name} explores {subject}."),
        _ => format!("{name} is a {genre} song about {subject}."),
    }];
    if !short && let Some(theme) = theme {
        let image = pick(rng, &themes()[theme].images);
        sentences.push(format!(
            "The lyrics are often described as {}, with hints of {image}.",
            pick(rng, &themes()[theme].moods)
        ));
    }
    sentences.extend(blur(rng, SOUND));
    sentences
}

/// All sentences of a list, in a random order.
fn blur(rng: &mut ChaCha8Rng, sentences: &[&str]) -> Vec<String> {
    let mut left: BTreeSet<usize> = (0..sentences.len()).collect();
    let mut out = Vec::new();
    while !left.is_empty() {
        let place = left.iter().copied().nth(rng.random_range(0..left.len()));
        if let Some(place) = place.filter(|place| left.remove(place)) {
            out.push(sentences[place].to_owned());
        }
    }
    out
}

/// Sentences up to the limit, the last one cut; without a limit, 60 words or
/// a little more. One answer in 20 goes a few words beyond its limit.
fn fit(rng: &mut ChaCha8Rng, sentences: &[String], limit: Option<usize>) -> String {
    let enough = rng.random_range(50..75);
    let most = limit.map_or(120, |limit| if happens(rng, 0.05) { limit + 4 } else { limit });
    let mut text: Vec<String> = Vec::new();
    for sentence in sentences {
        if text.len() >= limit.map_or(enough, |limit| limit.saturating_sub(6)) {
            break;
        }
        let whole = capitalised(&with_articles(sentence));
        text.extend(whole.split(' ').map(str::to_owned));
    }
    if text.len() > most {
        text.truncate(most);
        if let Some(last) = text.last_mut() {
            *last = format!("{}.", last.trim_end_matches([',', '.', ';']));
        }
    }
    text.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::super::SandboxSettings;
    use super::*;

    fn world() -> World {
        World::generate(&SandboxSettings { users: 1, ..SandboxSettings::default() }).unwrap()
    }

    #[test]
    fn the_limit_of_words_is_read_from_the_prompt_and_kept_by_nearly_all() {
        assert_eq!(word_limit("Summarise in at most 25 words."), Some(25));
        assert_eq!(word_limit("a 40-word summary"), Some(40));
        assert_eq!(word_limit("Summarise the song"), None);
        let world = world();
        let mut kept = 0;
        for song in &world.songs()[..100] {
            let short = answer(&world, &format!("Summarise in 25 words:\n{}", song.lyrics));
            kept += usize::from(short.split_whitespace().count() <= 25 + 7);
            let long = answer(&world, &format!("Summarise the lyrics:\n{}", song.lyrics));
            assert!(long == REFUSAL || (45..=135).contains(&long.split_whitespace().count()), "{long}");
        }
        assert!(kept >= 90, "{kept}");
    }

    #[test]
    fn a_summary_of_lyrics_tells_more_of_the_theme_than_one_of_a_name() {
        let world = world();
        let tells = |text: &str, song: &Song| {
            let theme = &themes()[song.themes[0].0];
            theme.subjects.iter().any(|subject| text.contains(subject))
        };
        let (mut by_lyrics, mut by_name, mut genre) = (0, 0, 0);
        let sung: Vec<&Song> = world.songs().iter().filter(|song| !song.lyrics.is_empty()).collect();
        for song in &sung {
            let prompt = format!("Summarise these lyrics in 25 words: {}", song.lyrics);
            by_lyrics += usize::from(tells(&answer(&world, &prompt), song));
            let prompt = format!("Summarise the song \"{}\" by {} in 25 words", song.title, song.artist);
            let text = answer(&world, &prompt);
            by_name += usize::from(tells(&text, song));
            genre += usize::from(text.contains(genres()[song.genre].name));
            assert_eq!(text, answer(&world, &prompt));
        }
        assert!(by_lyrics * 10 > sung.len() * 6, "{by_lyrics} of {}", sung.len());
        assert!((45..75).contains(&(by_name * 100 / sung.len())), "{by_name} of {}", sung.len());
        assert!(genre * 10 > sung.len() * 9, "{genre} of {}", sung.len());
    }
}
