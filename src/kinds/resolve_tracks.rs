//! `resolve_tracks`: the artist and title of each track as Deezer writes them,
//! with what else it knows of the track.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
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
use crate::text::{Normalise, normal};
use crate::web::deezer::{Hit, parse_search, search};

/// The kind.
#[derive(Debug)]
pub(super) struct ResolveTracks;

/// Settings as written in YAML.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How alike the spellings must be, 0 to 1, where none is the same; 0.85 if not given.
    #[serde(default = "default_min_similarity")]
    min_similarity: f64,
    /// The limiter to wait for; `deezer` if not given.
    #[serde(default = "default_limiter", skip_serializing)]
    limiter: String,
    /// The share of tracks, 0 to 1, that may fail to be asked for; 0.1 if not given.
    #[serde(default = "rows::default_max_failed_rows", skip_serializing)]
    max_failed_rows: f64,
}

fn default_min_similarity() -> f64 {
    0.85
}

fn default_limiter() -> String {
    "deezer".to_owned()
}

/// Two songs that are so nearly as like what was asked for cannot be told apart.
const TOO_CLOSE: f64 = 0.02;
/// The status of a row for which there are such songs.
const AMBIGUOUS: &str = "ambiguous";

impl StageKind for ResolveTracks {
    fn name(&self) -> &'static str {
        "resolve_tracks"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Find each track's canonical artist and title with Deezer"
    }

    fn documentation(&self) -> &'static str {
        "Reads `tracks` (item_id, artist, title). Searches Deezer, which wants no key, for each distinct artist and title; \
         where it finds nothing, once more without guests, accents and punctuation.\n\n\
         Writes `resolved` (item_id, artist, title, album, duration_secs, rank, explicit, deezer_id, similarity, status), \
         one row for each row of `tracks`, in the same order. Of the songs found, the one is taken whose artist and title \
         are the same in their loose normal form (as in `match_tracks`), with or without its version; of several, the most \
         popular. If none is the same, the one that is most alike: `similarity` is 1 less the edit distance over the length \
         of the longer spelling, the lesser of artist's and title's, and must reach `min_similarity`.\n\n\
         `status` is `ok`, `ambiguous` (two different songs are as alike), `not_found`, `skipped: no artist or title` or \
         `failed: …`. All but `ok` keep the artist and title as they were given, so that `crawl_lyrics` can ask about every \
         row; the other columns are null then. `rank` is Deezer's popularity, up to about 1,000,000."
    }

    fn example(&self) -> &'static str {
        "kind: resolve_tracks\ninputs: { tracks: matched.items }\nwith: { min_similarity: 0.85 }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let mut problems = Vec::new();
        rows::check_share("max_failed_rows", settings.max_failed_rows, &mut problems);
        rows::check_share("min_similarity", settings.min_similarity, &mut problems);
        Ok(Arc::new(Resolve { settings: rows::checked(settings, problems)? }))
    }
}

#[derive(Debug)]
struct Resolve {
    settings: Settings,
}

/// What is known of one track.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    hit: Option<(Hit, f64)>,
    status: String,
}

impl rows::HasStatus for Found {
    fn status(&self) -> &str {
        &self.status
    }
}

impl Found {
    fn nothing(status: impl Into<String>) -> Self {
        Self { hit: None, status: status.into() }
    }
}

