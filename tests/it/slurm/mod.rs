//! Stages as jobs of a cluster: of a small one in scripts, which fails in every
//! way that can be thought of, and of a real slurmctld with a real slurmd.

#![cfg(unix)]

mod fake;
mod lab;
mod packages;
mod real;
