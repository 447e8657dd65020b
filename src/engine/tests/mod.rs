//! The engine as a whole, over toy kinds and stores in temporary folders.

mod cache;
mod gc;
mod lab;
mod laws;
mod running;
mod speed;
