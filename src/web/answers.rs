//! How answers are kept in the memo: under the call's key, with their status
//! and headers, and the request without its secrets for people who look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::Answer;
use crate::ground::ContentHash;
use crate::ground::files::FileError;
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
    use super::*;
    use crate::ground::ManualClock;

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
}
