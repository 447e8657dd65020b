//! `crawl_loved_tracks`: the tracks that users of Last.fm have marked.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows;
use crate::people::is_pseudonym;
use crate::stage::{
    InputPort, Known, OutputPort, RequiredVariable, Resource, SettingProblem, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::{Table, complete};
use crate::web::lastfm::{Lastfm, LovedTrack, Miss, parse_loved_tracks};

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

    /// 2: a track that stands twice in a list is taken once.
    fn version(&self) -> u32 {
        2
    }

    fn summary(&self) -> &'static str {
        "Fetch the tracks that users of Last.fm have marked as loved"
    }

    fn documentation(&self) -> &'static str {
        "Reads `users` (user_id). Asks `user.getLovedTracks` for each distinct user; where `user_id` is a \
         pseudonym (`crawl_users` with `user_names: hashed`), by the name that this store knows for it. A list that has no \
         end is given up after one page for each 50 of `per_user`, or at a page that brings nothing new; what came before \
         is taken.\n\n\
         Writes `loved` (user_id, artist, title, at), in the order of the users, each user's newest first and each track \
         once; `at` is in seconds since 1970 UTC and null where Last.fm does not say. Users with fewer than `min_per_user` tracks have no \
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

/// A user to ask about.
struct Person {
    /// What the user is called in tables.
    id: String,
    /// What Last.fm calls the user.
    name: String,
}

/// What there is of one user.
#[derive(Default)]
struct Fetched {
    tracks: Vec<LovedTrack>,
    status: String,
    /// Tracks that could not be read.
    unreadable: usize,
    /// Whether the list had no end, and was given up.
    is_endless: bool,
}

impl rows::HasStatus for Fetched {
    fn status(&self) -> &str {
        &self.status
    }
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
        let people = people(context, &users.keys).ok()?;
        Some(rows::known_by_asking(&users.rows, |place| self.fetch(context, &lastfm, &people[place])))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let lastfm = self.lastfm(context)?;
        let users = users(context)?;
        context.progress.total(users.of_row.len() as u64);
        let width = context.web.concurrency(&self.settings.limiter, "lastfm") * 2;
        let people = people(context, &users.keys)?;
        let (lastfm, people) = (&lastfm, &people);
        let ask = |place: usize| async move {
            let mut fetched = self.fetch(context, lastfm, &people[place]).await?;
            if fetched.status == rows::OK && fetched.tracks.len() < self.settings.min_per_user {
                let status = if fetched.tracks.is_empty() { rows::EMPTY } else { "too_few" };
                status.clone_into(&mut fetched.status);
            }
            Ok(fetched)
        };
        let fetched = rows::ask_each(context, &users.rows, width, ask).await?;
        let statuses = fetched.iter().map(|user| user.status.as_str());
        rows::check_failures(context, "users", statuses, self.settings.max_failed_rows)?;
        self.warn(context, &fetched);
        let (loved, states) = tables(&users.keys, &fetched)?;
        context.write("loved", &loved)?;
        context.write("fetched", &states)
    }
}

/// The distinct users.
fn users(context: &StageContext) -> Result<rows::Distinct<String>, StageError> {
    let ids = complete("user_id", context.table("users")?.strings("user_id")?)?;
    Ok(rows::distinct((0..ids.len()).map(|row| ids.value(row).to_owned())))
}

/// Whom the users' ids stand for.
fn people(context: &StageContext, ids: &[String]) -> Result<Vec<Person>, StageError> {
    let person = |id: &String| {
        if !is_pseudonym(id) {
            return Ok(Person { id: id.clone(), name: id.clone() });
        }
        let known = context.people.as_ref().map(|people| people.name_of(id)).transpose()?.flatten();
        let name = known.ok_or_else(|| {
            let what = format!("nobody knows whom the pseudonym `{id}` of `users` stands for");
            StageError::with_hint(what, "the store that gave it does; or crawl the users again, with `--force`")
        })?;
        Ok(Person { id: id.clone(), name })
    };
    ids.iter().map(person).collect()
}

impl Person {
    /// A status that may be kept: where the user is called by a pseudonym, the
    /// name is nowhere in it.
    fn fit(&self, status: String) -> String {
        if self.id == self.name { status } else { status.replace(&self.name, &self.id) }
    }

    fn status_of(&self, miss: &Miss) -> String {
        match miss {
            Miss::Unreadable(_) if self.id != self.name => rows::failed("an answer that cannot be read"),
            miss => rows::status_of(miss),
        }
    }
}

impl Crawl {
    fn lastfm(&self, context: &StageContext) -> Result<Lastfm, StageError> {
        Ok(Lastfm::new(rows::api_key(context, &self.settings.api_key)?, &self.settings.limiter))
    }

    /// One user's tracks, page after page. Part of a list is no list: a user
    /// whose second page fails has failed.
    async fn fetch(&self, context: &StageContext, lastfm: &Lastfm, user: &Person) -> Result<Fetched, StageError> {
        let none = |status: String| Ok(Fetched { status, ..Fetched::default() });
        let wanted = self.settings.per_user;
        let limit = wanted.min(LARGEST_PAGE);
        let most_pages = rows::most_pages(wanted);
        let mut fetched = Fetched { status: rows::OK.to_owned(), ..Fetched::default() };
        let mut seen = BTreeSet::new();
        for number in 1..=most_pages {
            let answer = match context.web.ask(&lastfm.loved_tracks(&user.name, limit, number)).await {
                Ok(answer) => answer,
                Err(error) => return none(user.fit(rows::row_status(error)?)),
            };
            let page = match parse_loved_tracks(&answer) {
                Ok(page) => page,
                Err(miss) => return none(user.status_of(&miss)),
            };
            fetched.unreadable += page.unreadable;
            let (found, before) = ((page.items.len() + page.unreadable) as u64, fetched.tracks.len());
            let new = page.items.into_iter().filter(|track| seen.insert((track.artist.clone(), track.title.clone())));
            fetched.tracks.extend(new);
            if rows::is_last_page(number, page.pages, found, limit) || fetched.tracks.len() as u64 >= wanted {
                break;
            }
            if fetched.tracks.len() == before || number == most_pages {
                fetched.is_endless = true;
                break;
            }
        }
        fetched.tracks.truncate(wanted as usize);
        Ok(fetched)
    }

    fn warn(&self, context: &StageContext, fetched: &[Fetched]) {
        let users = fetched.iter().filter(|user| user.unreadable > 0).count();
        if users > 0 {
            let tracks: usize = fetched.iter().map(|user| user.unreadable).sum();
            context.progress.warn(&format!("{tracks} loved tracks of {users} users could not be read"));
        }
        let endless = fetched.iter().filter(|user| user.is_endless).count();
        if endless > 0 {
            let pages = rows::most_pages(self.settings.per_user);
            context.progress.warn(&format!(
                "the lists of {endless} users have no end: they were given up at a page without a new track, or after \
                 {pages} pages"
            ));
        }
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
#[path = "crawl_loved_tracks_tests.rs"]
mod tests;
