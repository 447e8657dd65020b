//! The laws of the scheduler, without threads or time.

use proptest::prelude::*;

use super::*;

impl Scheduler {
    /// What must hold after every step.
    fn check_invariants(&self) {
        let mut load = Load::default();
        for (index, status) in self.status.iter().enumerate() {
            let above = || self.tasks[index].needs.iter().map(|&a| self.status[a]);
            match status {
                Status::Ready | Status::Running | Status::Done | Status::Failed => {
                    assert!(above().all(|s| s == Status::Done), "{index} is {status:?} before what it needs");
                }
                Status::Waiting => assert!(above().any(|s| s != Status::Done), "{index} waits for nothing"),
                Status::Skipped(Because::Failed(cause)) => assert_eq!(self.status[*cause], Status::Failed),
                Status::Skipped(_) => assert!(self.stopped.is_some()),
            }
            if *status == Status::Running {
                let own = self.load(index);
                load.slots += own.slots;
                load.gpus += own.gpus;
                load.apis += own.apis;
            }
        }
        assert_eq!(load, self.occupied, "what is occupied is what runs");
        assert!(load.slots <= self.capacity.slots && load.gpus <= 1 && load.apis <= API_SLOTS);
        let counted = |wanted: fn(&Status) -> bool| -> Vec<usize> {
            (0..self.status.len()).filter(|&index| wanted(&self.status[index])).collect()
        };
        assert_eq!(self.ready(), counted(|status| *status == Status::Ready));
        let open = counted(|status| matches!(status, Status::Waiting | Status::Ready | Status::Running));
        assert_eq!(self.open, open.len());
        let running = self.status.contains(&Status::Running);
        let startable = self.status.contains(&Status::Ready);
        assert!(running || startable || self.is_finished(), "stuck: {:?}", self.status);
    }
}

fn task(needs: &[usize], resource: Resource) -> Task {
    Task { needs: needs.iter().copied().collect(), resource, away: false }
}

fn cpus(slots: usize) -> Capacity {
    Capacity { slots, gpu: false }
}

#[test]
fn tasks_start_in_order_and_small_ones_pass_a_big_one() {
    let tasks = vec![
        task(&[], Resource::Cpu(1)),
        task(&[], Resource::Cpu(0)),
        task(&[], Resource::Cpu(1)),
        task(&[], Resource::Api("a".into())),
    ];
    let mut scheduler = Scheduler::new(tasks, cpus(2), false);
    let started: Vec<_> = std::iter::from_fn(|| scheduler.start()).collect();
    assert_eq!(started, [0, 2, 3]);
    scheduler.done(0);
    scheduler.done(2);
    assert_eq!(scheduler.start(), Some(1));
    scheduler.check_invariants();
}

#[test]
fn a_gpu_task_takes_the_gpu_or_else_all_slots() {
    let tasks = vec![task(&[], Resource::Gpu), task(&[], Resource::Cpu(1)), task(&[], Resource::Gpu)];
    let mut with = Scheduler::new(tasks.clone(), Capacity { slots: 2, gpu: true }, false);
    assert_eq!((with.start(), with.start(), with.start()), (Some(0), Some(1), None));
    let mut without = Scheduler::new(tasks, cpus(2), false);
    assert_eq!((without.start(), without.start()), (Some(0), None));
}

#[test]
fn a_failure_skips_what_is_below_and_names_it() {
    let tasks = vec![
        task(&[], Resource::Cpu(1)),
        task(&[0], Resource::Cpu(1)),
        task(&[1], Resource::Cpu(1)),
        task(&[], Resource::Cpu(1)),
    ];
    let mut going = Scheduler::new(tasks.clone(), cpus(1), true);
    assert_eq!(going.start(), Some(0));
    assert_eq!(going.failed(0), [(1, Because::Failed(0)), (2, Because::Failed(0))]);
    assert_eq!(going.start(), Some(3));
    going.check_invariants();
    let mut stopping = Scheduler::new(tasks, cpus(1), false);
    assert_eq!(stopping.start(), Some(0));
    assert_eq!(stopping.failed(0).last(), Some(&(3, Because::StoppedAfter(0))));
    assert!(stopping.is_finished());
}

