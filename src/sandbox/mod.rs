//! A world of listeners, songs and words, and the servers that speak for it on
//! the loopback: Last.fm, lyrics.ovh, LRCLIB, Deezer search and OpenAI chat.
//! Everything in it is synthetic; nothing here knows of stages or of the web
//! client that asks it.

mod error;
mod fault_kind;
mod identity;
pub mod routes;
mod server;
mod settings;
mod world;

pub use error::SandboxError;
pub use fault_kind::FaultKind;
pub use identity::identity;
pub use server::Sandbox;
pub use settings::{SandboxSettings, SandboxStart, ServerLimits};
pub use world::{Listener, Loved, LovedTrack, LyricsAvailability, Song, World};
