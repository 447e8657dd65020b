//! What stages can do: one file per kind, and the registry.

mod audit_split;
mod baseline;
#[cfg(test)]
mod baseline_tests;
mod command_settings;
mod compare;
#[cfg(test)]
mod compare_tests;
mod computed_vectors;
mod content_similarity;
mod countries;
mod crawl_loved_tracks;
mod crawl_lyrics;
mod crawl_top_tags;
mod crawl_users;
mod declared;
mod detect_language;
mod ease;
mod embed;
mod embed_model;
mod embed_remote;
#[cfg(test)]
mod embed_remote_tests;
#[cfg(test)]
mod embed_tests;
mod evaluate;
mod evaluation;
#[cfg(test)]
mod evaluation_tests;
mod filter_k_core;
mod friends;
#[cfg(test)]
mod friends_tests;
#[cfg(test)]
mod hetrec_tests;
mod ials;
mod item_knn;
#[cfg(test)]
mod lab;
mod leaderboard;
mod match_tracks;
#[cfg(test)]
mod memory_tests;
mod on_device;
mod peel;
mod per_user;
mod popularity;
mod program;
mod prompt;
mod read_table;
#[cfg(test)]
mod recommend_tests;
#[cfg(test)]
mod registry_tests;
mod remote_vectors;
mod resolve_tracks;
mod rows;
mod run_command;
#[cfg(test)]
mod run_command_tests;
mod server;
mod split_leave_last_out;
mod sql;
mod sql_columns;
mod summaries;
mod summarize;
#[cfg(test)]
mod testing;
mod train_two_tower;
mod truncate_words;
mod two_tower_settings;
mod vectors;

use crate::stage::StageKind;

/// Every kind, by name.
pub const KINDS: &[&dyn StageKind] = &[
    &audit_split::AuditSplit,
    &compare::Compare,
    &content_similarity::ContentSimilarity,
    &crawl_loved_tracks::CrawlLovedTracks,
    &crawl_lyrics::CrawlLyrics,
    &crawl_top_tags::CrawlTopTags,
    &crawl_users::CrawlUsers,
    &detect_language::DetectLanguage,
    &ease::Ease,
    &embed::Embed,
    &embed_remote::EmbedRemote,
    &evaluate::Evaluate,
    &filter_k_core::FilterKCore,
    &ials::Ials,
    &item_knn::ItemKnn,
    &match_tracks::MatchTracks,
    &popularity::Popularity,
    &read_table::ReadTable,
    &resolve_tracks::ResolveTracks,
    &run_command::RunCommand,
    &split_leave_last_out::SplitLeaveLastOut,
    &sql::Sql,
    &summarize::Summarize,
    &train_two_tower::TrainTwoTower,
    &truncate_words::TruncateWords,
];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn StageKind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
