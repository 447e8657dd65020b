//! Refrain: stages declared in YAML form a cached DAG; every stage's result is
//! a content-hashed Parquet artifact, and only what is invalidated runs again.
//!
//! The modules stand in layers (see `ARCHITECTURE.md`); each may use only what
//! stands below it, and `tests/it/layers.rs` keeps it so.

pub mod cli;
pub mod drawing;
pub mod engine;
pub mod export;
pub mod ground;
pub mod kinds;
pub mod memo;
pub mod metrics;
pub mod model;
pub mod people;
pub mod pipeline;
pub mod remote;
pub mod report;
pub mod sandbox;
pub mod stage;
pub mod store;
pub mod table;
pub mod text;
pub mod view;
pub mod web;
pub mod weights;
