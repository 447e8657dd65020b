//! `${var.NAME}`, `${variant.NAME}` and `${env.NAME}` in the texts of a
//! pipeline, and `$${` for a `${` that is meant as it stands.
//!
//! Every text is looked at once, where it is written: what is put in is not
//! looked at again. A reference that is the whole text keeps the type of its
//! value; inside a longer text it is written out. `${env.NAME}` is only
//! checked for where it stands: its value is nobody's business here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::node::{Content, Entry, Node};
use super::report::{Place, Report};
use crate::ground::closest;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text, escapes undone.
    Text(String),
    /// `${var.NAME}`.
    Variable(&'a str),
    /// `${variant.NAME}`.
    Variant(&'a str),
    /// `${env.NAME}`.
    Environment(&'a str),
}

const FORMS: &str = "write `${var.NAME}`, `${variant.NAME}` or `${env.NAME}`, or `$${` for a `${` meant as it stands";

/// Takes a text apart.
///
/// # Errors
/// What is wrong with the first reference that is not one.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            plain.push_str(escaped);
            plain.push_str("${");
            rest = after;
            continue;
        }
        plain.push_str(before);
        let Some((inside, tail)) = after.split_once('}') else {
            return Err(format!("the reference `${{{after}` is not closed"));
        };
        let good = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        let piece = match inside.split_once('.') {
            Some(("var", name)) if good(name) => Piece::Variable(name),
            Some(("variant", name)) if good(name) => Piece::Variant(name),
            Some(("env", name)) if good(name) => Piece::Environment(name),
            _ => return Err(format!("`${{{inside}}}` refers to nothing")),
        };
        if !plain.is_empty() {
            found.push(Piece::Text(std::mem::take(&mut plain)));
        }
        found.push(piece);
        rest = tail;
    }
    plain.push_str(rest);
    if !plain.is_empty() || found.is_empty() {
        found.push(Piece::Text(plain));
    }
    Ok(found)
}

/// The names used with `${variant.…}` below a value, and where.
pub(super) fn variant_names(node: &Node) -> BTreeMap<String, Place> {
    let mut names = BTreeMap::new();
    each_piece(node, &mut |piece, place| {
        if let Piece::Variant(name) = piece {
            names.entry((*name).to_owned()).or_insert(place);
        }
    });
    names
}

/// The names used with `${var.…}` below a value.
pub(super) fn variable_names(node: &Node) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    each_piece(node, &mut |piece, _| {
        if let Piece::Variable(name) = piece {
            names.insert((*name).to_owned());
        }
    });
    names
}

fn each_piece(node: &Node, visit: &mut impl FnMut(&Piece<'_>, Place)) {
    node.walk(&mut |part| {
        let found = part.text().and_then(|text| pieces(text).ok()).unwrap_or_default();
        for piece in &found {
            visit(piece, part.place);
        }
    });
}

/// A named set of values.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) values: Vec<Entry>,
}

/// Which variant's values stand where.
#[derive(Debug, Clone, Copy)]
pub(super) enum Variants<'a> {
    /// `${variant.…}` means nothing here.
    Refused,
    /// This variant, for whom the text names: "the stage `vectors`".
    Of(&'a Variant, &'a str),
    /// The file has no variants: reported elsewhere.
    Absent,
}

/// What references stand for at one place of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The values of `${var.…}`, with the places of their defaults; those of `--set` have none.
    pub(super) variables: &'a BTreeMap<String, (Option<Place>, Node)>,
    pub(super) variants: Variants<'a>,
    /// Whether `${env.…}` may stand here.
    pub(super) environment: bool,
}

