//! What a memo holds, by its indices alone: no record is read.

use std::cmp::Reverse;

use super::parallel;
use super::{Head, Memo, Stamp, State};
use crate::ground::ContentHash;

impl<H: Head> Memo<H> {
    /// The key and time of the newest record of each key, ascending by key:
    /// about 50 bytes for each record that there is, whatever it holds.
    pub fn stamps(&self) -> Vec<Stamp> {
        let mut state = self.locked();
        self.refresh_if_due(&mut state);
        state.stamps()
    }

    /// For each key when its newest record is of, if there is one. Reads no
    /// record: one that is damaged counts.
    pub fn newest(&self, keys: &[ContentHash]) -> Vec<Option<u64>> {
        let mut state = self.locked();
        self.refresh_if_due(&mut state);
        let state = &*state;
        parallel::each(keys, 16_384, |key| state.newest(key, 0).map(|entry| entry.stamp.at))
    }
}

impl State {
    fn stamps(&self) -> Vec<Stamp> {
        let all = self.settled.entries().iter().chain(self.recent.values());
        let mut stamps: Vec<Stamp> = all.map(|entry| entry.stamp).collect();
        stamps.sort_by_key(|stamp| (stamp.key, Reverse(stamp.at)));
        stamps.dedup_by_key(|stamp| stamp.key);
        stamps
    }
}
