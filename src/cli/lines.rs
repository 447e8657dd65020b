//! The difference of two texts, line by line: for prompts and queries.

/// More lines than this on both sides together are shown as they are: the
/// table of common lines would grow with their product.
const MAX_LINES: usize = 4000;

/// Unchanged lines shown around a change.
const CONTEXT: usize = 2;

/// A line of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The lines that went (`-`) and came (`+`), with a few around them that stayed.
pub(super) fn difference(before: &str, now: &str) -> Vec<String> {
    let (before, now): (Vec<&str>, Vec<&str>) = (before.lines().collect(), now.lines().collect());
    let lines = compare(&before, &now);
    let is_change = |at: usize| !matches!(lines[at], Line::Same(_));
    let near = |at: usize| (at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len())).any(is_change);
    let mut shown = Vec::new();
    let mut skipping = false;
    for (at, line) in lines.iter().enumerate() {
        if !near(at) {
            if !skipping {
                shown.push("  …".to_owned());
            }
            skipping = true;
            continue;
        }
        skipping = false;
        shown.push(match line {
            Line::Same(text) => format!("  {text}"),
            Line::Gone(text) => format!("- {text}"),
            Line::New(text) => format!("+ {text}"),
        });
    }
    shown
}

fn compare<'a>(before: &[&'a str], now: &[&'a str]) -> Vec<Line<'a>> {
    let start = before.iter().zip(now).take_while(|(a, b)| a == b).count();
    let rest = (&before[start..], &now[start..]);
    let end = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&rest.0[..rest.0.len() - end], &rest.1[..rest.1.len() - end]);
    let mut lines: Vec<Line<'a>> = before[..start].iter().map(|line| Line::Same(line)).collect();
    if old.len() + new.len() > MAX_LINES {
        lines.extend(old.iter().map(|line| Line::Gone(line)));
        lines.extend(new.iter().map(|line| Line::New(line)));
    } else {
        lines.extend(middle(old, new));
    }
    lines.extend(before[before.len() - end..].iter().map(|line| Line::Same(line)));
    lines
}

/// The longest common run of lines stays; the rest went or came.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let width = new.len() + 1;
    // longest[i][j]: how many lines `old[i..]` and `new[j..]` have in common.
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || longest[(i + 1) * width + j] >= longest[i * width + j + 1]) {
            lines.push(Line::Gone(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_changed_is_shown_with_a_little_around_it() {
        let before = "one\ntwo\nthree\nfour\nfive\nsix";
        let now = "one\ntwo\nthree\nFOUR\nfive\nsix\nseven";
        let expected = ["  …", "  two", "  three", "- four", "+ FOUR", "  five", "  six", "+ seven"];
        assert_eq!(difference(before, now), expected);
    }

    proptest! {
        #[test]
        fn each_side_is_found_again(
            before in prop::collection::vec("[abc]", 0..12), now in prop::collection::vec("[abc]", 0..12),
        ) {
            let (before, now): (Vec<&str>, Vec<&str>) =
                (before.iter().map(String::as_str).collect(), now.iter().map(String::as_str).collect());
            let lines = compare(&before, &now);
            let old: Vec<&str> = lines.iter().filter_map(|line| match line { Line::Same(t) | Line::Gone(t) => Some(*t), Line::New(_) => None }).collect();
            let new: Vec<&str> = lines.iter().filter_map(|line| match line { Line::Same(t) | Line::New(t) => Some(*t), Line::Gone(_) => None }).collect();
            prop_assert_eq!(old, before);
            prop_assert_eq!(new, now);
        }
    }
}
