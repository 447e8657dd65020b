//! YAML as a tree in which every key and value knows its line and column:
//! what `serde` would lose, and what makes precise messages possible.
//!
//! Scalars are typed by the core schema of YAML 1.2 (so `no` and `on` are
//! text); anchors and aliases work; merge keys and tags outside the core
//! schema are refused. Knows nothing of pipelines.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::Value;

use super::node::{Content, Entry, Node};
use super::report::{Place, Report};
use super::scalar::{resolve, resolve_tagged};

/// Nesting deeper than this is refused.
const MAX_DEPTH: usize = 64;
/// More values than this, with every alias written out, are refused.
const MAX_NODES: usize = 1_000_000;

/// A list or mapping that is not closed yet.
struct Frame {
    anchor: usize,
    place: Place,
    content: Content,
    /// The key whose value comes next, in a mapping.
    key: Option<(String, Place)>,
    /// Where each key of a mapping stands in it.
    keys: BTreeMap<String, usize>,
    depth: usize,
}

/// A value that aliases may stand for.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    root: Option<Node>,
    nodes: usize,
}

/// Stops the parsing: what follows would only repeat the mistake.
struct Stop;

/// Parses one document: the text of the file that the report has opened last. Problems that do not end the parsing leave a tree that
/// further checks can use.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    let done = builder.build(&mut parser, report);
    if done.is_err() {
        return None;
    }
    if builder.root.is_none() {
        let start = Place { file: report.current(), ..Place::START };
        report.hinted(start, "the file is empty", "a pipeline starts with `pipeline: NAME`");
    }
    builder.root
}

/// A value given on the command line: YAML if it is a scalar or a list, else
/// the text as it stands.
pub(super) fn parse_value(text: &str, place: Place) -> Node {
    let as_text = || Node { place, content: Content::Scalar(Value::String(text.to_owned())) };
    let mut report = Report::new(std::path::Path::new(""), text);
    let Some(node) = parse(text, &mut report) else { return as_text() };
    let plain = report.finish(Some(())).is_ok() && !matches!(node.content, Content::Map(_));
    let mut maps = 0;
    node.walk(&mut |part| maps += usize::from(matches!(part.content, Content::Map(_))));
    if plain && maps == 0 { node.moved_to(place) } else { as_text() }
}

impl Builder {
    fn build<'a>(&mut self, parser: &mut Parser<'a, StrInput<'a>>, report: &mut Report) -> Result<(), Stop> {
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let place = place_of(report, error.marker().line(), error.marker().col());
                refuse_syntax(place, error.info(), report);
                Stop
            })?;
            self.take(event, span, report)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span, report: &mut Report) -> Result<(), Stop> {
        let place = place_of(report, span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                report.hinted(
                    place,
                    "a second document starts here",
                    "a pipeline file holds one document: remove the `---`",
                );
                Err(Stop)
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), place, report),
            Event::SequenceStart(anchor, tag) => {
                self.open(Content::List(Vec::new()), anchor, tag.as_deref(), place, report)
            }
            Event::MappingStart(anchor, tag) => {
                self.open(Content::Map(Vec::new()), anchor, tag.as_deref(), place, report)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.frames.pop() else { return Ok(()) };
                let node = Node { place: frame.place, content: frame.content };
                self.add(node, frame.anchor, frame.depth, report)
            }
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    report.hinted(
                        place,
                        "this alias stands for a key, or for a value that contains it",
                        "write the value out",
                    );
                    return Err(Stop);
                };
                self.nodes += anchored.nodes;
                let (node, depth) = (anchored.node.clone(), anchored.depth);
                self.check_size(depth, place, report)?;
                self.add(node, 0, depth, report)
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        content: Content,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
        report: &mut Report,
    ) -> Result<(), Stop> {
        if let Some(tag) =
            tag.filter(|tag| !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "map" | "seq")))
        {
            refuse_tag(tag, place, report);
        }
        if self.frames.last().is_some_and(|frame| matches!(frame.content, Content::Map(_)) && frame.key.is_none()) {
            report.hinted(
                place,
                "a key must be text, not a list or a mapping",
                "a text that starts with `{` or `[` needs quotes",
            );
            return Err(Stop);
        }
        self.frames.push(Frame { anchor, place, content, key: None, keys: BTreeMap::new(), depth: 1 });
        self.check_size(0, place, report)
    }

    fn check_size(&self, below: usize, place: Place, report: &mut Report) -> Result<(), Stop> {
        if self.frames.len() + below > MAX_DEPTH {
            report.add(place, format!("values are nested more than {MAX_DEPTH} deep here"));
            return Err(Stop);
        }
        if self.nodes > MAX_NODES {
            report.add(place, format!("the file holds more than {MAX_NODES} values, with its aliases written out"));
            return Err(Stop);
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
        report: &mut Report,
    ) -> Result<(), Stop> {
        if let Some(Frame { content: Content::Map(_), key: key @ None, .. }) = self.frames.last_mut() {
            *key = Some((text.to_owned(), place));
            return Ok(());
        }
        let plain = matches!(style, ScalarStyle::Plain);
        let value = match tag {
            None if plain => resolve(text),
            None => Ok(Value::String(text.to_owned())),
            Some(tag) => resolve_tagged(tag, text).unwrap_or_else(|| {
                refuse_tag(tag, place, report);
                Ok(Value::Null)
            }),
        };
        let value = value.unwrap_or_else(|what| {
            report.hinted(place, what, "put it in quotes if it is meant as text");
            Value::Null
        });
        // A value that is not there is reported where its key is.
        let key_place = self.frames.last().and_then(|frame| frame.key.as_ref()).map(|(_, place)| *place);
        let place = if plain && text.is_empty() { key_place.unwrap_or(place) } else { place };
        self.add(Node { place, content: Content::Scalar(value) }, anchor, 0, report)
    }

    fn add(&mut self, node: Node, anchor: usize, depth: usize, report: &mut Report) -> Result<(), Stop> {
        self.nodes += 1;
        self.check_size(0, node.place, report)?;
        if anchor > 0 {
            let mut nodes = 0;
            node.walk(&mut |_| nodes += 1);
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, depth });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.depth = frame.depth.max(depth + 1);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => {
                let Some((key, place)) = frame.key.take() else {
                    report.hinted(node.place, "an alias cannot be a key", "write the key out");
                    return Err(Stop);
                };
                add_entry(entries, &mut frame.keys, Entry { key, place, node }, report);
            }
            Content::Scalar(_) => {}
        }
        Ok(())
    }
}

