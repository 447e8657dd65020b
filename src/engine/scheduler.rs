//! What may start when: plain synchronous functions over a small state, with no
//! threads and no clock. Doing the work is the shell's part.
//!
//! The order is stated: of all tasks that may start, the one with the smallest
//! index starts first (tasks are given in topological order, ties in the order
//! of the file). A task that does not fit into what is free lets later ones pass.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::stage::Resource;

/// Network stages that are at work at the same time; they take no processor slot.
const API_SLOTS: usize = 16;

/// One unit of work.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// The tasks that must be done before; all of smaller index.
    pub(super) needs: BTreeSet<usize>,
    /// What it occupies while it runs.
    pub(super) resource: Resource,
    /// Whether another machine does it: then it occupies nothing here.
    pub(super) away: bool,
}

/// Where a task stands. `Waiting -> Ready -> Running -> Done | Failed`, or
/// `Skipped` from `Waiting` or `Ready`, or `Ready -> Done` without running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Something it needs is not done.
    Waiting,
    /// All it needs is done.
    Ready,
    /// It was started.
    Running,
    /// Its result is there.
    Done,
    /// It was tried and failed.
    Failed,
    /// It will not be tried.
    Skipped(Because),
}

/// Why a task will not be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    /// A task above it failed: this one.
    Failed(usize),
    /// The run stops: this task failed elsewhere.
    StoppedAfter(usize),
    /// The run was stopped from outside.
    Stopped,
}

/// How much may be occupied at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// Processor slots, at least 1.
    pub(super) slots: usize,
    /// Whether there is a GPU: without one, GPU tasks take all processor slots.
    pub(super) gpu: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    slots: usize,
    gpus: usize,
    apis: usize,
}

/// The state of a run.
#[derive(Debug)]
pub(super) struct Scheduler {
    tasks: Vec<Task>,
    /// Which start first: a task's own index; for a part, that of its whole.
    ranks: Vec<usize>,
    below: Vec<Vec<usize>>,
    status: Vec<Status>,
    /// The ready tasks, by what they would occupy: all of one load fit or none.
    /// In the order of ranks, then of indices.
    ready: BTreeMap<Load, BTreeSet<(usize, usize)>>,
    /// For each task, how many of those it needs are not done.
    missing: Vec<usize>,
    /// How many tasks are waiting, ready or running.
    open: usize,
    capacity: Capacity,
    occupied: Load,
    keep_going: bool,
    stopped: Option<Because>,
}

impl Scheduler {
    /// A run over tasks in topological order.
    ///
    /// # Panics
    /// If a task needs one that does not stand before it: this is a bug.
    pub(super) fn new(tasks: Vec<Task>, capacity: Capacity, keep_going: bool) -> Self {
        let mut below = vec![Vec::new(); tasks.len()];
        for (index, task) in tasks.iter().enumerate() {
            for &above in &task.needs {
                assert!(above < index, "task {index} needs task {above}, which is not before it: this is a bug");
                below[above].push(index);
            }
        }
        let missing: Vec<usize> = tasks.iter().map(|task| task.needs.len()).collect();
        let status = missing.iter().map(|&count| if count == 0 { Status::Ready } else { Status::Waiting }).collect();
        let capacity = Capacity { slots: capacity.slots.max(1), ..capacity };
        let (open, occupied, ready) = (tasks.len(), Load::default(), BTreeMap::new());
        let (ranks, stopped) = ((0..open).collect(), None);
        let mut new =
            Self { tasks, ranks, below, status, ready, missing, open, capacity, occupied, keep_going, stopped };
        for index in 0..open {
            if new.missing[index] == 0 {
                new.set(index, Status::Ready);
            }
        }
        new
    }

    /// Where each task stands.
    pub(super) fn status(&self) -> &[Status] {
        &self.status
    }

    /// The tasks that are ready, in order.
    pub(super) fn ready(&self) -> Vec<usize> {
        let all: BTreeSet<usize> = self.ready.values().flatten().map(|(_, index)| *index).collect();
        all.into_iter().collect()
    }

