//! What a kind says of itself: its documentation is written in a little
//! Markdown (paragraphs, lists, code, emphasis), which is all that is read here.

use maud::{Markup, html};

use crate::stage::StageKind;

/// The documentation of a kind.
pub(super) fn documentation(kind: &dyn StageKind) -> Markup {
    html! {
        @for block in kind.documentation().trim().split("\n\n") { (paragraph(block)) }
        p.dim { "Example" }
        pre tabindex="0" { (kind.example().trim_end()) }
    }
}

/// Lines of text, and lists among them.
fn paragraph(block: &str) -> Markup {
    let mut groups: Vec<(bool, Vec<String>)> = Vec::new();
    for line in block.lines() {
        let item = line.trim_start().strip_prefix("- ");
        match (item, groups.last_mut()) {
            (Some(item), Some((true, items))) => items.push(item.to_owned()),
            (Some(item), _) => groups.push((true, vec![item.to_owned()])),
            // A list's item goes on where the line is indented.
            (None, Some((true, items))) if line.starts_with(' ') => {
                if let Some(last) = items.last_mut() {
                    last.push(' ');
                    last.push_str(line.trim());
                }
            }
            (None, Some((false, lines))) => lines.push(line.to_owned()),
            (None, _) => groups.push((false, vec![line.to_owned()])),
        }
    }
    html! {
        @for (is_list, lines) in &groups {
            @if *is_list { ul { @for item in lines { li { (inline(item)) } } } }
            @else { p { (inline(&lines.join(" "))) } }
        }
    }
}

/// `code` and *emphasis* within a line.
fn inline(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (emphasis(part)) }
        }
    }
}

fn emphasis(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('*').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (place, part) in parts.into_iter().enumerate() {
            @if place % 2 == 1 { em { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_markdown_is_read_and_all_else_escaped() {
        let text = "Reads `a < b` and *not* <i>.\nGoes on.\n- one `x`\n  and more\n- two * 2";
        assert_eq!(
            paragraph(text).into_string(),
            "<p>Reads <code>a &lt; b</code> and <em>not</em> &lt;i&gt;. Goes on.</p>\
             <ul><li>one <code>x</code> and more</li><li>two * 2</li></ul>"
        );
    }
}
