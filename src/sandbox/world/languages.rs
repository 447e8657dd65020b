//! Lyrics in other languages than English: simple lines around things that a
//! song's themes are about, read from the text file beside this one. All of
//! them are invented.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;

use super::draw::{Wheel, happens, pick};
use super::lyrics::capitalised;
use super::vocabulary::themes;

/// A language of songs.
#[derive(Debug, Default)]
pub(super) struct Language {
    patterns: Vec<&'static str>,
    idle: Vec<&'static str>,
    /// Things with their articles, by the name of the theme.
    things: BTreeMap<&'static str, Vec<&'static str>>,
}

static LANGUAGES: LazyLock<Vec<Language>> = LazyLock::new(|| parse(include_str!("languages.txt")));

/// All languages but English.
pub(super) fn languages() -> &'static [Language] {
    &LANGUAGES
}

fn parse(text: &'static str) -> Vec<Language> {
    let mut languages: Vec<Language> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("# ") {
            languages.push(Language::default());
            continue;
        }
        let Some((language, (key, list))) = languages.last_mut().zip(line.split_once(": ")) else { continue };
        match key {
            "patterns" => language.patterns = list.split(" | ").collect(),
            "idle" => language.idle = list.split(" | ").collect(),
            theme => drop(language.things.insert(theme, list.split(", ").collect())),
        }
    }
    languages
}

/// The lyrics of a song about `mixture` (theme, weight) in that language:
/// verses and a chorus, blank lines between the parts.
pub(super) fn write(rng: &mut ChaCha8Rng, language: &Language, mixture: &[(usize, f32)]) -> String {
    let wheel = Wheel::new(mixture.iter().map(|(_, weight)| f64::from(*weight)));
    let line = |rng: &mut ChaCha8Rng, place: Option<usize>| -> String {
        let drawn = place.or_else(|| wheel.draw(rng)).unwrap_or_default();
        let theme = mixture.get(drawn).or_else(|| mixture.first()).and_then(|(theme, _)| themes().get(*theme));
        let things = theme.and_then(|theme| language.things.get(theme.name)).map_or(&[][..], Vec::as_slice);
        if things.is_empty() || happens(rng, 0.12) {
            return pick(rng, &language.idle).to_owned();
        }
        let thing = pick(rng, things);
        pick(rng, &language.patterns).replace("{a}", thing).replace("{A}", &capitalised(thing))
    };
    let part = |rng: &mut ChaCha8Rng, first: Option<usize>| -> Vec<String> {
        [first, None, first, None].map(|place| line(rng, place)).into()
    };
    let chorus = part(rng, Some(0));
    let verses = [part(rng, Some(0)), part(rng, None), part(rng, None)];
    let parts = [&verses[0], &chorus, &verses[1], &chorus, &verses[2], &chorus];
    parts.map(|lines| lines.join("\n")).join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Seed;

    #[test]
    fn every_language_has_a_word_for_every_theme_and_is_told_apart() {
        let codes = ["spa", "deu", "fra", "por", "ita"];
        assert_eq!(languages().len(), codes.len());
        for (language, code) in languages().iter().zip(codes) {
            assert!(language.patterns.len() >= 8 && language.patterns.iter().all(|line| line.contains('{')));
            let mut right = 0;
            for (place, theme) in themes().iter().enumerate() {
                assert!(language.things.get(theme.name).is_some_and(|things| things.len() >= 3), "{}", theme.name);
                let mut rng = Seed::of_stage(1, "test").purpose(theme.name).rng();
                let text = write(&mut rng, language, &[(place, 1.0)]);
                assert!(!text.contains(['{', '}']), "{text}");
                right += usize::from(whatlang::detect_lang(&text).is_some_and(|lang| lang.code() == code));
            }
            assert!(right * 10 >= themes().len() * 9, "{code}: {right} of {}", themes().len());
        }
    }
}
