//! How answers are kept in the memo: under the call's key, with their status
//! and headers, and the request without its secrets for people who look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::Answer;
use crate::ground::files::FileError;
use crate::ground::{ContentHash, Hasher};
use crate::memo::{Head, Memo, Stamp};

/// The memo of answers.
pub(super) type Answers = Memo<AnswerHead>;

/// What stands before an answer's body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AnswerHead {
    key: ContentHash,
    at: u64,
    status: u16,
    headers: BTreeMap<String, String>,
    request: String,
}

impl Head for AnswerHead {
    const MAGIC: [u8; 12] = *b"refrain-http";

    fn stamp(&self) -> Stamp {
        Stamp { key: self.key, at: self.at }
    }
}

/// The newest answer of that key, if it is not older than `max_age`.
pub(super) fn recall(memo: &Answers, key: ContentHash, max_age: Option<Duration>) -> Option<Answer> {
    let (head, body) = memo.find(key, max_age)?;
    let body = Arc::from(body);
    Some(Answer { status: head.status, headers: head.headers, body, at: head.at, from_memo: true })
}

/// Where the last answer to a request is kept that nobody could read: not where
/// it would be taken for an answer.
pub(super) fn unreadable(key: ContentHash) -> ContentHash {
    Hasher::new("refrain http unreadable v1").field(key.as_bytes()).finish()
}

/// Keeps an answer.
///
/// # Errors
/// [`FileError`] if it could not be written.
pub(super) fn remember(memo: &Answers, key: ContentHash, request: String, answer: &Answer) -> Result<(), FileError> {
    let headers = answer.headers.clone();
    let head = AnswerHead { key, at: answer.at, status: answer.status, headers, request };
    memo.append([(&head, &*answer.body)])
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
        remember(&one, key, "lastfm GET /".to_owned(), &answer).expect("written");
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
            AnswerHead { key: call.key(&identity), at, status: 200, headers, request: call.describe() }
        };
        let body = br#"{"toptags":{"tag":[{"name":"rock","count":100},{"name":"pop","count":40}]}}"#;
        for first in (0..rows).step_by(10_000) {
            let heads: Vec<AnswerHead> = (first..rows.min(first + 10_000)).map(head).collect();
            memo.append(heads.iter().map(|head| (head, &body[..]))).expect("written");
        }
    }
}
