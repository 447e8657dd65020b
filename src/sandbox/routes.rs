//! Where each provider stands below the sandbox's base URL, so that a client's
//! endpoints and the server's routes cannot drift apart.

/// Last.fm: the whole endpoint, to which `?method=…` is added.
pub const LASTFM: &str = "/lastfm/2.0/";
/// lyrics.ovh: the base below which `/v1/{artist}/{title}` stands.
pub const LYRICSOVH: &str = "/lyricsovh";
/// LRCLIB: the base below which `/api/get` stands.
pub const LRCLIB: &str = "/lrclib";
/// Deezer: the base below which `/search` stands.
pub const DEEZER: &str = "/deezer";
/// OpenAI-compatible chat: the base below which `/chat/completions` stands.
pub const CHAT: &str = "/openai/v1";
/// OpenAI-compatible embeddings, below the same base.
pub const EMBEDDINGS: &str = "/embeddings";
/// How many requests each route has had, as JSON.
pub const STATS: &str = "/__stats";
/// What the world is: identity, seed, sizes; always `"synthetic": true`.
pub const WORLD: &str = "/__world";
/// Ends the suspension of a key by `revoke_after`.
pub const RESTORE: &str = "/__restore";