#[async_trait]
impl Stage for Resolve {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("tracks", ["item_id", "artist", "title"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let columns = [
            ("item_id", "str"),
            ("artist", "str"),
            ("title", "str"),
            ("album", "str"),
            ("duration_secs", "i64"),
            ("rank", "i64"),
            ("explicit", "bool"),
            ("deezer_id", "i64"),
            ("similarity", "f64"),
            ("status", "str"),
        ];
        vec![OutputPort::new("resolved", &columns).keyed_by(&["item_id"])]
    }

    fn resource(&self) -> Resource {
        Resource::Api(self.settings.limiter.clone())
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let (_, songs) = rows::songs(&context.table("tracks").ok()?).ok()?;
        Some(rows::known_by_asking(&songs.rows, |place| self.look_up(context, &songs.keys[place])))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let tracks = context.table("tracks")?;
        let (ids, songs) = rows::songs(&tracks)?;
        context.progress.total(ids.len() as u64);
        let width = context.web.concurrency(&self.settings.limiter, "deezer") * 2;
        let keys = &songs.keys;
        let ask = |place: usize| self.look_up(context, &keys[place]);
        let found = rows::ask_each(context, &songs.rows, width, ask).await?;
        let of_row: Vec<&Found> = songs.of_row.iter().map(|place| &found[*place]).collect();
        let statuses = of_row.iter().map(|row| row.status.as_str());
        rows::check_failures(context, "tracks", statuses, self.settings.max_failed_rows)?;
        context.write("resolved", &table(&tracks, ids, &of_row)?)
    }
}

impl Resolve {
    async fn look_up(&self, context: &StageContext, song: &rows::Song) -> Result<Found, StageError> {
        let Some((artist, title)) = song else { return Ok(Found::nothing(rows::NO_NAME)) };
        let found = self.ask(context, artist, title, (artist, title)).await?;
        let plain = (normal(artist, Normalise::Loose), normal(title, Normalise::Loose));
        let same = plain == (normal(artist, Normalise::Strict), normal(title, Normalise::Strict));
        if found.status != rows::NOT_FOUND || same {
            return Ok(found);
        }
        self.ask(context, &plain.0, &plain.1, (artist, title)).await
    }

    /// Searches with these words for what was `asked`.
    async fn ask(
        &self,
        context: &StageContext,
        artist: &str,
        title: &str,
        asked: (&str, &str),
    ) -> Result<Found, StageError> {
        let answer = match context.web.ask(&search(artist, title).limiter(&self.settings.limiter)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Found::nothing(rows::row_status(error)?)),
        };
        let Some(hits) = parse_search(&answer) else {
            let status = rows::failed(&format!("an answer without `data`: {}", answer.excerpt()));
            return Ok(Found::nothing(status));
        };
        Ok(choose(asked, hits.hits, self.settings.min_similarity))
    }
}

/// The song that was meant, of those that were found.
fn choose((artist, title): (&str, &str), hits: Vec<Hit>, least: f64) -> Found {
    let loose = |text: &str| normal(text, Normalise::Loose);
    let (artist, title) = (loose(artist), loose(title));
    let rated = hits.into_iter().map(|hit| {
        let short = hit.title_short.as_deref().map_or(0.0, |short| likeness(&loose(short), &title));
        let whole = likeness(&loose(&hit.title), &title);
        let alike = likeness(&loose(&hit.artist), &artist).min(whole.max(short));
        // Among the same, the one whose whole title is the same comes first.
        (alike, alike >= 1.0 && whole >= 1.0, hit)
    });
    let mut rated: Vec<(f64, bool, Hit)> = rated.filter(|(alike, ..)| *alike >= least).collect();
    let order = |one: &(f64, bool, Hit), other: &(f64, bool, Hit)| {
        let by_rank = other.2.rank.cmp(&one.2.rank).then(one.2.id.cmp(&other.2.id));
        other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)).then(by_rank)
    };
    rated.sort_by(order);
    let song = |hit: &Hit| (loose(&hit.artist), loose(hit.title_short.as_deref().unwrap_or(&hit.title)));
    let best = match rated.first() {
        None => return Found::nothing(rows::NOT_FOUND),
        Some(best) => best.clone(),
    };
    let rival = |(alike, _, hit): &(f64, bool, Hit)| best.0 - alike < TOO_CLOSE && song(hit) != song(&best.2);
    if best.0 < 1.0 && rated.iter().any(rival) {
        return Found::nothing(AMBIGUOUS);
    }
    Found { hit: Some((best.2, best.0)), status: rows::OK.to_owned() }
}

