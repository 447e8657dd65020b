//! Normal forms of artists' names and titles: two spellings of a track are the
//! same exactly if their normal forms are equal. Also the first words of a text.
//! Knows nothing of tables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// How much two spellings may differ and still be the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// Case and white space only.
    Strict,
    /// Also accents, punctuation and credits of guests.
    #[default]
    Loose,
}

/// The normal form of an artist's name or of a title.
#[must_use]
pub fn normal(text: &str, how: Normalise) -> String {
    let strict = strict(text);
    match how {
        Normalise::Strict => strict,
        Normalise::Loose => {
            let loose = loose(&strict);
            if loose.is_empty() { strict } else { loose }
        }
    }
}

/// The first words of a text, joined by single spaces. A word is a run of
/// characters other than white space.
#[must_use]
pub fn first_words(text: &str, words: usize) -> String {
    text.split_whitespace().take(words).collect::<Vec<_>>().join(" ")
}

/// NFKC, case folded, white space collapsed.
fn strict(text: &str) -> String {
    // Upper case first: it makes `ß` and `SS`, `ς` and `Σ` alike.
    let folded: String = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
    collapsed(&folded)
}

fn loose(strict: &str) -> String {
    let plain: String = strict.nfd().filter(|c| !is_accent(*c)).nfc().collect();
    let spaced = without_guests(&plain).replace('&', " and ");
    let kept: String = spaced
        .chars()
        .filter(|c| !matches!(c, '\'' | '\u{2019}' | '\u{2018}' | '`' | '\u{b4}' | '\u{2bc}'))
        .map(|c| if c.is_alphanumeric() || is_mark(c) { c } else { ' ' })
        .collect();
    collapsed(&kept)
}

fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Combining marks that are accents on Latin, Greek and Cyrillic letters. Those
/// of other scripts are vowels and the like, without which a word is another.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}')
}

fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Drops `(feat. X)`, `[ft. X]` and ` featuring X` to the end.
fn without_guests(text: &str) -> String {
    let mut rest = text.to_owned();
    while let Some((open, close)) = bracketed_guests(&rest) {
        let before = rest.get(..open).unwrap_or_default();
        let after = rest.get(close..).unwrap_or_default();
        rest = format!("{before} {after}");
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    // The first word is the name itself, whatever it is.
    let end = (1..words.len()).find(|at| is_credit(words[*at]) && at + 1 < words.len()).unwrap_or(words.len());
    words[..end].join(" ")
}

/// Where a bracket that begins with a credit opens and ends.
fn bracketed_guests(text: &str) -> Option<(usize, usize)> {
    for (open, c) in text.char_indices() {
        let closing = match c {
            '(' => ')',
            '[' => ']',
            _ => continue,
        };
        let inner = text.get(open + 1..).unwrap_or_default();
        let end = inner.find(closing).map_or(text.len(), |at| open + 1 + at + 1);
        if inner.split_whitespace().next().is_some_and(is_credit) && open > 0 {
            return Some((open, end));
        }
    }
    None
}

fn is_credit(word: &str) -> bool {
    matches!(word, "feat" | "feat." | "ft" | "ft." | "featuring")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loose(text: &str) -> String {
        normal(text, Normalise::Loose)
    }

    #[test]
    fn strict_forms() {
        for (text, form) in [
            ("  Halo\u{a0} (Live) ", "halo (live)"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("ＡＢＣ ﬁn", "abc fin"),
            ("Beyoncé", "beyoncé"),
        ] {
            assert_eq!(normal(text, Normalise::Strict), form, "{text}");
        }
    }

    #[test]
    fn loose_forms() {
        for (text, form) in [
            ("Beyoncé", "beyonce"),
            ("Sigur Rós - Hoppípolla!", "sigur ros hoppipolla"),
            ("Don\u{2019}t Stop", "dont stop"),
            ("Simon & Garfunkel", "simon and garfunkel"),
            ("Crazy in Love (feat. JAY-Z) [Live]", "crazy in love live"),
            ("Umbrella ft. Jay-Z", "umbrella"),
            ("Music (feat. Marvin Gaye", "music"),
            ("Featuring", "featuring"),
            ("(feat. Nobody)", "feat nobody"),
            ("Little feat", "little feat"),
            ("!!!", "!!!"),
            ("AC/DC", "ac dc"),
            ("ё", "е"),
            ("がんばる", "がんばる"),
            ("हिन्दी", "हिन्दी"),
            ("방탄소년단", "방탄소년단"),
            ("", ""),
        ] {
            assert_eq!(loose(text), form, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(text in "\\PC{0,24}") {
            let once = normal(&text, Normalise::Strict);
            prop_assert_eq!(normal(&once, Normalise::Strict), once);
        }

        #[test]
        fn case_never_matters(text in "[a-zéñß .&'(]{0,16}") {
            prop_assert_eq!(loose(&text.to_uppercase()), loose(&text));
        }
    }
}
