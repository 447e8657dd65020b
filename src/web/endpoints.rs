//! Where the providers are: their public addresses, or one sandbox that stands
//! in for all of them.

use std::collections::BTreeMap;

use super::WebError;

/// The providers with a public address of their own. `chat` has none: its
/// address is a setting of the stage.
const PUBLIC: &[(&str, &str)] = &[
    ("lastfm", "https://ws.audioscrobbler.com/2.0"),
    ("lyricsovh", "https://api.lyrics.ovh"),
    ("lrclib", "https://lrclib.net"),
    ("deezer", "https://api.deezer.com"),
];

/// The name under which chat completions and embeddings are asked.
pub(super) const CHAT: &str = "chat";

/// Where one provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address before a call's path, without a slash at its end.
    pub base_url: String,
    /// What stands for the provider in memo keys: its public address, or the
    /// world of the sandbox; never a port.
    pub identity: String,
    /// Whether the rates of its limiter hold. A sandbox without limits is not
    /// paced, but its 429 answers are obeyed.
    pub paced: bool,
}

impl Endpoint {
    /// The host and port: what a limiter's record is named by.
    pub(super) fn server(&self) -> String {
        url::Url::parse(&self.base_url).map_or_else(|_| self.base_url.clone(), |url| place(&url).replace(':', "-"))
    }

    /// The host and port, for messages: neither a path nor credentials.
    pub(super) fn host(&self) -> String {
        url::Url::parse(&self.base_url).map_or_else(|_| "its address".to_owned(), |url| place(&url))
    }
}

/// Where all the providers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    by_provider: BTreeMap<String, Endpoint>,
    sandbox: Option<String>,
}

impl Default for Endpoints {
    /// The public addresses.
    fn default() -> Self {
        let public = |url: &str| Endpoint { base_url: url.to_owned(), identity: url.to_owned(), paced: true };
        Self {
            by_provider: PUBLIC.iter().map(|(name, url)| ((*name).to_owned(), public(url))).collect(),
            sandbox: None,
        }
    }
}

impl Endpoints {
    /// One server for every provider, at `url`:
    ///
    /// | provider | base URL |
    /// | --- | --- |
    /// | `lastfm` | `{url}/lastfm/2.0` |
    /// | `lyricsovh` | `{url}/lyricsovh` |
    /// | `lrclib` | `{url}/lrclib` |
    /// | `deezer` | `{url}/deezer` |
    /// | `chat` | `{url}/openai/v1`, whatever address the stage gives |
    ///
    /// `identity` names the world (`sandbox:<hash>`); the provider's name is added to it.
    #[must_use]
    pub fn sandbox(url: &str, identity: &str) -> Self {
        let url = url.trim_end_matches('/');
        let paths = [
            ("lastfm", "lastfm/2.0"),
            ("lyricsovh", "lyricsovh"),
            ("lrclib", "lrclib"),
            ("deezer", "deezer"),
            (CHAT, "openai/v1"),
        ];
        let by_provider = paths
            .iter()
            .map(|(name, path)| {
                let endpoint = Endpoint {
                    base_url: format!("{url}/{path}"),
                    identity: format!("{identity}/{name}"),
                    paced: false,
                };
                ((*name).to_owned(), endpoint)
            })
            .collect();
        Self { by_provider, sandbox: Some(identity.to_owned()) }
    }

    /// The same, with one provider elsewhere.
    #[must_use]
    pub fn with(mut self, provider: &str, endpoint: Endpoint) -> Self {
        self.by_provider.insert(provider.to_owned(), endpoint);
        self
    }

    /// The same, where the limits of these providers hold: of a sandbox that has
    /// limits itself.
    #[must_use]
    pub fn paced(mut self, providers: &[String]) -> Self {
        for (name, endpoint) in &mut self.by_provider {
            endpoint.paced |= providers.contains(name);
        }
        self
    }

    /// Whether a provider's limits hold.
    pub(super) fn are_paced(&self, provider: &str) -> bool {
        self.sandbox.is_none() || self.by_provider.get(provider).is_some_and(|endpoint| endpoint.paced)
    }

    /// The sandbox's identity, if this is one.
    #[must_use]
    pub fn sandbox_identity(&self) -> Option<&str> {
        self.sandbox.as_deref()
    }

