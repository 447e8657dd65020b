//! Stages that are cut into shards: each shard is a task of its own, and when
//! all have ended the stage goes on with putting them together, or has failed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Decision, Shell};
use crate::engine::cut::Cut;
use crate::engine::job::{Ended, Report};
use crate::engine::options::Failure;
use crate::engine::piece::{Piece, ShardName, ShardReporter, Shards};
use crate::engine::planner::Work;
use crate::engine::reason::Reason;
use crate::engine::scheduler::Task;
use crate::engine::stage_reporter::StageReporter;
use crate::remote::Claim;
use crate::stage::Progress;
use crate::store::Manifest;

/// A stage whose shards are worked on.
pub(super) struct Split {
    claim: Option<Claim>,
    cut: Cut,
    /// What each shard made.
    made: Vec<Option<Arc<Manifest>>>,
    /// The shards that failed, and why.
    failures: Vec<(usize, Failure)>,
    /// The stage's own work, until its shards have ended.
    work: Option<Box<Work>>,
}

/// A task that is a shard of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) whole: usize,
    pub(super) shard: ShardName,
}

/// A stage that is cut into shards, from its beginning to its end.
pub(super) struct Sharded {
    pub(super) reporter: Arc<StageReporter>,
    started: Instant,
    /// The work, while its rows are cut.
    work: Option<Box<Work>>,
    split: Option<Split>,
}

impl Sharded {
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

impl Shell<'_> {
    /// The reporter and the piece of a task that is about to start.
    pub(super) fn piece(&mut self, task: usize, work: &Work) -> (Arc<StageReporter>, Piece) {
        if let Some(Part { whole, shard }) = self.parts.get(&task).copied() {
            let sharded = &self.sharded[&whole];
            let reporter = Arc::clone(&sharded.reporter);
            let shard = ShardReporter::new(shard, Arc::clone(&reporter));
            return (reporter, Piece::Shard(Arc::new(shard)));
        }
        if let Some(sharded) = self.sharded.get_mut(&task)
            && let Some(split) = &mut sharded.split
        {
            let made = split.made.iter().flatten().cloned().collect();
            let (cut, claim) = (split.cut.clone(), Mutex::new(split.claim.take()));
            return (Arc::clone(&sharded.reporter), Piece::Join { cut, made, claim });
        }
        let reporter = Arc::new(StageReporter::new(self.name(task), Arc::clone(&self.reporter)));
        if self.instance(task).shards < 2 {
            return (reporter, Piece::Whole);
        }
        let (reporter_too, work) = (Arc::clone(&reporter), Some(Box::new(work.clone())));
        let sharded = Sharded { reporter: reporter_too, started: Instant::now(), work, split: None };
        self.sharded.insert(task, sharded);
        (reporter, Piece::Cut)
    }

    /// Takes in what a task came to that is cut into shards, or is a shard;
    /// gives back what concerns any task.
    pub(super) fn take_sharded(&mut self, task: usize, report: Report) -> Option<Report> {
        if let Some(part) = self.parts.get(&task).copied() {
            self.take_part(task, part, report);
            return None;
        }
        let Report { ended: Ended::Cut(shards), .. } = report else { return Some(report) };
        if self.scheduler.is_stopping() {
            return Some(Report::at_once(Ended::Stopped));
        }
        self.split(task, *shards);
        None
    }

    /// Makes a task of each shard that is not done.
    fn split(&mut self, task: usize, shards: Shards) {
        let Some(sharded) = self.sharded.get_mut(&task) else { return };
        let Some(work) = sharded.work.take() else { return };
        let is_forced = work.reasons.contains(&Reason::Forced);
        let (of, whole) = (shards.works.len(), work.key);
        sharded.reporter.total(shards.works.iter().map(|shard| shard.rows).sum());
        let mut made = Vec::new();
        let mut missing = Vec::new();
        for (number, shard) in shards.works.into_iter().enumerate() {
            if let Some(manifest) = shard.made {
                sharded.reporter.advance(shard.rows);
                made.push(Some(Arc::new(manifest)));
            } else {
                made.push(None);
                missing.push((ShardName { number, of, rows: shard.rows, whole, is_forced }, shard.work));
            }
        }
        sharded.split =
            Some(Split { claim: shards.claim, cut: shards.cut, made, failures: Vec::new(), work: Some(work) });
        let (resource, away) =
            (self.instance(task).stage.resource(), self.machines.away.contains(&self.planner.wanted[task]));
        let part = Task { needs: BTreeSet::new(), resource, away };
        let parts = self.scheduler.split(task, missing.len(), &part);
        let is_done = parts.is_empty();
        for (part, (shard, work)) in parts.zip(missing) {
            self.parts.insert(part, Part { whole: task, shard });
            self.works.insert(part, work);
        }
        if is_done {
            self.settle(vec![task]);
        }
    }

    fn take_part(&mut self, task: usize, part: Part, report: Report) {
        let keep_going = self.options.keep_going;
        let split = self.sharded.get_mut(&part.whole).and_then(|sharded| sharded.split.as_mut());
        let mut left = Vec::new();
        match (report.ended, split) {
            (Ended::Done(manifest, _), Some(split)) => split.made[part.shard.number] = Some(manifest),
            (Ended::Failed(failure), Some(split)) => {
                split.failures.push((part.shard.number, failure));
                if !keep_going {
                    let parts = self.parts.iter().filter(|(_, other)| other.whole == part.whole);
                    left.extend(parts.map(|(task, _)| *task).filter(|task| self.works.contains_key(task)));
                }
            }
            _ => {
                self.scheduler.stopped(task);
                return;
            }
        }
        let mut ready = self.scheduler.done(task);
        // What was not begun is not begun any more; what runs is let run to its end.
        for other in left {
            self.works.remove(&other);
            ready.extend(self.scheduler.done(other));
        }
        self.settle(ready);
    }

    /// What is to be done with a stage whose shards have ended; none for any other.
    pub(super) fn decide_joined(&mut self, task: usize) -> Option<Decision> {
        let split = self.sharded.get_mut(&task)?.split.as_mut()?;
        if let Some((shard, failure)) = split.failures.first() {
            let missing = split.made.iter().filter(|made| made.is_none()).count();
            let error = format!(
                "shard {} of {} failed: {}; {missing} of them are left to do, the others are kept",
                shard + 1,
                split.made.len(),
                failure.error
            );
            return Some(Decision::Failed(Failure { error, ..failure.clone() }));
        }
        Some(Decision::Work(split.work.take()?))
    }
}
