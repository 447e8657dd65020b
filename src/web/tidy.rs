//! What models put around an answer, and how it comes off: thinking aloud,
//! `Sure! Here is a summary:`, Markdown, quotes around the whole, word counts
//! and `Let me know if…`. Nothing of the answer itself is touched: every rule
//! needs a whole known form, and none may leave nothing.

use std::borrow::Cow;

use super::tidy_words::{
    ABOUT, ANNOUNCEMENTS, APOSTROPHES, CLOSINGS, COURTESIES, LABELS, OF_CLOSINGS, OF_LABELS, OFFERS, QUOTES, SUBJECTS,
    SUMMARIES,
};

/// A text without its wrapping, or nothing where the rule does not apply.
type Rule = fn(&str) -> Option<Cow<'_, str>>;

const RULES: [Rule; 7] =
    [unfenced, without_markup, without_courtesy, without_opening, without_count, without_closing, unquoted];

/// The longest line that can be an opening, in characters.
const LONGEST_OPENING: usize = 160;
/// The longest closing, in bytes.
const LONGEST_CLOSING: usize = 320;

/// A summary without what models put around it. Empty only where nothing but
/// thinking aloud was there. Tidying twice changes nothing more.
#[must_use]
pub fn tidy_summary(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let before = text.len();
        text = without_thinking(&text).trim().to_string();
        for rule in RULES {
            let shorter = rule(&text).map(|shorter| shorter.trim().to_owned()).filter(|shorter| !shorter.is_empty());
            text = shorter.unwrap_or(text);
        }
        if text.len() == before {
            return text;
        }
    }
}

/// What comes after thinking aloud; nothing where the thinking was cut off.
fn without_thinking(text: &str) -> &str {
    let mut rest = text;
    for (open, close) in [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>")] {
        // Some servers swallow the opening.
        rest = rest.rsplit_once(close).map_or(rest, |(_, after)| after);
        if rest.trim_start().starts_with(open) {
            return "";
        }
    }
    rest
}

/// The inside of a code fence around the whole.
fn unfenced(text: &str) -> Option<Cow<'_, str>> {
    let rest = text.strip_prefix("```")?;
    let inner = match rest.split_once('\n') {
        Some((language, inner)) if !language.trim().contains(char::is_whitespace) => inner,
        _ => rest,
    };
    let inner = inner.trim_end();
    let inner = inner.strip_suffix("```").unwrap_or(inner);
    (!inner.contains("```")).then_some(Cow::Borrowed(inner))
}

/// Marks of headings, lists and quotes at the start of lines, and `**bold**`.
fn without_markup(text: &str) -> Option<Cow<'_, str>> {
    let is_list = text.lines().filter(|line| numbered(line).is_some()).count() > 1;
    let plain = |line: &str| -> String {
        let line = line.trim_end();
        let start = line.trim_start();
        let heading = start.trim_start_matches('#');
        let is_heading = (1..=6).contains(&(start.len() - heading.len())) && heading.starts_with(' ');
        let item = ["- ", "* ", "• ", "> "].iter().find_map(|mark| start.strip_prefix(mark));
        let rest = if is_heading { Some(heading) } else { item }.or_else(|| numbered(start).filter(|_| is_list));
        without_bold(rest.map_or(line, str::trim_start))
    };
    let lines: Vec<String> = text.lines().map(plain).collect();
    let plain = lines.join("\n");
    // Line ends alone are no markup.
    (plain.len() < text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").len()).then_some(Cow::Owned(plain))
}

/// The rest of a line that begins with `1. ` or `1) `.
fn numbered(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_short = (1..=2).contains(&(line.len() - rest.len()));
    rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")).filter(|_| is_short)
}

/// A line without the marks around `**bold**` words. Those within a word, as of
/// what is not spelt out, stay.
fn without_bold(line: &str) -> String {
    let parts: Vec<&str> = line.split("**").collect();
    let mut plain = parts.first().copied().unwrap_or_default().to_owned();
    let mut place = 1;
    while place < parts.len() {
        let (inner, after) = (parts[place], parts.get(place + 1));
        let opens = !plain.ends_with(char::is_alphanumeric) && inner.starts_with(|c: char| !c.is_whitespace());
        let closes = after.filter(|after| !after.starts_with(char::is_alphanumeric) && !ends_with_space(inner));
        if let Some(after) = closes.filter(|_| opens) {
            plain.push_str(inner);
            plain.push_str(after);
            place += 2;
        } else {
            plain.push_str("**");
            plain.push_str(inner);
            place += 1;
        }
    }
    plain
}

fn ends_with_space(text: &str) -> bool {
    text.is_empty() || text.ends_with(char::is_whitespace)
}

/// `Sure! ` and `I'd be happy to help with that. `
fn without_courtesy(text: &str) -> Option<Cow<'_, str>> {
    if OFFERS.iter().any(|offer| starts_with(text, offer)) {
        let (offer, rest) = text.split_once(['.', '!', ':', '\n'])?;
        let is_one = ["help", "assist", "summar", "provide"].iter().any(|word| offer.contains(word));
        return is_one.then_some(Cow::Borrowed(rest));
    }
    let rest = COURTESIES.iter().find_map(|word| after(text, word))?;
    let mark = rest.chars().next()?;
    let rest = rest.strip_prefix(['!', ',', '.', ':'])?.trim_start();
    let begins = rest.starts_with(|c: char| !c.is_lowercase());
    let announces = ANNOUNCEMENTS.iter().any(|word| starts_with(rest, word));
    let helps = OFFERS.iter().any(|offer| starts_with(rest, offer));
    (announces || helps || (mark == '!' && begins)).then_some(Cow::Borrowed(rest))
}

