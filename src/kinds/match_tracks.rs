//! `match_tracks`: find the tracks that users loved in a catalog, by artist and
//! title under a stated normalisation.
//!
//! Not for fuzzy matching: two spellings either have one normal form or are two
//! tracks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::compute::take;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ground::ContentHash;
use crate::stage::{
    InputPort, OutputPort, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings, schema_of,
    settings_value,
};
use crate::table::{Table, complete};
use crate::text::{Normalise, normal};

/// The kind.
#[derive(Debug)]
pub(super) struct MatchTracks;

/// Settings as written in YAML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How artists and titles are compared: `loose` (default) or `strict`; the
    /// kind's documentation states both.
    #[serde(default)]
    normalise: Normalise,
    /// Titles whose catalog rows are dropped, compared as `normalise` says;
    /// default none.
    #[serde(default)]
    drop_titles: Vec<String>,
    /// Text that separates several artists in the catalog, such as `;`: only
    /// the first artist is compared. Default: the whole text is one artist.
    #[serde(default)]
    artist_separator: Option<String>,
    /// Further columns of the catalog that `items` gets; default none.
    #[serde(default)]
    keep_columns: Vec<String>,
    /// Whether `items` also lists tracks that nobody loved; default false.
    #[serde(default)]
    keep_unloved: bool,
}

impl StageKind for MatchTracks {
    fn name(&self) -> &'static str {
        "match_tracks"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Find the tracks that users loved in a catalog, by artist and title"
    }

    fn documentation(&self) -> &'static str {
        "Reads `loved` (user_id, artist, title, at) and `catalog` (artist, title, and `keep_columns`).\n\
         Writes `interactions` (user_id: str, item_id: str, at: i64), one row per pair with its latest time, \
         sorted by user_id and item_id; and `items` (item_id: str, artist: str, title: str, and `keep_columns`), \
         the first catalog row of each item, sorted by item_id.\n\n\
         Both artist and title must match: titles alone would merge namesakes. `item_id` is the first 16 digits \
         of the BLAKE3 of the normal artist, a zero byte and the normal title; so it is the same in every \
         pipeline with the same `normalise`.\n\n\
         `strict`: Unicode NFKC, upper and lower case alike, runs of white space as one space, none at the ends. \
         `loose`, also: accents of Latin, Greek and Cyrillic letters are dropped; `&` is `and`; apostrophes are \
         dropped and other punctuation and symbols are white space; credits of guests (`feat.`, `ft.`, \
         `featuring`, in brackets or to the end) are dropped. What is nothing but punctuation keeps its strict \
         form. Rows without artist or title match nothing; the number is told. No seed, no network."
    }

    fn example(&self) -> &'static str {
        "kind: match_tracks\ninputs: { loved: loved, catalog: catalog }\nwith: { normalise: loose, drop_titles: [Music] }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        if settings.artist_separator.as_deref() == Some("") {
            problems.push(SettingProblem::new("artist_separator", "the separator is empty").hint("leave it out"));
        }
        let mut seen = BTreeSet::from(["item_id", "artist", "title"]);
        for (at, name) in settings.keep_columns.iter().enumerate() {
            if !seen.insert(name) {
                problems.push(SettingProblem::new(format!("keep_columns.{at}"), format!("`{name}` is there already")));
            }
        }
        if problems.is_empty() { Ok(Arc::new(Checked { settings })) } else { Err(problems) }
    }
}

struct Checked {
    settings: Settings,
}

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        let catalog = ["artist", "title"].into_iter().chain(self.settings.keep_columns.iter().map(String::as_str));
        vec![InputPort::new("loved", ["user_id", "artist", "title", "at"]), InputPort::new("catalog", catalog)]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![
            OutputPort::new("interactions", &[("user_id", "str"), ("item_id", "str"), ("at", "i64")])
                .keyed_by(&["user_id", "item_id"]),
            OutputPort::new("items", &[("item_id", "str"), ("artist", "str"), ("title", "str")]).keyed_by(&["item_id"]),
        ]
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let catalog = context.table("catalog")?;
        let items = self.items(&catalog, context)?;
        let loved = context.table("loved")?;
        let latest = self.latest(&loved, &items, context)?;

        let of_user: StringArray = latest.keys().map(|(user, _)| Some(user)).collect();
        let of_item: StringArray = latest.keys().map(|(_, item)| Some(item)).collect();
        let times: arrow::array::Int64Array = latest.values().copied().collect();
        let columns: [(&str, ArrayRef); 3] =
            [("user_id", Arc::new(of_user)), ("item_id", Arc::new(of_item)), ("at", Arc::new(times))];
        context.write("interactions", &Table::of_columns(columns)?)?;

        let loved_items: BTreeSet<&String> = latest.keys().map(|(_, item)| item).collect();
        let kept = items.iter().filter(|(item, _)| self.settings.keep_unloved || loved_items.contains(item));
        let (ids, rows): (Vec<&String>, Vec<u64>) = kept.map(|(item, row)| (item, *row)).unzip();
        context.write("items", &self.item_rows(&catalog, &ids, &UInt64Array::from(rows))?)
    }
}