    /// The first ready task that fits into what is free; it is running from now on.
    pub(super) fn start(&mut self) -> Option<usize> {
        let fitting = self.ready.iter().filter(|(load, _)| self.fits(**load));
        let (_, index) = fitting.filter_map(|(_, tasks)| tasks.first().copied()).min()?;
        self.set(index, Status::Running);
        self.occupy(index);
        Some(index)
    }

    /// A ready or running task has its result. Gives the tasks that have become
    /// ready, in order.
    ///
    /// # Panics
    /// If it was neither ready nor running: this is a bug.
    pub(super) fn done(&mut self, index: usize) -> Vec<usize> {
        match self.status[index] {
            Status::Running => self.release(index),
            Status::Ready => {}
            other => panic!("task {index} is done though it was {other:?}: this is a bug"),
        }
        self.set(index, Status::Done);
        let mut woken = Vec::new();
        for below in self.below[index].clone() {
            self.missing[below] -= 1;
            if self.missing[below] == 0 && self.status[below] == Status::Waiting {
                self.set(below, Status::Ready);
                woken.push(below);
            }
        }
        woken.sort_unstable();
        woken
    }

    /// A ready or running task failed. Gives the tasks that will not be tried
    /// for it: those below it, and all others not started unless the run keeps going.
    ///
    /// # Panics
    /// If it was neither ready nor running: this is a bug.
    pub(super) fn failed(&mut self, index: usize) -> Vec<(usize, Because)> {
        match self.status[index] {
            Status::Running => self.release(index),
            Status::Ready => {}
            other => panic!("task {index} failed though it was {other:?}: this is a bug"),
        }
        self.set(index, Status::Failed);
        let mut skipped = Vec::new();
        let mut lost = self.below[index].clone();
        while let Some(below) = lost.pop() {
            if self.skip(below, Because::Failed(index), &mut skipped) {
                lost.extend_from_slice(&self.below[below]);
            }
        }
        if !self.keep_going {
            self.halt(Because::StoppedAfter(index), &mut skipped);
        }
        skipped.sort_unstable_by_key(|(task, _)| *task);
        skipped
    }

    /// Starts nothing more. Gives the tasks that will not be tried for it.
    pub(super) fn stop(&mut self) -> Vec<(usize, Because)> {
        let mut skipped = Vec::new();
        self.halt(Because::Stopped, &mut skipped);
        skipped
    }

    /// A running task was stopped before its end: it counts as not tried.
    ///
    /// # Panics
    /// If it was not running: this is a bug.
    pub(super) fn stopped(&mut self, index: usize) {
        assert_eq!(self.status[index], Status::Running, "task {index} was not running: this is a bug");
        self.release(index);
        self.set(index, Status::Skipped(self.stopped.unwrap_or(Because::Stopped)));
    }

    /// A ready task turns out to do what another one does that is not done yet: it
    /// waits for it.
    ///
    /// # Panics
    /// If the states are others: this is a bug.
    pub(super) fn wait_for(&mut self, index: usize, other: usize) {
        let is_open = matches!(self.status[other], Status::Ready | Status::Running | Status::Waiting);
        let fits = self.status[index] == Status::Ready && is_open;
        assert!(fits && index != other, "{index} cannot wait for {other}: this is a bug");
        self.set(index, Status::Waiting);
        self.tasks[index].needs.insert(other);
        self.missing[index] += 1;
        self.below[other].push(index);
    }

    /// A running task cannot go on now: it waits until it is taken up again.
    ///
    /// # Panics
    /// If it was not running: this is a bug.
    pub(super) fn put_back(&mut self, index: usize) {
        assert_eq!(self.status[index], Status::Running, "task {index} was not running: this is a bug");
        self.release(index);
        self.missing[index] += 1;
        self.set(index, Status::Waiting);
        if let Some(because) = self.stopped {
            self.set(index, Status::Skipped(because));
        }
    }