/// `Here is a summary of the song:`, `**Summary:**`, `## Summary`.
fn without_opening(text: &str) -> Option<Cow<'_, str>> {
    let line = text.lines().next().unwrap_or_default();
    let below = text.get(line.len()..).unwrap_or_default();
    let (head, rest) = match line.split_once([':', '：']) {
        Some((head, rest)) => (head, rest.trim_start_matches('*')),
        // Without a colon only a line of its own can be an opening.
        None if !below.trim().is_empty() => (line, ""),
        None => return None,
    };
    if head.chars().count() >= LONGEST_OPENING {
        return None;
    }
    let is_alone = rest.trim().is_empty();
    let head = head.trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '#' | '_' | '.')).to_lowercase();
    let head = head.replace('\u{2019}', "'");
    let names = |words: &[&str]| words.iter().any(|word| head.contains(word));
    let announces = ANNOUNCEMENTS.iter().any(|word| head.starts_with(word));
    let is_opening =
        announces && (names(SUMMARIES) || names(ABOUT) || (is_alone && names(SUBJECTS))) || is_label(&head);
    is_opening.then(|| Cow::Owned(format!("{rest}{below}")))
}

/// `summary`, `song summary (25 words)`, `summary of "hurt" by johnny cash`.
fn is_label(head: &str) -> bool {
    let titled = ["summary of ", "song summary of "].iter().any(|start| head.starts_with(start))
        && (head.contains(['"', '\u{201c}']) || head.contains(" by "));
    let words: Vec<&str> = head.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']')).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let is_noun = |word: &&str| SUMMARIES.contains(word) || LABELS.contains(word);
    let belongs =
        |word: &&str| is_noun(word) || OF_LABELS.contains(word) || word.starts_with(|c: char| c.is_ascii_digit());
    titled || (words.iter().any(is_noun) && words.iter().all(belongs))
}

/// `(25 words)` and `Word count: 25` at the end.
fn without_count(text: &str) -> Option<Cow<'_, str>> {
    let bare = text.trim_end_matches(['*', '_']);
    let open = if bare.ends_with(')') { bare.rfind('(') } else { bare.rfind('[').filter(|_| bare.ends_with(']')) };
    let starts = [open, bare.rfind('\n'), bare.to_ascii_lowercase().rfind("word count")];
    starts.into_iter().flatten().find_map(|start| {
        let (before, count) = text.split_at_checked(start)?;
        let before = before.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '_' | '(' | '['));
        (is_count(count) && ends_a_sentence(before)).then_some(Cow::Borrowed(before))
    })
}

fn is_count(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_number = |word: &&str| word.chars().all(|c| c.is_ascii_digit());
    let known = ["word", "words", "count", "total", "approximately", "about", "exactly", "is", "in", "this", "summary"];
    words.iter().any(is_number)
        && words.iter().any(|word| word.starts_with("word"))
        && words.iter().all(|word| is_number(word) || known.contains(word))
}

/// `Let me know if you'd like another.` at the end.
fn without_closing(text: &str) -> Option<Cow<'_, str>> {
    let begins = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8());
    begins.into_iter().find_map(|start| {
        let (before, closing) = text.split_at_checked(start)?;
        let lower = closing.to_lowercase().replace('\u{2019}', "'");
        let is_one = closing.len() <= LONGEST_CLOSING
            && CLOSINGS.iter().any(|start| lower.starts_with(start))
            && OF_CLOSINGS.iter().any(|word| lower.contains(word))
            && !closing.contains("\n\n");
        let before = before.trim_end();
        (is_one && ends_a_sentence(before)).then_some(Cow::Borrowed(before))
    })
}

fn ends_a_sentence(text: &str) -> bool {
    text.ends_with(['.', '!', '?', '…', '"', '\u{201d}', '\u{bb}', ')', '*', '。', '！', '？', '`', '\''])
}

/// The inside of quotes around the whole.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let inside = |(open, close): (char, char)| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    for (open, close) in QUOTES.iter().copied() {
        let inner = inside((open, close)).filter(|inner| !inner.contains([open, close]));
        if let Some(inner) = inner.filter(|inner| !inner.starts_with(char::is_whitespace) || open != '*') {
            return Some(Cow::Borrowed(inner));
        }
    }
    let apostrophes = APOSTROPHES.iter().copied().filter_map(inside);
    let mut whole = apostrophes.filter(|inner| inner.ends_with(['.', '!', '?', '…']) && has_only_apostrophes(inner));
    whole.next().map(Cow::Borrowed)
}

/// Whether each of a text's apostrophes stands within a word.
fn has_only_apostrophes(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let is_letter = |place: Option<usize>| place.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric());
    let marks = chars.iter().enumerate().filter(|(_, c)| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}'));
    marks.into_iter().all(|(at, _)| is_letter(at.checked_sub(1)) && is_letter(Some(at + 1)))
}

fn starts_with(text: &str, lower: &str) -> bool {
    after(text, lower).is_some()
}

/// What follows `lower` at the start of a text, whatever its case and apostrophes.
fn after<'t>(text: &'t str, lower: &str) -> Option<&'t str> {
    let mut rest = text.chars();
    for wanted in lower.chars() {
        let found = rest.next()?;
        let found = if found == '\u{2019}' { '\'' } else { found };
        found.to_lowercase().eq(std::iter::once(wanted)).then_some(())?;
    }
    Some(rest.as_str())
}
