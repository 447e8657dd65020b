//! The integration tests, in one binary: most of them run the real `refrain`
//! in a folder of their own and look at what comes back.

mod cache;
mod commands;
mod demo;
mod interrupt;
mod lab;
mod layers;
mod messages;
mod pipelines;
mod torture;
mod trust;
