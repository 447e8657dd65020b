//! `crawl_users`: follow friends from a seed user of Last.fm.
//!
//! Breadth first, and lazily: friends are only asked for when more users are
//! needed. The order of the users, and so the result, does not depend on how
//! many requests are in flight; see `friends.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::countries::country_code;
use super::friends::{Ask, Bounds, Friends, Kept, Profile, Search};
use super::rows;
use crate::memo::Tally;
use crate::people::is_pseudonym;
use crate::stage::{
    InputPort, Known, OutputPort, RequiredVariable, Resource, RowEnd, SettingProblem, Stage, StageContext, StageError,
    StageKind, decode_settings, schema_of, settings_value,
};
use crate::table::Table;
use crate::web::Forecast;
use crate::web::lastfm::{FRIENDS_PAGE, Lastfm, Miss, User, parse_friends, parse_user};

/// The kind.
pub(super) struct CrawlUsers;

/// What a profile must have for the user to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Field {
    /// The account's name.
    Name,
    /// The real name: that there is one; which it is is never kept.
    RealName,
    /// A country of ISO 3166.
    Country,
}

/// How users are called in the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UserNames {
    /// By the account's name.
    #[default]
    AsIs,
    /// By a hash of it and of the store's salt.
    Hashed,
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
    /// How many profiles to look at at most; 50 times `max_users` if not given.
    #[serde(default)]
    max_profiles: Option<usize>,
    /// What a profile must have: `name`, `real_name` and `country` if not given.
    #[serde(default = "default_require")]
    require: BTreeSet<Field>,
    /// How users are called in the result: `as_is` (the default) or `hashed`.
    #[serde(default)]
    user_names: UserNames,
    /// Users that are not to be asked about, by their names or pseudonyms; none if not given.
    #[serde(default)]
    exclude: BTreeSet<String>,
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

    /// 2: whether there is a real name in the place of the name; a user with
    /// two names is one.
    fn version(&self) -> u32 {
        2
    }

    fn summary(&self) -> &'static str {
        "Follow friends of friends on Last.fm from a seed user"
    }

    fn documentation(&self) -> &'static str {
        "Reads nothing. Asks `user.getInfo` and `user.getFriends`, breadth first from `seed_user`, until `max_users` are \
         kept, `max_profiles` are looked at, or nobody is left within `max_depth`. Friends of users that are not kept are \
         followed as well. A list of friends that has no end is given up after one page for each 50 of `max_friends`.\n\n\
         Writes `users` (user_id, has_real_name, country, registered_at, depth), in the order in which the search meets \
         them: by depth, then by the order of the friends lists. `country` is the ISO 3166 code of the text after the last \
         comma of the profile's country; where `require` does not name it, a text that is no country is kept as written. \
         `registered_at` is in seconds since 1970 UTC.\n\n\
         Real names are kept nowhere, not even in the memo: only whether there is one. With `user_names: hashed` a \
         `user_id` is `~` and 20 digits, made of the name and of a salt that only this store has. Which name that is stands \
         in the store's folder `people-v1`, so that `crawl_loved_tracks` can ask; in no artifact. docs/data.md says what is \
         hidden from whom."
    }

    fn example(&self) -> &'static str {
        "kind: crawl_users\nwith: { seed_user: RJ, max_users: 8000, user_names: hashed }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_positive("max_users", settings.max_users as u64, &mut problems);
        rows::check_positive("max_profiles", settings.max_profiles.unwrap_or(1) as u64, &mut problems);
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        let seed = settings.seed_user.trim().to_lowercase();
        if seed.is_empty() {
            problems.push(SettingProblem::new("seed_user", "`seed_user` is empty").hint("name a user of Last.fm"));
        } else if settings.exclude.iter().any(|name| name.trim().to_lowercase() == seed) {
            let problem = SettingProblem::new("exclude", format!("`{}` is the seed user", settings.seed_user));
            problems.push(problem.hint("start from another user"));
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
        let columns = [
            ("user_id", "str"),
            ("has_real_name", "bool"),
            ("country", "str"),
            ("registered_at", "i64"),
            ("depth", "i64"),
        ];
        vec![OutputPort::new("users", &columns).keyed_by(&["user_id"])]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn hides_names(&self) -> bool {
        self.settings.user_names == UserNames::Hashed
    }

    fn variables(&self) -> Vec<RequiredVariable> {
        rows::required_variables(&self.settings.api_key, rows::LASTFM_KEY)
    }

    /// Who is asked next depends on the answers: it counts only where the
    /// whole search is known.
    fn known(&self, context: &StageContext) -> Option<Known> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        let excluded = self.excluded(context);
        let kept = runtime.block_on(self.search(context, &excluded)).ok()?.kept().len() as u64;
        Some(Known::to_ask(Tally { rows: kept, known: kept, left: 0 }, Forecast::default()))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        context.progress.total(self.settings.max_users as u64);
        let excluded = self.excluded(context);
        let search = self.search(context, &excluded).await?;
        rows::check_failures(context, "requests for users", search.statuses(), self.settings.max_failed_rows)?;
        self.warn(context, &search);
        let ids = self.ids(context, search.kept())?;
        context.write("users", &table(ids, search.kept())?)
    }
}

