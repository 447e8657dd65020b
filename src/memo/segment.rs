//! The bytes of one segment: how a record is written, and how a file is read
//! back when parts of it are damaged. Knows nothing of files or locks.
//!
//! ```text
//! segment = magic:[u8; 12] version:u32 record*          all integers little-endian
//! record  = 1e 52 45 43 ("\x1eREC") length:u32 checksum:[u8; 16] payload
//! payload = head_length:u32 head body                   length = bytes of payload
//! head    = JSON: key, at (ms since 1970), and what else the memo's purpose needs
//! body    = bytes
//! checksum = the first half of BLAKE3(length, payload)
//! ```
//!
//! A record that fails its checksum is skipped: reading goes on at the next
//! place where a whole record stands. What stands after the last whole record
//! is the tail that a killed process left.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Stamp;

const VERSION: u32 = 1;
const MARK: &[u8; 4] = b"\x1eREC";
const CHECKSUM: usize = 16;
/// Bytes of a record before its payload.
pub(super) const FRAME: usize = MARK.len() + 4 + CHECKSUM;
/// What every segment of one purpose begins with.
pub(super) type Magic = [u8; 12];
/// Bytes of a segment before its first record.
pub(super) const HEADER: usize = 12 + 4;

/// What every segment of that purpose begins with.
pub(super) fn header(magic: &Magic) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..12].copy_from_slice(magic);
    header[12..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// Whether bytes begin as a segment of this version does, whatever its purpose.
pub(super) fn is_segment(bytes: &[u8]) -> bool {
    bytes.starts_with(b"refrain-") && bytes.get(12..HEADER) == Some(&VERSION.to_le_bytes()[..])
}

/// Appends one record to `bytes`; false, and nothing appended, if it is too
/// large for its length field.
pub(super) fn encode<H: Serialize>(head: &H, body: &[u8], bytes: &mut Vec<u8>) -> bool {
    let Ok(head) = serde_json::to_vec(head) else { return false };
    let Ok(length) = u32::try_from(4 + head.len() + body.len()) else { return false };
    let head_length = (head.len() as u32).to_le_bytes();
    bytes.reserve(FRAME + length as usize);
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(length, &[&head_length, &head, body]));
    for part in [&head_length[..], &head, body] {
        bytes.extend_from_slice(part);
    }
    true
}

fn checksum(length: u32, parts: &[&[u8]]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
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
    (checksum(length, &[payload]) == *sum).then_some(payload)
}

fn parts<H: DeserializeOwned>(payload: &[u8]) -> Option<(H, &[u8])> {
    let (head_length, rest) = payload.split_first_chunk::<4>()?;
    let (head, body) = rest.split_at_checked(u32::from_le_bytes(*head_length) as usize)?;
    Some((serde_json::from_slice(head).ok()?, body))
}

/// Reads one record back, if it is whole.
pub(super) fn decode<H: DeserializeOwned>(bytes: &[u8]) -> Option<(H, &[u8])> {
    parts(payload(bytes)?)
}

/// Where the head of the record ends that `bytes` begins with, which need hold
/// no more of it than its first bytes.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    let length = bytes.strip_prefix(MARK)?.get(FRAME - MARK.len()..)?.first_chunk::<4>()?;
    Some(FRAME + 4 + u32::from_le_bytes(*length) as usize)
}

/// The head of the record that `bytes` begins with, which need hold no more of
/// it. Nothing is checked.
pub(super) fn head<H: DeserializeOwned>(bytes: &[u8]) -> Option<H> {
    serde_json::from_slice(bytes.get(FRAME + 4..head_end(bytes)?)?).ok()
}

/// What of a record's head a scan needs.
#[derive(Deserialize)]
struct StampOnly {
    key: crate::ground::ContentHash,
    at: u64,
}

/// Where a whole record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The record's key and time.
    pub(super) stamp: Stamp,
    /// Where it begins, from the beginning of the bytes that were scanned.
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
        let Some((skipped, payload)) = next_whole(&bytes[scan.end..]) else { break };
        if skipped > 0 {
            scan.damaged.push(scan.end);
        }
        let offset = scan.end + skipped;
        let length = FRAME + payload.len();
        match parts::<StampOnly>(payload) {
            Some((StampOnly { key, at }, _)) => {
                scan.records.push(Found { stamp: Stamp { key, at }, offset, length });
            }
            None => scan.damaged.push(offset),
        }
        scan.end = offset + length;
    }
    scan
}

/// How far it is to the next whole record, and its payload.
fn next_whole(bytes: &[u8]) -> Option<(usize, &[u8])> {
    if let Some(payload) = payload(bytes) {
        return Some((0, payload));
    }
    (1..bytes.len()).filter(|&at| bytes[at..].starts_with(MARK)).find_map(|at| Some((at, payload(&bytes[at..])?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::ground::ContentHash;

    fn record(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(encode(&Stamp { key: ContentHash::of(body), at: 7 }, body, &mut bytes));
        bytes
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let body = proptest::collection::vec(
            prop_oneof![Just(0x1e_u8), Just(b'R'), Just(b'E'), Just(b'C'), any::<u8>()],
            0..40,
        );
        proptest::collection::vec(body, 1..8)
    }

    fn keys(scan: &Scan) -> Vec<ContentHash> {
        scan.records.iter().map(|found| found.stamp.key).collect()
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