impl Checked {
    /// The catalog's items and the first row of each.
    fn items(&self, catalog: &Table, context: &StageContext) -> Result<BTreeMap<String, u64>, StageError> {
        let how = self.settings.normalise;
        let dropped: BTreeSet<String> = self.settings.drop_titles.iter().map(|title| normal(title, how)).collect();
        let (artists, titles) = (catalog.strings("artist")?, catalog.strings("title")?);
        let mut items = BTreeMap::new();
        let (mut unnamed, mut unwanted) = (0_usize, 0_usize);
        for (row, (artist, title)) in artists.iter().zip(titles.iter()).enumerate() {
            let artist = artist.map(|artist| self.first_artist(artist));
            match artist.zip(title).and_then(|(artist, title)| self.item_id(artist, title)) {
                None => unnamed += 1,
                Some((_, title)) if dropped.contains(&title) => unwanted += 1,
                Some((item, _)) => {
                    items.entry(item).or_insert(row as u64);
                }
            }
        }
        if unnamed > 0 {
            context.progress.warn(&format!("{unnamed} of {} catalog rows have no artist or no title", catalog.rows()));
        }
        if unwanted > 0 {
            context.progress.note(&format!("{unwanted} catalog rows have a title of `drop_titles`"));
        }
        Ok(items)
    }

    /// The latest time of each (user, item).
    fn latest(
        &self,
        loved: &Table,
        items: &BTreeMap<String, u64>,
        context: &StageContext,
    ) -> Result<BTreeMap<(String, String), Option<i64>>, StageError> {
        let users = complete("user_id", loved.strings("user_id")?)?;
        let (artists, titles, times) = (loved.strings("artist")?, loved.strings("title")?, loved.integers("at")?);
        let mut latest: BTreeMap<(String, String), Option<i64>> = BTreeMap::new();
        let mut matched = 0_usize;
        for (((user, artist), title), at) in users.iter().zip(artists.iter()).zip(titles.iter()).zip(times.iter()) {
            let (Some(user), Some(artist), Some(title)) = (user, artist, title) else { continue };
            let Some((item, _)) = self.item_id(artist, title).filter(|(item, _)| items.contains_key(item)) else {
                continue;
            };
            matched += 1;
            // An unknown time is before every known one.
            let time = latest.entry((user.to_owned(), item)).or_insert(at);
            *time = (*time).max(at);
        }
        context.progress.note(&format!(
            "{matched} of {} loved tracks are in the catalog of {} items",
            loved.rows(),
            items.len()
        ));
        if matched == 0 && loved.rows() > 0 {
            context.progress.warn("none of the loved tracks is in the catalog");
        }
        Ok(latest)
    }

    /// The id of a track and its normal title; `None` if nothing is left of either text.
    fn item_id(&self, artist: &str, title: &str) -> Option<(String, String)> {
        let how = self.settings.normalise;
        let (artist, title) = (normal(artist, how), normal(title, how));
        if artist.is_empty() || title.is_empty() {
            return None;
        }
        let hash = ContentHash::of(format!("{artist}\0{title}").as_bytes()).to_string();
        Some((hash.chars().take(16).collect(), title))
    }

