//! A catalog's songs: artist and title, each pair once.

use std::collections::BTreeSet;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::super::{SandboxError, SandboxSettings};
use crate::ground::files;

const ARTIST_COLUMNS: &[&str] = &["artistName", "artists", "artist_name", "artist"];
const TITLE_COLUMNS: &[&str] = &["trackName", "track_name", "title", "track"];

/// The catalog's distinct (artist, title) pairs in the order of the file; case
/// and outer white space make no difference. Rows with neither are left out.
///
/// # Errors
/// [`SandboxError`] if the file cannot be read or lacks a column.
pub(super) fn read(path: &Path, settings: &SandboxSettings) -> Result<Vec<(String, String)>, SandboxError> {
    let bytes = files::read_bytes(path).map_err(SandboxError::Catalog)?;
    let refuse = |why: String| SandboxError::CatalogShape {
        path: path.to_owned(),
        why,
        hint: "`artist_column` and `title_column` name the columns of a CSV file with a header",
    };
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes.as_slice());
    let headers = reader.byte_headers().map_err(|error| refuse(format!("is not a CSV file: {error}")))?.clone();
    let place = |asked: &Option<String>, known: &[&str], what: &str| {
        let names: Vec<&str> = asked.as_deref().map_or_else(|| known.to_vec(), |name| vec![name]);
        let found = names.iter().find_map(|name| headers.iter().position(|header| text(header) == *name));
        found.ok_or_else(|| refuse(format!("has no column of {what}: none is called {}", names.join(", "))))
    };
    let artist = place(&settings.artist_column, ARTIST_COLUMNS, "artists")?;
    let title = place(&settings.title_column, TITLE_COLUMNS, "titles")?;
    let mut seen = BTreeSet::new();
    let mut songs = Vec::new();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| refuse(format!("has a bad row: {error}")))? {
        let field = |place: usize| record.get(place).map(text).unwrap_or_default();
        let pair = (field(artist), field(title));
        if !pair.0.is_empty() && !pair.1.is_empty() && seen.insert((pair.0.to_lowercase(), pair.1.to_lowercase())) {
            songs.push(pair);
        }
    }
    if songs.is_empty() { Err(refuse("has no songs".to_owned())) } else { Ok(songs) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().trim_start_matches('\u{feff}').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(text: &str, settings: &SandboxSettings) -> Result<Vec<(String, String)>, SandboxError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("songs.csv");
        files::write_atomically(&path, text.as_bytes()).unwrap();
        read(&path, settings)
    }

    #[test]
    fn songs_are_found_by_either_known_pair_of_columns_and_each_comes_once() {
        let defaults = SandboxSettings::default();
        let songs = catalog("id,trackName,artistName\n1,Tea,The Tin Herons\n2,TEA,the tin herons \n3,,x\n", &defaults);
        assert_eq!(songs.unwrap(), [("The Tin Herons".to_owned(), "Tea".to_owned())]);
        assert_eq!(catalog("\u{feff}artists,track_name\na,\"b, c\"\n", &defaults).unwrap()[0].1, "b, c");
        let named = SandboxSettings { artist_column: Some("who".to_owned()), ..defaults.clone() };
        assert_eq!(catalog("who,title\na,b\n", &named).unwrap().len(), 1);
        let refused = catalog("who,what\na,b\n", &defaults).unwrap_err();
        assert!(refused.to_string().contains("has no column of artists"), "{refused}");
        assert!(refused.hint().is_some());
    }
}
