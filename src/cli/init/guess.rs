//! What a CSV or TSV file seems to hold, from its first rows: how it is written,
//! its columns, and which of them are users, items and times. A guess that the
//! user sees in the pipeline and can change there.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::super::errors::Mistake;

/// So much of the file is looked at.
const LOOKED_AT: u64 = 256 * 1024;
/// So many rows of it.
const ROWS: usize = 500;

const USERS: [&str; 12] = [
    "userid",
    "user",
    "username",
    "listenerid",
    "listener",
    "customerid",
    "customer",
    "memberid",
    "visitorid",
    "accountid",
    "reviewerid",
    "playerid",
];
const ITEMS: [&str; 27] = [
    "itemid",
    "item",
    "trackid",
    "track",
    "songid",
    "song",
    "artistid",
    "artist",
    "movieid",
    "movie",
    "productid",
    "product",
    "asin",
    "bookid",
    "book",
    "isbn",
    "articleid",
    "article",
    "gameid",
    "trackname",
    "songname",
    "artistname",
    "movietitle",
    "productname",
    "booktitle",
    "title",
    "url",
];
const TIMES: [&str; 14] = [
    "timestamp",
    "at",
    "time",
    "datetime",
    "date",
    "listenedat",
    "playedat",
    "createdat",
    "ratedat",
    "happenedat",
    "unixtime",
    "ts",
    "reviewtime",
    "when",
];

/// What a column seems to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing in the rows that were looked at.
    Nothing,
    WholeNumbers,
    Numbers,
    TrueOrFalse,
    /// `2026-01-31`, `2026-01-31 10:00:00` or `2026-01-31T10:00:00Z`, all of one length.
    Moments,
    Text,
}

impl Holds {
    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing in the first rows",
            Self::WholeNumbers => "whole numbers",
            Self::Numbers => "numbers",
            Self::TrueOrFalse => "true or false",
            Self::Moments => "dates",
            Self::Text => "text",
        }
    }

    fn of<'a>(values: impl Iterator<Item = &'a str> + Clone) -> Self {
        let values = values.map(str::trim).filter(|value| !value.is_empty());
        let all = |is: fn(&str) -> bool| values.clone().all(is);
        match values.clone().next() {
            None => Self::Nothing,
            Some(_) if all(|value| value.parse::<i64>().is_ok()) => Self::WholeNumbers,
            Some(_) if all(|value| value.parse::<f64>().is_ok()) => Self::Numbers,
            Some(_) if all(|value| matches!(value, "true" | "false")) => Self::TrueOrFalse,
            Some(first) if values.clone().all(|value| is_moment(value) && value.len() == first.len()) => Self::Moments,
            Some(_) => Self::Text,
        }
    }
}

/// Whether a text is a day, or a day and a time of it, without another zone than UTC.
fn is_moment(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00 00:00:00";
    let text = text.strip_suffix('Z').unwrap_or(text).as_bytes();
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b' ' | b'T'),
        form => byte == form,
    };
    matches!(text.len(), 10 | 16 | 19) && text.iter().zip(FORM).all(fits)
}

/// A file as it seems to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guess {
    /// The character between two values.
    pub(super) delimiter: char,
    /// Whether it is UTF-8, as far as it was looked at.
    pub(super) is_utf8: bool,
    /// The names of its columns, and what they hold.
    pub(super) columns: Vec<(String, Holds)>,
}

