//! What `crawl_users` asks and keeps, from servers that behave and servers that do not.

use super::super::lab::{Lab, cells, param};
use super::*;
use serde_json::json;

/// RJ -> a, b; a -> c, RJ; b -> d, C; d is private; c has no country.
fn world(target: &str) -> (u16, String) {
    let user = param(target, "user").to_lowercase();
    let body = match param(target, "method").as_str() {
        "user.getInfo" if user == "gone" => json!({"error": 6, "message": "User not found"}),
        "user.getInfo" => {
            let country = if user == "c" { "None" } else { "Oslo, Norway" };
            json!({"user": {"name": user, "realname": "R", "country": country, "registered": {"unixtime": "5"}}})
        }
        _ => match (user.as_str(), param(target, "page").as_str()) {
            ("rj", "1") => {
                json!({"friends": {"user": [{"name": "a"}, {"name": "gone"}], "@attr": {"totalPages": "2"}}})
            }
            ("rj", _) => json!({"friends": {"user": {"name": "b"}, "@attr": {"totalPages": "2"}}}),
            ("a", _) => json!({"friends": {"user": [{"name": "c"}, {"name": "RJ"}]}}),
            ("b", _) => json!({"friends": {"user": [{"name": "d"}, {"name": "C"}]}}),
            ("d", _) => json!({"error": 17, "message": "Login required"}),
            _ => json!({"error": 6, "message": "no friends"}),
        },
    };
    (200, body.to_string())
}

async fn users(with: Value) -> (Vec<String>, usize) {
    let lab = Lab::new(world).await;
    let tables = lab.run(&CrawlUsers, with, vec![]).await.expect("users");
    (cells(&tables["users"]), lab.asked())
}

#[tokio::test]
async fn users_come_breadth_first_and_complete() {
    let (rows, asked) = users(json!({"max_users": 10})).await;
    assert_eq!(rows, ["rj|true|NO|5|0", "a|true|NO|5|1", "b|true|NO|5|1", "d|true|NO|5|2"]);
    assert_eq!(asked, 6 + 6, "six profiles; two pages of RJ's friends, and one each of a, b, c and d");
    let (rows, _) = users(json!({"max_users": 10, "require": ["name"], "max_depth": 2})).await;
    assert_eq!(rows, ["rj|true|NO|5|0", "a|true|NO|5|1", "b|true|NO|5|1", "c|true||5|2", "d|true|NO|5|2"]);
}

#[tokio::test]
async fn nothing_is_asked_in_vain() {
    let (rows, asked) = users(json!({"max_users": 1})).await;
    assert_eq!((rows.len(), asked), (1, 1));
    let (rows, asked) = users(json!({"max_users": 3, "max_depth": 1})).await;
    assert_eq!((rows.len(), asked), (3, 4 + 2));
}

#[tokio::test]
async fn a_ring_of_friends_some_of_whom_have_vanished_is_walked_once() {
    // Each of 200 knows the next two, the last ones the first; every fifth but RJ is gone.
    let ring = |target: &str| {
        let user = param(target, "user");
        let place: usize = user.strip_prefix('u').and_then(|place| place.parse().ok()).unwrap_or(0);
        let name = |place: usize| match place % 200 {
            0 => "RJ".to_owned(),
            place => format!("u{place}"),
        };
        let gone = place % 5 == 4;
        let body = match param(target, "method").as_str() {
            _ if gone => json!({"error": 6, "message": "User not found"}),
            "user.getInfo" => json!({"user": {"name": user, "realname": "R", "country": "Norway"}}),
            _ => json!({"friends": {"user": [{"name": name(place + 1)}, {"name": name(place + 2)}]}}),
        };
        (200, body.to_string())
    };
    let lab = Lab::new(ring).await;
    let with = json!({"max_users": 1000, "max_depth": 500, "max_failed_rows": 0});
    let tables = lab.run(&CrawlUsers, with, vec![]).await.expect("who vanished is no failure");
    assert_eq!(tables["users"].rows(), 160);
    assert_eq!(lab.asked(), 200 + 160, "every profile once, and the friends of everyone who is there");
}

#[tokio::test]
async fn a_seed_user_that_is_not_there_fails_the_stage() {
    let lab = Lab::new(world).await;
    let error = lab.run(&CrawlUsers, json!({"max_users": 3, "seed_user": "gone"}), vec![]).await.expect_err("no seed");
    assert_eq!(error.to_string(), "the seed user `gone` could not be fetched: not_found");
}

#[test]
fn mistakes_are_all_told_and_no_secret_is_in_the_settings() {
    let problems =
        CrawlUsers.parse(&json!({"max_users": 0, "seed_user": " ", "max_failed_rows": 2})).err().expect("problems");
    assert_eq!(problems.len(), 3, "{problems:?}");
    let good = |with: Value| CrawlUsers.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}"));
    let stage = good(json!({"max_users": 5, "api_key": "x${env.K}"}));
    let expected = json!({"seed_user": "RJ", "max_users": 5, "max_depth": 6, "max_friends": 500, "max_profiles": null, "require": ["name", "real_name", "country"], "user_names": "as_is", "exclude": []});
    assert_eq!(stage.settings(), expected);
    assert_eq!(stage.variables()[0].name, "K");
    assert!(good(json!({"max_users": 5, "api_key": "plain"})).variables().is_empty());
}

