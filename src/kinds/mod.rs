//! What stages can do: one file per kind, and the registry.

mod countries;
mod crawl_loved_tracks;
mod crawl_lyrics;
mod crawl_top_tags;
mod crawl_users;
#[cfg(test)]
mod lab;
mod prompt;
mod rows;
mod summarize;

use crate::stage::StageKind;

/// Every kind, by name.
pub const KINDS: &[&dyn StageKind] = &[
    &crawl_loved_tracks::CrawlLovedTracks,
    &crawl_lyrics::CrawlLyrics,
    &crawl_top_tags::CrawlTopTags,
    &crawl_users::CrawlUsers,
    &summarize::Summarize,
];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn StageKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