#[test]
fn a_task_can_wait_for_its_twin() {
    let mut scheduler = Scheduler::new(vec![task(&[], Resource::Cpu(1)), task(&[], Resource::Cpu(1))], cpus(2), false);
    assert_eq!(scheduler.start(), Some(0));
    scheduler.wait_for(1, 0);
    scheduler.check_invariants();
    assert_eq!(scheduler.start(), None);
    assert_eq!(scheduler.done(0), [1]);
    assert!(scheduler.done(1).is_empty());
    assert!(scheduler.is_finished());
}

#[test]
fn stopping_lets_the_running_ones_end() {
    let mut scheduler = Scheduler::new(vec![task(&[], Resource::Cpu(1)), task(&[0], Resource::Cpu(1))], cpus(2), true);
    assert_eq!(scheduler.start(), Some(0));
    assert_eq!(scheduler.stop(), [(1, Because::Stopped)]);
    assert!(!scheduler.is_finished());
    scheduler.stopped(0);
    scheduler.check_invariants();
    assert!(scheduler.is_finished());
}

#[test]
fn a_task_can_turn_out_to_be_several_which_start_in_its_place() {
    let tasks = vec![task(&[], Resource::Cpu(1)), task(&[], Resource::Cpu(1)), task(&[0], Resource::Gpu)];
    let mut scheduler = Scheduler::new(tasks, cpus(2), false);
    assert_eq!(scheduler.start(), Some(0));
    let part = task(&[], Resource::Cpu(1));
    assert_eq!(scheduler.split(0, 3, &part), 3..6);
    scheduler.check_invariants();
    assert_eq!((scheduler.start(), scheduler.start(), scheduler.start()), (Some(3), Some(4), None));
    assert!(scheduler.done(4).is_empty() && scheduler.done(3).is_empty());
    assert_eq!((scheduler.start(), scheduler.start()), (Some(5), Some(1)));
    assert_eq!(scheduler.done(5), [0]);
    scheduler.check_invariants();
    assert_eq!(scheduler.start(), Some(0));
    assert_eq!(scheduler.done(0), [2]);
    assert_eq!((scheduler.start(), scheduler.done(1).len()), (None, 0));
    assert_eq!((scheduler.start(), scheduler.split(2, 0, &part)), (Some(2), 6..6));
    scheduler.check_invariants();
    assert_eq!(scheduler.start(), Some(2), "it has nothing to wait for");
}

#[test]
fn what_is_done_elsewhere_occupies_nothing_here() {
    let away = Task { away: true, ..task(&[], Resource::Cpu(0)) };
    let mut scheduler = Scheduler::new(vec![away.clone(), task(&[], Resource::Cpu(0)), away.clone()], cpus(1), false);
    assert_eq!((scheduler.start(), scheduler.start(), scheduler.start()), (Some(0), Some(1), Some(2)));
    assert_eq!(scheduler.split(2, 2, &away), 3..5);
    assert!(scheduler.is_away(3));
    assert_eq!((scheduler.start(), scheduler.start()), (Some(3), Some(4)));
    scheduler.check_invariants();
    scheduler.done(1);
    scheduler.done(3);
    assert_eq!(scheduler.done(4), [2]);
    assert_eq!(scheduler.stop(), [(2, Because::Stopped)]);
    scheduler.stopped(0);
    assert!(scheduler.is_finished() && scheduler.is_stopping());
}

fn resources() -> impl Strategy<Value = Resource> {
    prop_oneof![(0..5_usize).prop_map(Resource::Cpu), Just(Resource::Gpu), Just(Resource::Api("lastfm".to_owned()))]
}