impl Scope<'_> {
    /// The value with its references replaced; `None` if one could not be,
    /// which has then been reported.
    pub(super) fn apply(&self, node: &Node, report: &mut Report) -> Option<Node> {
        let content = match &node.content {
            Content::Scalar(Value::String(text)) if text.contains("${") => return self.text(text, node.place, report),
            Content::Scalar(_) => return Some(node.clone()),
            Content::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.apply(item, report)).collect();
                Content::List(items.into_iter().collect::<Option<_>>()?)
            }
            Content::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| self.entry(entry, report)).collect();
                Content::Map(entries.into_iter().collect::<Option<_>>()?)
            }
        };
        Some(Node { place: node.place, content })
    }

    fn entry(&self, entry: &Entry, report: &mut Report) -> Option<Entry> {
        if entry.key.contains("${") {
            report.hinted(
                entry.place,
                format!("the key `{}` holds a reference", entry.key),
                "only values may hold references",
            );
        }
        Some(Entry { key: entry.key.clone(), place: entry.place, node: self.apply(&entry.node, report)? })
    }

    fn text(&self, text: &str, place: Place, report: &mut Report) -> Option<Node> {
        let found = match pieces(text) {
            Ok(found) => found,
            Err(what) => {
                report.hinted(place, what, FORMS);
                return None;
            }
        };
        if let [Piece::Variable(_) | Piece::Variant(_)] = found.as_slice() {
            return self.value(&found[0], place, report);
        }
        let mut whole = String::new();
        let mut complete = true;
        for piece in &found {
            match piece {
                Piece::Text(text) => whole.push_str(text),
                piece => match self.value(piece, place, report).map(|node| (node.to_value(), node)) {
                    Some((Value::String(text), _)) => whole.push_str(&text),
                    None => complete = false,
                    Some((value @ (Value::Bool(_) | Value::Number(_)), _)) => whole.push_str(&value.to_string()),
                    Some((_, node)) => {
                        let what = format!("{} cannot be put into the text `{text}`", node.describe());
                        report.hinted(place, what, "a list or a mapping must be the whole value");
                        complete = false;
                    }
                },
            }
        }
        complete.then_some(Node { place, content: Content::Scalar(Value::String(whole)) })
    }

    /// What one reference stands for. `${env.…}` stands for itself.
    fn value(&self, piece: &Piece<'_>, place: Place, report: &mut Report) -> Option<Node> {
        match piece {
            Piece::Text(text) => Some(Node { place, content: Content::Scalar(Value::String(text.clone())) }),
            Piece::Variable(name) => self.variable(name, place, report),
            Piece::Variant(name) => self.variant(name, place, report),
            Piece::Environment(name) => {
                if !self.environment {
                    let what = format!("`${{env.{name}}}` cannot stand here");
                    report.hinted(
                        place,
                        what,
                        "`${env.…}` is for the settings under `with:`; elsewhere use `${var.NAME}`",
                    );
                    return None;
                }
                Some(Node { place, content: Content::Scalar(Value::String(format!("${{env.{name}}}"))) })
            }
        }
    }

    fn variable(&self, name: &str, place: Place, report: &mut Report) -> Option<Node> {
        let Some((default_at, node)) = self.variables.get(name).filter(|(_, node)| !node.is_null()) else {
            let known = self.variables.iter().filter(|(_, (_, node))| !node.is_null()).map(|(name, _)| name.as_str());
            let near = closest(name, known).map(|near| format!("did you mean `{near}`? Else give"));
            let hint = format!(
                "{} it with `--set {name}=VALUE`, or a default under `vars:`",
                near.as_deref().unwrap_or("give")
            );
            report.hinted(place, format!("the variable `{name}` has no value"), hint);
            return None;
        };
        let node = node.clone();
        Some(if default_at.is_some() { node } else { node.moved_to(place) })
    }

    fn variant(&self, name: &str, place: Place, report: &mut Report) -> Option<Node> {
        match self.variants {
            Variants::Absent => None,
            Variants::Refused => {
                let what = format!("`${{variant.{name}}}` cannot stand here");
                report.hinted(
                    place,
                    what,
                    "a variant's values reach the `inputs:` and `with:` of stages; elsewhere use `${var.NAME}`",
                );
                None
            }
            Variants::Of(variant, user) => {
                if let Some(entry) = variant.values.iter().find(|entry| entry.key == name) {
                    return Some(entry.node.clone());
                }
                let what = format!("the variant `{}` has no value `{name}`, which {user} uses", variant.name);
                let near = closest(name, variant.values.iter().map(|entry| entry.key.as_str()));
                let near = near.map(|near| format!("did you mean `{near}`?"));
                report.hinted(variant.place, what, near.unwrap_or_else(|| format!("add `{name}: VALUE` to it")));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart_and_escapes_undone() {
        let text = |t: &str| Piece::Text(t.to_owned());
        assert_eq!(
            pieces("a ${var.x}-${env.K}"),
            Ok(vec![text("a "), Piece::Variable("x"), text("-"), Piece::Environment("K")])
        );
        assert_eq!(pieces("$${var.x} $$${y}"), Ok(vec![text("${var.x} $${y}")]));
        assert_eq!(pieces(""), Ok(vec![text("")]));
        assert_eq!(pieces("5 $ and {x}"), Ok(vec![text("5 $ and {x}")]));
        assert_eq!(pieces("${variant.text}"), Ok(vec![Piece::Variant("text")]));
    }

    #[test]
    fn what_is_no_reference_is_said() {
        assert_eq!(pieces("${x}"), Err("`${x}` refers to nothing".into()));
        assert_eq!(pieces("${var.}"), Err("`${var.}` refers to nothing".into()));
        assert_eq!(pieces("${var.x"), Err("the reference `${var.x` is not closed".into()));
    }
}
