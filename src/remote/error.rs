//! What can go wrong with a shared store. Nothing of it holds a secret.

use std::error::Error;

use super::address::without_secrets;
use crate::store::StoreError;

/// Why the shared store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not {action} `{what}`: {reason}")]
pub struct RemoteError {
    pub(super) kind: Kind,
    action: String,
    what: String,
    reason: String,
}

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is not there.
    Missing,
    /// Something else is there, or it is another than it was.
    Changed,
    /// The server refuses this user.
    Refused,
    /// The server does not answer, or not as it should.
    Unreachable,
    /// What came is not what was asked for.
    Damaged,
    /// The server knows no such request.
    Unsupported,
    /// This machine's own disk, or the user, stands in the way.
    Local,
}

impl RemoteError {
    pub(super) fn new(kind: Kind, action: &str, what: &str, reason: impl Into<String>) -> Self {
        Self { kind, action: action.to_owned(), what: what.to_owned(), reason: scrubbed(&reason.into()) }
    }

    /// What an error of the client means.
    pub(super) fn of(action: &str, what: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let kind = match error {
            E::NotFound { .. } => Kind::Missing,
            E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => Kind::Changed,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Kind::Refused,
            E::NotSupported { .. } | E::NotImplemented { .. } => Kind::Unsupported,
            _ if says(error, "non-partial response") => Kind::Unsupported,
            _ => Kind::Unreachable,
        };
        Self::new(kind, action, what, told(error))
    }

    /// An error of this machine's own store.
    pub(super) fn local(action: &str, what: &str, error: &StoreError) -> Self {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Self::new(Kind::Local, action, what, format!("{error}{source}"))
    }

    /// Whether the server does not answer, or not as it should: it may later.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    /// Whether it is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }

    /// Why, without what was attempted.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.kind {
            Kind::Refused => "see that the variables with the credentials are set (AWS_ACCESS_KEY_ID and \
                AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and \
                AZURE_STORAGE_ACCOUNT_KEY) and allow it"
                .to_owned(),
            Kind::Unreachable => "try again when it answers; `--remote none` does without it".to_owned(),
            Kind::Missing => "see that the address and its prefix are right".to_owned(),
            Kind::Damaged => "`refrain verify --remote --repair` takes out what is damaged there".to_owned(),
            Kind::Changed => "try again".to_owned(),
            Kind::Unsupported => "use a store that can be written".to_owned(),
            Kind::Local => "check the space and the permissions of the artifacts folder".to_owned(),
        }
    }
}

/// An error and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn says(error: &(dyn Error + 'static), words: &str) -> bool {
    causes(error).any(|error| error.to_string().contains(words))
}

/// An error with its causes on one line, each said once.
fn told(error: &object_store::Error) -> String {
    let mut text = String::new();
    for part in causes(error).map(ToString::to_string) {
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
    }
    // Of a page that a server sends with an error the beginning is enough.
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Variables whose values are secret.
const SECRETS: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
];

fn scrubbed(text: &str) -> String {
    let mut text = without_secrets(text);
    for secret in SECRETS.iter().filter_map(|name| std::env::var(name).ok()).filter(|secret| secret.len() >= 8) {
        text = text.replace(&secret, "…");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_its_causes_once_and_no_query() {
        let source = "Error performing GET https://x.example/a?sig=abc in 2s".into();
        let error = object_store::Error::Generic { store: "S3", source };
        let told = RemoteError::of("read", "manifests-v1/a.json", &error);
        assert_eq!(
            told.to_string(),
            "could not read `manifests-v1/a.json`: Generic S3 error: Error performing GET https://x.example/a in 2s"
        );
        assert!(told.is_unreachable());
    }
}