impl Crawl {
    /// Who is not to be asked about.
    fn excluded(&self, context: &StageContext) -> impl Fn(&str) -> bool + Sync + use<> {
        let (ids, names): (BTreeSet<String>, BTreeSet<String>) =
            self.settings.exclude.iter().map(|name| name.trim().to_lowercase()).partition(|name| is_pseudonym(name));
        let people = context.people.clone().filter(|_| !ids.is_empty());
        move |name| {
            let id = people.as_ref().and_then(|people| people.pseudonym(name).ok());
            names.contains(&name.to_lowercase()) || id.is_some_and(|id| ids.contains(&id))
        }
    }

    fn bounds(&self) -> Bounds {
        let settings = &self.settings;
        let profiles = settings.max_profiles.unwrap_or_else(|| settings.max_users.saturating_mul(50));
        Bounds { users: settings.max_users, depth: settings.max_depth, profiles }
    }

    /// The whole search. There are always as many requests in flight as are
    /// worth having; `friends.rs` says which are made ahead.
    async fn search<'a>(
        &self,
        context: &StageContext,
        excluded: &'a (dyn Fn(&str) -> bool + Sync),
    ) -> Result<Search<'a>, StageError> {
        let lastfm = &Lastfm::new(rows::api_key(context, &self.settings.api_key)?, &self.settings.limiter);
        let width = context.web.concurrency(&self.settings.limiter, "lastfm") * 2;
        let mut search = Search::new(self.settings.seed_user.trim(), self.bounds(), excluded);
        let mut running = FuturesUnordered::new();
        let ask = |search: &Search<'_>, ask: Ask| {
            let name = search.name(ask).to_owned();
            async move { (ask, rows::noticing_a_wait(self.answer(context, lastfm, ask, &name)).await) }
        };
        loop {
            context.check_cancelled()?;
            while running.len() < width
                && let Some(next) = search.next(0)
            {
                running.push(ask(&search, next));
            }
            let answer = match futures::poll!(running.next()) {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    while running.len() < width
                        && let Some(next) = search.next(width)
                    {
                        running.push(ask(&search, next));
                    }
                    running.next().await
                }
            };
            let Some((ask, (answer, asked))) = answer else { return Ok(search) };
            let answer = answer?;
            // A request is no row: a row is a user that is kept.
            context.progress.ended(RowEnd { status: answer.status(), rows: 0, asked });
            let before = search.kept().len();
            self.take(&mut search, ask, answer)?;
            context.progress.advance((search.kept().len() - before) as u64);
            context.progress.note(&format!("{} of {} profiles kept", search.kept().len(), search.profiles()));
        }
    }

    async fn answer(
        &self,
        context: &StageContext,
        lastfm: &Lastfm,
        ask: Ask,
        name: &str,
    ) -> Result<Answered, StageError> {
        match ask {
            Ask::Profile(_) => Ok(Answered::Profile(match context.web.ask(&lastfm.user(name)).await {
                Ok(answer) => match parse_user(&answer) {
                    Ok(user) => Ok(profile(user, &self.settings.require)),
                    Err(miss) => Err(self.status_of(&miss)),
                },
                Err(error) => Err(rows::row_status(error)?),
            })),
            Ask::Friends(_) => {
                Ok(Answered::Friends(self.friends(context, lastfm, name, self.settings.max_friends).await))
            }
        }
    }

    fn take(&self, search: &mut Search<'_>, ask: Ask, answer: Answered) -> Result<(), StageError> {
        match (ask, answer) {
            (Ask::Profile(0), Answered::Profile(Err(status))) => {
                let what = format!("the seed user `{}` could not be fetched: {status}", self.settings.seed_user);
                Err(StageError::with_hint(what, "name another user in `seed_user`"))
            }
            (Ask::Profile(place), Answered::Profile(profile)) => search.take_profile(place, profile),
            (Ask::Friends(place), Answered::Friends(friends)) => search.take_friends(place, friends),
            _ => Ok(()),
        }
    }

    /// The names of a user's friends, page after page, and how that went.
    async fn friends(
        &self,
        context: &StageContext,
        lastfm: &Lastfm,
        user: &str,
        most: usize,
    ) -> Result<Friends, StageError> {
        let mut list = Friends { status: rows::OK.to_owned(), ..Friends::default() };
        let mut met = BTreeSet::new();
        let most_pages = rows::most_pages(most as u64);
        for page in 1..=most_pages {
            let answer = match context.web.ask(&lastfm.friends(user, page)).await {
                Ok(answer) => answer,
                Err(error) => {
                    list.status = rows::row_status(error)?;
                    break;
                }
            };
            let friends = match parse_friends(&answer) {
                Ok(friends) => friends,
                // Last.fm answers "not found" where a user has no friends at all.
                Err(Miss::NotFound | Miss::Private) => break,
                Err(miss) => {
                    list.status = self.status_of(&miss);
                    break;
                }
            };
            let (found, before) = (friends.items.len() + friends.unreadable, list.names.len());
            let new = friends.items.into_iter().filter(|friend| met.insert(friend.name.to_lowercase()));
            list.names.extend(new.map(|friend| friend.name));
            let is_last = rows::is_last_page(page, friends.pages, found as u64, FRIENDS_PAGE);
            if is_last || list.names.len() >= most {
                break;
            }
            if list.names.len() == before || page == most_pages {
                list.is_endless = true;
                break;
            }
        }
        list.names.truncate(most);
        Ok(list)
    }

    /// The status of a user for whom Last.fm has nothing. What could not be
    /// read may hold names.
    fn status_of(&self, miss: &Miss) -> String {
        match miss {
            Miss::Unreadable(_) if self.hides_names() => rows::failed("an answer that cannot be read"),
            miss => rows::status_of(miss),
        }
    }

    fn warn(&self, context: &StageContext, search: &Search<'_>) {
        let endless = search.endless();
        if endless > 0 {
            let pages = rows::most_pages(self.settings.max_friends as u64);
            context.progress.warn(&format!(
                "the friends lists of {endless} users have no end: they were given up at a page without a new name, or \
                 after {pages} pages"
            ));
        }
        if search.is_cut_off() {
            context.progress.warn(&format!(
                "only {} users are kept of the {} that `max_profiles` allows to look at",
                search.kept().len(),
                self.bounds().profiles
            ));
        }
    }

    /// What the users that are kept are called in the result.
    fn ids(&self, context: &StageContext, kept: &[Kept]) -> Result<Vec<String>, StageError> {
        let names = kept.iter().map(|kept| kept.user.name.as_str());
        if !self.hides_names() {
            return Ok(names.map(str::to_owned).collect());
        }
        let people = context.people.as_ref();
        let people = people.ok_or_else(|| StageError::failed("there is no store that could keep the names"))?;
        Ok(people.remember(names)?)
    }
}

