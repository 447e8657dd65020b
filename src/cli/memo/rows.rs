//! Answers and vectors as rows of a Parquet file, and back, each row by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float32Array, Int64Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};

use super::super::errors::Mistake;
use crate::ground::ContentHash;
use crate::memo::Stamp;
use crate::table::{Table, TableError};
use crate::web::Kept;

/// A vector of the memo.
pub(super) type KeptVector = (Stamp, Vec<f32>);

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn times(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(values.map(|at| Some(at as i64)).collect::<Int64Array>())
}

/// A table of answers.
///
/// # Errors
/// [`TableError`] if they do not fit in one.
pub(super) fn table_of_answers(answers: &[Kept]) -> Result<Table, TableError> {
    let keys: Vec<String> = answers.iter().map(|kept| kept.key.to_string()).collect();
    let headers: Vec<String> = answers.iter().map(|kept| serde_json::json!(kept.headers).to_string()).collect();
    let statuses: ArrayRef = Arc::new(answers.iter().map(|kept| Some(i64::from(kept.status))).collect::<Int64Array>());
    let bodies: ArrayRef = Arc::new(answers.iter().map(|kept| Some(kept.body.as_slice())).collect::<BinaryArray>());
    Table::of_columns([
        ("key", texts(keys.iter().map(|key| Some(key.as_str())))),
        ("at", times(answers.iter().map(|kept| kept.at))),
        ("provider", texts(answers.iter().map(|kept| Some(kept.provider())))),
        ("request", texts(answers.iter().map(|kept| Some(kept.request.as_str())))),
        ("world", texts(answers.iter().map(|kept| kept.world.as_deref()))),
        ("sent", texts(answers.iter().map(|kept| kept.sent.as_deref()))),
        ("status", statuses),
        ("headers", texts(headers.iter().map(|headers| Some(headers.as_str())))),
        ("body", bodies),
    ])
}

/// A table of vectors.
///
/// # Errors
/// [`TableError`] if they do not fit in one.
pub(super) fn table_of_vectors(vectors: &[KeptVector]) -> Result<Table, TableError> {
    let keys: Vec<String> = vectors.iter().map(|(stamp, _)| stamp.key.to_string()).collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let offsets = OffsetBuffer::from_lengths(vectors.iter().map(|(_, vector)| vector.len()));
    let numbers: Float32Array = vectors.iter().flat_map(|(_, vector)| vector.iter().copied()).map(Some).collect();
    let lists: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(numbers), None));
    Table::of_columns([
        ("key", texts(keys.iter().map(|key| Some(key.as_str())))),
        ("at", times(vectors.iter().map(|(stamp, _)| stamp.at))),
        ("vector", lists),
    ])
}

/// A row, or what is wrong with it.
pub(super) type Row<T> = Result<T, String>;

/// The key and the time of a row.
struct Stamps {
    keys: StringArray,
    times: Int64Array,
    /// Nothing is of later than this.
    latest: u64,
}

impl Stamps {
    fn of(table: &Table, latest: u64) -> Result<Self, Mistake> {
        Ok(Self { keys: strings(table, "key")?, times: integers(table, "at")?, latest })
    }

    fn stamp(&self, row: usize) -> Row<Stamp> {
        let key = given(&self.keys, row).ok_or("it has no key")?;
        let key: ContentHash = key.parse().map_err(|_| format!("its key `{}` is no hash", short(key)))?;
        let at = self.times.is_valid(row).then(|| self.times.value(row));
        let at = at.and_then(|at| u64::try_from(at).ok()).ok_or("it has no time")?;
        if at > self.latest { Err("its time lies in the future".to_owned()) } else { Ok(Stamp { key, at }) }
    }
}

