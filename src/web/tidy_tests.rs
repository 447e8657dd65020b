//! Real-life answers of models, and the laws of tidying.

use proptest::prelude::*;

use super::tidy::tidy_summary;

/// What each of these is wrapped around.
const SUMMARY: &str = "A song of loss.";

#[test]
fn summaries_lose_their_wrapping() {
    let wrapped = [
        "A song of loss.",
        "  A song of loss.\n",
        // Courtesies and openings.
        "Sure! A song of loss.",
        "Sure, here is a summary: A song of loss.",
        "Sure! Here's a 25-word summary: \u{201c}A song of loss.\u{201d}",
        "Certainly! Here\u{2019}s the summary:\n\nA song of loss.",
        "Of course! I'd be happy to help. Here is a summary of the song:\nA song of loss.",
        "I'd be happy to summarize that song for you!\n\nA song of loss.",
        "Okay, here's a summary of the song in 25 words:\n\nA song of loss.",
        "Here is a summary of the song in 25 words:\n\nA song of loss.",
        "Here's a summary of the song.\n\nA song of loss.",
        "Here are 25 words:\nA song of loss.",
        "Here is what the song is about:\n\nA song of loss.",
        "Below is the summary: A song of loss.",
        "This is a summary of the song \"Hurt\" by Johnny Cash: A song of loss.",
        "Voici un résumé de la chanson :\n\nA song of loss.",
        "Aquí tienes un resumen: A song of loss.",
        "Hier ist eine Zusammenfassung:\nA song of loss.",
        "以下是摘要：A song of loss.",
        // Labels, headings and other Markdown.
        "Summary: A song of loss.",
        "SUMMARY:\nA song of loss.",
        "**Summary:** A song of loss.",
        "**Summary**: A song of loss.",
        "**Summary**\n\nA song of loss.",
        "## Summary\n\nA song of loss.",
        "Song summary (25 words): A song of loss.",
        "Summary of \"Hurt\" by Johnny Cash:\n\nA song of loss.",
        "25-word summary: A song of loss.",
        "Answer: A song of loss.",
        "- A song of loss.",
        "* A song of loss.",
        "> A song of loss.",
        "**A song of loss.**",
        "*A song of loss.*",
        "A **song** of **loss**.",
        "```\nA song of loss.\n```",
        "```text\nA song of loss.\n```",
        "`A song of loss.`",
        // Quotes.
        "\"A song of loss.\"",
        "\u{201c}A song of loss.\u{201d}",
        "\u{201e}A song of loss.\u{201c}",
        "\u{ab}A song of loss.\u{bb}",
        "\u{bb}A song of loss.\u{ab}",
        "\u{300c}A song of loss.\u{300d}",
        "'A song of loss.'",
        "\u{2018}A song of loss.\u{2019}",
        "\"\u{201c}A song of loss.\u{201d}\"",
        // Thinking aloud.
        "<think>hm</think>\n\nA song of loss.",
        "<think>\n</think><think>again</think>A song of loss.",
        "The user wants a summary.</think>\n\nA song of loss.",
        // What comes after.
        "A song of loss. (25 words)",
        "A song of loss.\n\n(Word count: 25)",
        "A song of loss.\n\nWord count: 25",
        "A song of loss. Word count: 25.",
        "A song of loss.\n\n**Word count:** 25",
        "A song of loss. [25 words]",
        "A song of loss.\n25 words",
        "A song of loss. Let me know if you'd like another summary!",
        "A song of loss.\n\nLet me know if you\u{2019}d like any changes.",
        "A song of loss.\n\nI hope this helps! Let me know if you need anything else.",
        "A song of loss.\n\nWould you like me to make it shorter?",
        "A song of loss.\n\nNote: This summary is exactly 25 words.",
        "Sure! Here's a summary:\n\n\"A song of loss.\"\n\n(4 words) Let me know if you'd like changes!",
    ];
    for given in wrapped {
        assert_eq!(tidy_summary(given), SUMMARY, "{given}");
    }
}

#[test]
fn what_belongs_to_the_answer_stays() {
    let bare = [
        "\"Yesterday\" is a song about \"loss\"",
        "\u{201c}Yesterday\u{201d} is about \u{201c}loss\u{201d}",
        "'Tis a song 'bout lovin'",
        "Loss: a song of grief.",
        "This is a song about loss: it grieves.",
        "Here is where it ends: the song fades.",
        "Here is a song about loss: it grieves.",
        "Sure Thing is a love song.",
        "Absolutely everybody can love this.",
        "Okay, so the singer leaves.",
        "Great love and great loss.",
        "F**k the world, says the singer, and means s**t.",
        "1999. A year of loss.",
        "The singer asks: let me know if you love me.",
        "She begs him to feel free to leave.",
        "He counts 25 words",
        "Two lines (and 25 words) of grief.",
        "It is about love (of 2 people).",
        "#1 hit about loss.",
        "A song\nof two lines.",
        "*NSYNC sing of goodbye.",
        "She sings “I can't” twice.",
        "Summary justice is the song's theme: a hanging.",
        "Note by note, the song falls apart.",
    ];
    for given in bare {
        assert_eq!(tidy_summary(given), given);
    }
    assert_eq!(tidy_summary("1. Loss\n2. Grief"), "Loss\nGrief");
    assert_eq!(tidy_summary("# Hurt\n\nA song of loss."), "Hurt\n\nA song of loss.");
}

#[test]
fn only_thinking_aloud_leaves_nothing() {
    assert_eq!(tidy_summary("<think>It is about"), "");
    assert_eq!(tidy_summary("<think>It is</think>"), "");
    for given in ["Summary:", "\"\"", "Sure!", "**", "```", "(25 words)"] {
        assert!(!tidy_summary(given).is_empty(), "{given}");
    }
}

/// Pieces that wrap, and pieces that do not, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("Sure! "),
        Just("Here is a summary:\n"),
        Just("**Summary:** "),
        Just("\""),
        Just("\u{201c}"),
        Just("\u{201d}"),
        Just("'"),
        Just("*"),
        Just("**"),
        Just("- "),
        Just("# "),
        Just("1. "),
        Just("```"),
        Just("\n"),
        Just("<think>"),
        Just("</think>"),
        Just("(25 words)"),
        Just(" Let me know if you\u{2019}d like another."),
        Just("I can\u{2019}t. "),
        Just("résumé: "),
        Just("A song of loss. "),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn tidying_twice_changes_nothing_more(text in pieces()) {
        let once = tidy_summary(&text);
        prop_assert_eq!(tidy_summary(&once), once);
    }

    #[test]
    fn plain_sentences_are_left_as_they_are(text in "[A-Z][a-zé]{2,8}( [a-z]{1,8}[,;]?){3,12}[.]( [A-Z][a-z]{2,8}( [a-z]{1,8}){2,6}[.!?])?") {
        prop_assert_eq!(tidy_summary(&text), text);
    }

    #[test]
    fn any_text_is_taken(text in "\\PC{0,60}") {
        let tidy = tidy_summary(&text);
        prop_assert!(tidy.len() <= text.len());
    }
}
