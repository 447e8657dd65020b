//! The only HTTP client: limiters, retries, the memo of answers, and the
//! providers' parsers. Knows nothing of stages.

mod answers;
mod budget;
mod call;
pub mod chat;
mod client;
pub mod deezer;
mod download;
mod endpoints;
mod error;
mod fetch;
mod forecast;
mod keeper;
pub mod lastfm;
mod limiter;
mod limits;
pub mod lyrics;
mod pace;
mod period;
mod settings;
mod spent;
mod timer;
mod tolerant;
mod transport;

pub use call::{Answer, Call, Metering, Price, Secret, Usage, Verdict};
pub use client::{Client, Session};
pub use download::{DownloadError, download};
pub use endpoints::{Endpoint, Endpoints};
pub use error::{CallError, RowFailure, WebError};
pub use forecast::{Allowance, Forecast};
pub use keeper::{BudgetDecision, BudgetKeeper, BudgetQuestion, ExceedBudget, StopAtBudget};
pub use limiter::default_limiter;
pub use limits::{BudgetSettings, LimiterSettings};
pub use period::Period;
pub use settings::{ClientSettings, Patience, Timeouts};
pub use spent::{Bookkeeper, Posting, Spent};
pub use timer::{ManualTimer, SystemTimer, Timer};

#[cfg(test)]
mod tests;
