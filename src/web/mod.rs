//! The only HTTP client: limiters, retries, the memo of answers, and the
//! providers' parsers. Knows nothing of stages.

mod answers;
mod budget;
mod call;
pub mod chat;
mod circuit;
mod client;
mod compatible;
pub mod deezer;
mod deliver;
mod download;
pub mod embeddings;
mod endpoints;
mod error;
mod fetch;
mod flight;
mod forecast;
mod keeper;
mod kept;
mod known;
pub mod lastfm;
mod limiter;
mod limits;
pub mod lyrics;
mod pace;
mod period;
mod redact;
pub mod refusal;
mod settings;
mod spent;
pub mod tidy;
#[cfg(test)]
mod tidy_tests;
mod tidy_words;
mod timer;
mod tolerant;
mod trace;
mod transport;
mod user_agent;

pub use call::{Answer, Call, Metering, Price, Secret, Usage, Verdict};
pub use client::{Client, Session};
pub use deliver::Deliverer;
pub use download::{DownloadError, download};
pub use endpoints::{Endpoint, Endpoints};
pub use error::{CallError, RowFailure, WebError};
pub use forecast::{Allowance, Forecast};
pub use keeper::{BudgetDecision, BudgetKeeper, BudgetQuestion, ExceedBudget, StopAtBudget};
pub use kept::{AnswerGroup, Kept, KeptAnswers, count_answers, route};
pub use known::{KNOWN_PROVIDERS, KnownProvider};
pub use limiter::default_limiter;
pub use limits::{BudgetSettings, LimiterSettings};
pub use period::Period;
pub use settings::{ClientSettings, OnWarning, Patience, Timeouts};
pub use spent::{Bookkeeper, Posting, Spent};
pub use timer::{ManualTimer, SystemTimer, Timer};
pub use trace::{Lacking, Traced, Tracing};
pub use user_agent::{BadContact, CONTACT, UserAgent};

#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;
