//! The bytes of one memo segment: how a record is written, and how a file is
//! read back when parts of it are damaged. Knows nothing of files or locks.
//!
//! ```text
//! segment = "refrain-http" version:u32 record*          all integers little-endian
//! record  = 1e 52 45 43 ("\x1eREC") length:u32 checksum:[u8; 16] payload
//! payload = head_length:u32 head body                   length = bytes of payload
//! head    = JSON: key, at (ms since 1970), status, headers, request (without secrets)
//! body    = the answer's body as it came
//! checksum = the first half of BLAKE3(length, payload)
//! ```
//!
//! A record that fails its checksum is skipped: reading goes on at the next
//! place where a whole record stands. What stands after the last whole record
//! is the tail that a killed process left.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ground::ContentHash;
use crate::web::call::Answer;

const MAGIC: &[u8; 12] = b"refrain-http";
const VERSION: u32 = 1;
const MARK: &[u8; 4] = b"\x1eREC";
const CHECKSUM: usize = 16;
/// Bytes of a record before its payload.
const FRAME: usize = MARK.len() + 4 + CHECKSUM;
/// Bytes of a segment before its first record.
pub(super) const HEADER: usize = MAGIC.len() + 4;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    key: ContentHash,
    at: u64,
    status: u16,
    headers: BTreeMap<String, String>,
    request: String,
}

/// What every segment begins with.
pub(super) fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

/// Whether these bytes begin as a segment of this version does.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    bytes.starts_with(&header())
}

/// One record. `None` if it is too large for its length field.
pub(super) fn encode(key: ContentHash, request: &str, answer: &Answer) -> Option<Vec<u8>> {
    let head = Head {
        key,
        at: answer.at,
        status: answer.status,
        headers: answer.headers.clone(),
        request: request.to_owned(),
    };
    let head = serde_json::to_vec(&head).ok()?;
    let head_length = u32::try_from(head.len()).ok()?.to_le_bytes();
    let length = u32::try_from(4 + head.len() + answer.body.len()).ok()?;
    let payload = [head_length.as_slice(), &head, &answer.body].concat();
    Some([MARK.as_slice(), &length.to_le_bytes(), &checksum(length, &payload), &payload].concat())
}

fn checksum(length: u32, payload: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes()).update(payload);
    let mut half = [0; CHECKSUM];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM]);
    half
}

/// The payload of the whole record that `bytes` begins with.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MARK)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    let length = u32::from_le_bytes(*length);
    let payload = rest.get(..length as usize)?;
    (checksum(length, payload) == *sum).then_some(payload)
}

fn parts(payload: &[u8]) -> Option<(Head, &[u8])> {
    let (head_length, rest) = payload.split_first_chunk::<4>()?;
    let (head, body) = rest.split_at_checked(u32::from_le_bytes(*head_length) as usize)?;
    Some((serde_json::from_slice(head).ok()?, body))
}

/// Reads one record back, if it is whole and of that key.
pub(super) fn decode(key: ContentHash, bytes: &[u8]) -> Option<Answer> {
    let (head, body) = parts(payload(bytes)?)?;
    (head.key == key).then(|| Answer {
        status: head.status,
        headers: head.headers,
        body: Arc::from(body),
        at: head.at,
        from_memo: true,
    })
}

/// Where a whole record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The answer's key.
    pub(super) key: ContentHash,
    /// When it was received.
    pub(super) at: u64,
    /// Where the record begins, from the beginning of the bytes that were scanned.
    pub(super) offset: usize,
    /// How long it is.
    pub(super) length: usize,
}

/// What a scan found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// The whole records, in order.
    pub(super) records: Vec<Found>,
    /// Where damaged records begin.
    pub(super) damaged: Vec<usize>,
    /// The end of the last whole record: what stands after it is a torn tail.
    pub(super) end: usize,
}

/// Finds the whole records in bytes that begin at a record's beginning.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    while scan.end < bytes.len() {
        let Some(skipped) = next_whole(&bytes[scan.end..]) else { break };
        if skipped > 0 {
            scan.damaged.push(scan.end);
        }
        let offset = scan.end + skipped;
        let Some(payload) = payload(&bytes[offset..]) else { break };
        let length = FRAME + payload.len();
        match parts(payload) {
            Some((head, _)) => scan.records.push(Found { key: head.key, at: head.at, offset, length }),
            None => scan.damaged.push(offset),
        }
        scan.end = offset + length;
    }
    scan
}

/// How far it is to the next whole record.
fn next_whole(bytes: &[u8]) -> Option<usize> {
    if payload(bytes).is_some() {
        return Some(0);
    }
    (1..bytes.len()).find(|&at| bytes[at..].starts_with(MARK) && payload(&bytes[at..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(body: &[u8]) -> Vec<u8> {
        let headers = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
        let answer = Answer { status: 200, headers, body: Arc::from(body), at: 7, from_memo: false };
        encode(ContentHash::of(body), "lastfm GET /", &answer).expect("small")
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let body = proptest::collection::vec(
            prop_oneof![Just(0x1e_u8), Just(b'R'), Just(b'E'), Just(b'C'), any::<u8>()],
            0..40,
        );
        proptest::collection::vec(body, 1..8)
    }

    fn keys(scan: &Scan) -> Vec<ContentHash> {
        scan.records.iter().map(|found| found.key).collect()
    }

    #[test]
    fn the_layout_of_a_record_is_fixed() {
        let bytes = [header(), record(b"song")].concat();
        let golden = "954f53aeb2c6";
        assert_eq!(ContentHash::of(&bytes).short(), golden, "another layout needs another VERSION");
        let answer = decode(ContentHash::of(b"song"), &bytes[HEADER..]).expect("whole");
        assert_eq!((&*answer.body, answer.status, answer.at, answer.from_memo), (&b"song"[..], 200, 7, true));
        assert_eq!(decode(ContentHash::of(b"other"), &bytes[HEADER..]), None);
    }

    proptest! {
        #[test]
        fn a_truncation_loses_only_the_tail(bodies in bodies(), cut in 0.0..1.0_f64) {
            let records: Vec<Vec<u8>> = bodies.iter().map(|body| record(body)).collect();
            let whole = records.concat();
            let cut = (cut * whole.len() as f64) as usize;
            let found = scan(&whole[..cut]);
            let mut end = 0;
            let expected = records.iter().take_while(|record| { end += record.len(); end <= cut }).count();
            prop_assert_eq!(keys(&found), bodies[..expected].iter().map(|body| ContentHash::of(body)).collect::<Vec<_>>());
            prop_assert!(found.damaged.is_empty());
        }

        #[test]
        fn a_flipped_byte_loses_one_record(bodies in bodies(), at in 0.0..1.0_f64, with in 1..=255_u8) {
            let mut bytes: Vec<u8> = bodies.iter().flat_map(|body| record(body)).collect();
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] ^= with;
            let found = scan(&bytes);
            prop_assert_eq!(found.records.len(), bodies.len() - 1);
            let last = record(bodies.last().expect("one")).len();
            prop_assert_eq!(found.damaged.is_empty(), at >= bytes.len() - last, "in the last record it looks like a torn tail");
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(scan(&bytes).records.is_empty());
        }
    }
}
