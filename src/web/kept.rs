//! Answers of the memo as they are kept: for showing them, counting them and
//! carrying them between machines. Asking is not done here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::answers::{AnswerHead, Answers, LIVE, rejected};
use super::call::key_of_parts;
use super::endpoints::Endpoints;
use crate::ground::files::FileError;
use crate::ground::{Clock, ContentHash};
use crate::memo::{Census, Stamp, census};

/// An answer and all that is kept with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is filed under.
    pub key: ContentHash,
    /// When it was received: milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// The HTTP status.
    pub status: u16,
    /// The headers that are kept, by their lower-case names.
    pub headers: BTreeMap<String, String>,
    /// The request for people: `lastfm GET ?method=user.getinfo&user=RJ`.
    pub request: String,
    /// Who answered: `live` for the real services, `sandbox:…` for a world of
    /// a sandbox; nothing in what was kept before this was written down.
    pub world: Option<String>,
    /// The request's body, if it had one and it was written down: canonical JSON.
    pub sent: Option<String>,
    /// Whether it does not count, because nobody could read it or because it
    /// refuses the request: then it is filed under a
    /// key that no request has.
    pub rejected: bool,
    /// The body as it came, decompressed.
    pub body: Vec<u8>,
}

impl Kept {
    /// The provider that was asked.
    #[must_use]
    pub fn provider(&self) -> &str {
        route(&self.request).0
    }

    /// Whether a sandbox answered: then it says nothing about the real world.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.world.as_deref().is_some_and(|world| world.starts_with("sandbox:"))
    }

    /// Whether its key is found to be that of its request. It cannot always be
    /// found: the address of a server that a pipeline names is not kept.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        let proven = || {
            let mut words = self.request.splitn(3, ' ');
            let (provider, method, target) = (words.next()?, words.next()?, words.next()?);
            let identity = match self.world.as_deref()? {
                LIVE => Endpoints::default().resolve(provider, None).ok()?.identity,
                world => format!("{world}/{provider}"),
            };
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let key = key_of_parts(&identity, method, path, pairs(query), self.sent.as_deref());
            Some(self.key == if self.rejected { rejected(key) } else { key })
        };
        proven().unwrap_or(false)
    }

    fn of(head: AnswerHead, body: Vec<u8>) -> Self {
        let AnswerHead { key, at, status, headers, request, world, sent, rejected } = head;
        let world = Some(world).filter(|world| !world.is_empty());
        Self { key, at, status, headers, request, world, sent, rejected, body }
    }

    fn head(&self) -> AnswerHead {
        AnswerHead {
            key: self.key,
            at: self.at,
            status: self.status,
            headers: self.headers.clone(),
            request: self.request.clone(),
            world: self.world.clone().unwrap_or_default(),
            sent: self.sent.clone(),
            rejected: self.rejected,
        }
    }
}

/// The pairs of a query that is written for people. An `&` in a value is told
/// from one between pairs by what follows it, as far as that goes.
fn pairs(query: &str) -> Vec<(&str, &str)> {
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let begins =
        |at: usize| query.get(at..).and_then(|rest| rest.split_once('=')).is_some_and(|(name, _)| is_name(name));
    let mut starts: Vec<usize> = vec![0];
    starts.extend(query.match_indices('&').map(|(at, _)| at + 1).filter(|at| begins(*at)));
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([query.len()]);
    let pair = |(start, end): (&usize, usize)| query.get(*start..end)?.split_once('=');
    starts.iter().zip(ends).filter_map(pair).collect()
}

/// Who a request is to and what it asks for, without whom or what it is about:
/// `lastfm` and `user.getinfo`, `chat` and `/chat/completions`.
#[must_use]
pub fn route(request: &str) -> (&str, String) {
    let mut words = request.splitn(3, ' ');
    let (provider, _, target) = (words.next().unwrap_or(""), words.next(), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if let Some(method) = query.split('&').find_map(|pair| pair.strip_prefix("method=")) {
        return (provider, method.to_owned());
    }
    let mut parts = path.trim_start_matches('/').split('/');
    let route = match (parts.next(), parts.clone().count()) {
        (Some(first), 2..) => format!("/{first}/…"),
        _ => path.to_owned(),
    };
    (provider, route)
}

/// The answers of a folder (`memo-v1/http`), to be listed and carried.
#[derive(Debug)]
pub struct KeptAnswers(Answers);

impl KeptAnswers {
    /// The answers in a folder, which need not exist yet. Reads nothing.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self(Answers::new(folder, clock))
    }

    /// The same, never to be written.
    pub fn read_only(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self(Answers::read_only(folder, clock))
    }

    /// The newest of each key, ascending by key, with those that do not count.
    #[must_use]
    pub fn stamps(&self) -> Vec<Stamp> {
        self.0.stamps()
    }

    /// For each key when its newest answer is of, if there is one.
    #[must_use]
    pub fn newest(&self, keys: &[ContentHash]) -> Vec<Option<u64>> {
        self.0.newest(keys)
    }

    /// The newest answer of a key.
    #[must_use]
    pub fn find(&self, key: ContentHash) -> Option<Kept> {
        self.0.find(key, None).map(|(head, body)| Kept::of(head, body))
    }

    /// What there is of a request: the newest answer, or the last that does not
    /// count where that is newer.
    #[must_use]
    pub fn exchanged(&self, key: ContentHash) -> Option<Kept> {
        let (answer, page) = (self.find(key), self.find(rejected(key)));
        answer.into_iter().chain(page).max_by_key(|kept| kept.at)
    }

    /// Keeps answers, all or none.
    ///
    /// # Errors
    /// [`FileError`] if they could not be written.
    pub fn append(&self, answers: &[Kept]) -> Result<(), FileError> {
        let heads: Vec<AnswerHead> = answers.iter().map(Kept::head).collect();
        self.0.append(heads.iter().zip(answers).map(|(head, kept)| (head, kept.body.as_slice())))
    }

    /// Syncs what was kept.
    ///
    /// # Errors
    /// [`FileError`] if it could not be synced.
    pub fn flush(&self) -> Result<(), FileError> {
        self.0.flush()
    }

    /// The damage found since the last call.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        self.0.take_warnings()
    }
}

