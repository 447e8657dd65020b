//! How many rows of a stage need no work, because the memo has them.

use serde::{Deserialize, Serialize};

use crate::ground::thousands;
use crate::memo::Tally;

/// How many rows of a stage are known before it runs. Displays as
/// `10,000 rows, 9,999 known, 1 to ask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// How many rows there are.
    pub rows: u64,
    /// How many of them need nothing that is not in the memo.
    pub known: u64,
    /// How many different requests or texts are left, at least.
    pub left: u64,
    /// What is to be done for those.
    pub work: RowWork,
}

/// What a stage does for a row that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowWork {
    /// Asks an API.
    Ask,
    /// Computes a vector.
    Embed,
}

impl Known {
    /// What was counted, and what is to be done for the rest.
    #[must_use]
    pub fn new(tally: Tally, work: RowWork) -> Self {
        Self { rows: tally.rows, known: tally.known, left: tally.left, work }
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rows, known, left] = [self.rows, self.known, self.left].map(thousands);
        let word = if self.rows == 1 { "row" } else { "rows" };
        let work = match self.work {
            RowWork::Ask => "ask",
            RowWork::Embed => "embed",
        };
        write!(f, "{rows} {word}, {known} known, {left} to {work}")
    }
}
