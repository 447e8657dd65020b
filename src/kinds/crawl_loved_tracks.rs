//! `crawl_loved_tracks`: the tracks that users of Last.fm have marked.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows;
use crate::stage::{
    InputPort, Known, OutputPort, RequiredVariable, Resource, SettingProblem, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::{Table, complete};
use crate::web::lastfm::{Lastfm, LovedTrack, parse_loved_tracks};

/// The most tracks that Last.fm puts on one page.
const LARGEST_PAGE: u64 = 1000;

/// The kind.
pub(super) struct CrawlLovedTracks;

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How many of a user's newest loved tracks to take at most; 200 if not given.
    #[serde(default = "default_per_user")]
    per_user: u64,
    /// Users with fewer tracks are dropped; 5 if not given.
    #[serde(default = "default_min_per_user")]
    min_per_user: usize,
    /// The limiter to wait for; `lastfm` if not given.
    #[serde(default = "rows::default_lastfm_limiter", skip_serializing)]
    limiter: String,
    /// The API key; `${env.LASTFM_API_KEY}` if not given.
    #[serde(default = "rows::default_lastfm_key", skip_serializing)]
    api_key: String,
    /// The share of users, 0 to 1, that may fail to be fetched; 0.1 if not given.
    #[serde(default = "rows::default_max_failed_rows", skip_serializing)]
    max_failed_rows: f64,
}

fn default_per_user() -> u64 {
    200
}

fn default_min_per_user() -> usize {
    5
}

impl StageKind for CrawlLovedTracks {
    fn name(&self) -> &'static str {
        "crawl_loved_tracks"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Fetch the tracks that users of Last.fm have marked as loved"
    }

    fn documentation(&self) -> &'static str {
        "Reads `users` (user_id). Asks `user.getLovedTracks` for each distinct user.\n\n\
         Writes `loved` (user_id, artist, title, at), in the order of the users, each user's newest first; `at` is in \
         seconds since 1970 UTC and null where Last.fm does not say. Users with fewer than `min_per_user` tracks have no \
         row there.\n\n\
         Writes `fetched` (user_id, tracks, status), one row for each distinct user: `ok`, `too_few`, `empty`, \
         `not_found`, `private` or `failed: …`."
    }

    fn example(&self) -> &'static str {
        "kind: crawl_loved_tracks\ninputs: { users: users }\nwith: { per_user: 200, min_per_user: 5 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_positive("per_user", settings.per_user, &mut problems);
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        Ok(Arc::new(Crawl { settings: rows::checked(settings, problems)? }))
    }
}

#[derive(Debug)]
struct Crawl {
    settings: Settings,
}

/// What there is of one user.
struct Fetched {
    tracks: Vec<LovedTrack>,
    status: String,
}