/// What answers are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerGroup {
    /// Who was asked.
    pub provider: String,
    /// What for, as [`route`] tells it.
    pub route: String,
    /// The HTTP status.
    pub status: u16,
    /// Who answered, as [`Kept::world`] tells it.
    pub world: Option<String>,
    /// Whether they do not count.
    pub rejected: bool,
}

/// Counts the answers in a folder (`memo-v1/http`).
///
/// # Errors
/// [`FileError`] if the folder cannot be listed, or a file not be read.
pub fn count_answers(folder: &Path) -> Result<Census<AnswerGroup>, FileError> {
    census(folder, |head: &AnswerHead, _| {
        let (provider, route) = route(&head.request);
        AnswerGroup {
            provider: provider.to_owned(),
            route,
            status: head.status,
            world: Some(head.world.clone()).filter(|world| !world.is_empty()),
            rejected: head.rejected,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::lastfm::Lastfm;
    use super::super::{Call, Secret, Verdict};
    use super::*;
    use crate::ground::ManualClock;
    use proptest::prelude::*;
    use serde_json::json;

    fn kept(call: &Call, world: &str, identity: &str) -> Kept {
        Kept {
            key: call.key(identity),
            at: 7,
            status: 200,
            headers: BTreeMap::new(),
            request: call.describe(),
            world: Some(world.to_owned()),
            sent: call.sent(),
            rejected: false,
            body: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn a_key_is_found_to_be_its_requests_whatever_the_artist_is_called(artist in "[a-zA-Z&=? é]{0,12}", title in "[a-z &]{0,8}") {
            prop_assume!(!artist.split('&').skip(1).any(|part| part.contains('=')));
            prop_assume!(!artist.contains('='));
            let call = Lastfm::new(Secret::new("none"), "lastfm").top_tags(&artist, &title, true);
            prop_assert!(kept(&call, LIVE, "https://ws.audioscrobbler.com/2.0").is_proven());
            prop_assert!(kept(&call, "sandbox:w", "sandbox:w/lastfm").is_proven());
            let other = Kept { request: "lastfm GET ?method=user.getinfo&user=RJ".into(), ..kept(&call, "sandbox:w", "sandbox:w/lastfm") };
            prop_assert!(!other.is_proven());
        }
    }

    #[test]
    fn a_prompt_is_part_of_what_is_proven() {
        let mut call = Call::new("chat", "/chat/completions", |_| Verdict::Keep);
        call.body = Some(json!({"messages": [{"role": "user", "content": "Sum up"}], "model": "m"}));
        let answer = kept(&call, "sandbox:w", "sandbox:w/chat");
        assert!(answer.is_proven());
        assert!(!Kept { sent: Some("{}".into()), ..answer.clone() }.is_proven());
        assert!(!Kept { world: None, ..answer }.is_proven(), "nothing is known of who answered");
        assert_eq!(call.told(), "chat POST /chat/completions “Sum up”");
    }

    #[test]
    fn what_does_not_count_is_shown_where_it_is_newer() {
        let folder = tempfile::tempdir().expect("a folder");
        let memo = KeptAnswers::new(folder.path().join("http"), Arc::new(ManualClock::at(9)));
        let mut call = Lastfm::new(Secret::new("none"), "lastfm").user("RJ");
        call.bearer = Some(Secret::new("gsk_secret"));
        call.body = Some(json!({"note": "my key is gsk_secret"}));
        let answer = kept(&call, "sandbox:w", "sandbox:w/lastfm");
        let page =
            Kept { key: rejected(answer.key), at: 8, rejected: true, body: b"<html>".to_vec(), ..answer.clone() };
        memo.append(std::slice::from_ref(&page)).expect("written");
        assert_eq!(memo.find(answer.key), None);
        assert_eq!(memo.exchanged(answer.key), Some(page.clone()));
        memo.append(std::slice::from_ref(&answer)).expect("written");
        assert_eq!((memo.exchanged(answer.key), memo.find(answer.key)), (Some(page), Some(answer.clone())));
        assert_eq!(answer.sent.as_deref(), Some(r#"{"note":"my key is ***"}"#));
        let groups = count_answers(&folder.path().join("http")).expect("counted").groups;
        assert_eq!(groups.into_keys().map(|group| group.rejected).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn routes_name_nobody() {
        let route = |request| {
            let (provider, route) = route(request);
            format!("{provider} {route}")
        };
        assert_eq!(route("lastfm GET ?method=user.getinfo&user=RJ"), "lastfm user.getinfo");
        assert_eq!(route("lyricsovh GET /v1/AC%2FDC/T.N.T."), "lyricsovh /v1/…");
        assert_eq!(route("lrclib GET /api/get?artist_name=A"), "lrclib /api/get");
        assert_eq!(route("chat POST /chat/completions"), "chat /chat/completions");
        assert_eq!(route(""), " ");
    }
}
