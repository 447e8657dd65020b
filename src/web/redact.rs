//! What of an answer is not to be kept, not even in the memo.

/// What stands in the place of a real name: that there was one.
const WITHHELD: &[u8] = b"withheld";

/// The answer with every real name in it replaced: whether a user gives one is
/// asked for, which it is is not. Works on bytes, so that an answer that is no
/// JSON, or half of one, is kept as it came.
pub(super) fn real_names(bytes: Vec<u8>) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((before, name, after)) = next_name(rest) {
        kept.extend_from_slice(before);
        let is_given = !name.trim_ascii().is_empty() && name != b"None";
        kept.extend_from_slice(if is_given { WITHHELD } else { name });
        rest = after;
    }
    if kept.is_empty() {
        return bytes;
    }
    kept.extend_from_slice(rest);
    kept
}

/// What stands before the next real name, the name, and what comes after it.
fn next_name(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    const KEY: &[u8] = b"\"realname\"";
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
        let rest = text.get(at..)?.trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start).and_then(|rest| rest.strip_prefix(b"\""));
        if let Some(value) = value {
            let start = text.len() - value.len();
            let end = start + end_of_text(value);
            return Some((text.get(..start)?, text.get(start..end)?, text.get(end..)?));
        }
        from = at;
    }
}

/// Where the quote is that ends a text; its end where it was cut off.
fn end_of_text(text: &[u8]) -> usize {
    let mut is_escaped = false;
    text.iter()
        .position(|byte| {
            let ends = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            ends
        })
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        String::from_utf8(real_names(text.as_bytes().to_vec())).expect("UTF-8")
    }

    #[test]
    fn real_names_are_withheld_and_whether_there_is_one_is_not() {
        let given = r#"{"user":[{"name":"a","realname":"Ann \"A\" \\","x":1},{"realname" : "","n":"b"},{"realname":"None"},{"realname":"Bo"}]}"#;
        let expected = r#"{"user":[{"name":"a","realname":"withheld","x":1},{"realname" : "","n":"b"},{"realname":"None"},{"realname":"withheld"}]}"#;
        assert_eq!(kept(given), expected);
        assert_eq!(kept(expected), expected);
    }

    #[test]
    fn all_else_is_kept_as_it_came() {
        for text in ["", "<html>realname</html>", r#"{"realname":null,"a":"realname"}"#, r#"{"x":"realname"}"#] {
            assert_eq!(kept(text), text);
        }
        assert_eq!(kept(r#"{"realname":"An"#), r#"{"realname":"withheld"#, "half an answer");
        assert_eq!(real_names(vec![0xff, 0xfe]), [0xff, 0xfe]);
    }
}
