//! Addresses: what a request asks for, and the links of the pages.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What may stand in a part of a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'@').remove(b'~');

/// A path in its parts and the query behind it, both decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) path: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Query {
    /// Takes an address apart; none if it is not UTF-8.
    pub(super) fn of(path: &str, query: Option<&str>) -> Option<Self> {
        let decode = |part: &str| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let parts = path.split('/').filter(|part| !part.is_empty());
        let path = parts.map(decode).collect::<Option<Vec<_>>>()?;
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let values = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Some(Self { path, values })
    }

    /// The value of that name, if it is not empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A path of these parts.
pub(super) fn path<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        path.extend(utf8_percent_encode(part, PLAIN));
    }
    path
}

/// The page of a stage or of one instance.
pub(super) fn stage(name: &str) -> String {
    path(["stages", name])
}

/// The page of a run.
pub(super) fn run(name: &str) -> String {
    path(["runs", name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_come_back_as_what_they_name() {
        for name in ["train@V4-tag", "evaluate@CF+tag#3", "a/b?c=d&e", "<script>", "ä %20"] {
            let link = stage(name);
            assert!(!link.contains(['<', '"', '#', '?', '+', ' ']), "{link}");
            assert_eq!(Query::of(&link, None).unwrap().path, ["stages", name]);
        }
        let query = Query::of("/diff", Some("a=last~1&b=&c=%3Cb%3E")).unwrap();
        assert_eq!((query.value("a"), query.value("b"), query.value("c")), (Some("last~1"), None, Some("<b>")));
        assert!(Query::of("/stages/%ff", None).is_none());
    }
}
