//! The engine as a whole, over toy kinds and stores in temporary folders.

mod budgets;
mod cache;
mod edits;
mod gc;
mod lab;
mod laws;
mod layout;
mod pure;
mod running;
mod sharing;
mod speed;
