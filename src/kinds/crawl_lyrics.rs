//! `crawl_lyrics`: the words of each track, from lyrics.ovh and LRCLIB.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, BooleanArray, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows;
use crate::stage::{
    InputPort, Known, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};
use crate::table::Table;
use crate::text::first_words;
use crate::web::lyrics::{Lyrics, LyricsProvider};
use crate::web::{Answer, CallError, WebError};

/// The kind.
pub(super) struct CrawlLyrics;

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Who is asked, in this order, until one has the words: `lyricsovh` and `lrclib` if not given.
    #[serde(default = "default_providers")]
    providers: Vec<LyricsProvider>,
    /// How many words of each text are kept, joined by single spaces; all of it if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_words: Option<NonZeroUsize>,
    /// The limiter to wait for; each provider's own (`lyricsovh`, `lrclib`) if not given.
    #[serde(default, skip_serializing)]
    limiter: Option<String>,
    /// The share of tracks, 0 to 1, that may fail to be fetched; 0.1 if not given.
    #[serde(default = "rows::default_max_failed_rows", skip_serializing)]
    max_failed_rows: f64,
}

fn default_providers() -> Vec<LyricsProvider> {
    vec![LyricsProvider::LyricsOvh, LyricsProvider::Lrclib]
}

impl StageKind for CrawlLyrics {
    fn name(&self) -> &'static str {
        "crawl_lyrics"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Fetch the lyrics of each track from lyrics.ovh and LRCLIB"
    }

    fn documentation(&self) -> &'static str {
        "Reads `tracks` (item_id, artist, title). Asks the `providers` about each distinct artist and title, one after the \
         other, until one has the words or knows that there are none.\n\n\
         Writes `lyrics` (item_id, text, source, instrumental, status), one row for each row of `tracks`, in the same \
         order. `source` is the provider that knew. `status` is `ok`, `instrumental`, `not_found` (no provider knows it), \
         `skipped: no artist or title` or `failed: …` (a provider could not be asked, and no other knew); all but `ok` have \
         no text. While a provider is down, rows go to the next one and those that it would have known fail; a provider that \
         stays down is given up, with a warning, as long as another is left. Only where all are down do rows wait.\n\n\
         Lyrics are somebody's work. With `keep_words` no more than the first words of each are in the artifact, as \
         `truncate_words` would leave them; the answers themselves stay in the memo, which is not for publication \
         (docs/data.md)."
    }

    fn example(&self) -> &'static str {
        "kind: crawl_lyrics\ninputs: { tracks: matched.items }\nwith: { providers: [lyricsovh, lrclib], keep_words: 25 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        if settings.providers.is_empty() {
            let problem = SettingProblem::new("providers", "`providers` is empty");
            problems.push(problem.hint("name at least one of lyricsovh and lrclib"));
        }
        Ok(Arc::new(Crawl { settings: rows::checked(settings, problems)? }))
    }
}

#[derive(Debug)]
struct Crawl {
    settings: Settings,
}

/// What there is of one track.
#[derive(Debug)]
struct Found {
    text: Option<String>,
    source: Option<LyricsProvider>,
    status: String,
}

impl rows::HasStatus for Found {
    fn status(&self) -> &str {
        &self.status
    }
}

impl Found {
    fn nothing(status: String) -> Self {
        Self { text: None, source: None, status }
    }
}

/// The providers that are down or have been given up, and why.
type Down = Mutex<BTreeMap<LyricsProvider, WebError>>;

const INSTRUMENTAL: &str = "instrumental";

#[async_trait]
impl Stage for Crawl {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("tracks", ["item_id", "artist", "title"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let columns =
            [("item_id", "str"), ("text", "str"), ("source", "str"), ("instrumental", "bool"), ("status", "str")];
        vec![OutputPort::new("lyrics", &columns).keyed_by(&["item_id"])]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.providers.first().map_or("lyrics", |first| self.limiter(*first)).to_owned())
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let (_, songs) = rows::songs(&context.table("tracks").ok()?).ok()?;
        let down = Down::default();
        Some(rows::known_by_asking(&songs.rows, |place| self.look_up(context, &down, &songs.keys[place])))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let (ids, songs) = rows::songs(&context.table("tracks")?)?;
        context.progress.total(ids.len() as u64);
        let at_once = |provider: &LyricsProvider| context.web.concurrency(self.limiter(*provider), provider.name());
        let width = self.settings.providers.iter().map(at_once).sum::<usize>() * 2;
        let down = Down::default();
        let (down_ref, keys) = (&down, &songs.keys);
        let ask = |place: usize| self.look_up(context, down_ref, &keys[place]);
        let found = rows::ask_each(context, &songs.rows, width, ask).await?;
        let down = down.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (provider, error) in down.into_iter().filter(|(_, error)| !matches!(error, WebError::Down { .. })) {
            context.progress.warn(&format!("{} was given up: {error}", provider.name()));
        }
        let of_row: Vec<&Found> = songs.of_row.iter().map(|place| &found[*place]).collect();
        let statuses = of_row.iter().map(|row| row.status.as_str());
        rows::check_failures(context, "tracks", statuses, self.settings.max_failed_rows)?;
        context.write("lyrics", &table(ids, &of_row, self.settings.keep_words)?)
    }
}

