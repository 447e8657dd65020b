//! Rows of texts as numbers, for a dictionary: each distinct text has the number of
//! those that appeared before it.

use std::ops::Range;

use arrow::array::StringArray;

use super::interner::Interner;
use super::keyed::Keyed;

/// Where keys lie so far apart that there would be more for each row, plain texts take less memory.
const MOST_KEYS_OF_ROW: usize = 16;

/// Rows that are numbered in the order of their texts' first appearance.
pub(super) trait Rows<'a> {
    /// Whether some text is longer than this, where that costs little to tell.
    fn has_longer(&self, most: usize) -> bool;

    /// Adds the rows of a page, of which pages are counted from 1.
    fn number(&mut self, rows: Range<usize>, page: u16, into: &mut Numbered<'a>);
}

/// What [`Rows`] gave.
#[derive(Default)]
pub(super) struct Numbered<'a> {
    /// The distinct texts.
    pub(super) texts: Vec<&'a [u8]>,
    /// Of this page: the numbers of its rows, each number once, and how many bytes the rows' texts have.
    pub(super) numbers: Vec<u32>,
    pub(super) once: Vec<u32>,
    pub(super) bytes: usize,
}

/// Texts as they are.
pub(super) struct Plain<'a> {
    texts: &'a StringArray,
    interner: Interner,
    /// The last page of each number.
    seen: Vec<u16>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(texts: &'a StringArray) -> Self {
        Self { texts, interner: Interner::new(), seen: Vec::new() }
    }
}

impl<'a> Rows<'a> for Plain<'a> {
    fn has_longer(&self, most: usize) -> bool {
        self.texts.value_offsets().windows(2).any(|ends| (ends[1] - ends[0]) as usize > most)
    }

    fn number(&mut self, rows: Range<usize>, page: u16, into: &mut Numbered<'a>) {
        let column = self.texts;
        let of_rows = rows.clone().map(|row| column.value(row));
        let mut row = rows.start;
        self.interner.numbers(of_rows, |number| {
            if number as usize == into.texts.len() {
                into.texts.push(column.value(row).as_bytes());
                self.seen.push(0);
            }
            let seen = &mut self.seen[number as usize];
            if *seen != page {
                *seen = page;
                into.once.push(number);
            }
            into.numbers.push(number);
            row += 1;
        });
        let ends = column.value_offsets();
        into.bytes += (ends[rows.end] - ends[rows.start]) as usize;
    }
}

/// Texts by their keys.
pub(super) struct ByKey<'a> {
    keyed: Keyed<'a>,
    /// The least key.
    first: u32,
    /// For each key from there on what is known of it.
    known: Vec<Known>,
    /// The texts, where several keys may have the same.
    interner: Option<Interner>,
}

/// A key's number and the length of its text, once it has a page: the last it was on.
#[derive(Clone, Copy, Default)]
struct Known {
    number: u32,
    length: u16,
    page: u16,
}

impl<'a> ByKey<'a> {
    /// Nothing where there is no key, or keys lie far apart.
    ///
    /// `distinct`: whether all keys have different texts.
    pub(super) fn new(keyed: Keyed<'a>, distinct: bool) -> Option<Self> {
        let (first, last) = (keyed.keys.iter().min().copied()?, keyed.keys.iter().max().copied()?);
        let span = (last - first) as usize + 1;
        let near = span / MOST_KEYS_OF_ROW < keyed.keys.len();
        let interner = (!distinct).then(Interner::new);
        near.then(|| Self { keyed, first, known: vec![Known::default(); span], interner })
    }
}

impl<'a> Rows<'a> for ByKey<'a> {
    fn has_longer(&self, _: usize) -> bool {
        false
    }

    fn number(&mut self, rows: Range<usize>, page: u16, into: &mut Numbered<'a>) {
        for key in &self.keyed.keys[rows] {
            let known = &mut self.known[(*key - self.first) as usize];
            if known.page != page {
                if known.page == 0 {
                    let text = self.keyed.texts.value(*key as usize);
                    let new = into.texts.len() as u32;
                    known.number = self.interner.as_mut().map_or(new, |interner| interner.number(text));
                    known.length = u16::try_from(text.len()).unwrap_or(u16::MAX);
                    if known.number == new {
                        into.texts.push(text.as_bytes());
                    }
                }
                known.page = page;
                into.once.push(known.number);
            }
            into.bytes += usize::from(known.length);
            into.numbers.push(known.number);
        }
    }
}
