//! Telling a refusal from a summary by its words.
//!
//! The rule: after an apology, if there is one, the answer begins in the first
//! person and in small letters with not being able or willing to do what an
//! assistant does (`I cannot provide`, `I'm unable to summarize`), and its first
//! sentence says of what (`lyrics`, `this song`, `that`); or it says that it
//! knows too little, or that it was given nothing. Where a summary follows after
//! all (`I cannot quote it, but the song is about …`) it is none. A song that is called `I
//! Can't Help Myself` begins otherwise, and so does one who `can't get no
//! satisfaction`: neither is a refusal. What is wrongly taken for a summary is
//! one text among thousands; what is wrongly taken for a refusal is lost, so
//! the rule is narrow.

/// What a refusal may begin with, in any case.
const APOLOGIES: &[&str] = &[
    "i'm sorry, but ",
    "i'm sorry, ",
    "i'm sorry. ",
    "i am sorry, but ",
    "i am sorry, ",
    "i apologize, but ",
    "i apologise, but ",
    "i apologize. ",
    "sorry, but ",
    "sorry, ",
    "unfortunately, ",
    "as an ai language model, ",
    "as a language model, ",
    "as an ai assistant, ",
    "as an ai, ",
];
/// Not being able or willing.
const DECLINES: &[&str] = &[
    "I cannot ",
    "I can't ",
    "I can not ",
    "I'm unable to ",
    "I am unable to ",
    "I'm not able to ",
    "I am not able to ",
    "I won't be able to ",
    "I will not be able to ",
    "I won't ",
    "I will not ",
    "I must decline to ",
    "I couldn't ",
    "I could not ",
];
/// What assistants do.
const SERVICES: &[&str] = &[
    "help ",
    "assist",
    "provide",
    "summar",
    "generate",
    "create",
    "fulfill",
    "fulfil",
    "comply",
    "complete",
    "describe",
    "share",
    "reproduce",
    "access",
    "discuss",
    "engage",
    "offer",
    "find",
    "verify",
    "determine",
    "identify",
    "produce",
    "give a summ",
    "give you a summ",
    "write a summ",
    "continue",
    "do that",
    "answer",
];
/// Of what.
const OBJECTS: &[&str] = &[
    "summar",
    "lyric",
    "request",
    "information",
    "copyright",
    "content",
    "this song",
    "that song",
    "the song",
    "a song",
    "with that",
    "with this",
    "do that",
    "your question",
    "material",
    "context",
    "explicit",
];
/// Knowing too little, or having been given nothing.
const IGNORANCE: &[&str] = &[
    "I don't have enough information",
    "I don't have any information",
    "I don't have information",
    "I don't have specific information",
    "I don't have access to",
    "I don't have the lyrics",
    "I don't have knowledge of",
    "I do not have enough information",
    "I do not have any information",
    "I do not have information",
    "I do not have access to",
    "I do not have the lyrics",
    "I have no information",
    "I'm not familiar with",
    "I am not familiar with",
    "Please provide the ",
    "Please provide me with ",
    "You haven't provided",
    "You have not provided",
    "You didn't provide",
    "No lyrics were provided",
    "It seems you haven't provided",
    "It seems that you haven't provided",
    "It looks like you haven't provided",
    "It appears that you haven't provided",
];

/// Whether a tidied answer is a refusal.
#[must_use]
pub fn is_refusal(text: &str) -> bool {
    let text: String = text.chars().take(400).collect::<String>().replace('\u{2019}', "'");
    let sentence = text.split_inclusive(['.', '!', '?', '\n']);
    let is_apology = |sentence: &str| APOLOGIES.iter().any(|sorry| sentence.to_lowercase().trim() == sorry.trim());
    // `I'm sorry. I can't …`: the apology is a sentence of its own.
    let rest: String = sentence.skip_while(|sentence| is_apology(sentence)).take(1).collect();
    let rest = without_apologies(rest.trim_start());
    // What comes after a reservation is a summary, unless it offers something else.
    let offers = ["I can ", "I'd be ", "I would be ", "feel free"];
    if rest.split_once(", but ").is_some_and(|(_, more)| !offers.iter().any(|offer| more.starts_with(offer))) {
        return false;
    }
    if IGNORANCE.iter().any(|words| rest.starts_with(words)) {
        return true;
    }
    let declined = DECLINES.iter().filter_map(|words| rest.strip_prefix(words));
    let lower = rest.to_lowercase();
    declined.into_iter().any(|rest| SERVICES.iter().any(|service| rest.starts_with(service)))
        && OBJECTS.iter().any(|object| lower.contains(object))
}

fn without_apologies(text: &str) -> &str {
    let mut rest = text;
    while let Some(after) = APOLOGIES.iter().find_map(|sorry| {
        let head = rest.get(..sorry.len())?;
        head.eq_ignore_ascii_case(sorry).then(|| rest.get(sorry.len()..)).flatten()
    }) {
        rest = after;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_by_their_first_words() {
        let refusals = [
            "I'm sorry, but I can't help with summarizing that song.",
            "I cannot provide a summary of copyrighted lyrics.",
            "I can\u{2019}t assist with that.",
            "I'm unable to provide information about this song.",
            "I am unable to summarize the song, as I have no lyrics of it.",
            "Sorry, I can't help with that request.",
            "I'm sorry. I can't generate explicit content.",
            "As an AI language model, I cannot access the lyrics.",
            "Unfortunately, I couldn't find any information about this song.",
            "I'm not familiar with the song \"Hurt\" by Nobody.",
            "I don't have enough information about this song.",
            "I apologize, but I'm not able to reproduce copyrighted material.",
            "Please provide the lyrics of the song.",
            "It seems you haven't provided any lyrics.",
            "I cannot summarize this song, but I can help with another.",
        ];
        for text in refusals {
            assert!(is_refusal(text), "{text}");
        }
    }

    #[test]
    fn songs_about_not_being_able_to_are_none() {
        let songs = [
            "I Can't Help Myself by the Four Tops is a song about helpless love.",
            "I can't get no satisfaction, the singer complains of the song on the radio.",
            "\"I Can't Make You Love Me\" is a ballad about the end of a love.",
            "I Won't Give Up is a song of devotion.",
            "I'm Sorry, by Brenda Lee, is an apology.",
            "I can't live without you, says the singer: a song of longing.",
            "I cannot find my way home, the singer sighs.",
            "Sorry, by Justin Bieber, pleads for a second chance.",
            "The singer says: I cannot provide what you want.",
            "I cannot reproduce the lyrics, but the song tells of a loss.",
            "I don't have specific information about this song, but its title suggests a farewell.",
            "There are no lyrics in this song: it is an instrumental.",
            "",
        ];
        for text in songs {
            assert!(!is_refusal(text), "{text}");
        }
    }
}
