//! `crawl_users`: follow friends from a seed user of Last.fm.
//!
//! Breadth first, and lazily: friends are only asked for when more users are
//! needed. The order of the users, and so the result, does not depend on how
//! many requests are in flight.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::countries::country_code;
use super::rows;
use crate::memo::Tally;
use crate::stage::{
    InputPort, Known, OutputPort, RequiredVariable, Resource, SettingProblem, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::Table;
use crate::web::Forecast;
use crate::web::lastfm::{Lastfm, Miss, User, parse_friends, parse_user};

/// The kind.
pub(super) struct CrawlUsers;

/// What a profile must have for the user to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Field {
    /// The account's name.
    Name,
    /// The real name.
    RealName,
    /// A country of ISO 3166.
    Country,
}

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The user to start from; RJ if not given.
    #[serde(default = "default_seed_user")]
    seed_user: String,
    /// How many users to keep at most.
    max_users: usize,
    /// How far from the seed user to go, in friendships; 6 if not given.
    #[serde(default = "default_max_depth")]
    max_depth: u32,
    /// How many friends of one user to follow at most; 500 if not given.
    #[serde(default = "default_max_friends")]
    max_friends: usize,
    /// What a profile must have: `name`, `real_name` and `country` if not given.
    #[serde(default = "default_require")]
    require: BTreeSet<Field>,
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

fn default_seed_user() -> String {
    "RJ".to_owned()
}

fn default_max_depth() -> u32 {
    6
}

fn default_max_friends() -> usize {
    500
}

fn default_require() -> BTreeSet<Field> {
    BTreeSet::from([Field::Name, Field::RealName, Field::Country])
}

impl StageKind for CrawlUsers {
    fn name(&self) -> &'static str {
        "crawl_users"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Follow friends of friends on Last.fm from a seed user"
    }

    fn documentation(&self) -> &'static str {
        "Reads nothing. Asks `user.getInfo` and `user.getFriends`, breadth first from `seed_user`, until `max_users` are \
         kept or nobody is left within `max_depth`. Friends of users that are not kept are followed as well.\n\n\
         Writes `users` (user_id, real_name, country, registered_at, depth), in the order in which the search meets them: \
         by depth, then by the order of the friends lists. `country` is the ISO 3166 code of the text after the last comma \
         of the profile's country; where `require` does not name it, a text that is no country is kept as written. \
         `registered_at` is in seconds since 1970 UTC."
    }

    fn example(&self) -> &'static str {
        "kind: crawl_users\nwith: { seed_user: RJ, max_users: 8000 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_positive("max_users", settings.max_users as u64, &mut problems);
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        if settings.seed_user.trim().is_empty() {
            problems.push(SettingProblem::new("seed_user", "`seed_user` is empty").hint("name a user of Last.fm"));
        }
        Ok(Arc::new(Crawl { settings: rows::checked(settings, problems)? }))
    }
}

#[derive(Debug)]
struct Crawl {
    settings: Settings,
}

#[async_trait]
impl Stage for Crawl {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let columns =
            [("user_id", "str"), ("real_name", "str"), ("country", "str"), ("registered_at", "i64"), ("depth", "i64")];
        vec![OutputPort::new("users", &columns).keyed_by(&["user_id"])]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn variables(&self) -> Vec<RequiredVariable> {
        rows::required_variables(&self.settings.api_key, rows::LASTFM_KEY)
    }

    /// Who is asked next depends on the answers: it counts only where the
    /// whole search is known.
    fn known(&self, context: &StageContext) -> Option<Known> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        let kept = runtime.block_on(self.search(context)).ok()?.kept.len() as u64;
        Some(Known::to_ask(Tally { rows: kept, known: kept, left: 0 }, Forecast::default()))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        context.progress.total(self.settings.max_users as u64);
        let search = self.search(context).await?;
        let statuses = search.statuses.iter().map(String::as_str);
        rows::check_failures(context, "requests for users", statuses, self.settings.max_failed_rows)?;
        context.write("users", &table(&search.kept)?)
    }
}

impl Crawl {
    /// The whole search.
    async fn search(&self, context: &StageContext) -> Result<Search<'_>, StageError> {
        let lastfm = Lastfm::new(rows::api_key(context, &self.settings.api_key)?, &self.settings.limiter);
        let mut search = Search::new(&self.settings);
        while search.kept.len() < self.settings.max_users {
            context.check_cancelled()?;
            if search.next_profile < search.met.len() {
                search.look_at_profiles(context, &lastfm).await?;
            } else if !search.follow_friends(context, &lastfm).await? {
                break;
            }
            context.progress.note(&format!("{} of {} profiles kept", search.kept.len(), search.next_profile));
        }
        Ok(search)
    }
}

