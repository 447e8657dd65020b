//! Figure 2: songs with their texts side by side.

use maud::{Markup, html};

use super::super::{Song, SongText};
use super::page::Page;
use super::words::count;

/// Of a longer text the rest is folded.
const SHOWN_WORDS: usize = 45;

/// All songs.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let songs = &page.report.songs;
    (!songs.is_empty()).then(|| {
        html! {
            figure.songs {
                @for song in songs { (one(page, song)) }
                figcaption {
                    b { "Figure 2." } (page.mark()) " "
                    span.note { "Each song with every text that it can be known by, and the variants that know it by that text." }
                }
            }
        }
    })
}

fn one(page: &Page<'_>, song: &Song) -> Markup {
    html! {
        h3 {
            @match (&song.title, &song.artist) {
                (Some(title), Some(artist)) => { (title) " " span.by { "by " (artist) } },
                (Some(title), None) => { (title) },
                _ => { (song.item_id) },
            }
            @if let Some(tag) = &song.tag { " " span.tag { (tag) } }
        }
        div.texts { @for text in &song.texts { (card(page, text)) } }
    }
}

fn card(page: &Page<'_>, text: &SongText) -> Markup {
    html! {
        div {
            p.of {
                (page.stage_link(&text.stage))
                @for variant in &text.variants {
                    " " span class={ "variant " (page.series_class(variant)) } { (variant) }
                }
            }
            @match &text.text {
                Some(words) => { (folded(words)) },
                None => { p.none { "no text" @if let Some(status) = &text.status { ": " (status) } } },
            }
            @if let (Some(_), Some(status)) = (&text.text, &text.status) { @if status != "ok" { p.none { (status) } } }
        }
    }
}

/// A text whose end is folded if it is long. Its lines stay lines.
fn folded(text: &str) -> Markup {
    let (start, rest) = cut(text, SHOWN_WORDS);
    html! {
        p.words { (start) @if !rest.is_empty() { " …" } }
        @if !rest.is_empty() {
            details {
                summary { (count(rest.split_whitespace().count() as u64, "more word")) }
                p.words { "… " (rest) }
            }
        }
    }
}

/// The first words of a text and the others; a few more than `most` are not cut.
fn cut(text: &str, most: usize) -> (&str, &str) {
    let text = text.trim();
    if text.split_whitespace().count() <= most + most / 4 {
        return (text, "");
    }
    let mut words = 0;
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        if in_word && c.is_whitespace() {
            words += 1;
            if words == most {
                return (&text[..at], text[at..].trim_start());
            }
        }
        in_word = !c.is_whitespace();
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_words_and_nothing_is_lost() {
        let text = "one two\nthree  four five six seven";
        assert_eq!(cut(text, 3), ("one two\nthree", "four five six seven"));
        assert_eq!(cut(text, 6), (text, ""));
        assert_eq!(cut("", 3), ("", ""));
    }
}
