//! The ground that every layer stands on: hashes, files, the clock, names,
//! seeds and user-facing problems. Knows nothing of stages or tables.

mod clock;
mod duration;
mod environment;
mod file_hash;
pub mod files;
mod hash;
mod names;
mod numbers;
mod problem;
mod seed;

pub use clock::{Clock, ManualClock, SystemClock};
pub use duration::parse_duration;
pub use environment::{Environment, MissingVariable};
pub use file_hash::hash_file;
pub use hash::{ContentHash, Hasher, ParseHashError, canonical_json, hash_json};
pub use names::{InstanceId, NameError, check_name};
pub use numbers::{about, age, bytes, count, dollars, duration, rate, thousands, time_about};
pub use problem::{Location, Problem, Problems, closest};
pub use seed::Seed;