/// What came back.
enum Answered {
    /// A profile, or why there is none.
    Profile(Result<Profile, String>),
    /// A list of friends; or the end of the stage, if the list turns out to be needed.
    Friends(Result<Friends, StageError>),
}

impl Answered {
    /// How it ended. What is not needed has not failed.
    fn status(&self) -> &str {
        match self {
            Self::Profile(Err(status)) => status,
            Self::Friends(Ok(friends)) => &friends.status,
            Self::Profile(Ok(_)) | Self::Friends(Err(_)) => rows::OK,
        }
    }
}

/// The user with the country as a code, and whether the profile has what is required.
fn profile(mut user: User, require: &BTreeSet<Field>) -> Profile {
    let code = user.country.as_deref().and_then(country_code);
    let is_complete = require.iter().all(|field| match field {
        Field::Name => true,
        Field::RealName => user.has_real_name,
        Field::Country => code.is_some(),
    });
    user.country = code.map(str::to_owned).or(user.country);
    Profile { user, is_complete }
}

fn table(ids: Vec<String>, kept: &[Kept]) -> Result<Table, StageError> {
    let ids: ArrayRef = Arc::new(StringArray::from(ids));
    let real: ArrayRef = Arc::new(kept.iter().map(|row| Some(row.user.has_real_name)).collect::<BooleanArray>());
    let country: ArrayRef = Arc::new(kept.iter().map(|row| row.user.country.as_deref()).collect::<StringArray>());
    let registered: ArrayRef = Arc::new(kept.iter().map(|row| row.user.registered_at).collect::<Int64Array>());
    let depth: ArrayRef = Arc::new(kept.iter().map(|row| Some(i64::from(row.depth))).collect::<Int64Array>());
    Ok(Table::of_columns([
        ("user_id", ids),
        ("has_real_name", real),
        ("country", country),
        ("registered_at", registered),
        ("depth", depth),
    ])?)
}

#[cfg(test)]
#[path = "crawl_users_tests.rs"]
mod tests;
