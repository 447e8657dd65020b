//! The words that the world is made of, read from the text files beside this
//! one: themes, line patterns, genres and names. All of them are invented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// What a song can be about, and the words that songs about it use.
#[derive(Debug, Default)]
pub(super) struct Theme {
    /// What it is called.
    pub(super) name: &'static str,
    /// Words for titles, capitalised.
    pub(super) titles: Vec<&'static str>,
    /// Things.
    pub(super) nouns: Vec<&'static str>,
    /// What things are like.
    pub(super) adjectives: Vec<&'static str>,
    /// What "I" do: verb phrases in the base form.
    pub(super) actions: Vec<&'static str>,
    /// Where: phrases with their preposition.
    pub(super) places: Vec<&'static str>,
    /// Whole lines.
    pub(super) lines: Vec<&'static str>,
    /// How a summary names it: noun phrases, in words that lyrics use less.
    pub(super) subjects: Vec<&'static str>,
    /// How a summary names its images.
    pub(super) images: Vec<&'static str>,
    /// How a summary names its moods.
    pub(super) moods: Vec<&'static str>,
}

/// A genre and the tags that listeners give to it, the commonest first.
#[derive(Debug)]
pub(super) struct Genre {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its tags.
    pub(super) tags: Vec<&'static str>,
}

/// Lists of words by their heading in `names.txt` and `patterns.txt`.
type Lists = BTreeMap<&'static str, Vec<&'static str>>;

static THEMES: LazyLock<Vec<Theme>> = LazyLock::new(|| parse_themes(include_str!("themes.txt")));
static GENRES: LazyLock<Vec<Genre>> = LazyLock::new(|| parse_genres(include_str!("genres.txt")));
static NAMES: LazyLock<Lists> = LazyLock::new(|| parse_lists(include_str!("names.txt")));
static PATTERNS: LazyLock<Lists> = LazyLock::new(|| parse_lists(include_str!("patterns.txt")));
static TELLING: LazyLock<BTreeMap<&'static str, usize>> = LazyLock::new(telling_words);

/// All themes; a theme is named by its place in this list.
pub(super) fn themes() -> &'static [Theme] {
    &THEMES
}

/// All genres; a genre is named by its place in this list.
pub(super) fn genres() -> &'static [Genre] {
    &GENRES
}

/// The list of `names.txt` under that heading.
pub(super) fn names(heading: &str) -> &'static [&'static str] {
    NAMES.get(heading).map_or(&[], Vec::as_slice)
}

/// Patterns of lines that speak of a theme.
pub(super) fn telling_patterns() -> &'static [&'static str] {
    PATTERNS.get("lines with one or two images of a theme").map_or(&[], Vec::as_slice)
}

/// Lines that say nothing of a theme.
pub(super) fn idle_lines() -> &'static [&'static str] {
    PATTERNS.get("lines that say nothing of a theme").map_or(&[], Vec::as_slice)
}

/// How many words of `text` tell of each theme: words that only one theme uses.
pub(super) fn theme_counts(text: &str) -> Vec<u32> {
    let mut counts = vec![0; themes().len()];
    for word in words(&text.to_lowercase()) {
        if let Some(count) = TELLING.get(word).and_then(|theme| counts.get_mut(*theme)) {
            *count += 1;
        }
    }
    counts
}

/// The words of a text in lower case: runs of letters, digits and apostrophes.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty())
}

/// Words of four letters or more that lyrics and titles of one theme use and those of no other.
fn telling_words() -> BTreeMap<&'static str, usize> {
    let mut used: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (index, theme) in THEMES.iter().enumerate() {
        let parts = [&theme.titles, &theme.nouns, &theme.adjectives, &theme.actions, &theme.places, &theme.lines];
        for phrase in parts.into_iter().flatten() {
            for word in words(&phrase.to_lowercase()).filter(|word| word.len() > 3) {
                used.entry(word.to_owned()).or_default().insert(index);
            }
        }
    }
    for line in telling_patterns().iter().chain(idle_lines()).chain(&["song artist about with lyrics theme story"]) {
        for word in words(&line.to_lowercase()) {
            used.remove(word);
        }
    }
    let single = used.into_iter().filter(|(_, themes)| themes.len() == 1);
    single.filter_map(|(word, themes)| Some((&*word.leak(), *themes.first()?))).collect()
}

/// `# name`, then `field: item, item` (`|` between whole lines) for each theme.
fn parse_themes(text: &'static str) -> Vec<Theme> {
    let mut themes = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            themes.push(Theme { name, ..Theme::default() });
        } else if let (Some(theme), Some((field, items))) = (themes.last_mut(), line.split_once(": ")) {
            let separator = if field == "lines" { '|' } else { ',' };
            let items = items.split(separator).map(str::trim).collect();
            match field {
                "titles" => theme.titles = items,
                "nouns" => theme.nouns = items,
                "adjectives" => theme.adjectives = items,
                "actions" => theme.actions = items,
                "places" => theme.places = items,
                "lines" => theme.lines = items,
                "subjects" => theme.subjects = items,
                "images" => theme.images = items,
                _ => theme.moods = items,
            }
        }
    }
    themes
}

/// `name: tag, tag` for each genre.
fn parse_genres(text: &'static str) -> Vec<Genre> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, tags)| Genre { name, tags: tags.split(',').map(str::trim).collect() }).collect()
}

/// `# heading`, then items: one a line, or several on the heading's only line,
/// with `;` between them, or `,` where there is no `;`.
fn parse_lists(text: &'static str) -> Lists {
    let mut sections: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    let mut heading = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            heading = name;
        } else {
            sections.entry(heading).or_default().push(line);
        }
    }
    for items in sections.values_mut() {
        if let [line] = items[..] {
            let separator = if line.contains(';') { ';' } else { ',' };
            *items = line.split(separator).map(str::trim).collect();
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_theme_has_words_of_every_sort_and_words_of_its_own() {
        assert!(themes().len() >= 16);
        for (index, theme) in themes().iter().enumerate() {
            let sorts = [&theme.nouns, &theme.adjectives, &theme.actions, &theme.places, &theme.lines, &theme.moods];
            assert!(sorts.iter().all(|words| words.len() >= 3), "{}", theme.name);
            assert!(theme.titles.len() >= 5 && theme.subjects.len() >= 5 && theme.images.len() >= 3, "{}", theme.name);
            let own = theme_counts(&theme.nouns.join(" "));
            assert_eq!(own.iter().max(), Some(&own[index]), "{}", theme.name);
            assert!(own[index] >= 8, "{}: {own:?}", theme.name);
        }
    }

    #[test]
    fn every_list_that_is_asked_for_is_there() {
        let headings =
            ["adjectives", "nouns", "first names", "last names", "title words", "handles", "countries", "towns"];
        for heading in headings.into_iter().chain(["title patterns", "title patterns with a theme"]) {
            assert!(names(heading).len() >= 10, "{heading}");
        }
        assert!(telling_patterns().len() >= 15 && idle_lines().len() >= 8 && genres().len() >= 8);
    }
}
