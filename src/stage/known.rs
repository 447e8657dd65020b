//! How many rows of a stage need no work, because the memo has them.

use serde::{Deserialize, Serialize};

use crate::ground::thousands;
use crate::memo::Tally;
use crate::web::Forecast;

/// How many rows of a stage are known before it runs. Displays as
/// `10,000 rows, 9,999 known, 1 to ask`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// How many rows there are.
    pub rows: u64,
    /// How many of them need nothing that is not in the memo.
    pub known: u64,
    /// How many different requests or texts are left, at least.
    pub left: u64,
    /// What is to be done for those.
    pub work: RowWork,
    /// What asking for those will take; none where nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Forecast>,
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
    /// What was counted where vectors are computed for the rest.
    #[must_use]
    pub fn to_embed(tally: Tally) -> Self {
        Self::of(tally, RowWork::Embed, None)
    }

    /// What was counted where an API is asked for the rest, and what that will take.
    #[must_use]
    pub fn to_ask(tally: Tally, expected: Forecast) -> Self {
        Self::of(tally, RowWork::Ask, Some(expected))
    }

    /// The same where an API is asked for the vectors, and what that will take.
    #[must_use]
    pub fn expecting(self, expected: Forecast) -> Self {
        Self { expected: Some(expected), ..self }
    }

    fn of(tally: Tally, work: RowWork, expected: Option<Forecast>) -> Self {
        Self { rows: tally.rows, known: tally.known, left: tally.left, work, expected }
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