impl Crawl {
    fn limiter(&self, provider: LyricsProvider) -> &str {
        self.settings.limiter.as_deref().unwrap_or(provider.name())
    }

    async fn look_up(&self, context: &StageContext, down: &Down, song: &rows::Song) -> Result<Found, StageError> {
        match song {
            Some((artist, title)) => self.fetch(context, down, artist, title).await,
            None => Ok(Found::nothing(rows::NO_NAME.to_owned())),
        }
    }

    async fn fetch(&self, context: &StageContext, down: &Down, artist: &str, title: &str) -> Result<Found, StageError> {
        let mut failure = None;
        for &provider in &self.settings.providers {
            let answer = match self.ask(context, down, provider, (artist, title)).await? {
                Ok(answer) => answer,
                Err(status) => {
                    failure = Some(status);
                    continue;
                }
            };
            let (text, status) = match provider.parse(&answer) {
                Lyrics::Text(text) => (Some(text), rows::OK),
                Lyrics::Instrumental => (None, INSTRUMENTAL),
                Lyrics::NotFound => continue,
                Lyrics::Unreadable(what) => {
                    failure = Some(rows::failed(&format!("{}: {what}", provider.name())));
                    continue;
                }
            };
            return Ok(Found { text, source: Some(provider), status: status.to_owned() });
        }
        Ok(Found::nothing(failure.unwrap_or_else(|| rows::NOT_FOUND.to_owned())))
    }

    /// A provider's answer, or the status of a row without one. A provider that
    /// is down is waited for only if all others are down as well.
    async fn ask(
        &self,
        context: &StageContext,
        down: &Down,
        provider: LyricsProvider,
        (artist, title): (&str, &str),
    ) -> Result<Result<Answer, String>, StageError> {
        let call = provider.call(artist, title).limiter(self.limiter(provider));
        let mut asked = context.web.ask(&call.clone().without_waiting()).await;
        if let Err(CallError::Whole(error @ WebError::Down { .. })) = &asked {
            if !self.is_the_last(down, provider, error) {
                return Ok(Err(rows::failed(&error.to_string())));
            }
            asked = context.web.ask(&call).await;
        }
        match asked {
            Ok(answer) => {
                if !answer.from_memo {
                    locked(down).remove(&provider);
                }
                Ok(Ok(answer))
            }
            Err(error) => Ok(Err(self.give_up(down, provider, error)?)),
        }
    }

    /// Notes that a provider is down, and says whether all are.
    fn is_the_last(&self, down: &Down, provider: LyricsProvider, error: &WebError) -> bool {
        let mut down = locked(down);
        let why = down.entry(provider).or_insert_with(|| error.clone());
        if !matches!(error, WebError::Down { .. }) {
            *why = error.clone();
        }
        self.settings.providers.iter().all(|provider| down.contains_key(provider))
    }

    /// The status of a row that a provider did not answer. A provider that is
    /// given up ends the stage only if it is the last.
    fn give_up(&self, down: &Down, provider: LyricsProvider, error: CallError) -> Result<String, StageError> {
        let CallError::Whole(error @ (WebError::Stopped { .. } | WebError::TooLong { .. })) = error else {
            return rows::row_status(error);
        };
        if self.is_the_last(down, provider, &error) {
            return Err(error.into());
        }
        Ok(rows::failed(&format!("{} is down", provider.name())))
    }
}

fn locked(down: &Down) -> std::sync::MutexGuard<'_, BTreeMap<LyricsProvider, WebError>> {
    down.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The output, with so many words of each text.
fn table(ids: StringArray, found: &[&Found], words: Option<NonZeroUsize>) -> Result<Table, StageError> {
    let kept = |text| words.map_or(Cow::Borrowed(text), |words| Cow::Owned(first_words(text, words.get())));
    let ids: ArrayRef = Arc::new(ids);
    let texts: ArrayRef = Arc::new(found.iter().map(|row| row.text.as_deref().map(kept)).collect::<StringArray>());
    let sources: ArrayRef =
        Arc::new(found.iter().map(|row| row.source.map(LyricsProvider::name)).collect::<StringArray>());
    // Whether it is instrumental is known only where a provider knew the track.
    let known = |row: &&Found| row.source.map(|_| row.status == INSTRUMENTAL);
    let instrumental: ArrayRef = Arc::new(found.iter().map(known).collect::<BooleanArray>());
    let states: ArrayRef = Arc::new(found.iter().map(|row| Some(&row.status)).collect::<StringArray>());
    let columns =
        [("item_id", ids), ("text", texts), ("source", sources), ("instrumental", instrumental), ("status", states)];
    Ok(Table::of_columns(columns)?)
}

#[cfg(test)]
mod tests {
    use super::super::lab::{Lab, cells, param, strings};
    use super::*;
    use serde_json::json;

