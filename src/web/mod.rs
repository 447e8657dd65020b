//! The only HTTP client: limiters, retries, the memo of answers, and the
//! providers' parsers. Knows nothing of stages.

mod call;
mod client;
mod endpoints;
mod error;
mod limits;
mod settings;
mod timer;

pub use call::{Answer, Call, Metering, Price, Secret, Usage, Verdict};
pub use client::{Client, Session};
pub use endpoints::{Endpoint, Endpoints};
pub use error::{CallError, RowFailure, WebError};
pub use limits::{BudgetSettings, LimiterSettings};
pub use settings::{ClientSettings, Patience, Timeouts};
pub use timer::{ManualTimer, SystemTimer, Timer};