/// The answers of a table; `latest` is the latest time that one can be of.
///
/// # Errors
/// [`Mistake`] if a column is missing or of another type.
pub(super) fn answers_of(table: &Table, latest: u64) -> Result<Vec<Row<Kept>>, Mistake> {
    let stamps = Stamps::of(table, latest)?;
    let (requests, headers) = (strings(table, "request")?, strings(table, "headers")?);
    let (worlds, sent) = (strings(table, "world")?, strings(table, "sent")?);
    let (statuses, bodies) = (integers(table, "status")?, bytes(table, "body")?);
    let row = |row: usize| -> Row<Kept> {
        let stamp = stamps.stamp(row)?;
        let request = given(&requests, row).filter(|text| is_request(text)).ok_or("it has no request")?;
        let status = statuses.is_valid(row).then(|| statuses.value(row));
        let status = status.and_then(|status| u16::try_from(status).ok()).filter(|status| (100..600).contains(status));
        let headers = given(&headers, row).ok_or("it has no headers")?;
        let headers: BTreeMap<String, String> =
            serde_json::from_str(headers).map_err(|_| "its headers are no JSON object of texts")?;
        let world = given(&worlds, row);
        if let Some(other) = world.filter(|world| *world != "live" && !world.starts_with("sandbox:")) {
            return Err(format!("its world `{}` is neither live nor a sandbox", short(other)));
        }
        Ok(Kept {
            key: stamp.key,
            at: stamp.at,
            status: status.ok_or("its status is none of HTTP's")?,
            headers,
            request: request.to_owned(),
            world: world.map(str::to_owned),
            sent: given(&sent, row).map(str::to_owned),
            rejected: false,
            body: bodies.is_valid(row).then(|| bodies.value(row).to_vec()).ok_or("it has no body")?,
        })
    };
    Ok((0..table.rows()).map(row).collect())
}

/// The vectors of a table.
///
/// # Errors
/// [`Mistake`] if a column is missing or of another type.
pub(super) fn vectors_of(table: &Table, latest: u64) -> Result<Vec<Row<KeptVector>>, Mistake> {
    let stamps = Stamps::of(table, latest)?;
    let (lists, _) = table.vectors("vector").map_err(|error| refused(&error))?;
    let row = |row: usize| -> Row<KeptVector> {
        let stamp = stamps.stamp(row)?;
        if lists.is_null(row) {
            return Err("it has no vector".to_owned());
        }
        let numbers = lists.value(row);
        let numbers = numbers.as_primitive::<arrow::datatypes::Float32Type>();
        if numbers.null_count() > 0 {
            return Err("a number of its vector is missing".to_owned());
        }
        Ok((stamp, numbers.values().to_vec()))
    };
    Ok((0..table.rows()).map(row).collect())
}

/// Whether a text is a request: a provider, a method and what it asks for.
fn is_request(text: &str) -> bool {
    let mut words = text.split(' ');
    let provider = words.next().unwrap_or_default();
    let is_name =
        !provider.is_empty() && provider.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    is_name && matches!(words.next(), Some("GET" | "POST")) && words.next().is_some()
}