    fn first_artist<'a>(&self, artist: &'a str) -> &'a str {
        let separator = self.settings.artist_separator.as_deref();
        separator.and_then(|separator| artist.split(separator).find(|one| !one.trim().is_empty())).unwrap_or(artist)
    }

    fn item_rows(&self, catalog: &Table, ids: &[&String], rows: &UInt64Array) -> Result<Table, StageError> {
        let ids: StringArray = ids.iter().map(|id| Some(id.as_str())).collect();
        let mut columns: Vec<(&str, ArrayRef)> = vec![("item_id", Arc::new(ids))];
        let names = ["artist", "title"].into_iter().chain(self.settings.keep_columns.iter().map(String::as_str));
        for name in names {
            let column = take(&catalog.column(name)?, rows, None)
                .map_err(|source| crate::table::TableError::Arrow { action: "take rows of", source })?;
            columns.push((name, column));
        }
        Ok(Table::of_columns(columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{numbers, refused, run, texts};
    use super::*;
    use serde_json::json;

    fn loved() -> Table {
        let columns = [
            ("user_id", texts(&["u2", "u1", "u1", "u1", "u1", "u3"])),
            ("artist", texts(&["Beyonce", "BEYONCÉ", "Beyoncé", "Sigur Rós", "-", "Sigur Ros"])),
            ("title", texts(&["Halo", "Halo", "halo ", "Hoppípolla", "Halo", "Nothing"])),
            ("at", numbers(&[5, 7, 6, 1, 1, 1])),
        ];
        Table::of_columns(columns).unwrap()
    }

    fn catalog() -> Table {
        let columns = [
            ("artist", texts(&["Beyoncé;Jay-Z", "beyonce", "Sigur Rós", "Someone", "-", "Nobody"])),
            ("title", texts(&["Halo", "Halo", "Hoppípolla", "Music", "x", "Unloved"])),
            ("album", texts(&["first", "second", "Takk...", "-", "-", "-"])),
        ];
        Table::of_columns(columns).unwrap()
    }

    fn inputs() -> Vec<(&'static str, Table)> {
        vec![("loved", loved()), ("catalog", catalog())]
    }

    #[test]
    fn tracks_match_on_artist_and_title_and_the_latest_time_stays() {
        let with = json!({"artist_separator": ";", "keep_columns": ["album"]});
        let ran = run(&MatchTracks, &with, inputs()).unwrap();
        let (sigur, halo) = ("1fea800440194b25", "e0ae4e3694db226d");
        let expected = [format!("u1|{sigur}|1"), format!("u1|{halo}|7"), format!("u2|{halo}|5")];
        assert_eq!(ran.rows("interactions"), expected);
        let expected = [format!("{sigur}|Sigur Rós|Hoppípolla|Takk..."), format!("{halo}|Beyoncé;Jay-Z|Halo|first")];
        assert_eq!(ran.rows("items"), expected);
        assert_eq!(ran.notes, ["4 of 6 loved tracks are in the catalog of 4 items"]);
        assert_eq!(ran.warnings, ["1 of 6 catalog rows have no artist or no title"]);
        insta::assert_snapshot!(ran.golden(), @r"
        interactions.at 2bff229aa2ab
        interactions.item_id 8b8e7c79a558
        interactions.user_id e6fee66a6258
        items.album 22e00519e043
        items.artist f96e7c11bf44
        items.item_id 214c75eb9c58
        items.title 3b3be1ad240b
        ");
    }

    #[test]
    fn strict_does_not_drop_accents() {
        let ran = run(&MatchTracks, &json!({"normalise": "strict"}), inputs()).unwrap();
        assert_eq!(ran.notes, ["2 of 6 loved tracks are in the catalog of 5 items"]);
    }

    #[test]
    fn titles_are_dropped_and_unloved_items_kept_on_request() {
        let titles = |with: Value| {
            let ran = run(&MatchTracks, &with, inputs()).unwrap();
            let mut titles: Vec<String> =
                ran.outputs["items"].strings("title").unwrap().iter().flatten().map(str::to_owned).collect();
            titles.sort();
            titles
        };
        assert_eq!(titles(json!({})), ["Halo", "Hoppípolla"]);
        assert_eq!(titles(json!({"keep_unloved": true})), ["Halo", "Halo", "Hoppípolla", "Music", "Unloved"]);
        assert_eq!(
            titles(json!({"keep_unloved": true, "drop_titles": ["MUSIC"]})),
            ["Halo", "Halo", "Hoppípolla", "Unloved"]
        );
    }

    #[test]
    fn nothing_in_common_is_a_warning_and_two_empty_tables() {
        let none = catalog().select(&["artist", "title"]).unwrap();
        let none = Table::new(Arc::clone(none.schema()), vec![]);
        let ran = run(&MatchTracks, &json!({}), vec![("loved", loved()), ("catalog", none)]).unwrap();
        assert!(ran.rows("interactions").is_empty() && ran.rows("items").is_empty());
        assert_eq!(ran.warnings, ["none of the loved tracks is in the catalog"]);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        let problems = refused(&MatchTracks, &json!({"artist_separator": "", "keep_columns": ["title"]}));
        assert_eq!(
            problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(),
            ["artist_separator", "keep_columns.0"]
        );
        assert_eq!(refused(&MatchTracks, &json!({"normalise": "fuzzy"}))[0].path, "normalise");
    }
}
