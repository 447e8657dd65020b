//! What each provider's server allows: so many requests per second, with the
//! burst of one second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::exchange::Provider;
use crate::ground::Clock;

/// One bucket for each provider.
pub(super) struct Limits {
    per_second: Option<f64>,
    clock: Arc<dyn Clock>,
    buckets: Mutex<BTreeMap<Provider, Bucket>>,
}

/// A provider's bucket of requests.
struct Bucket {
    left: f64,
    at_millis: u64,
}

/// What is left after a request, for the headers that say so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    /// Requests per minute.
    pub(super) limit: u64,
    /// Requests that may be sent at once.
    pub(super) left: u64,
    /// How long until the bucket is full again.
    pub(super) full_in: Duration,
}

impl Limits {
    /// Limits by the given clock; none without `per_second`.
    pub(super) fn new(per_second: Option<f64>, clock: Arc<dyn Clock>) -> Self {
        Self { per_second, clock, buckets: Mutex::default() }
    }

    /// Takes one request; an error says how long to wait for the next.
    pub(super) fn take(&self, provider: Provider) -> Result<Room, Duration> {
        let Some(rate) = self.per_second else {
            return Ok(Room { limit: 14_400, left: 14_399, full_in: Duration::from_millis(6) });
        };
        let most = rate.max(1.0);
        let now = self.clock.now_millis();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(provider).or_insert(Bucket { left: most, at_millis: now });
        let passed = now.saturating_sub(bucket.at_millis) as f64 / 1000.0;
        bucket.left = (bucket.left + passed * rate).min(most);
        bucket.at_millis = now.max(bucket.at_millis);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / rate));
        }
        bucket.left -= 1.0;
        let full_in = Duration::from_secs_f64((most - bucket.left) / rate);
        Ok(Room { limit: (rate * 60.0).ceil() as u64, left: bucket.left as u64, full_in })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ManualClock;

    #[test]
    fn a_second_worth_of_requests_passes_at_once_and_the_rest_at_the_rate() {
        let clock = Arc::new(ManualClock::at(5000));
        let limits = Limits::new(Some(4.0), Arc::<ManualClock>::clone(&clock) as Arc<dyn Clock>);
        for left in [3, 2, 1, 0] {
            assert_eq!(limits.take(Provider::Chat).unwrap().left, left);
        }
        assert_eq!(limits.take(Provider::Chat), Err(Duration::from_millis(250)));
        assert!(limits.take(Provider::Deezer).is_ok(), "each provider has its own");
        clock.advance(Duration::from_millis(250));
        assert!(limits.take(Provider::Chat).is_ok());
        assert!(limits.take(Provider::Chat).is_err());
    }
}
