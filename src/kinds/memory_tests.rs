//! Never pay twice: what a row more, a row less and a second stage cost the
//! kinds that ask about each row, counted at the server; and that they say so
//! beforehand.

use std::time::Duration;

use serde_json::{Value, json};

use super::crawl_loved_tracks::CrawlLovedTracks;
use super::crawl_lyrics::CrawlLyrics;
use super::crawl_top_tags::CrawlTopTags;
use super::crawl_users::CrawlUsers;
use super::lab::{Lab, param, strings};
use super::summarize::Summarize;
use crate::stage::StageKind;
use crate::table::Table;

/// Each provider answers everybody, by the first letter of what is asked:
/// lyrics.ovh knows no song in `b`, and a user in `p` has two pages of tracks.
fn world(target: &str) -> (u16, String) {
    let found = |body: Value| (200, body.to_string());
    if target.starts_with("/lyricsovh/") {
        let title = target.rsplit('/').next().unwrap_or_default();
        return if title.starts_with('b') { (404, "{}".to_owned()) } else { found(json!({"lyrics": "la"})) };
    }
    if target.starts_with("/lrclib/") {
        return found(json!({"plainLyrics": "lo", "instrumental": false}));
    }
    if target.starts_with("/openai/") {
        return found(json!({"choices": [{"message": {"content": "words"}}]}));
    }
    let track = json!({"name": "t", "artist": {"name": "A"}});
    let pages = if param(target, "user").starts_with('p') { "2" } else { "1" };
    found(match param(target, "method").as_str() {
        "track.getTopTags" => json!({"toptags": {"tag": {"name": "rock"}}}),
        "user.getInfo" => json!({"user": {"name": param(target, "user"), "realname": "R", "country": "Norway"}}),
        "user.getFriends" => json!({"friends": {"user": [{"name": "x"}, {"name": "y"}]}}),
        _ => json!({"lovedtracks": {"track": [track], "@attr": {"totalPages": pages}}}),
    })
}

fn songs(port: &'static str, titles: &[&str]) -> Vec<(&'static str, Table)> {
    let columns =
        [("item_id", strings(titles)), ("artist", strings(&vec!["A"; titles.len()])), ("title", strings(titles))];
    vec![(port, Table::of_columns(columns).expect("a table"))]
}

fn users(names: &[&str]) -> Vec<(&'static str, Table)> {
    vec![("users", Table::of_columns([("user_id", strings(names))]).expect("a table"))]
}

