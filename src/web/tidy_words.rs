//! The words and marks that models put around an answer: the tables of `tidy.rs`.
//! All in lower case, with straight apostrophes.

/// `Sure! …`: removed before a `!`, and before an opening.
pub(super) const COURTESIES: &[&str] = &[
    "sure thing",
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "okay",
    "ok",
    "great",
    "gladly",
    "no problem",
    "understood",
    "here you go",
    "here it is",
    "alright",
];
/// How a sentence begins that offers help, which is removed whole.
pub(super) const OFFERS: &[&str] =
    &["i'd be happy to", "i would be happy to", "i'd be glad to", "i'll be happy to", "i'm happy to", "happy to help"];
/// How an opening begins that is no label.
pub(super) const ANNOUNCEMENTS: &[&str] = &[
    "here is",
    "here's",
    "here are",
    "below is",
    "the following is",
    "this is a summary",
    "this is the summary",
    "voici",
    "aquí tienes",
    "aquí está",
    "aqui está",
    "hier ist",
    "ecco",
    "以下是",
    "以下は",
];
/// What summaries are called.
pub(super) const SUMMARIES: &[&str] = &[
    "summary",
    "overview",
    "synopsis",
    "résumé",
    "resumen",
    "resumo",
    "zusammenfassung",
    "riassunto",
    "samenvatting",
    "摘要",
    "总结",
    "概要",
    "要約",
];
/// What else an opening is about, wherever it stands.
pub(super) const ABOUT: &[&str] = &["summar", "words"];
/// What it may be about where its line ends with the colon.
pub(super) const SUBJECTS: &[&str] =
    &["song", "lyric", "track", "theme", "description", "interpretation", "answer", "response"];
/// Nouns of labels besides [`SUMMARIES`]: `## Answer`.
pub(super) const LABELS: &[&str] = &["description", "answer", "response"];
/// What may stand beside the noun of a label.
pub(super) const OF_LABELS: &[&str] = &[
    "the",
    "a",
    "an",
    "of",
    "in",
    "song",
    "song's",
    "lyrics",
    "lyric",
    "lyrical",
    "track",
    "short",
    "brief",
    "concise",
    "final",
    "one-sentence",
    "sentence",
    "word",
    "words",
    "this",
    "for",
    "my",
    "your",
    "exactly",
    "about",
];
/// How a closing begins.
pub(super) const CLOSINGS: &[&str] = &[
    "let me know if",
    "let me know whether",
    "please let me know",
    "i hope this",
    "i hope that",
    "feel free to",
    "would you like me to",
    "do you want me to",
    "is there anything else",
    "if you'd like",
    "if you would like",
    "if you need",
    "if you want me to",
    "note: ",
    "(note: ",
    "note that this summary",
    "please note that",
];
/// Words of which a closing must have one.
pub(super) const OF_CLOSINGS: &[&str] = &[
    "summar",
    "further",
    "anything else",
    "help",
    "you'd like",
    "you would like",
    "you need",
    "want me",
    "adjust",
    "changes",
    "revis",
    "another",
    "more detail",
    "question",
    "assist",
    "word",
    "shorter",
    "longer",
];
/// Quotes of all languages, as opening and closing.
pub(super) const QUOTES: &[(char, char)] = &[
    ('"', '"'),
    ('\u{201c}', '\u{201d}'),
    ('\u{201e}', '\u{201c}'),
    ('\u{201e}', '\u{201d}'),
    ('\u{201d}', '\u{201d}'),
    ('\u{ab}', '\u{bb}'),
    ('\u{bb}', '\u{ab}'),
    ('\u{2039}', '\u{203a}'),
    ('\u{300c}', '\u{300d}'),
    ('\u{300e}', '\u{300f}'),
    ('`', '`'),
    ('*', '*'),
    ('_', '_'),
];
/// Quotes that are apostrophes as well.
pub(super) const APOSTROPHES: &[(char, char)] = &[('\'', '\''), ('\u{2018}', '\u{2019}'), ('\u{201a}', '\u{2018}')];