/// A user that the search has met.
#[derive(Debug, Clone)]
struct Met {
    name: String,
    depth: u32,
    exists: bool,
}

/// A user that is kept.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    user: User,
    depth: u32,
}

/// A breadth-first search under way.
struct Search<'a> {
    settings: &'a Settings,
    /// Everyone met, in the order of the search.
    met: Vec<Met>,
    /// The names of those, in lower case: the server takes any case.
    names: BTreeSet<String>,
    /// The first of `met` whose profile has not been looked at.
    next_profile: usize,
    /// The first of `met` whose friends have not been followed.
    next_friends: usize,
    kept: Vec<Kept>,
    statuses: Vec<String>,
}

impl<'a> Search<'a> {
    fn new(settings: &'a Settings) -> Self {
        let mut search = Self {
            settings,
            met: Vec::new(),
            names: BTreeSet::new(),
            next_profile: 0,
            next_friends: 0,
            kept: Vec::new(),
            statuses: Vec::new(),
        };
        search.meet(settings.seed_user.trim(), 0);
        search
    }

    fn meet(&mut self, name: &str, depth: u32) {
        if self.names.insert(name.to_lowercase()) {
            self.met.push(Met { name: name.to_owned(), depth, exists: false });
        }
    }

    /// Looks at as many profiles as may be needed at most: none in vain.
    async fn look_at_profiles(&mut self, context: &StageContext, lastfm: &Lastfm) -> Result<(), StageError> {
        let needed = self.settings.max_users - self.kept.len();
        let first = self.next_profile;
        let batch = self.met[first..].iter().take(needed).cloned().collect::<Vec<_>>();
        let (web, batch_ref) = (&context.web, &batch);
        let look = |place: usize| async move {
            match web.ask(&lastfm.user(&batch_ref[place].name)).await {
                Ok(answer) => Ok(parse_user(&answer).map_err(|miss| rows::status_of(&miss))),
                Err(error) => Ok(Err(rows::row_status(error)?)),
            }
        };
        let width = web.concurrency(&self.settings.limiter, "lastfm") * 2;
        let profiles = rows::ask_each(context, &vec![0; batch.len()], width, look).await?;
        for (place, profile) in profiles.into_iter().enumerate() {
            match profile {
                Ok(user) => {
                    self.met[first + place].exists = true;
                    self.statuses.push(rows::OK.to_owned());
                    if let Some(user) = admit(user, &self.settings.require) {
                        self.kept.push(Kept { user, depth: batch[place].depth });
                        context.progress.advance(1);
                    }
                }
                Err(status) if first + place == 0 => {
                    let what = format!("the seed user `{}` could not be fetched: {status}", self.settings.seed_user);
                    return Err(StageError::with_hint(what, "name another user in `seed_user`"));
                }
                Err(status) => self.statuses.push(status),
            }
        }
        self.next_profile += batch.len();
        Ok(())
    }

    /// Meets the friends of the next few users; false if there is nobody left to follow.
    async fn follow_friends(&mut self, context: &StageContext, lastfm: &Lastfm) -> Result<bool, StageError> {
        let width = context.web.concurrency(&self.settings.limiter, "lastfm");
        let followed = |met: &Met| met.exists && met.depth < self.settings.max_depth;
        let mut batch = Vec::new();
        while batch.len() < width && self.next_friends < self.met.len() {
            let met = &self.met[self.next_friends];
            if followed(met) {
                batch.push(met.clone());
            }
            self.next_friends += 1;
        }
        let (batch_ref, most) = (&batch, self.settings.max_friends);
        let ask = |place: usize| friends(context, lastfm, &batch_ref[place].name, most);
        let lists = rows::ask_each(context, &vec![0; batch.len()], width, ask).await?;
        for (met, (friends, status)) in batch.iter().zip(lists) {
            self.statuses.push(status);
            for friend in friends {
                self.meet(&friend, met.depth + 1);
            }
        }
        Ok(!batch.is_empty())
    }
}

