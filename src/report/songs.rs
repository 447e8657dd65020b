//! Figure 2: songs with every text that a stage has for them, side by side.

use std::collections::BTreeMap;

use arrow::array::{Array, StringArray};

use super::gather::{Gatherer, ReportError};
use super::{Song, SongText, texts};
use crate::ground::{ContentHash, closest};
use crate::table::Table;

/// How many songs are shown if none is asked for.
const SHOWN: usize = 2;

/// An item's artist, title and tag.
#[derive(Debug, Clone, Default, PartialEq)]
struct Names {
    artist: String,
    title: String,
    tag: Option<String>,
}

/// The texts of one stage.
struct Column {
    stage: String,
    variants: Vec<String>,
    texts: BTreeMap<String, texts::Text>,
}

/// The songs that are asked for, else those that the file names, else the
/// first in order of id that have every text; and those that the file names and
/// no table has.
pub(super) fn read(gatherer: &Gatherer<'_>, asked: &[String]) -> Result<(Vec<Song>, Vec<String>), ReportError> {
    let names = names(gatherer)?;
    let columns = columns(gatherer)?;
    let (mut ids, mut missing) = (Vec::new(), Vec::new());
    for song in asked {
        ids.push(find(song, &names)?);
    }
    for song in gatherer.pipeline.publication.songs.iter().filter(|_| asked.is_empty()) {
        match find(song, &names) {
            Ok(id) => ids.push(id),
            Err(_) => missing.push(song.clone()),
        }
    }
    if ids.is_empty() {
        ids = fullest(&names, &columns);
    }
    let song = |item_id: String| {
        let known = names.get(&item_id).cloned();
        let text = |column: &Column| {
            let (text, status) = column.texts.get(&item_id).cloned().unwrap_or_default();
            SongText { stage: column.stage.clone(), variants: column.variants.clone(), text, status }
        };
        Song {
            texts: columns.iter().map(text).collect(),
            artist: known.as_ref().map(|names| names.artist.clone()),
            title: known.as_ref().map(|names| names.title.clone()),
            tag: known.and_then(|names| names.tag),
            item_id,
        }
    };
    let songs = if columns.is_empty() { Vec::new() } else { ids.into_iter().map(song).collect() };
    Ok((songs, missing))
}

/// Names by item: of the last stage that has them, which is the one closest to
/// what is trained on.
fn names(gatherer: &Gatherer<'_>) -> Result<BTreeMap<String, Names>, ReportError> {
    let has = |index: usize, name: &str| gatherer.main(index).is_some_and(|artifact| artifact.column(name).is_some());
    let named = |index: &usize| ["item_id", "artist", "title"].iter().all(|name| has(*index, name));
    let instances = 0..gatherer.pipeline.instances.len();
    let Some(index) = instances.clone().rev().filter(named).max_by_key(|index| has(*index, "tag")) else {
        return Ok(BTreeMap::new());
    };
    let mut wanted = vec!["item_id", "artist", "title"];
    wanted.extend(has(index, "tag").then_some("tag"));
    let Some(output) = gatherer.pipeline.instances[index].stage.outputs().into_iter().next() else {
        return Ok(BTreeMap::new());
    };
    let Some(table) = gatherer.table(index, &output.name, &wanted)? else { return Ok(BTreeMap::new()) };
    let read = |table: &Table| {
        let (items, artists, titles) = (table.strings("item_id")?, table.strings("artist")?, table.strings("title")?);
        let tags = table.has_column("tag").then(|| table.strings("tag")).transpose()?;
        let text = |column: &StringArray, row: usize| column.is_valid(row).then(|| column.value(row).to_owned());
        let name = |row: usize| {
            let tag = tags.as_ref().and_then(|tags| text(tags, row));
            let [artist, title] = [&artists, &titles].map(|column| text(column, row).unwrap_or_default());
            Some((text(&items, row)?, Names { artist, title, tag }))
        };
        Ok((0..table.rows()).filter_map(name).collect())
    };
    read(&table).map_err(|error| gatherer.unreadable(index, output.name.as_ref().into(), error))
}

