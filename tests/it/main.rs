//! The integration tests, in one binary: most of them run the real `refrain`
//! in a folder of their own and look at what comes back.

mod bless;
mod budgets;
mod cache;
mod chat_server;
mod commands;
mod demo;
mod device;
mod diff;
mod faults;
mod interrupt;
mod lab;
mod layers;
mod limits;
mod lines;
mod memo;
mod messages;
mod people;
mod pipelines;
mod progress;
mod providers;
mod recommend;
mod runs;
mod torture;
mod trust;
mod weights;