/// 1 for the same, less the edit distance over the length of the longer.
fn likeness(one: &str, other: &str) -> f64 {
    if one == other { 1.0 } else { strsim::normalized_levenshtein(one, other) }
}

fn table(tracks: &Table, ids: StringArray, found: &[&Found]) -> Result<Table, StageError> {
    let hit = |row: &&Found| row.hit.as_ref().map(|(hit, _)| hit.clone());
    // What is not found keeps the names that it was asked for by.
    let named = |given: &StringArray, of: fn(&Hit) -> &str| -> ArrayRef {
        let names = found.iter().zip(given.iter());
        let name = |(row, given): (&&Found, Option<&str>)| {
            hit(row).map(|hit| of(&hit).to_owned()).or(given.map(str::to_owned))
        };
        Arc::new(names.map(name).collect::<StringArray>())
    };
    let numbers = |of: fn(&Hit) -> Option<i64>| -> ArrayRef {
        Arc::new(found.iter().map(|row| of(&hit(row)?)).collect::<Int64Array>())
    };
    let albums: StringArray = found.iter().map(|row| hit(row)?.album).collect();
    let explicit: BooleanArray = found.iter().map(|row| hit(row)?.explicit).collect();
    let alike: Float64Array = found.iter().map(|row| row.hit.as_ref().map(|(_, alike)| *alike)).collect();
    let states: StringArray = found.iter().map(|row| Some(&row.status)).collect();
    Ok(Table::of_columns([
        ("item_id", Arc::new(ids) as ArrayRef),
        ("artist", named(&tracks.strings("artist")?, |hit| &hit.artist)),
        ("title", named(&tracks.strings("title")?, |hit| &hit.title)),
        ("album", Arc::new(albums)),
        ("duration_secs", numbers(|hit| hit.duration_secs)),
        ("rank", numbers(|hit| hit.rank)),
        ("explicit", Arc::new(explicit)),
        ("deezer_id", numbers(|hit| Some(hit.id))),
        ("similarity", Arc::new(alike)),
        ("status", Arc::new(states)),
    ])?)
}

#[cfg(test)]
mod tests {
    use super::super::lab::{Lab, cells, param, strings};
    use super::super::testing::column_golden;
    use super::*;
    use serde_json::json;

    fn hit(id: i64, artist: &str, title: &str, rank: i64) -> Hit {
        Hit {
            id,
            artist: artist.to_owned(),
            title: title.to_owned(),
            title_short: title.split(" (").next().map(str::to_owned),
            album: None,
            duration_secs: None,
            rank: Some(rank),
            explicit: None,
        }
    }

    fn chosen(hits: Vec<Hit>) -> String {
        let found = choose(("Beyoncé", "Crazy in Love (feat. Jay-Z)"), hits, 0.85);
        found.hit.map_or(found.status, |(hit, alike)| format!("{} {alike:.2}", hit.id))
    }

    #[test]
    fn the_same_spelling_wins_then_the_whole_title_then_the_most_popular() {
        let live = || hit(1, "Beyonce", "Crazy In Love (Live)", 900);
        assert_eq!(
            chosen(vec![live(), hit(2, "BEYONCÉ", "Crazy in Love", 5), hit(3, "Beyonce", "Crazy in Love", 7)]),
            "3 1.00"
        );
        assert_eq!(chosen(vec![hit(4, "Tribute", "Crazy in Love", 999), live()]), "1 1.00");
        assert_eq!(chosen(vec![hit(4, "Tribute", "Crazy in Love", 999)]), "not_found");
        assert_eq!(chosen(vec![]), "not_found");
    }

