//! What a query's text says before it is understood: which tables it makes
//! itself. Polars takes a table that is registered before one that the query
//! makes under the same name, so that such names must not be registered.

use std::collections::BTreeSet;

/// A piece of a query.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word, or what stands in double quotes or backticks.
    Name { text: String, quoted: bool },
    /// Any other character that is no space.
    Sign(char),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Name { text, quoted: false } if text.eq_ignore_ascii_case(word))
    }
}

/// The names of the tables that a query makes itself: `WITH name AS (…)`, also
/// `name (columns) AS (…)`.
pub(super) fn names_of_ctes(query: &str) -> BTreeSet<String> {
    let tokens = tokens(query);
    let mut found = BTreeSet::new();
    if !tokens.iter().any(|token| token.is_word("WITH")) {
        return found;
    }
    for (place, token) in tokens.iter().enumerate() {
        let Token::Name { text, .. } = token else { continue };
        let mut rest = &tokens[place + 1..];
        if rest.first() == Some(&Token::Sign('(')) {
            let Some(end) = rest.iter().position(|token| *token == Token::Sign(')')) else { continue };
            rest = &rest[end + 1..];
        }
        let [after, rest @ ..] = rest else { continue };
        let mut rest = rest;
        while let [word, others @ ..] = rest
            && (word.is_word("NOT") || word.is_word("MATERIALIZED"))
        {
            rest = others;
        }
        if after.is_word("AS") && rest.first() == Some(&Token::Sign('(')) {
            found.insert(text.clone());
        }
    }
    found
}

/// The pieces of a query; comments and what stands in single quotes are left out.
fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' => drop(until(&mut rest, '\'')),
            '"' | '`' => tokens.push(Token::Name { text: until(&mut rest, c), quoted: true }),
            '-' if rest.peek() == Some(&'-') => skip_past(&mut rest, |c| c == '\n'),
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                rest.next();
                skip_past(&mut rest, |c| std::mem::replace(&mut last, c) == '*' && c == '/');
            }
            c if is_name(c) => {
                let mut text = String::from(c);
                while let Some(c) = rest.next_if(|c| is_name(*c)) {
                    text.push(c);
                }
                tokens.push(Token::Name { text, quoted: false });
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Sign(c)),
        }
    }
    tokens
}

fn skip_past(rest: &mut impl Iterator<Item = char>, mut is_end: impl FnMut(char) -> bool) {
    while rest.next().is_some_and(|c| !is_end(c)) {}
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$')
}

/// What comes before the quote that ends a name; a doubled one is part of it.
fn until(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> String {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        if c == quote && rest.next_if_eq(&quote).is_none() {
            break;
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        names_of_ctes(query).into_iter().collect()
    }

    #[test]
    fn what_a_query_makes_itself_is_found() {
        let query = "WITH a AS (SELECT 1), \"b@V1\" (x, y) as not materialized (SELECT 2, 3) SELECT * FROM a, b";
        assert_eq!(names(query), ["a", "b@V1"]);
        assert_eq!(
            names("/* x as ( */ with /* ** */ a -- b as (\n as (select ')') select cast(y as int) from a"),
            ["a"]
        );
        assert_eq!(names("WITH \"od\"\"d\" AS (SELECT 1) SELECT 1"), ["od\"d"]);
    }

    #[test]
    fn other_uses_of_as_are_none() {
        for query in [
            "SELECT a AS b FROM c",
            "SELECT x FROM (SELECT 1 AS x) AS y",
            "WITH RECURSIVE",
            "SELECT 'with a as (' FROM t",
            "with",
            "with a (",
        ] {
            assert!(names(query).is_empty(), "{query}");
        }
    }
}