#[async_trait]
impl Stage for Crawl {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("users", ["user_id"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![
            OutputPort::new("loved", &[("user_id", "str"), ("artist", "str"), ("title", "str"), ("at", "i64")])
                .keyed_by(&["user_id", "artist", "title"]),
            OutputPort::new("fetched", &[("user_id", "str"), ("tracks", "i64"), ("status", "str")])
                .keyed_by(&["user_id"]),
        ]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn variables(&self) -> Vec<RequiredVariable> {
        rows::required_variables(&self.settings.api_key, rows::LASTFM_KEY)
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let (lastfm, users) = (self.lastfm(context).ok()?, users(context).ok()?);
        Some(rows::known_by_asking(&users.rows, |place| self.fetch(context, &lastfm, &users.keys[place])))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let lastfm = self.lastfm(context)?;
        let users = users(context)?;
        context.progress.total(users.of_row.len() as u64);
        let width = context.web.concurrency(&self.settings.limiter, "lastfm") * 2;
        let (lastfm, keys) = (&lastfm, &users.keys);
        let ask = |place: usize| async move {
            let mut fetched = self.fetch(context, lastfm, &keys[place]).await?;
            if fetched.status == rows::OK && fetched.tracks.len() < self.settings.min_per_user {
                let status = if fetched.tracks.is_empty() { rows::EMPTY } else { "too_few" };
                status.clone_into(&mut fetched.status);
            }
            Ok(fetched)
        };
        let fetched = rows::ask_each(context, &users.rows, width, ask).await?;
        let statuses = fetched.iter().map(|user| user.status.as_str());
        rows::check_failures(context, "users", statuses, self.settings.max_failed_rows)?;
        let (loved, states) = tables(keys, &fetched)?;
        context.write("loved", &loved)?;
        context.write("fetched", &states)
    }
}

/// The distinct users.
fn users(context: &StageContext) -> Result<rows::Distinct<String>, StageError> {
    let ids = complete("user_id", context.table("users")?.strings("user_id")?)?;
    Ok(rows::distinct((0..ids.len()).map(|row| ids.value(row).to_owned())))
}

impl Crawl {
    fn lastfm(&self, context: &StageContext) -> Result<Lastfm, StageError> {
        Ok(Lastfm::new(rows::api_key(context, &self.settings.api_key)?, &self.settings.limiter))
    }

    /// One user's tracks, page after page. Part of a list is no list: a user
    /// whose second page fails has failed.
    async fn fetch(&self, context: &StageContext, lastfm: &Lastfm, user: &str) -> Result<Fetched, StageError> {
        let none = |status: String| Ok(Fetched { tracks: Vec::new(), status });
        let limit = self.settings.per_user.min(LARGEST_PAGE);
        let mut tracks: Vec<LovedTrack> = Vec::new();
        let mut before: Vec<LovedTrack> = Vec::new();
        for number in 1.. {
            let answer = match context.web.ask(&lastfm.loved_tracks(user, limit, number)).await {
                Ok(answer) => answer,
                Err(error) => return none(rows::row_status(error)?),
            };
            let page = match parse_loved_tracks(&answer) {
                Ok(page) => page,
                Err(miss) => return none(rows::status_of(&miss)),
            };
            if page.unreadable > 0 {
                context.progress.warn(&format!("{} loved tracks of `{user}` could not be read", page.unreadable));
            }
            let found = (page.items.len() + page.unreadable) as u64;
            // Some servers answer the last page for ever, or the first.
            if number > 1 && page.items == before {
                break;
            }
            before.clone_from(&page.items);
            tracks.extend(page.items);
            let last = page.pages.map_or(found < limit, |pages| number >= pages.unsigned_abs());
            if found == 0 || last || tracks.len() as u64 >= self.settings.per_user {
                break;
            }
        }
        tracks.truncate(self.settings.per_user as usize);
        Ok(Fetched { tracks, status: rows::OK.to_owned() })
    }
}

fn tables(users: &[String], fetched: &[Fetched]) -> Result<(Table, Table), StageError> {
    let kept = || users.iter().zip(fetched).filter(|(_, fetched)| fetched.status == rows::OK);
    let loved = || kept().flat_map(|(user, fetched)| fetched.tracks.iter().map(move |track| (user, track)));
    let of_user: ArrayRef = Arc::new(loved().map(|(user, _)| Some(user)).collect::<StringArray>());
    let artist: ArrayRef = Arc::new(loved().map(|(_, track)| Some(&track.artist)).collect::<StringArray>());
    let title: ArrayRef = Arc::new(loved().map(|(_, track)| Some(&track.title)).collect::<StringArray>());
    let at: ArrayRef = Arc::new(loved().map(|(_, track)| track.at).collect::<Int64Array>());
    let loved = Table::of_columns([("user_id", of_user), ("artist", artist), ("title", title), ("at", at)])?;
    let all: ArrayRef = Arc::new(users.iter().map(Some).collect::<StringArray>());
    let counts: ArrayRef = Arc::new(fetched.iter().map(|user| Some(user.tracks.len() as i64)).collect::<Int64Array>());
    let states: ArrayRef = Arc::new(fetched.iter().map(|user| Some(&user.status)).collect::<StringArray>());
    Ok((loved, Table::of_columns([("user_id", all), ("tracks", counts), ("status", states)])?))
}

#[cfg(test)]
mod tests {
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
    async fn the_same_page_for_ever_is_one_page() {
        let page = |_: &str| {
            let track = json!({"name": "t", "artist": {"name": "A"}});
            let list = json!({"track": [track], "@attr": {"page": "1", "totalPages": "1000000"}});
            (200, json!({"lovedtracks": list}).to_string())
        };
        let lab = Lab::new(page).await;
        let with = json!({"per_user": 50_000, "min_per_user": 1});
        let tables = lab.run(&CrawlLovedTracks, with, users(&["x"])).await.expect("tracks");
        assert_eq!((cells(&tables["loved"]), lab.asked()), (vec!["x|A|t|".to_owned()], 2));
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
}