fn add_entry(entries: &mut Vec<Entry>, keys: &mut BTreeMap<String, usize>, entry: Entry, report: &mut Report) {
    if entry.key == "<<" {
        let hint = "repeat the keys, alias a whole value, or give the value once under `vars:`";
        return report.hinted(entry.place, "merge keys (`<<`) are not supported", hint);
    }
    if let Some(first) = keys.get(&entry.key).map(|at| entries[*at].place) {
        return report.hinted(
            entry.place,
            format!("the key `{}` is given twice in the same mapping", entry.key),
            format!("it was first given in line {}, column {}: keep one of the two", first.line, first.column),
        );
    }
    keys.insert(entry.key.clone(), entries.len());
    entries.push(entry);
}

fn place_of(report: &Report, line: usize, column_from_zero: usize) -> Place {
    Place { file: report.current(), line: line.max(1), column: column_from_zero + 1 }
}

fn refuse_tag(tag: &Tag, place: Place, report: &mut Report) {
    report.hinted(place, format!("the tag `{tag}` is not supported"), "remove it; quotes make a text of anything");
}

fn refuse_syntax(place: Place, info: &str, report: &mut Report) {
    let line = report.line(place);
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    let hint = if indent.contains('\t') {
        "lines are indented with spaces here, not with tabs"
    } else if line.trim_start().starts_with(['@', '`', '%']) || line.contains(": @") || line.contains(": `") {
        "a text that starts with `@`, `%` or a backtick needs quotes"
    } else if line.matches(": ").count() > 1 && !line.contains(['{', '"', '\'']) {
        "a text that contains `: ` needs quotes"
    } else {
        "look for a bracket or a quote that is not closed, and at the indentation of this line and the one before"
    };
    report.hinted(place, format!("this is not YAML: {info}"), hint);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        let mut report = Report::new(Path::new("p.yaml"), text);
        let node = parse(text, &mut report);
        report.finish(node).unwrap().to_value()
    }

    #[test]
    fn scalars_are_typed_by_the_core_schema() {
        let text = "[~, null, true, False, no, on, 12, -3, 0x1F, 0o17, 1.5, -.5, 2., 1e3, 'x', '5', 1_000, 12:30, \"\\n\", !!str 7]";
        let expected = json!([
            null, null, true, false, "no", "on", 12, -3, 31, 15, 1.5, -0.5, 2.0, 1000.0, "x", "5", "1_000", "12:30",
            "\n", "7"
        ]);
        assert_eq!(value(text), expected);
        assert!(resolve("99999999999999999999999").is_err());
        assert!(resolve("-.inf").is_err());
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let text = "a:\n  - {b: é, ccc: x}\n  -\nd:\n";
        let root = parse(text, &mut Report::new(Path::new("p.yaml"), text)).unwrap();
        let Content::List(items) = &root.entry("a").unwrap().node.content else { panic!("a list") };
        let place = |line, column| Place { file: 0, line, column };
        let ccc = items[0].entry("ccc").unwrap();
        assert_eq!((ccc.place, ccc.node.place), (place(2, 12), place(2, 17)));
        assert_eq!(root.entry("d").unwrap().node.place, place(4, 1));
    }

    #[test]
    fn command_line_values_are_scalars_or_lists() {
        let given = |text: &str| parse_value(text, Place::default()).to_value();
        assert_eq!(given("5"), json!(5));
        assert_eq!(given("[1, a]"), json!([1, "a"]));
        assert_eq!(given("'5'"), json!("5"));
        assert_eq!(given("a: b"), json!("a: b"));
        assert_eq!(given("[1"), json!("[1"));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~é]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_yaml_writes_is_read_back(written in any_value()) {
            let text = serde_yaml::to_string(&written).unwrap();
            prop_assert_eq!(value(&text), written, "{}", text);
        }
    }
}
