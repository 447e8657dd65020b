//! Tasks whose work another machine does: when to look at them again. Pure: time
//! comes in as a value.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first pause between two looks, and the longest; each is twice the last.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];
/// How long nothing happens where no task waits.
const NEVER: Duration = Duration::from_hours(1);

/// The tasks that wait for another machine.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    tasks: BTreeMap<usize, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    pause: Duration,
    /// Whether it is being looked at now.
    is_up: bool,
}

impl Elsewhere {
    /// A task waits from now on, the longer the more often it did.
    pub(super) fn wait(&mut self, task: usize, now: Instant) {
        let [first, longest] = PAUSES;
        let pause = self.tasks.get(&task).map_or(first, |known| (known.pause * 2).min(longest));
        self.tasks.insert(task, Waiting { due: now + pause, pause, is_up: false });
    }

    /// The tasks whose pause is over, in order; each is told once.
    pub(super) fn due(&mut self, now: Instant) -> Vec<usize> {
        let due = self.tasks.iter_mut().filter(|(_, waiting)| !waiting.is_up && waiting.due <= now);
        due.map(|(task, waiting)| {
            waiting.is_up = true;
            *task
        })
        .collect()
    }

    /// How long until the next task is due.
    pub(super) fn next(&self, now: Instant) -> Duration {
        let due = self.tasks.values().filter(|waiting| !waiting.is_up).map(|waiting| waiting.due).min();
        due.map_or(NEVER, |due| due.saturating_duration_since(now))
    }

    /// Whether a task has waited before.
    pub(super) fn is_known(&self, task: usize) -> bool {
        self.tasks.contains_key(&task)
    }

    /// A task has ended.
    pub(super) fn forget(&mut self, task: usize) {
        self.tasks.remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_looked_at_ever_more_rarely_and_each_time_once() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut elsewhere = Elsewhere::default();
        assert_eq!(elsewhere.next(start), NEVER);
        let mut now = 0;
        for pause in [1, 2, 4, 8, 15, 15] {
            elsewhere.wait(3, at(now));
            assert_eq!(elsewhere.next(at(now)), Duration::from_secs(pause));
            assert!(elsewhere.due(at(now + pause - 1)).is_empty());
            now += pause;
            assert_eq!((elsewhere.due(at(now)), elsewhere.due(at(now))), (vec![3], vec![]));
        }
        assert!(elsewhere.is_known(3));
        elsewhere.forget(3);
        assert!(!elsewhere.is_known(3) && elsewhere.next(at(now)) == NEVER);
    }
}