    /// What is written down of who answers: `live`, or the sandbox's identity.
    #[must_use]
    pub fn world(&self) -> &str {
        self.sandbox.as_deref().unwrap_or(super::answers::LIVE)
    }

    /// Where a provider is. `given` is the address in the stage's settings; a
    /// sandbox stands in for that as well.
    ///
    /// # Errors
    /// [`WebError::Endpoint`] if there is no address, or it is no HTTP address,
    /// or it is plain HTTP to another machine without the user having written so.
    pub fn resolve(&self, provider: &str, given: Option<&str>) -> Result<Endpoint, WebError> {
        let refused = |reason: String| WebError::Endpoint { provider: provider.to_owned(), reason };
        let given = given.filter(|_| self.sandbox.is_none());
        let endpoint = match given {
            Some(url) => {
                let url = url.trim_end_matches('/').to_owned();
                Endpoint { identity: url.clone(), base_url: url, paced: true }
            }
            None => self
                .by_provider
                .get(provider)
                .cloned()
                .ok_or_else(|| refused("none is known and the stage gives none".into()))?,
        };
        let url = url::Url::parse(&endpoint.base_url).map_err(|error| refused(error.to_string()))?;
        match url.scheme() {
            "https" => Ok(endpoint),
            "http" if given.is_some() || is_loopback(&url) => Ok(endpoint),
            "http" => Err(refused("plain HTTP is only used on this machine, or where a stage says so".into())),
            other => Err(refused(format!("`{other}` is not HTTP"))),
        }
    }
}

/// The host of an address, and the port if it is not the usual one.
pub(super) fn place(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or("nowhere");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether an address is on this machine: such a one never goes through a proxy.
pub(super) fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_stands_in_for_every_provider_and_hides_its_port() {
        let endpoints = Endpoints::sandbox("http://127.0.0.1:4711/", "sandbox:abc");
        for provider in ["lastfm", "lyricsovh", "lrclib", "deezer", "chat"] {
            let endpoint = endpoints.resolve(provider, Some("https://real.example/v1")).expect("known");
            assert!(endpoint.base_url.starts_with("http://127.0.0.1:4711/"), "{endpoint:?}");
            assert_eq!(endpoint.identity, format!("sandbox:abc/{provider}"));
            assert!(!endpoint.paced);
        }
    }

    #[test]
    fn a_stage_may_give_an_address_and_only_then_is_plain_http_taken() {
        let endpoints = Endpoints::default();
        assert!(matches!(endpoints.resolve("chat", None), Err(WebError::Endpoint { .. })));
        let given = endpoints.resolve("chat", Some("http://big-box:8000/v1/")).expect("the user says so");
        assert_eq!(given.identity, "http://big-box:8000/v1");
        let plain = Endpoint { base_url: "http://elsewhere".into(), identity: "e".into(), paced: true };
        assert!(endpoints.clone().with("deezer", plain).resolve("deezer", None).is_err());
        assert!(endpoints.resolve("chat", Some("ftp://x")).is_err());
        assert!(endpoints.resolve("chat", Some("not an address")).is_err());
    }

    #[test]
    fn only_this_machine_is_asked_without_a_proxy() {
        let is_here = |url: &str| is_loopback(&url::Url::parse(url).expect("an address"));
        for here in ["http://localhost:8000/v1", "http://127.0.0.1:1", "https://127.8.8.8", "http://[::1]:11434"] {
            assert!(is_here(here), "{here}");
        }
        for away in
            ["https://ws.audioscrobbler.com", "http://localhost.evil.example", "http://10.0.0.1", "http://[fe80::1]"]
        {
            assert!(!is_here(away), "{away}");
        }
    }

    #[test]
    fn messages_name_the_host_and_no_credentials() {
        let host = |url: &str| Endpoint { base_url: url.into(), identity: "i".into(), paced: true }.host();
        assert_eq!(host("https://user:pass@x.example/v1"), "x.example");
        assert_eq!(host("http://x.example:8000/v1"), "x.example:8000");
    }

    #[test]
    fn every_public_address_is_https() {
        for (provider, _) in PUBLIC {
            let endpoint = Endpoints::default().resolve(provider, None).expect("a public address");
            assert!(endpoint.base_url.starts_with("https://") && endpoint.paced);
        }
    }
}