/// What a kind that asks about each row costs: `asks` requests for each of
/// `rows`, of which the last is the one that is added.
async fn costs(
    kind: &dyn StageKind,
    with: Value,
    rows: &[&str],
    asks: &[usize],
    inputs: impl Fn(&[&str]) -> Vec<(&'static str, Table)>,
) {
    let lab = Lab::new(world).await.remembering();
    let (fewer, all) = (rows.len() - 1, rows.len());
    let known = |names: &[&str]| lab.known(kind, &with, inputs(names), None);
    let before = asks[..fewer].iter().sum::<usize>();

    assert_eq!(known(&rows[..fewer]), format!("{fewer} rows, 0 known, {fewer} to ask"));
    lab.run(kind, with.clone(), inputs(&rows[..fewer])).await.expect("the first run");
    assert_eq!(lab.asked(), before);
    assert_eq!(known(rows), format!("{all} rows, {fewer} known, 1 to ask"));
    lab.run(kind, with.clone(), inputs(rows)).await.expect("a row more");
    assert_eq!(lab.asked(), before + asks[fewer], "a row more costs itself");
    assert_eq!(known(rows), format!("{all} rows, {all} known, 0 to ask"));
    lab.run(kind, with.clone(), inputs(&rows[1..])).await.expect("a row less");
    assert_eq!(lab.asked(), before + asks[fewer], "a row less costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_more_costs_one_request_or_one_prompt() {
    let titles = ["one", "two", "three", "four"];
    costs(&CrawlTopTags, json!({}), &titles, &[1; 4], |titles| songs("tracks", titles)).await;
    let with = json!({"model": "m", "prompt": "What is {{ title }}?"});
    costs(&Summarize, with, &titles, &[1; 4], |titles| songs("items", titles)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_asks_more_than_once_is_known_when_all_is() {
    costs(&CrawlLyrics, json!({}), &["a", "b1", "c", "b2"], &[1, 2, 1, 2], |titles| songs("tracks", titles)).await;
    let with = json!({"per_user": 5, "min_per_user": 0});
    costs(&CrawlLovedTracks, with, &["u", "v", "w", "p"], &[1, 1, 1, 2], users).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_which_only_the_first_answer_is_there_is_not_known() {
    let lab = Lab::new(world).await.remembering();
    let first = json!({"providers": ["lyricsovh"]});
    lab.run(&CrawlLyrics, first, songs("tracks", &["a", "b"])).await.expect("lyrics");
    let both = lab.known(&CrawlLyrics, &json!({}), songs("tracks", &["a", "b"]), None);
    assert_eq!(both, "2 rows, 1 known, 1 to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_the_same_question_are_asked_about_once_and_rows_without_one_never() {
    let lab = Lab::new(world).await.remembering();
    let rows = || songs("tracks", &["new", " ", "new", "other"]);
    assert_eq!(lab.known(&CrawlTopTags, &json!({}), rows(), None), "4 rows, 1 known, 2 to ask");
    assert_eq!(lab.known(&CrawlLyrics, &json!({}), rows(), None), "4 rows, 1 known, 2 to ask");
    let with = json!({"model": "m", "prompt": "{{ title }}"});
    assert_eq!(lab.known(&Summarize, &with, songs("items", &["new", " ", "new"]), None), "3 rows, 1 known, 1 to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_with_the_same_prompt_share_the_answer() {
    let lab = Lab::new(world).await.remembering();
    let one = json!({"model": "m", "prompt": "What is {{ title }}?", "limiter": "groq"});
    let other = json!({"model": "m", "prompt": "What is {{ title }}?{# the same #}", "max_failed_rows": 1});
    lab.run(&Summarize, one, songs("items", &["a", "b"])).await.expect("summaries");
    assert_eq!(lab.asked(), 2);
    lab.run(&Summarize, other, songs("items", &["b", "a"])).await.expect("summaries");
    assert_eq!(lab.asked(), 2);
    let warmer = json!({"model": "m", "prompt": "What is {{ title }}?", "temperature": 1});
    assert_eq!(lab.known(&Summarize, &warmer, songs("items", &["a"]), None), "1 row, 0 known, 1 to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_takes_only_what_is_young_enough() {
    let lab = Lab::new(world).await.remembering();
    let day = Duration::from_hours(24);
    lab.run(&CrawlTopTags, json!({}), songs("tracks", &["old"])).await.expect("tags");
    lab.wait(day);
    lab.run(&CrawlTopTags, json!({}), songs("tracks", &["young"])).await.expect("tags");
    let both = || songs("tracks", &["old", "young"]);
    assert_eq!(lab.known(&CrawlTopTags, &json!({}), both(), None), "2 rows, 2 known, 0 to ask");
    assert_eq!(lab.known(&CrawlTopTags, &json!({}), both(), Some(day / 2)), "2 rows, 1 known, 1 to ask");
    lab.run_within(&CrawlTopTags, json!({}), both(), Some(day / 2)).await.expect("tags");
    assert_eq!(lab.asked(), 3);
    assert_eq!(lab.known(&CrawlTopTags, &json!({}), both(), Some(day / 2)), "2 rows, 2 known, 0 to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_counted_only_where_all_of_it_is_known() {
    let lab = Lab::new(world).await.remembering();
    let with = json!({"max_users": 3});
    assert_eq!(lab.known(&CrawlUsers, &with, Vec::new(), None), "nothing");
    lab.run(&CrawlUsers, with.clone(), Vec::new()).await.expect("users");
    assert_eq!(lab.known(&CrawlUsers, &with, Vec::new(), None), "3 rows, 3 known, 0 to ask");
    assert_eq!(lab.known(&CrawlUsers, &json!({"max_users": 3, "seed_user": "z"}), Vec::new(), None), "nothing");
}