    /// A task that was put back may start again.
    pub(super) fn take_up(&mut self, index: usize) {
        if self.status[index] == Status::Waiting {
            self.missing[index] -= 1;
            self.set(index, Status::Ready);
        }
    }

    /// A running task turns out to be several such as `part`: they are ready from
    /// now on, in its place in the order, and it waits for them. After that it is ready
    /// once more, to put them together. Gives the parts.
    ///
    /// # Panics
    /// If it was not running: this is a bug.
    pub(super) fn split(&mut self, index: usize, parts: usize, part: &Task) -> Range<usize> {
        assert_eq!(self.status[index], Status::Running, "task {index} was not running: this is a bug");
        self.release(index);
        self.set(index, Status::Waiting);
        let range = self.tasks.len()..self.tasks.len() + parts;
        for new in range.clone() {
            self.tasks.push(Task { needs: BTreeSet::new(), ..part.clone() });
            self.ranks.push(self.ranks[index]);
            self.below.push(vec![index]);
            self.missing.push(0);
            self.status.push(Status::Waiting);
            self.open += 1;
            self.set(new, Status::Ready);
        }
        self.tasks[index].needs.extend(range.clone());
        self.missing[index] += parts;
        if parts == 0 {
            self.set(index, Status::Ready);
        }
        range
    }

    /// Whether another machine does a task.
    pub(super) fn is_away(&self, index: usize) -> bool {
        self.tasks[index].away
    }

    /// Whether nothing new is started, be it for a failure or from outside.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether nothing runs and nothing can start.
    pub(super) fn is_finished(&self) -> bool {
        self.open == 0
    }

    /// Moves a task on; the ready set and the count of open tasks follow.
    fn set(&mut self, index: usize, status: Status) {
        let is_open = |status| matches!(status, Status::Waiting | Status::Ready | Status::Running);
        if is_open(self.status[index]) && !is_open(status) {
            self.open -= 1;
        }
        self.status[index] = status;
        let place = (self.ranks[index], index);
        let ready = self.ready.entry(self.load(index)).or_default();
        if status == Status::Ready {
            ready.insert(place);
        } else {
            ready.remove(&place);
        }
    }

    fn halt(&mut self, because: Because, skipped: &mut Vec<(usize, Because)>) {
        self.stopped.get_or_insert(because);
        for index in 0..self.tasks.len() {
            self.skip(index, because, skipped);
        }
    }

    fn skip(&mut self, index: usize, because: Because, skipped: &mut Vec<(usize, Because)>) -> bool {
        let untried = matches!(self.status[index], Status::Waiting | Status::Ready);
        if untried {
            self.set(index, Status::Skipped(because));
            skipped.push((index, because));
        }
        untried
    }

    fn load(&self, index: usize) -> Load {
        let slots = self.capacity.slots;
        if self.tasks[index].away {
            return Load::default();
        }
        match &self.tasks[index].resource {
            Resource::Cpu(0) => Load { slots, ..Load::default() },
            Resource::Cpu(n) => Load { slots: (*n).min(slots), ..Load::default() },
            Resource::Gpu if self.capacity.gpu => Load { gpus: 1, ..Load::default() },
            Resource::Gpu => Load { slots, ..Load::default() },
            Resource::Api(_) => Load { apis: 1, ..Load::default() },
        }
    }

    fn fits(&self, load: Load) -> bool {
        self.occupied.slots + load.slots <= self.capacity.slots
            && self.occupied.gpus + load.gpus <= usize::from(self.capacity.gpu)
            && self.occupied.apis + load.apis <= API_SLOTS
    }

    fn occupy(&mut self, index: usize) {
        let load = self.load(index);
        self.occupied.slots += load.slots;
        self.occupied.gpus += load.gpus;
        self.occupied.apis += load.apis;
    }

    fn release(&mut self, index: usize) {
        let load = self.load(index);
        self.occupied.slots -= load.slots;
        self.occupied.gpus -= load.gpus;
        self.occupied.apis -= load.apis;
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
