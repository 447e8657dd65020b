//! A world of listeners, songs and words, and the servers that speak for it on
//! the loopback: Last.fm, lyrics.ovh, LRCLIB, Deezer search and OpenAI chat.
//! Everything in it is synthetic.

mod settings;

pub use settings::SandboxSettings;
