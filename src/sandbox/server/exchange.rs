//! A request as the providers' answers see it, and an answer before it becomes
//! a response. No sockets here.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::super::routes;
use crate::ground::Hasher;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provider {
    Lastfm,
    Lyricsovh,
    Lrclib,
    Deezer,
    Chat,
}

/// A request, decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    /// `GET`, `POST`, …
    pub(super) method: String,
    /// The path as it came, percent-encoded.
    pub(super) path: String,
    /// The query, decoded; of several values of a name, the last.
    pub(super) query: BTreeMap<String, String>,
    /// The host that the client named.
    pub(super) host: String,
    /// The body.
    pub(super) body: Bytes,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Ask {
    /// Decodes a request.
    pub(super) fn new(parts: &Parts, body: Bytes) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            host: host.to_owned(),
            body,
        }
    }

    /// A value of the query; an empty one is none.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A whole number of the query.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.value(name).and_then(|value| value.parse().ok())
    }

    /// The decoded segments of the path below `base`. As some servers do, `+` becomes a space.
    pub(super) fn segments_below(&self, base: &str) -> Option<Vec<String>> {
        let rest = self.path.strip_prefix(base)?.strip_prefix('/')?;
        let decode = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().replace('+', " ");
        Some(rest.split('/').map(decode).collect())
    }

    /// The same for the same request, whoever asks: keys are not part of it.
    pub(super) fn key(&self) -> u64 {
        let mut hasher = Hasher::new("sandbox request");
        hasher.field(self.method.as_bytes()).field(self.path.as_bytes());
        for (name, value) in self.query.iter().filter(|(name, _)| *name != "api_key") {
            hasher.field(name.as_bytes()).field(value.as_bytes());
        }
        number(hasher.field(&self.body))
    }
}

/// The first 64 bits of a hash.
pub(super) fn number(hasher: &Hasher) -> u64 {
    let hash = hasher.finish();
    hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Provider {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Lastfm, Self::Lyricsovh, Self::Lrclib, Self::Deezer, Self::Chat];

    /// The name in the settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lastfm => "lastfm",
            Self::Lyricsovh => "lyricsovh",
            Self::Lrclib => "lrclib",
            Self::Deezer => "deezer",
            Self::Chat => "chat",
        }
    }

    /// Who is asked, and the route's name in the statistics; none for unknown routes.
    pub(super) fn of(ask: &Ask) -> Option<(Self, String)> {
        let get = ask.method == "GET";
        let at = |base: &str, rest: &str| ask.path.strip_prefix(base) == Some(rest);
        if ask.path.trim_end_matches('/') == routes::LASTFM.trim_end_matches('/') {
            let known = ask.value("method").filter(|method| super::lastfm::METHODS.contains(method));
            return Some((Self::Lastfm, format!("lastfm {}", known.unwrap_or("(unknown method)"))));
        }
        let found = if get && ask.path.starts_with(&format!("{}/v1/", routes::LYRICSOVH)) {
            (Self::Lyricsovh, "lyricsovh /v1")
        } else if get && at(routes::LRCLIB, "/api/get") {
            (Self::Lrclib, "lrclib /api/get")
        } else if get && (at(routes::DEEZER, "/search") || at(routes::DEEZER, "/search/track")) {
            (Self::Deezer, "deezer /search")
        } else if ask.method == "POST" && at(routes::CHAT, "/chat/completions") {
            (Self::Chat, "chat /chat/completions")
        } else if ask.method == "POST" && at(routes::CHAT, routes::EMBEDDINGS) {
            (Self::Chat, "chat /embeddings")
        } else {
            return None;
        };
        Some((found.0, found.1.to_owned()))
    }
}

impl Answer {
    /// A JSON answer.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json; charset=utf-8", headers: Vec::new(), body: body.to_string() }
    }

    /// A page as proxies write it.
    pub(super) fn html(status: u16, title: &str) -> Self {
        let body =
            format!("<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n");
        Self { status, content_type: "text/html", headers: Vec::new(), body }
    }

    /// Plain text.
    pub(super) fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: body.to_owned() }
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}
