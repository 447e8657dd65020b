//! Where pieces of work are done: on threads of this process, or elsewhere.

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::job::{Job, Report};

/// Does pieces of work that the scheduler has started.
pub(super) trait Executor: Send + Sync {
    /// Starts a piece of work; `done` is told once how it ended.
    fn start(&self, task: usize, job: Job, handle: &Handle, done: &UnboundedSender<(usize, Report)>);
}

/// Does the work on threads of this process.
pub(super) struct Threads;

impl Executor for Threads {
    fn start(&self, task: usize, job: Job, handle: &Handle, done: &UnboundedSender<(usize, Report)>) {
        let (done, inner) = (done.clone(), handle.clone());
        // The receiver outlives every job: the loop ends when none is running.
        drop(handle.spawn_blocking(move || done.send((task, job.run(&inner))).ok()));
    }
}
