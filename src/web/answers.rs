//! How answers are kept in the memo: under the call's key, with their status
//! and headers, and with the request without its secrets for people who look.
//!
//! The last answer to a call that failed for good is kept as well, so that it can
//! be seen, but under a key of its own that no call has: it never counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::{Answer, Call};
use crate::ground::files::FileError;
use crate::ground::{ContentHash, Hasher};
use crate::memo::{Head, Memo, Stamp};

/// The memo of answers.
pub(super) type Answers = Memo<AnswerHead>;

/// What stands in [`AnswerHead::world`] of an answer of the real services.
pub(super) const LIVE: &str = "live";

/// What stands before an answer's body. What was added later has a default:
/// records of before are read as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnswerHead {
    pub(super) key: ContentHash,
    pub(super) at: u64,
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) request: String,
    /// Who answered: [`LIVE`], or the identity of a sandbox's world. Never an
    /// address: that may be a secret of the environment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) world: String,
    /// The request's body, if it had one: canonical JSON. A prompt cannot be
    /// told from `request`, and whoever reads a published crawl wants to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sent: Option<String>,
    /// Whether it does not count: nobody could read it, or it refuses the request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) rejected: bool,
}

impl Head for AnswerHead {
    const MAGIC: [u8; 12] = *b"refrain-http";

    fn stamp(&self) -> Stamp {
        Stamp { key: self.key, at: self.at }
    }
}

/// The newest answer of that key, if it is not older than `max_age`. What was
/// rejected is none, under whatever key somebody's file has brought it in.
pub(super) fn recall(memo: &Answers, key: ContentHash, max_age: Option<Duration>) -> Option<Answer> {
    let (head, body) = memo.find(key, max_age).filter(|(head, _)| !head.rejected)?;
    let body = Arc::from(body);
    Some(Answer { status: head.status, headers: head.headers, body, at: head.at, from_memo: true })
}

/// Keeps an answer.
///
/// # Errors
/// [`FileError`] if it could not be written.
pub(super) fn remember(
    memo: &Answers,
    key: ContentHash,
    call: &Call,
    world: &str,
    answer: &Answer,
) -> Result<(), FileError> {
    memo.append([(&head(key, call, world, answer), &*answer.body)])
}

/// Keeps the last answer to a call that failed for good, because nobody could
/// read it or because it refuses the request: for people to look at. [`recall`]
/// never gives it.
///
/// # Errors
/// [`FileError`] if it could not be written.
pub(super) fn remember_rejected(
    memo: &Answers,
    key: ContentHash,
    call: &Call,
    world: &str,
    answer: &Answer,
) -> Result<(), FileError> {
    let head = AnswerHead { rejected: true, ..head(rejected(key), call, world, answer) };
    memo.append([(&head, &*answer.body)])
}

/// Where the last answer to a request is kept that does not count: not where it
/// would be taken for an answer.
pub(super) fn rejected(key: ContentHash) -> ContentHash {
    Hasher::new("refrain http rejected v1").field(key.as_bytes()).finish()
}

