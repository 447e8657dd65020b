//! Monotonic time and waiting, as a value: limiters and retries are tested
//! without waiting for anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use nix::time::{ClockId, clock_gettime};

/// Time since some start, and waiting for it to pass.
pub trait Timer: Send + Sync + std::fmt::Debug {
    /// Time since the start, which nobody can set forward or back.
    fn now(&self) -> Duration;
    /// Ends when `now` has moved on by `wait`.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()>;
    /// Names the start: where two timers give the same name, their times mean
    /// the same, also in different processes. Empty if it is not known.
    fn start(&self) -> String {
        String::new()
    }
}

/// The machine's time since it was started, which is the same for all
/// processes; where it sleeps, that counts as well.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTimer;

/// The clock that is never set and counts sleep, where the system has it.
#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

impl Timer for SystemTimer {
    fn now(&self) -> Duration {
        // It fails for unknown clocks only.
        clock_gettime(SINCE_BOOT).map(Duration::from).unwrap_or_default()
    }

    fn start(&self) -> String {
        // Elsewhere a restart shows by the time going back.
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_time_goes_on_and_its_start_has_a_name() {
        let (first, second) = (SystemTimer.now(), SystemTimer.now());
        assert!(first > Duration::ZERO && first <= second);
        assert_eq!(SystemTimer.start(), SystemTimer.start());
        assert_eq!(SystemTimer.start().is_empty(), !cfg!(target_os = "linux"));
    }
}
