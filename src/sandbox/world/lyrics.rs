//! Lyrics: lines from the vocabularies of a song's themes, the first lines
//! already telling.

use rand_chacha::ChaCha8Rng;

use super::draw::{Wheel, happens, pick};
use super::vocabulary::{Theme, idle_lines, telling_patterns, themes};

/// The lyrics of a song about `mixture` (theme, weight): verses, chorus and
/// bridge, about 30 lines, blank lines between the parts.
pub(super) fn write(rng: &mut ChaCha8Rng, mixture: &[(usize, f32)]) -> String {
    let wheel = Wheel::new(mixture.iter().map(|(_, weight)| f64::from(*weight)));
    let all = themes();
    let theme_of = |place: usize| mixture.get(place).and_then(|(theme, _)| all.get(*theme));
    let next = |rng: &mut ChaCha8Rng, place: Option<usize>| -> String {
        let drawn = place.or_else(|| wheel.draw(rng)).unwrap_or_default();
        theme_of(drawn.min(mixture.len().saturating_sub(1))).map(|theme| line(rng, theme)).unwrap_or_default()
    };
    // The opening is about the main theme, the other one, the main one: what
    // a reader of the first 25 words sees is what the song is about.
    let first: Vec<String> = [Some(0), Some(1), Some(0), None].map(|place| next(rng, place)).into();
    let mut chorus: Vec<String> = [Some(0), None, Some(0)].map(|place| next(rng, place)).into();
    chorus.push(if happens(rng, 0.5) { pick(rng, idle_lines()).to_owned() } else { next(rng, None) });
    let second: Vec<String> = (0..4).map(|_| next(rng, None)).collect();
    let mut bridge = vec![next(rng, None), next(rng, None)];
    if happens(rng, 0.4) {
        bridge.push(pick(rng, idle_lines()).to_owned());
    }
    let third: Vec<String> = (0..4).map(|_| next(rng, None)).collect();
    let mut parts = vec![&first, &chorus, &second, &chorus, &bridge];
    if happens(rng, 0.6) {
        parts.push(&third);
    }
    parts.push(&chorus);
    parts.into_iter().map(|lines| lines.join("\n")).collect::<Vec<_>>().join("\n\n")
}

/// One line about a theme.
fn line(rng: &mut ChaCha8Rng, theme: &Theme) -> String {
    if happens(rng, 0.25) {
        return pick(rng, &theme.lines).to_owned();
    }
    let pattern = pick(rng, telling_patterns());
    let place = pick(rng, &theme.places);
    let adjective = pick(rng, &theme.adjectives);
    let (action, second_action) = two(rng, &theme.actions);
    let (noun, second_noun) = two(rng, &theme.nouns);
    let filled = pattern
        .replace("{noun}", noun)
        .replace("{noun2}", second_noun)
        .replace("{act}", action)
        .replace("{act2}", second_action)
        .replace("{adj}", adjective)
        .replace("{adj2}", pick(rng, &theme.adjectives))
        .replace("{Adj}", &capitalised(adjective))
        .replace("{place}", place)
        .replace("{Place}", &capitalised(place));
    with_articles(&filled)
}

/// Two items, different ones where the list has two.
fn two(rng: &mut ChaCha8Rng, items: &[&'static str]) -> (&'static str, &'static str) {
    let first = pick(rng, items);
    let second = pick(rng, items);
    let other = items.iter().copied().find(|item| *item != first).unwrap_or(first);
    (first, if first == second { other } else { second })
}

/// The text with its first letter in upper case.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `a` before a vowel becomes `an`.
pub(super) fn with_articles(text: &str) -> String {
    let mut out = Vec::new();
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let vowel = words.peek().is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']));
        out.push(match word {
            "a" if vowel => "an",
            "A" if vowel => "An",
            other => other,
        });
    }
    out.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::theme_counts;
    use super::*;
    use crate::ground::Seed;

    #[test]
    fn the_first_25_words_already_tell_the_main_theme() {
        let mut told = 0;
        for theme in 0..themes().len() {
            for song in 0..20 {
                let mut rng = Seed::of_stage(song, "lyrics").purpose(&theme.to_string()).rng();
                let other = (theme + 1 + song as usize % 5) % themes().len();
                let text = write(&mut rng, &[(theme, 0.7), (other, 0.3)]);
                assert!(!text.contains(['{', '}']), "{text}");
                assert!(text.split_whitespace().count() > 100, "{text}");
                let opening: Vec<&str> = text.split_whitespace().take(25).collect();
                let counts = theme_counts(&opening.join(" "));
                told += usize::from(counts.iter().max() == Some(&counts[theme]));
            }
        }
        assert!(told * 10 > themes().len() * 20 * 8, "{told}");
    }

    #[test]
    fn articles_go_with_the_word_that_follows() {
        assert_eq!(with_articles("a angry a cat an ox"), "an angry a cat an ox");
    }
}