fn head(key: ContentHash, call: &Call, world: &str, answer: &Answer) -> AnswerHead {
    AnswerHead {
        key,
        at: answer.at,
        status: answer.status,
        headers: answer.headers.clone(),
        request: call.describe(),
        world: world.to_owned(),
        sent: call.sent(),
        rejected: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::Endpoints;
    use super::super::{Secret, lastfm::Lastfm};
    use super::*;
    use crate::ground::{Clock, ManualClock, SystemClock};

    #[test]
    fn the_layout_of_answers_on_disk_is_fixed() {
        let folder = tempfile::tempdir().expect("a folder");
        let memo = || Answers::new(folder.path().join("http"), Arc::new(ManualClock::at(9)));
        let headers = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
        let answer = Answer { status: 200, headers, body: Arc::from(&b"song"[..]), at: 7, from_memo: false };
        let key = ContentHash::of(b"song");
        let one = memo();
        let head = |answer: &Answer| AnswerHead {
            key,
            at: answer.at,
            status: answer.status,
            headers: answer.headers.clone(),
            request: "lastfm GET /".to_owned(),
            world: String::new(),
            sent: None,
            rejected: false,
        };
        one.append([(&head(&answer), &*answer.body)]).expect("written");
        drop(one);
        let files = std::fs::read_dir(folder.path().join("http")).expect("a folder");
        let mut paths: Vec<_> = files.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        assert_eq!(paths.len(), 2, "a segment and its index");
        let bytes = std::fs::read(&paths[0]).expect("a segment");
        assert_eq!(ContentHash::of(&bytes).short(), "954f53aeb2c6", "another layout needs another VERSION");
        let found = recall(&memo(), key, None).expect("kept");
        assert_eq!(found, Answer { from_memo: true, ..answer });
        assert_eq!(recall(&memo(), ContentHash::of(b"other"), None), None);
    }

    #[test]
    fn what_was_added_to_a_head_is_read_back_and_may_be_missing() {
        let old = br#"{"key":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","at":7,"status":200,"headers":{},"request":"r"}"#;
        let head: AnswerHead = serde_json::from_slice(old).expect("a record of before");
        assert_eq!((head.world.as_str(), head.sent.as_deref(), head.rejected), ("", None, false));
        assert_eq!(serde_json::to_vec(&head).expect("JSON"), old, "and is written as it was");
    }

    #[test]
    fn what_nobody_can_read_is_kept_and_is_no_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let memo = Answers::new(folder.path().join("http"), Arc::new(ManualClock::at(9)));
        let call = Lastfm::new(Secret::new("s3cr3t-key"), "lastfm").top_tags("A", "T", false);
        let body: Arc<[u8]> = Arc::from(&b"<html>busy</html>"[..]);
        let page = Answer { status: 200, headers: BTreeMap::new(), body, at: 9, from_memo: false };
        let key = call.key("i");
        let good = Answer { body: Arc::from(&b"{}"[..]), at: 3, ..page.clone() };
        remember(&memo, key, &call, LIVE, &good).expect("written");
        remember_rejected(&memo, key, &call, "sandbox:x", &page).expect("written");
        assert_eq!(recall(&memo, key, None).map(|answer| answer.at), Some(3), "an older answer is still one");
        assert_eq!(memo.known(&[key], Some(Duration::from_millis(5))), [false]);
        let (head, body) = memo.find(rejected(key), None).expect("kept");
        assert_eq!((head.rejected, head.world.as_str(), body.as_slice()), (true, "sandbox:x", &*page.body));
        assert!(!serde_json::to_string(&head).expect("JSON").contains("s3cr3t"));
    }

    /// What `make bench` plans over: the memo of a crawl of that many tracks, as
    /// if Last.fm had answered. It is no measurement by itself.
    /// `MEMO_FOLDER=… MEMO_ROWS=… cargo test --release --lib -- --ignored memo_of_a_crawl`
    #[test]
    #[ignore = "writes the folder that MEMO_FOLDER names"]
    fn memo_of_a_crawl() {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let folder = std::path::PathBuf::from(variable("MEMO_FOLDER"));
        let rows: usize = variable("MEMO_ROWS").parse().expect("MEMO_ROWS is a number");
        let memo = Answers::new(folder, Arc::new(SystemClock));
        let identity = Endpoints::default().resolve("lastfm", None).expect("an address").identity;
        let lastfm = Lastfm::new(Secret::new("none"), "lastfm");
        let head = |row: usize| {
            let call = lastfm.top_tags(&format!("Artist {}", row / 10), &format!("Title {row}"), false);
            let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
            let at = SystemClock.now_millis();
            let answer = Answer { status: 200, headers, body: Arc::from(&b""[..]), at, from_memo: false };
            super::head(call.key(&identity), &call, LIVE, &answer)
        };
        let body = br#"{"toptags":{"tag":[{"name":"rock","count":100},{"name":"pop","count":40}]}}"#;
        for first in (0..rows).step_by(10_000) {
            let heads: Vec<AnswerHead> = (first..rows.min(first + 10_000)).map(head).collect();
            memo.append(heads.iter().map(|head| (head, &body[..]))).expect("written");
        }
    }
}
