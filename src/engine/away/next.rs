//! What comes next for a piece of work that the cluster does: a pure function
//! of what the cluster lists and what was done so far.

use super::slurm::{JobState, QueuedJob};

/// How often a job that has ended, or is not listed, is looked at again before
/// it counts as lost: a shared file system may show its result late.
const PATIENCE: u32 = 4;
/// Why a job that ended well did not do its work.
const UNSEEN: &str = "it ended well, and its result is not in the store that this machine sees";

/// What was done for a piece of work so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// The job that is waited for.
    pub(super) attached: Option<u64>,
    /// How many jobs were submitted for it by this run.
    pub(super) submitted: u32,
    /// How often its job was looked for in vain.
    pub(super) looked: u32,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Waiting for the job.
    Wait,
    /// A job is to be submitted.
    Submit,
    /// It has failed; with what the cluster does not say.
    Fail(&'static str),
}

/// What comes next for work whose result is not in the store. `job` is the
/// latest of its name that the cluster lists.
pub(super) fn next(course: &mut Course, job: Option<&QueuedJob>, retries: u32) -> Next {
    match job {
        Some(job) if matches!(job.state, JobState::Pending | JobState::Running) => {
            // Of whatever run it is: it does this work.
            course.attached = Some(job.number);
            course.looked = 0;
            Next::Wait
        }
        Some(job) if course.attached == Some(job.number) => ended(course, job, retries),
        // The jobs of runs before this one have ended; nothing is waited for.
        _ if course.attached.is_none() => Next::Submit,
        // The job that is waited for is not listed yet, or not any more.
        _ => patiently(course, retries, "it is not listed any more and has left no result"),
    }
}

fn ended(course: &mut Course, job: &QueuedJob, retries: u32) -> Next {
    match job.state {
        JobState::Completed => {
            course.looked += 1;
            if course.looked < PATIENCE { Next::Wait } else { Next::Fail(UNSEEN) }
        }
        JobState::Lost => again(course, retries, "it was submitted again as often as `retries` allows"),
        _ => Next::Fail(""),
    }
}

/// Looks again a few times, and then submits once more or gives up.
fn patiently(course: &mut Course, retries: u32, why: &'static str) -> Next {
    course.looked += 1;
    if course.looked < PATIENCE { Next::Wait } else { again(course, retries, why) }
}

/// Submits once more, within limits.
fn again(course: &mut Course, retries: u32, why: &'static str) -> Next {
    if course.submitted > retries {
        return Next::Fail(why);
    }
    *course = Course { attached: None, looked: 0, submitted: course.submitted };
    Next::Submit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64, state: JobState) -> QueuedJob {
        QueuedJob {
            id: number.to_string(),
            number,
            index: None,
            name: "refrain-a".to_owned(),
            state,
            word: format!("{state:?}"),
            reason: String::new(),
            node: String::new(),
        }
    }

    #[test]
    fn the_job_of_a_dead_run_is_waited_for_and_its_failed_ones_count_for_nothing() {
        let mut course = Course::default();
        assert_eq!(next(&mut course, Some(&job(3, JobState::Failed)), 2), Next::Submit);
        assert!(matches!(next(&mut course, Some(&job(4, JobState::Pending)), 2), Next::Wait));
        assert_eq!((course.attached, course.submitted), (Some(4), 0));
        assert!(matches!(next(&mut course, Some(&job(4, JobState::Failed)), 2), Next::Fail("")));
    }

    #[test]
    fn what_the_cluster_took_is_submitted_again_within_limits() {
        let mut course = Course::default();
        let mut submissions = 0;
        for number in 1.. {
            match next(&mut course, Some(&job(number, JobState::Lost)), 2) {
                Next::Submit => {
                    submissions += 1;
                    course.submitted += 1;
                    course.attached = Some(number + 1);
                }
                Next::Fail(..) => break,
                Next::Wait => panic!("nothing is to be waited for"),
            }
        }
        assert_eq!(submissions, 3, "once, and two times again");
    }

    #[test]
    fn a_job_that_is_not_listed_is_looked_for_and_then_submitted_again() {
        let mut course = Course { attached: Some(7), submitted: 1, looked: 0 };
        let mut looks = 0;
        while matches!(next(&mut course, None, 1), Next::Wait) {
            looks += 1;
        }
        assert_eq!((looks, course.attached), (PATIENCE - 1, None));
        course = Course { attached: Some(8), submitted: 2, looked: PATIENCE };
        assert!(matches!(next(&mut course, None, 1), Next::Fail(_)));
    }

    #[test]
    fn a_job_that_ended_well_without_a_result_is_not_believed_at_once() {
        let mut course = Course { attached: Some(7), submitted: 1, looked: 0 };
        let ended = job(7, JobState::Completed);
        let waits = (0..PATIENCE).filter(|_| matches!(next(&mut course, Some(&ended), 2), Next::Wait)).count();
        assert_eq!(waits as u32, PATIENCE - 1);
        assert!(matches!(next(&mut course, Some(&ended), 2), Next::Fail(..)));
    }
}
