//! Monotonic time and waiting, as a value: limiters and retries are tested
//! without waiting for anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

/// Time since some start, and waiting for it to pass.
pub trait Timer: Send + Sync + std::fmt::Debug {
    /// Time since the timer was made.
    fn now(&self) -> Duration;
    /// Ends when `now` has moved on by `wait`.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's monotonic time.
#[derive(Debug, Clone, Copy)]
pub struct SystemTimer {
    start: Instant,
}

impl Default for SystemTimer {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Timer for SystemTimer {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// Time that jumps to where the next sleeper wants it: nothing ever waits, and
/// [`ManualTimer::now`] tells how long it would have taken.
#[derive(Debug, Default)]
pub struct ManualTimer {
    nanos: AtomicU64,
}

impl ManualTimer {
    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(nanos(by), Ordering::SeqCst);
    }
}

impl Timer for ManualTimer {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        let until = nanos(self.now() + wait);
        self.nanos.fetch_max(until, Ordering::SeqCst);
        Box::pin(tokio::task::yield_now())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
