//! Numbers for texts in the order of their first appearance, at the cost of one
//! look into memory for a short one: twelve bytes stand in the hash table
//! itself, and only longer texts are compared where they are kept.
//!
//! Not for keeping an order that is stated: that is [`Ids`](super::Ids).

use super::slots::Slots;

/// Bytes that stand in a slot.
const SHORT: usize = 12;
/// Marks the slot of a text that does not stand in it.
const LONG: u32 = 1 << 31;
/// How many texts are looked for at once.
const BLOCK: usize = 32;
/// Odd numbers without a pattern, for mixing.
const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

/// Distinct texts, numbered from 0.
#[derive(Debug)]
pub(super) struct Interner {
    /// Above the lowest 32 bits: the text, or a part of its hash. In them: its number plus one, 0
    /// where there is none, and [`LONG`]. As many as a power of two, at most half of them taken.
    slots: Slots,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Interner {
    pub(super) fn new() -> Self {
        Self { slots: Slots::zeroed(1 << 10), ends: Vec::new(), bytes: Vec::new() }
    }

    /// How many texts there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a number that was given.
    pub(super) fn text(&self, number: u32) -> &str {
        std::str::from_utf8(self.bytes_of(number)).unwrap_or_default()
    }

    /// The bytes of a number's text.
    pub(super) fn bytes_of(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    /// The number of a text, a new one if it was not there.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        let (tag, hash) = tag_of(text.as_bytes());
        self.find(text, tag, hash)
    }

    /// Hands out the numbers of many texts, in their order. The memory that they
    /// stand in is asked for at once: one look after the other would wait for each.
    pub(super) fn numbers<'a>(&mut self, texts: impl Iterator<Item = &'a str>, mut given: impl FnMut(u32)) {
        let mut texts = texts.map(|text| (text, tag_of(text.as_bytes())));
        let mut block: [(&str, (u128, u64)); BLOCK] = [("", (0, 0)); BLOCK];
        loop {
            let mut length = 0;
            for (place, text) in block.iter_mut().zip(texts.by_ref()) {
                *place = text;
                length += 1;
            }
            let mask = self.slots.len() - 1;
            let slots = block.map(|(_, (_, hash))| self.slots[hash as usize & mask]);
            for ((text, (tag, hash)), slot) in block.iter().zip(slots).take(length) {
                let short = *tag as u32 & LONG == 0;
                let there = short && (slot ^ tag) >> 31 == 0 && slot as u32 != 0;
                given(if there { slot as u32 - 1 } else { self.find(text, *tag, *hash) });
            }
            if length < BLOCK {
                return;
            }
        }
    }

    fn find(&mut self, text: &str, tag: u128, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return self.add(text, tag, at);
            }
            // What differs in the tag or the mark differs; the number below does not count.
            if (slot ^ tag) >> 31 == 0 {
                let number = (slot as u32 & !LONG) - 1;
                if tag as u32 & LONG == 0 || self.bytes_of(number) == text.as_bytes() {
                    return number;
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn add(&mut self, text: &str, tag: u128, at: usize) -> u32 {
        let number = self.ends.len() as u32;
        assert!(number < LONG - 1, "more than two thousand million distinct ids");
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len());
        self.slots[at] = tag | u128::from(number + 1);
        if self.ends.len() * 2 > self.slots.len() {
            self.grow();
        }
        number
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        let mut slots = Slots::zeroed(mask + 1);
        for slot in self.slots.iter().copied().filter(|slot| *slot != 0) {
            let hash = if slot as u32 & LONG == 0 {
                mixed((slot >> 32) as u64, (slot >> 96) as u64)
            } else {
                hash_of(self.bytes_of((slot as u32 & !LONG) - 1))
            };
            let mut at = hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = slot;
        }
        self.slots = slots;
    }
}

/// What a slot holds of a text, and its hash.
fn tag_of(text: &[u8]) -> (u128, u64) {
    if text.len() <= SHORT {
        let (first, last) = words(text);
        let word = u128::from(first) | u128::from(last) << 64;
        // A text with a zero byte would look like the shorter one without it.
        let filled = word | (!0 << (8 * text.len()));
        let ones = u128::MAX / 255;
        if filled.wrapping_sub(ones) & !filled & (ones << 7) == 0 {
            return (word << 32, mixed(first, last));
        }
    }
    let hash = hash_of(text);
    (u128::from(hash) << 64 | u128::from(LONG), hash)
}

/// The text as numbers, zeros where it ends.
#[inline]
fn words(text: &[u8]) -> (u64, u64) {
    let four = |bytes: Option<&[u8; 4]>| u64::from(bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes)));
    let length = text.len() as u32;
    let last = four(text.last_chunk::<4>());
    match (text.first_chunk::<8>(), text.first_chunk::<4>()) {
        (Some(first), _) => (u64::from_le_bytes(*first), last >> (8 * (12 - length))),
        (None, Some(first)) => (four(Some(first)) | (last >> (8 * (8 - length))) << 32, 0),
        (None, None) => (text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    }
}

#[inline]
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ MIX[0]) * u128::from(b ^ MIX[1]);
    product as u64 ^ (product >> 64) as u64
}

fn hash_of(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let hash = words.iter().fold(text.len() as u64, |hash, word| mixed(hash ^ u64::from_le_bytes(*word), MIX[0]));
    let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    mixed(hash ^ rest, MIX[1] >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn equal_texts_and_no_others_have_one_number(texts in proptest::collection::vec("[ab\0]{0,14}|.{0,20}", 0..400)) {
            let mut interner = Interner::new();
            let mut expected: BTreeMap<&str, u32> = BTreeMap::new();
            for text in texts.iter().chain(&texts) {
                let next = expected.len() as u32;
                let number = *expected.entry(text).or_insert(next);
                prop_assert_eq!(interner.number(text), number);
                prop_assert_eq!(interner.text(number), text);
            }
            let mut given = Vec::new();
            let mut other = Interner::new();
            other.numbers(texts.iter().map(String::as_str), |number| given.push(number));
            prop_assert_eq!(given, texts.iter().map(|text| expected[text.as_str()]).collect::<Vec<_>>());
            prop_assert_eq!(interner.len(), expected.len());
        }
    }

    #[test]
    fn many_texts_of_every_length_are_told_apart() {
        let mut interner = Interner::new();
        let texts: Vec<String> = (0..20_000).map(|n| format!("{n:0width$}", width = n % 30)).collect();
        let mut distinct: BTreeMap<&str, u32> = BTreeMap::new();
        for text in &texts {
            let number = interner.number(text);
            assert_eq!(*distinct.entry(text).or_insert(number), number);
        }
        assert_eq!(interner.len(), distinct.len());
    }
}
