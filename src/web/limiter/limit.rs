//! The limits that a provider may set, each by its name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::web::limits::{DAY, HOUR, LimiterSettings, MINUTE, SECOND};
use crate::web::pace::What;

/// One limit of a limiter, named as in the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    PerSecond,
    PerMinute,
    PerHour,
    PerDay,
    TokensPerMinute,
    TokensPerDay,
}

impl Limit {
    /// The limit on so many of these within a time; tokens are only limited by
    /// the minute and by the day.
    pub(super) fn of(what: What, period: Duration) -> Option<Self> {
        let found = match what {
            What::Requests if period == SECOND => Self::PerSecond,
            What::Requests if period == MINUTE => Self::PerMinute,
            What::Requests if period == HOUR => Self::PerHour,
            What::Requests if period == DAY => Self::PerDay,
            What::Tokens if period == MINUTE => Self::TokensPerMinute,
            What::Tokens if period == DAY => Self::TokensPerDay,
            What::Requests | What::Tokens => return None,
        };
        Some(found)
    }

    /// Its place in the settings.
    pub(super) fn place(self, settings: &mut LimiterSettings) -> &mut Option<f64> {
        match self {
            Self::PerSecond => &mut settings.per_second,
            Self::PerMinute => &mut settings.per_minute,
            Self::PerHour => &mut settings.per_hour,
            Self::PerDay => &mut settings.per_day,
            Self::TokensPerMinute => &mut settings.tokens_per_minute,
            Self::TokensPerDay => &mut settings.tokens_per_day,
        }
    }

    /// For people: `requests per minute`.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::PerSecond => "requests per second",
            Self::PerMinute => "requests per minute",
            Self::PerHour => "requests per hour",
            Self::PerDay => "requests per day",
            Self::TokensPerMinute => "tokens per minute",
            Self::TokensPerDay => "tokens per day",
        }
    }
}
