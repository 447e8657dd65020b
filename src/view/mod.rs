//! A web view of a pipeline and its store, for people, on the loopback only:
//! it reads and shows, and changes nothing that a run would not find so anyway.
//!
//! `answer` says what is shown for a path and knows no sockets; `server`
//! carries it, `guard` refuses whom it is not for. Pages take their words
//! from the values of the engine, and nothing from `people-v1` or the
//! environment.

mod answer;
mod artifacts;
mod board;
mod cells;
mod compared;
mod download;
mod feed;
mod frame;
mod guard;
mod home;
mod kind;
mod live;
mod project;
mod query;
mod run;
mod runs;
mod server;
mod settings;
mod stage;
mod story;
#[cfg(test)]
mod tests;
mod words;

pub use project::ViewSettings;
pub use server::{Server, ViewError};