    /// lyrics.ovh knows `both` and `ovh`; LRCLIB knows `both`, `lrc` and `quiet`.
    fn world(target: &str) -> (u16, String) {
        let title =
            target.split_once("/v1/A/").map_or_else(|| param(target, "track_name"), |(_, title)| title.to_owned());
        let unknown = (404, r#"{"error":"No lyrics found"}"#.to_owned());
        match (target.starts_with("/lyricsovh/"), title.as_str()) {
            (true, "both" | "ovh") => (200, r#"{"lyrics":"la ovh\r\nla"}"#.to_owned()),
            (true, "quiet") => (200, r#"{"lyrics":""}"#.to_owned()),
            (true, "trouble" | "torn") => (500, String::new()),
            (false, "both" | "lrc" | "torn") => (200, r#"{"plainLyrics":"la lrc","instrumental":false}"#.to_owned()),
            (false, "quiet") => (200, r#"{"plainLyrics":null,"instrumental":true}"#.to_owned()),
            _ => unknown,
        }
    }

    fn tracks(titles: &[&str]) -> Vec<(&'static str, Table)> {
        let columns =
            [("item_id", strings(titles)), ("artist", strings(&vec!["A"; titles.len()])), ("title", strings(titles))];
        vec![("tracks", Table::of_columns(columns).expect("a table"))]
    }

    #[tokio::test]
    async fn the_first_that_knows_a_track_gives_its_words() {
        let lab = Lab::new(world).await;
        let titles = ["both", "ovh", "lrc", "quiet", "nobody", "both"];
        let tables = lab.run(&CrawlLyrics, json!({}), tracks(&titles)).await.expect("lyrics");
        let expected = [
            "both|la ovh\nla|lyricsovh|false|ok",
            "ovh|la ovh\nla|lyricsovh|false|ok",
            "lrc|la lrc|lrclib|false|ok",
            "quiet||lrclib|true|instrumental",
            "nobody||||not_found",
            "both|la ovh\nla|lyricsovh|false|ok",
        ];
        assert_eq!(cells(&tables["lyrics"]), expected);
        assert_eq!(lab.asked(), 5 + 3);
        let turned = json!({"providers": ["lrclib", "lyricsovh"]});
        let tables = lab.run(&CrawlLyrics, turned, tracks(&["both"])).await.expect("lyrics");
        assert_eq!(cells(&tables["lyrics"]), ["both|la lrc|lrclib|false|ok"]);
    }

    #[tokio::test]
    async fn only_the_words_that_are_kept_are_in_the_table_and_all_are_in_the_memo() {
        let lab = Lab::new(world).await.remembering();
        let short = json!({"keep_words": 2});
        let tables = lab.run(&CrawlLyrics, short, tracks(&["both", "quiet"])).await.expect("lyrics");
        assert_eq!(cells(&tables["lyrics"]), ["both|la ovh|lyricsovh|false|ok", "quiet||lrclib|true|instrumental"]);
        let asked = lab.asked();
        let tables = lab.run(&CrawlLyrics, json!({}), tracks(&["both"])).await.expect("lyrics");
        assert_eq!(
            (cells(&tables["lyrics"]), lab.asked()),
            (vec!["both|la ovh\nla|lyricsovh|false|ok".to_owned()], asked)
        );
    }

    #[test]
    fn keeping_all_is_what_it_was_before_there_was_a_choice() {
        let settings = |with| CrawlLyrics.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}")).settings();
        assert_eq!(settings(json!({})), json!({"providers": ["lyricsovh", "lrclib"]}));
        assert_eq!(settings(json!({"keep_words": 25}))["keep_words"], 25);
        assert_eq!(CrawlLyrics.parse(&json!({"keep_words": 0})).err().expect("a problem")[0].path, "keep_words");
    }

    #[tokio::test]
    async fn a_failed_provider_is_no_proof_that_there_are_no_words() {
        let lab = Lab::new(world).await;
        let tables = lab
            .run(&CrawlLyrics, json!({"max_failed_rows": 1}), tracks(&["trouble", "torn", "ovh"]))
            .await
            .expect("lyrics");
        let rows = cells(&tables["lyrics"]);
        assert_eq!(rows[..2], ["trouble||||failed: HTTP 500 (6 attempts)", "torn|la lrc|lrclib|false|ok"]);
    }

    #[tokio::test]
    async fn a_provider_that_is_down_is_given_up_while_another_is_left() {
        let down = |target: &str| if target.starts_with("/lyricsovh/") { (503, String::new()) } else { world(target) };
        let lab = Lab::new(down).await;
        let titles: Vec<String> =
            (0..40).map(|n| if n % 2 == 0 { "lrc".to_owned() } else { format!("unknown{n}") }).collect();
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let tables = lab.run(&CrawlLyrics, json!({"max_failed_rows": 1}), tracks(&titles)).await.expect("lyrics");
        let rows = cells(&tables["lyrics"]);
        assert_eq!(rows[0], "lrc|la lrc|lrclib|false|ok");
        assert!(rows[39].starts_with("unknown39||||failed: "), "{}", rows[39]);
        let warnings = lab.warnings();
        assert!(warnings[0].starts_with("lyricsovh is down (HTTP 503): "), "{warnings:?}");
        assert_eq!(warnings.len(), 2, "it is said once, and the failed rows are counted: {warnings:?}");
    }
}