/// The names of a user's friends, page after page, and how that went.
async fn friends(
    context: &StageContext,
    lastfm: &Lastfm,
    user: &str,
    most: usize,
) -> Result<(Vec<String>, String), StageError> {
    let mut names: Vec<String> = Vec::new();
    let mut before: Vec<User> = Vec::new();
    for page in 1.. {
        let answer = match context.web.ask(&lastfm.friends(user, page)).await {
            Ok(answer) => answer,
            Err(error) => return Ok((names, rows::row_status(error)?)),
        };
        match parse_friends(&answer) {
            Ok(friends) => {
                let last = friends.items.is_empty() || friends.pages.is_none_or(|pages| page >= pages.unsigned_abs());
                // Some servers answer the last page for ever, or the first.
                if page > 1 && friends.items == before {
                    break;
                }
                names.extend(friends.items.iter().map(|friend| friend.name.clone()));
                before = friends.items;
                if last || names.len() >= most {
                    break;
                }
            }
            // Last.fm answers "not found" where a user has no friends at all.
            Err(Miss::NotFound | Miss::Private) => break,
            Err(miss) => return Ok((names, rows::status_of(&miss))),
        }
    }
    names.truncate(most);
    Ok((names, rows::OK.to_owned()))
}

/// The user with the country as a code, if the profile has what is required.
fn admit(mut user: User, require: &BTreeSet<Field>) -> Option<User> {
    let code = user.country.as_deref().and_then(country_code);
    let complete = require.iter().all(|field| match field {
        Field::Name => true,
        Field::RealName => user.real_name.is_some(),
        Field::Country => code.is_some(),
    });
    user.country = code.map(str::to_owned).or(user.country);
    complete.then_some(user)
}

fn table(kept: &[Kept]) -> Result<Table, StageError> {
    let texts = |of: fn(&User) -> Option<&str>| -> ArrayRef {
        Arc::new(kept.iter().map(|row| of(&row.user)).collect::<StringArray>())
    };
    let registered: ArrayRef = Arc::new(kept.iter().map(|row| row.user.registered_at).collect::<Int64Array>());
    let depth: ArrayRef = Arc::new(kept.iter().map(|row| Some(i64::from(row.depth))).collect::<Int64Array>());
    Ok(Table::of_columns([
        ("user_id", texts(|user| Some(&user.name))),
        ("real_name", texts(|user| user.real_name.as_deref())),
        ("country", texts(|user| user.country.as_deref())),
        ("registered_at", registered),
        ("depth", depth),
    ])?)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(rows, ["rj|R|NO|5|0", "a|R|NO|5|1", "b|R|NO|5|1", "d|R|NO|5|2"]);
        assert_eq!(asked, 6 + 6, "six profiles; two pages of RJ's friends, and one each of a, b, c and d");
        let (rows, _) = users(json!({"max_users": 10, "require": ["name"], "max_depth": 2})).await;
        assert_eq!(rows, ["rj|R|NO|5|0", "a|R|NO|5|1", "b|R|NO|5|1", "c|R||5|2", "d|R|NO|5|2"]);
    }

    #[tokio::test]
    async fn nothing_is_asked_in_vain() {
        let (rows, asked) = users(json!({"max_users": 1})).await;
        assert_eq!((rows.len(), asked), (1, 1));
        let (rows, asked) = users(json!({"max_users": 3, "max_depth": 1})).await;
        assert_eq!((rows.len(), asked), (3, 4 + 2));
    }

    #[tokio::test]
    async fn the_same_page_of_friends_for_ever_is_one_page() {
        let page = |target: &str| {
            if param(target, "method") == "user.getInfo" {
                return world(target);
            }
            let friends = json!({"user": [{"name": "a"}, {"name": "b"}], "@attr": {"totalPages": "1000000"}});
            (200, json!({"friends": friends}).to_string())
        };
        let lab = Lab::new(page).await;
        let tables =
            lab.run(&CrawlUsers, json!({"max_users": 10, "max_friends": 100_000}), vec![]).await.expect("users");
        assert_eq!((tables["users"].rows(), lab.asked()), (3, 3 + 3 * 2), "two pages of each friend list");
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
        let error =
            lab.run(&CrawlUsers, json!({"max_users": 3, "seed_user": "gone"}), vec![]).await.expect_err("no seed");
        assert_eq!(error.to_string(), "the seed user `gone` could not be fetched: not_found");
    }

    #[test]
    fn mistakes_are_all_told_and_no_secret_is_in_the_settings() {
        let problems =
            CrawlUsers.parse(&json!({"max_users": 0, "seed_user": " ", "max_failed_rows": 2})).err().expect("problems");
        assert_eq!(problems.len(), 3, "{problems:?}");
        let good = |with: Value| CrawlUsers.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}"));
        let stage = good(json!({"max_users": 5, "api_key": "x${env.K}"}));
        let expected = json!({"seed_user": "RJ", "max_users": 5, "max_depth": 6, "max_friends": 500, "require": ["name", "real_name", "country"]});
        assert_eq!(stage.settings(), expected);
        assert_eq!(stage.variables()[0].name, "K");
        assert!(good(json!({"max_users": 5, "api_key": "plain"})).variables().is_empty());
    }
}
