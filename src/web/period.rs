//! Over which time a budget counts, and when that time began.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const DAY_MILLIS: u64 = 86_400_000;

/// Over which time a budget counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// One run.
    #[default]
    Run,
    /// A day of the calendar in UTC, over all runs of the store.
    Day,
    /// A month of the calendar in UTC, over all runs of the store.
    Month,
    /// All that was ever spent from this store.
    Total,
}

impl Period {
    /// Whether what earlier runs spent counts.
    #[must_use]
    pub fn spans_runs(self) -> bool {
        self != Self::Run
    }

    /// When the period began that holds this moment: both in milliseconds since
    /// 1970-01-01 UTC. A run and a store have one period only: 0.
    #[must_use]
    pub fn began(self, now_millis: u64) -> u64 {
        match self {
            Self::Run | Self::Total => 0,
            Self::Day => now_millis - now_millis % DAY_MILLIS,
            Self::Month => month_began(now_millis).unwrap_or(0),
        }
    }

    /// `in this run`, `today (UTC)`, …
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Run => "in this run",
            Self::Day => "today (UTC)",
            Self::Month => "this month (UTC)",
            Self::Total => "of this store",
        }
    }
}

fn month_began(now_millis: u64) -> Option<u64> {
    let now = jiff::Timestamp::from_millisecond(i64::try_from(now_millis).ok()?).ok()?;
    let first = now.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
    let began = first.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    u64::try_from(began).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_begin_at_midnight_utc() {
        // 2024-02-29 13:46:40 UTC.
        let now = 1_709_214_400_000;
        assert_eq!(Period::Day.began(now), 1_709_164_800_000);
        assert_eq!(Period::Month.began(now), 1_706_745_600_000);
        assert_eq!((Period::Run.began(now), Period::Total.began(now)), (0, 0));
        assert_eq!(Period::Month.began(Period::Month.began(now)), 1_706_745_600_000);
    }
}
