//! A tree of values in which each knows where it was written.

use serde_json::Value;

use super::report::Place;

/// A value and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the file, every key once.
    Map(Vec<Entry>),
}

/// A key, where it starts, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// The value without its places.
    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.key.clone(), e.node.to_value())).collect())
            }
        }
    }

    /// The entries of a mapping; null counts as an empty one.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            Content::Scalar(Value::Null) => Some(&[]),
            _ => None,
        }
    }

    /// The entry of that key, if this is a mapping that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// The text, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// What it is, for messages: `a list`.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
            Content::Scalar(Value::Null) => "nothing".to_owned(),
            Content::Scalar(Value::String(text)) => format!("the text `{text}`"),
            Content::Scalar(value) => format!("`{value}`"),
        }
    }

    /// Calls `visit` with every value below and with this one.
    pub(super) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match &self.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter().for_each(|item| item.walk(visit)),
            Content::Map(entries) => entries.iter().for_each(|entry| entry.node.walk(visit)),
        }
    }

    /// The same value, said to be at another place.
    pub(super) fn moved_to(mut self, place: Place) -> Self {
        self.place = place;
        match &mut self.content {
            Content::Scalar(_) => {}
            Content::List(items) => *items = std::mem::take(items).into_iter().map(|n| n.moved_to(place)).collect(),
            Content::Map(entries) => {
                for entry in entries {
                    entry.place = place;
                    let node = std::mem::replace(&mut entry.node, Self { place, content: Content::List(Vec::new()) });
                    entry.node = node.moved_to(place);
                }
            }
        }
        self
    }
}
