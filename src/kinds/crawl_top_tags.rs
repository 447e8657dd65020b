//! `crawl_top_tags`: the tag that listeners of Last.fm give a track most often.

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
use crate::table::Table;
use crate::web::lastfm::{Lastfm, Tag, parse_top_tags};

/// The kind.
pub(super) struct CrawlTopTags;

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Whether Last.fm may correct misspelt names; false if not given.
    #[serde(default)]
    autocorrect: bool,
    /// The limiter to wait for; `lastfm` if not given.
    #[serde(default = "rows::default_lastfm_limiter", skip_serializing)]
    limiter: String,
    /// The API key; `${env.LASTFM_API_KEY}` if not given.
    #[serde(default = "rows::default_lastfm_key", skip_serializing)]
    api_key: String,
    /// The share of tracks, 0 to 1, that may fail to be fetched; 0.1 if not given.
    #[serde(default = "rows::default_max_failed_rows", skip_serializing)]
    max_failed_rows: f64,
}

impl StageKind for CrawlTopTags {
    fn name(&self) -> &'static str {
        "crawl_top_tags"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Fetch the top tag of each track from Last.fm"
    }

    fn documentation(&self) -> &'static str {
        "Reads `tracks` (item_id, artist, title). Asks `track.getTopTags` for each distinct artist and title.\n\n\
         Writes `tags` (item_id, tag, count, status), one row for each row of `tracks`, in the same order. `tag` is the \
         first tag of the answer; `count` is Last.fm's 0 to 100, null where it does not say. `status` is `ok`, `empty` (no \
         tags), `not_found`, `skipped: no artist or title` or `failed: …`; all but `ok` have no tag."
    }

    fn example(&self) -> &'static str {
        "kind: crawl_top_tags\ninputs: { tracks: matched.items }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
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
        vec![InputPort::new("tracks", ["item_id", "artist", "title"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![
            OutputPort::new("tags", &[("item_id", "str"), ("tag", "str"), ("count", "i64"), ("status", "str")])
                .keyed_by(&["item_id", "tag"]),
        ]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn variables(&self) -> Vec<RequiredVariable> {
        rows::required_variables(&self.settings.api_key, rows::LASTFM_KEY)
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let lastfm = self.lastfm(context).ok()?;
        let pairs = rows::Pairs::of(&context.input("tracks")?.columns(&["artist", "title"]).ok()?).ok()?;
        let call = |(artist, title): (&str, &str)| lastfm.top_tags(artist, title, self.settings.autocorrect);
        rows::known_calls(context, pairs.len(), |row| pairs.pair(row).map(call))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let lastfm = self.lastfm(context)?;
        let (ids, songs) = rows::songs(&context.table("tracks")?)?;
        context.progress.total(ids.len() as u64);
        let width = context.web.concurrency(&self.settings.limiter, "lastfm") * 2;
        let (lastfm, keys) = (&lastfm, &songs.keys);
        let ask = |place: usize| async move {
            match &keys[place] {
                Some((artist, title)) => self.fetch(context, lastfm, artist, title).await,
                None => Ok((None, rows::NO_NAME.to_owned())),
            }
        };
        let found = rows::ask_each(context, &songs.rows, width, ask).await?;
        let of_row: Vec<&(Option<Tag>, String)> = songs.of_row.iter().map(|place| &found[*place]).collect();
        rows::check_failures(
            context,
            "tracks",
            of_row.iter().map(|row| row.1.as_str()),
            self.settings.max_failed_rows,
        )?;
        let tag = |row: &&(Option<Tag>, String)| row.0.as_ref().map(|tag| tag.name.clone());
        let count = |row: &&(Option<Tag>, String)| row.0.as_ref().and_then(|tag| tag.count);
        let tags: ArrayRef = Arc::new(of_row.iter().map(tag).collect::<StringArray>());
        let counts: ArrayRef = Arc::new(of_row.iter().map(count).collect::<Int64Array>());
        let states: ArrayRef = Arc::new(of_row.iter().map(|row| Some(&row.1)).collect::<StringArray>());
        let ids: ArrayRef = Arc::new(ids);
        let table = Table::of_columns([("item_id", ids), ("tag", tags), ("count", counts), ("status", states)])?;
        context.write("tags", &table)
    }
}

impl Crawl {
    fn lastfm(&self, context: &StageContext) -> Result<Lastfm, StageError> {
        Ok(Lastfm::new(rows::api_key(context, &self.settings.api_key)?, &self.settings.limiter))
    }

    async fn fetch(
        &self,
        context: &StageContext,
        lastfm: &Lastfm,
        artist: &str,
        title: &str,
    ) -> Result<(Option<Tag>, String), StageError> {
        let answer = match context.web.ask(&lastfm.top_tags(artist, title, self.settings.autocorrect)).await {
            Ok(answer) => answer,
            Err(error) => return Ok((None, rows::row_status(error)?)),
        };
        Ok(match parse_top_tags(&answer) {
            Ok(tags) => match tags.into_iter().next() {
                Some(tag) => (Some(tag), rows::OK.to_owned()),
                None => (None, rows::EMPTY.to_owned()),
            },
            Err(miss) => (None, rows::status_of(&miss)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::lab::{Lab, cells, param, strings};
    use super::*;
    use serde_json::json;

    fn world(target: &str) -> (u16, String) {
        match param(target, "track").as_str() {
            "many" => {
                (200, r#"{"toptags":{"tag":[{"name":"rock","count":"100"},{"name":"pop","count":7}]}}"#.to_owned())
            }
            "one" => (200, r#"{"toptags":{"tag":{"name":"jazz"}}}"#.to_owned()),
            "none" => (200, r##"{"toptags":{"#text":"\n"}}"##.to_owned()),
            "broken" => (500, "oops".to_owned()),
            "odd" => (200, r#"{"surprise":1}"#.to_owned()),
            _ => (404, r#"{"error":6,"message":"Track not found"}"#.to_owned()),
        }
    }

    fn tracks(titles: &[&str]) -> Vec<(&'static str, Table)> {
        let ids: Vec<String> = (0..titles.len()).map(|n| format!("i{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let columns =
            [("item_id", strings(&ids)), ("artist", strings(&vec!["A"; titles.len()])), ("title", strings(titles))];
        vec![("tracks", Table::of_columns(columns).expect("a table"))]
    }

    #[tokio::test]
    async fn every_row_has_its_tag_or_says_why_not() {
        let lab = Lab::new(world).await;
        let titles = ["many", "one", "none", "unknown", " ", "many"];
        let tables = lab.run(&CrawlTopTags, json!({}), tracks(&titles)).await.expect("tags");
        let expected = [
            "i0|rock|100|ok",
            "i1|jazz||ok",
            "i2|||empty",
            "i3|||not_found",
            "i4|||skipped: no artist or title",
            "i5|rock|100|ok",
        ];
        assert_eq!(cells(&tables["tags"]), expected);
        assert_eq!(lab.asked(), 4, "the same track is asked for once, one without a title never");
    }

    #[tokio::test]
    async fn a_few_failures_are_rows_and_many_fail_the_stage() {
        let lab = Lab::new(world).await;
        let titles = ["broken", "odd", "one", "one"];
        let tables = lab.run(&CrawlTopTags, json!({"max_failed_rows": 0.5}), tracks(&titles)).await.expect("tags");
        let rows = cells(&tables["tags"]);
        assert_eq!(rows[0], "i0|||failed: HTTP 500: oops (6 attempts)");
        assert_eq!(rows[1], r#"i1|||failed: an answer without `toptags`: {"surprise":1}"#);
        assert_eq!(lab.warnings().len(), 1);
        let error = lab.run(&CrawlTopTags, json!({}), tracks(&titles)).await.expect_err("too many");
        assert!(error.to_string().starts_with("2 of 4 tracks failed"), "{error}");
    }
}