/// The stages with texts, each artifact once.
fn columns(gatherer: &Gatherer<'_>) -> Result<Vec<Column>, ReportError> {
    let mut columns: Vec<(ContentHash, Column)> = Vec::new();
    for (index, instance) in gatherer.pipeline.instances.iter().enumerate() {
        let Some(artifact) = gatherer.main(index).filter(|_| texts::has_texts(gatherer, index)) else { continue };
        let variants = variants_of(gatherer, index);
        if let Some((_, known)) = columns.iter_mut().find(|(hash, _)| *hash == artifact.hash) {
            known.variants.extend(variants);
            continue;
        }
        let texts = texts::read(gatherer, index)?;
        columns.push((artifact.hash, Column { stage: instance.id.to_string(), variants, texts }));
    }
    Ok(columns.into_iter().map(|(_, column)| column).collect())
}

/// The variants whose vectors are of an instance's texts.
fn variants_of(gatherer: &Gatherer<'_>, text: usize) -> Vec<String> {
    let mut variants: Vec<String> = Vec::new();
    for instance in &gatherer.pipeline.instances {
        let reads = instance.inputs.get("texts").is_some_and(|sources| sources.iter().any(|s| s.instance == text));
        let has_vectors =
            instance.stage.outputs().iter().any(|port| port.columns.iter().any(|(name, _)| name == "vector"));
        if let Some(variant) = instance.id.variant.as_ref().filter(|_| reads && has_vectors)
            && !variants.contains(variant)
        {
            variants.push(variant.clone());
        }
    }
    variants
}

/// The first songs in order of id with the most texts.
fn fullest(names: &BTreeMap<String, Names>, columns: &[Column]) -> Vec<String> {
    let has_text = |column: &Column, id: &str| column.texts.get(id).is_some_and(|(text, _)| text.is_some());
    let texts = |id: &str| columns.iter().filter(|column| has_text(column, id)).count();
    let all = columns.iter().flat_map(|column| column.texts.keys());
    let known = all.filter(|id| names.is_empty() || names.contains_key(*id));
    let mut counted: Vec<(usize, &String)> = known.map(|id| (texts(id), id)).collect();
    counted.sort_by(|(a, first), (b, second)| b.cmp(a).then_with(|| first.cmp(second)));
    counted.dedup();
    counted.into_iter().take(SHOWN).map(|(_, id)| id.clone()).collect()
}

/// The id of a song that a user names.
fn find(song: &str, names: &BTreeMap<String, Names>) -> Result<String, ReportError> {
    if names.contains_key(song) {
        return Ok(song.to_owned());
    }
    let full = |names: &Names| format!("{} - {}", names.artist, names.title);
    let wanted = song.to_lowercase();
    let found = names.iter().find(|(_, names)| full(names).to_lowercase() == wanted);
    found.map(|(id, _)| id.clone()).ok_or_else(|| {
        let all: Vec<String> = names.values().map(full).collect();
        ReportError::NoSong {
            song: song.to_owned(),
            near: closest(song, all.iter().map(String::as_str)).map(str::to_owned),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeMap<String, Names> {
        let name = |artist: &str, title: &str| Names { artist: artist.into(), title: title.into(), tag: None };
        BTreeMap::from([("s1".to_owned(), name("Abba", "Waterloo")), ("s2".to_owned(), name("Queen", "Jealousy"))])
    }

    fn column(texts: &[(&str, Option<&str>)]) -> Column {
        let texts = texts.iter().map(|(id, text)| ((*id).to_owned(), (text.map(str::to_owned), None))).collect();
        Column { stage: "lyrics".into(), variants: Vec::new(), texts }
    }

    #[test]
    fn songs_with_more_texts_come_first() {
        let columns = [column(&[("s1", None), ("s2", Some("la"))]), column(&[("s1", Some("x")), ("s2", Some("y"))])];
        assert_eq!(fullest(&names(), &columns), ["s2", "s1"]);
    }

    #[test]
    fn a_song_is_found_by_id_or_by_name() {
        assert_eq!(find("s2", &names()).unwrap(), "s2");
        assert_eq!(find("abba - waterloo", &names()).unwrap(), "s1");
        let error = find("Aba - Waterloo", &names()).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `Abba - Waterloo`?");
    }
}