fn dags() -> impl Strategy<Value = Vec<Task>> {
    let edges = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec((edges, resources()), 1..25).prop_map(|nodes| {
        let task = |(index, (edges, resource)): (usize, (Vec<prop::sample::Index>, Resource))| Task {
            away: false,
            needs: if index == 0 { BTreeSet::new() } else { edges.iter().map(|edge| edge.index(index)).collect() },
            resource,
        };
        nodes.into_iter().enumerate().map(task).collect()
    })
}

proptest! {
    #[test]
    fn every_task_ends_once_in_order_and_within_the_limits(
        tasks in dags(),
        slots in 1..5_usize,
        gpu in any::<bool>(),
        keep_going in any::<bool>(),
        first in any::<prop::sample::Index>(),
        steps in prop::collection::vec((0..8_u8, any::<prop::sample::Index>()), 0..400),
    ) {
        let count = tasks.len();
        let mut scheduler = Scheduler::new(tasks, Capacity { slots, gpu }, keep_going);
        let mut running: Vec<usize> = Vec::new();
        let mut ended = vec![0_usize; count];
        let mut steps = steps.into_iter();
        scheduler.check_invariants();
        while !scheduler.is_finished() {
            let (what, which) = steps.next().unwrap_or((7, first));
            let ready = scheduler.status().iter().position(|s| *s == Status::Ready);
            match (what, running.is_empty(), ready) {
                (0, false, _) => {
                    let index = running.swap_remove(which.index(running.len()));
                    ended[index] += 1;
                    for (skipped, _) in scheduler.failed(index) { ended[skipped] += 1; }
                }
                (1, false, Some(index)) if scheduler.status()[running[0]] == Status::Running => {
                    scheduler.wait_for(index, running[0]);
                }
                (2, _, Some(index)) => {
                    ended[index] += 1;
                    scheduler.done(index);
                }
                (3..=5, false, _) => {
                    let index = running.swap_remove(which.index(running.len()));
                    ended[index] += 1;
                    scheduler.done(index);
                }
                _ => match scheduler.start() {
                    Some(index) => running.push(index),
                    None if running.is_empty() => prop_assert!(false, "nothing runs and nothing starts"),
                    None => {
                        let index = running.remove(0);
                        ended[index] += 1;
                        scheduler.done(index);
                    }
                },
            }
            scheduler.check_invariants();
        }
        prop_assert!(running.is_empty());
        prop_assert!(ended.iter().all(|&times| times == 1), "{ended:?}");
    }
}

#[test]
fn a_task_that_is_put_back_lets_others_pass_until_it_is_taken_up() {
    let tasks = vec![task(&[], Resource::Cpu(1)), task(&[], Resource::Cpu(1)), task(&[0], Resource::Cpu(1))];
    let mut scheduler = Scheduler::new(tasks.clone(), cpus(1), false);
    assert_eq!(scheduler.start(), Some(0));
    scheduler.put_back(0);
    assert_eq!((scheduler.start(), scheduler.start()), (Some(1), None));
    scheduler.take_up(0);
    assert_eq!(scheduler.start(), None, "there is no room");
    assert_eq!(scheduler.done(1), [0; 0]);
    assert_eq!(scheduler.start(), Some(0));
    assert_eq!(scheduler.done(0), [2]);
    scheduler.take_up(0);
    assert_eq!((scheduler.start(), scheduler.done(2).len()), (Some(2), 0));
    assert!(scheduler.is_finished());

    let mut stopped = Scheduler::new(tasks, cpus(2), false);
    assert_eq!((stopped.start(), stopped.start()), (Some(0), Some(1)));
    stopped.put_back(0);
    assert_eq!(stopped.stop(), [(0, Because::Stopped), (2, Because::Stopped)]);
    stopped.put_back(1);
    assert!(stopped.is_finished(), "what is put back after that is not tried again");
}