#[tokio::test]
async fn real_names_reach_neither_the_result_nor_the_memo() {
    let named = |target: &str| {
        let (status, body) = world(target);
        (status, body.replace("\"R\"", "\"Richard Named\""))
    };
    let lab = Lab::new(named).await.remembering();
    let tables = lab.run(&CrawlUsers, json!({"max_users": 10}), vec![]).await.expect("users");
    assert_eq!(cells(&tables["users"])[0], "rj|true|NO|5|0");
    let again = lab.run(&CrawlUsers, json!({"max_users": 10}), vec![]).await.expect("users");
    assert_eq!((cells(&again["users"]), lab.asked()), (cells(&tables["users"]), 12), "the memo says as much");
    let held = lab.memo_bytes();
    let holds = |text: &str| held.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("withheld") && !holds("Richard"), "{} bytes", held.len());
}

#[tokio::test]
async fn hashed_users_are_known_to_the_store_alone() {
    let lab = Lab::new(world).await.keeping_names();
    let with = json!({"max_users": 10, "user_names": "hashed"});
    let tables = lab.run(&CrawlUsers, with, vec![]).await.expect("users");
    let rows = cells(&tables["users"]);
    let ids: Vec<&str> = rows.iter().map(|row| row.split('|').next().expect("an id")).collect();
    let names: Vec<String> = ids.iter().map(|id| lab.people().name_of(id).expect("names").expect("one")).collect();
    assert_eq!(names, ["rj", "a", "b", "d"]);
    assert!(ids.iter().all(|id| is_pseudonym(id)), "{ids:?}");

    let excluded = json!({"max_users": 10, "user_names": "hashed", "exclude": [ids[1], "B"]});
    let tables = lab.run(&CrawlUsers, excluded, vec![]).await.expect("users");
    assert_eq!(cells(&tables["users"]).len(), 1, "without a and b nobody is met");
    let lost = Lab::new(world).await;
    let error = lost.run(&CrawlUsers, json!({"max_users": 1, "user_names": "hashed"}), vec![]).await;
    assert_eq!(error.expect_err("no store").to_string(), "there is no store that could keep the names");
}

#[tokio::test]
async fn whoever_is_met_under_two_names_is_one() {
    // `old` is called `new` by now; RJ has both as friends, and himself.
    let renamed = |target: &str| {
        let user = param(target, "user");
        let body = match param(target, "method").as_str() {
            "user.getInfo" => {
                let name = if user == "old" { "New".to_owned() } else { user };
                json!({"user": {"name": name, "realname": "R", "country": "Norway"}})
            }
            _ => json!({"friends": {"user": [{"name": "rj"}, {"name": "old"}, {"name": "new"}, {"name": "NEW"}]}}),
        };
        (200, body.to_string())
    };
    let lab = Lab::new(renamed).await;
    let tables = lab.run(&CrawlUsers, json!({"max_users": 9}), vec![]).await.expect("users");
    assert_eq!(cells(&tables["users"]), ["RJ|true|NO||0", "new|true|NO||1"]);
}

#[tokio::test]
async fn a_friends_list_without_an_end_is_given_up() {
    let endless = |target: &str| {
        let page: u64 = param(target, "page").parse().unwrap_or_default();
        let user = param(target, "user");
        let names = match user.as_str() {
            "RJ" => vec!["a".to_owned(), "b".to_owned()],
            "a" => vec![format!("a{page}")],
            _ => vec![],
        };
        let names: Vec<Value> = names.into_iter().map(|name| json!({"name": name})).collect();
        let body = match param(target, "method").as_str() {
            "user.getInfo" => json!({"user": {"name": user, "realname": "R", "country": "Norway"}}),
            _ => json!({"friends": {"user": names, "@attr": {"totalPages": "1000000"}}}),
        };
        (200, body.to_string())
    };
    let lab = Lab::new(endless).await;
    let tables = lab.run(&CrawlUsers, json!({"max_users": 100, "max_friends": 100}), vec![]).await.expect("users");
    assert_eq!(tables["users"].rows(), 6, "RJ, a, b and three pages of a's friends");
    let told =
        "the friends lists of 2 users have no end: they were given up at a page without a new name, or after 3 pages";
    assert_eq!(lab.warnings(), [told]);
    assert_eq!(lab.asked(), 6 + 2 + 3 + 4, "six profiles; two pages of RJ, three of a, one of each other");
}

#[tokio::test]
async fn a_search_that_finds_nobody_worth_keeping_ends() {
    let strangers = |target: &str| {
        let user = param(target, "user");
        let names: Vec<Value> = (0..40).map(|n| json!({"name": format!("{user}{n}")})).collect();
        let is_profile = param(target, "method") == "user.getInfo";
        let body = if is_profile { json!({"user": {"name": user}}) } else { json!({"friends": {"user": names}}) };
        (200, body.to_string())
    };
    let lab = Lab::new(strangers).await;
    let tables = lab.run(&CrawlUsers, json!({"max_users": 5, "max_profiles": 30}), vec![]).await.expect("users");
    assert_eq!((tables["users"].rows(), lab.asked()), (0, 30 + 1));
    assert_eq!(lab.warnings(), ["only 0 users are kept of the 30 that `max_profiles` allows to look at"]);
}