    #[test]
    fn what_is_nearly_the_same_is_taken_unless_two_songs_are() {
        assert_eq!(chosen(vec![hit(1, "Beyonce", "Crazy in Lov", 1)]), "1 0.92");
        assert_eq!(
            chosen(vec![hit(1, "Beyonce", "Crazy in Lov", 1), hit(2, "Beyonce", "Crazy in Lovely", 9)]),
            "1 0.92"
        );
        assert_eq!(
            chosen(vec![hit(1, "Beyonce", "Crazy in Lova", 1), hit(2, "Beyonce", "Crazy in Lovo", 2)]),
            "ambiguous"
        );
    }

    fn world(target: &str) -> (u16, String) {
        let query = param(target, "q");
        let song = |id: i64, title: &str| {
            json!({"id": id, "title": title, "title_short": title, "duration": 199, "rank": 5, "explicit_lyrics": false,
                   "artist": {"name": "The A"}, "album": {"title": "L"}})
        };
        let data = match query.as_str() {
            r#"artist:"the a" track:"song""# => vec![song(7, "Song")],
            r#"artist:"the a" track:"cafe""# => vec![song(8, "Café")],
            r#"artist:"the a" track:"broken""# => return (200, r#"{"surprise":1}"#.to_owned()),
            _ => vec![],
        };
        (200, json!({"data": data, "total": data.len()}).to_string())
    }

    fn tracks(rows: &[(&str, &str)]) -> Vec<(&'static str, Table)> {
        let ids: Vec<String> = (0..rows.len()).map(|n| format!("i{n}")).collect();
        let (artists, titles): (Vec<&str>, Vec<&str>) = rows.iter().copied().unzip();
        let ids = strings(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        let columns = [("item_id", ids), ("artist", strings(&artists)), ("title", strings(&titles))];
        vec![("tracks", Table::of_columns(columns).expect("a table"))]
    }

    const ROWS: [(&str, &str); 6] = [
        ("the a", "song"),
        ("The A", "Café!"),
        ("the a", "unknown"),
        ("the a", " "),
        ("the a", "broken"),
        ("the a", "song"),
    ];

    #[tokio::test]
    async fn every_row_has_its_canonical_names_or_says_why_not() {
        let lab = Lab::new(world).await;
        let with = json!({"max_failed_rows": 0.5});
        let tables = lab.run(&ResolveTracks, with, tracks(&ROWS)).await.expect("tracks");
        let expected = [
            "i0|The A|Song|L|199|5|false|7|1.0|ok",
            "i1|The A|Café|L|199|5|false|8|1.0|ok",
            "i2|the a|unknown|||||||not_found",
            "i3|the a| |||||||skipped: no artist or title",
            r#"i4|the a|broken|||||||failed: an answer without `data`: {"surprise":1}"#,
            "i5|The A|Song|L|199|5|false|7|1.0|ok",
        ];
        assert_eq!(cells(&tables["resolved"]), expected);
        assert_eq!(lab.asked(), 5, "the same track once, and one that was not found again in plainer words");
        insta::assert_snapshot!(column_golden("resolved", &tables["resolved"]), @"
        resolved.album 0451eb4e85ee
        resolved.artist d6ee1ef591bf
        resolved.deezer_id dd4d4f67d8eb
        resolved.duration_secs db766196b1e1
        resolved.explicit 673bd16cf064
        resolved.item_id 5903c319fd1c
        resolved.rank 12a18cea308d
        resolved.similarity c4ec00865401
        resolved.status b60c379b5455
        resolved.title f70497a899cb
        ");
    }

    #[tokio::test]
    async fn what_is_remembered_is_counted() {
        let lab = Lab::new(world).await.remembering();
        let with = json!({"max_failed_rows": 0.5});
        assert_eq!(lab.known(&ResolveTracks, &with, tracks(&ROWS), None), "6 rows, 1 known, 4 to ask");
        lab.run(&ResolveTracks, with.clone(), tracks(&ROWS)).await.expect("tracks");
        assert_eq!(lab.known(&ResolveTracks, &with, tracks(&ROWS), None), "6 rows, 6 known, 0 to ask");
    }
}
