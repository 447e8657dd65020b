//! How many bytes have been moved: told as it goes, to whoever wants to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Is told how many bytes have been moved so far.
pub type Tell = Arc<dyn Fn(u64) + Send + Sync>;

/// Counts moved bytes. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Progress {
    moved: Arc<AtomicU64>,
    tell: Option<Tell>,
}

impl Progress {
    pub(super) fn new(tell: Option<Tell>) -> Self {
        Self { moved: Arc::default(), tell }
    }

    pub(super) fn add(&self, bytes: u64) {
        let moved = self.moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(tell) = &self.tell {
            tell(moved);
        }
    }
}
