//! What `crawl_loved_tracks` asks and takes, from servers that behave and servers that do not.

use super::super::lab::{Lab, cells, param, strings};
use super::*;
use serde_json::json;

/// `two` has 1,200 tracks on two pages, `all` 50,000, `few` has one and a broken row.
fn world(target: &str) -> (u16, String) {
    let track = |n: u64| json!({"name": format!("t{n}"), "artist": {"name": "A"}, "date": {"uts": n.to_string()}});
    let page: u64 = param(target, "page").parse().expect("a page");
    let limit: u64 = param(target, "limit").parse().expect("a limit");
    let list = |total: u64| {
        let rows: Vec<Value> = ((page - 1) * limit..(page * limit).min(total)).map(track).collect();
        json!({"lovedtracks": {"track": rows, "@attr": {"totalPages": total.div_ceil(limit).to_string()}}})
    };
    let body = match param(target, "user").as_str() {
        "two" => list(1200),
        "all" => list(50_000),
        "five" => list(5),
        "few" => json!({"lovedtracks": {"track": [{"name": "t", "artist": {"#text": "A"}}, {"name": "broken"}]}}),
        "none" => json!({"lovedtracks": {"#text": "\n", "user": "none", "total": "0"}}),
        "shy" => json!({"error": 17, "message": "Login required"}),
        _ => json!({"error": 6, "message": "User not found"}),
    };
    (200, body.to_string())
}

fn users(names: &[&str]) -> Vec<(&'static str, Table)> {
    vec![("users", Table::of_columns([("user_id", strings(names))]).expect("a table"))]
}

#[tokio::test]
async fn tracks_come_in_the_order_of_the_users_and_every_user_has_a_status() {
    let lab = Lab::new(world).await;
    let names = ["two", "few", "none", "shy", "five", "gone", "five"];
    let tables = lab.run(&CrawlLovedTracks, json!({"per_user": 1100}), users(&names)).await.expect("tracks");
    let loved = cells(&tables["loved"]);
    assert_eq!((loved.len(), loved[0].as_str(), loved[1101].as_str()), (1105, "two|A|t0|", "five|A|t1|1"));
    let states = ["two|1100|ok", "few|1|too_few", "none|0|empty", "shy|0|private", "five|5|ok", "gone|0|not_found"];
    assert_eq!(cells(&tables["fetched"]), states);
    assert_eq!(lab.asked(), 7, "two pages of one user, the others once each");
}

#[tokio::test]
async fn fifty_thousand_loved_tracks_are_fifty_pages() {
    let lab = Lab::new(world).await;
    let tables = lab.run(&CrawlLovedTracks, json!({"per_user": 60_000}), users(&["all"])).await.expect("tracks");
    let loved = cells(&tables["loved"]);
    assert_eq!((loved.len(), loved[49_999].as_str(), lab.asked()), (50_000, "all|A|t49999|49999", 50));
}

#[tokio::test]
async fn no_users_give_empty_tables() {
    let lab = Lab::new(world).await;
    let tables = lab.run(&CrawlLovedTracks, json!({}), users(&[])).await.expect("empty");
    assert_eq!((tables["loved"].rows(), tables["fetched"].rows(), lab.asked()), (0, 0, 0));
}

/// A server that gives the same page for ever, one that never says the end, and
/// one that gives fewer tracks than it is asked for.
fn bad_world(target: &str) -> (u16, String) {
    let page: u64 = param(target, "page").parse().expect("a page");
    let track = |n: u64| json!({"name": format!("t{n}"), "artist": {"name": "A"}});
    let (tracks, pages): (Vec<Value>, &str) = match param(target, "user").as_str() {
        "same" => ((0..50).map(track).collect(), "1000000"),
        "slow" => (vec![track(page)], "1000000"),
        "mean" => ((page * 50..page * 50 + 50).map(track).collect(), "1000"),
        "twice" => (vec![track(1), track(2), track(1)], "1"),
        "broken" => ((0..50).map(|n| json!({"name": n})).collect(), "1000000"),
        _ => (vec![track(1)], "-7"),
    };
    (200, json!({"lovedtracks": {"track": tracks, "@attr": {"totalPages": pages}}}).to_string())
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let asked = async |user: &str| {
        let lab = Lab::new(bad_world).await;
        let with = json!({"per_user": 200, "min_per_user": 0});
        let tables = lab.run(&CrawlLovedTracks, with, users(&[user])).await.expect("tracks");
        (tables["loved"].rows(), lab.asked(), lab.warnings())
    };
    let endless =
        "the lists of 1 users have no end: they were given up at a page without a new track, or after 5 pages";
    assert_eq!(asked("same").await, (50, 2, vec![endless.to_owned()]));
    assert_eq!(asked("slow").await, (5, 5, vec![endless.to_owned()]));
    assert_eq!(asked("mean").await, (200, 4, vec![]), "50,000 tracks, of which the newest are taken");
    assert_eq!(asked("twice").await, (2, 1, vec![]));
    assert_eq!(asked("odd").await, (1, 1, vec![]));
    let broken = "50 loved tracks of 1 users could not be read";
    assert_eq!(asked("broken").await, (0, 1, vec![broken.to_owned(), endless.to_owned()]));
}

#[tokio::test]
async fn pseudonyms_are_asked_for_by_name_and_names_are_in_no_table() {
    let world = |target: &str| match param(target, "user").as_str() {
        "torn" => (200, json!({"nothing": "of torn"}).to_string()),
        "busy" => (400, json!({"error": 3, "message": "busy is busy"}).to_string()),
        _ => bad_world(target),
    };
    let lab = Lab::new(world).await.keeping_names();
    let ids = lab.people().remember(["twice", "torn", "busy"]).expect("pseudonyms");
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let with = json!({"max_failed_rows": 1, "min_per_user": 0});
    let tables = lab.run(&CrawlLovedTracks, with.clone(), users(&ids)).await.expect("tracks");
    assert_eq!(cells(&tables["loved"]), [format!("{}|A|t1|", ids[0]), format!("{}|A|t2|", ids[0])]);
    let states = cells(&tables["fetched"]);
    assert_eq!(states[0], format!("{}|2|ok", ids[0]));
    assert_eq!(states[1], format!("{}|0|failed: an answer that cannot be read", ids[1]));
    assert_eq!(states[2], format!("{0}|0|failed: Last.fm error 3: {0} is {0}", ids[2]));
    let error = lab.run(&CrawlLovedTracks, with, users(&["~0123456789"])).await.expect_err("nobody");
    assert_eq!(error.to_string(), "nobody knows whom the pseudonym `~0123456789` of `users` stands for");
}