impl Guess {
    /// Looks at a file.
    ///
    /// # Errors
    /// [`Mistake`] if it cannot be read or has no columns.
    pub(super) fn of_file(path: &Path) -> Result<Self, Mistake> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut bytes));
        read.map_err(|error| Mistake::new(format!("could not read `{}`", path.display())).because(error))?;
        if bytes.len() as u64 == LOOKED_AT {
            // The last row may be cut.
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1));
        }
        let is_tsv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
        Self::of_bytes(&bytes, is_tsv).ok_or_else(|| {
            Mistake::new(format!("`{}` has no row of column names that can be read", path.display()))
                .hint("its first row must name the columns; a Parquet file is read with `kind: read_table` as well")
        })
    }

    /// The same of a text; none if it has no columns.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        Self::of_bytes(text.as_bytes(), false)
    }

    fn of_bytes(bytes: &[u8], is_tsv: bool) -> Option<Self> {
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if bytes.contains(&0) || first.is_empty() {
            return None;
        }
        let count = |delimiter: u8| first.split(|byte| *byte == delimiter).count();
        // Of equals the last is taken: the comma.
        let usual = [b'|', b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter))?;
        let delimiter = if is_tsv { b'\t' } else { usual };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).quoting(!is_tsv).flexible(true).from_reader(bytes);
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let names: Vec<String> = reader.byte_headers().ok()?.iter().map(text).collect();
        let rows: Vec<Vec<String>> =
            reader.byte_records().take(ROWS).filter_map(Result::ok).map(|row| row.iter().map(text).collect()).collect();
        let holds = |at: usize| Holds::of(rows.iter().filter_map(|row| row.get(at)).map(String::as_str));
        let columns = names.into_iter().enumerate().map(|(at, name)| (name, holds(at))).collect();
        Some(Self { delimiter: char::from(delimiter), is_utf8, columns })
    }

    /// The column of users, by its name.
    pub(super) fn user(&self) -> Option<&str> {
        self.named(&USERS, |_| true)
    }

    /// The column of items, by its name.
    pub(super) fn item(&self) -> Option<&str> {
        self.named(&ITEMS, |_| true)
    }

    /// The column of times, by its name and what it holds.
    pub(super) fn time(&self) -> Option<(&str, Holds)> {
        let is_time = |holds| matches!(holds, Holds::WholeNumbers | Holds::Numbers | Holds::Moments);
        let name = self.named(&TIMES, is_time)?;
        self.columns.iter().find(|(other, _)| other == name).map(|(name, holds)| (name.as_str(), *holds))
    }

    fn named(&self, names: &[&str], fits: impl Fn(Holds) -> bool) -> Option<&str> {
        let plain = |name: &str| {
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect::<String>()
        };
        let find = |wanted: &&str| self.columns.iter().find(|(name, holds)| plain(name) == **wanted && fits(*holds));
        names.iter().find_map(find).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(text: &str) -> Guess {
        Guess::of_text(text).expect("columns")
    }

    #[test]
    fn users_items_and_times_are_known_by_their_names() {
        let found = guess("userID;Artist ID;weight;timestamp\n2;51;13883;1238536800\n2;52;x;1238536801\n");
        assert_eq!((found.delimiter, found.is_utf8), (';', true));
        assert_eq!((found.user(), found.item()), (Some("userID"), Some("Artist ID")));
        assert_eq!(found.time(), Some(("timestamp", Holds::WholeNumbers)));
        assert_eq!(found.columns[2].1, Holds::Text);
    }

    #[test]
    fn a_column_of_times_must_hold_times() {
        let found = guess("user,item,time,date\na,b,late,2026-01-31T10:00:00Z\n");
        assert_eq!(found.time(), Some(("date", Holds::Moments)));
        assert_eq!(guess("user,item,time\na,b,late\n").time(), None);
        assert_eq!(guess("user,item,date\na,b,2026-01-31\na,b,2026-01-31 10:00\n").time(), None, "of two forms");
    }

    #[test]
    fn what_is_no_table_is_none() {
        assert_eq!(Guess::of_bytes(b"", false), None);
        assert_eq!(Guess::of_bytes(b"PAR1\0\0", false), None);
        let latin = Guess::of_bytes(b"name\tplays\nBj\xf6rk\t3\n", true).expect("columns");
        assert_eq!((latin.is_utf8, latin.delimiter, latin.columns[1].1), (false, '\t', Holds::WholeNumbers));
    }
}