fn given(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

fn strings(table: &Table, name: &str) -> Result<StringArray, Mistake> {
    table.strings(name).map_err(|error| refused(&error))
}

fn integers(table: &Table, name: &str) -> Result<Int64Array, Mistake> {
    table.integers(name).map_err(|error| refused(&error))
}

/// A column of bytes, or of texts, which are bytes as well.
fn bytes(table: &Table, name: &str) -> Result<BinaryArray, Mistake> {
    let column = table.column(name).map_err(|error| refused(&error))?;
    let plain = cast(&column, &DataType::Binary).ok().filter(|plain| plain.null_count() == column.null_count());
    let plain = plain.ok_or_else(|| Mistake::new(format!("the column `{name}` holds no bytes")))?;
    Ok(plain.as_binary::<i32>().clone())
}

fn refused(error: &TableError) -> Mistake {
    Mistake::new(format!("this is no file of `refrain memo export`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers() -> impl Strategy<Value = Vec<Kept>> {
        let header = proptest::collection::btree_map("[a-z-]{1,5}", ".{0,5}", 0..3);
        let world = prop_oneof![Just(None), Just(Some("live".to_owned())), Just(Some("sandbox:w".to_owned()))];
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        let one = (
            any::<[u8; 32]>(),
            0..1_000_u64,
            100..600_u16,
            header,
            ".{0,9}",
            world,
            proptest::option::of(".{0,9}"),
            body,
        );
        let one = one.prop_map(|(key, at, status, headers, asked, world, sent, body)| Kept {
            key: ContentHash::from(key),
            at,
            status,
            headers,
            request: format!("lastfm GET ?{asked}"),
            world,
            sent,
            rejected: false,
            body,
        });
        proptest::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn answers_come_back_from_their_rows(answers in answers()) {
            let rows = answers_of(&table_of_answers(&answers).expect("a table"), 1_000).expect("its columns");
            prop_assert_eq!(rows.into_iter().collect::<Result<Vec<_>, _>>(), Ok(answers));
        }

        #[test]
        fn vectors_come_back_to_the_last_bit(bits in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..4), 0..5)) {
            let vectors: Vec<KeptVector> = bits.iter().enumerate().map(|(at, bits)| {
                let stamp = Stamp { key: ContentHash::of(&at.to_le_bytes()), at: at as u64 };
                (stamp, bits.iter().map(|bits| f32::from_bits(*bits)).collect())
            }).collect();
            let rows = vectors_of(&table_of_vectors(&vectors).expect("a table"), 1_000).expect("its columns");
            let back: Vec<Vec<u32>> = rows.into_iter().map(|row| row.expect("a row").1.iter().map(|number| number.to_bits()).collect()).collect();
            prop_assert_eq!(back, bits);
        }
    }

    #[test]
    fn a_row_that_is_not_as_it_must_be_is_refused_by_itself() {
        let one = |text: Option<&str>| -> ArrayRef { Arc::new(std::iter::repeat_n(text, 1).collect::<StringArray>()) };
        let number =
            |number: Option<i64>| -> ArrayRef { Arc::new(std::iter::repeat_n(number, 1).collect::<Int64Array>()) };
        let key = ContentHash::of(b"song").to_string();
        let good = || {
            BTreeMap::from([
                ("key", one(Some(&key))),
                ("at", number(Some(7))),
                ("request", one(Some("lastfm GET ?x=1"))),
                ("world", one(None)),
                ("sent", one(None)),
                ("status", number(Some(200))),
                ("headers", one(Some("{}"))),
                ("body", one(Some("a text is bytes"))),
            ])
        };
        let told = |columns: BTreeMap<&str, ArrayRef>| {
            let rows = answers_of(&Table::of_columns(columns).expect("a table"), 1_000).expect("its columns");
            rows.into_iter().next().expect("a row").map(|kept| String::from_utf8_lossy(&kept.body).into_owned())
        };
        assert_eq!(told(good()), Ok("a text is bytes".to_owned()));
        for (column, value, why) in [
            ("key", one(Some("abc")), "its key `abc` is no hash"),
            ("key", one(None), "it has no key"),
            ("at", number(Some(-1)), "it has no time"),
            ("at", number(Some(1_001)), "its time lies in the future"),
            ("request", one(Some("hello")), "it has no request"),
            ("world", one(Some("mars")), "its world `mars` is neither live nor a sandbox"),
            ("status", number(Some(20)), "its status is none of HTTP's"),
            ("headers", one(Some("[1]")), "its headers are no JSON object of texts"),
            ("body", one(None), "it has no body"),
        ] {
            let mut columns = good();
            columns.insert(column, value);
            assert_eq!(told(columns), Err(why.to_owned()));
        }
        let mut columns = good();
        columns.remove("body");
        assert!(answers_of(&Table::of_columns(columns).expect("a table"), 1_000).is_err());
    }
}
