//! Calls under way. Who asks for what is being asked already joins in; and what
//! has been sent when nobody waits for it any more lands all the same: its
//! answer has cost a request, tokens or money, and goes to the memo.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::task::JoinSet;

use super::call::Answer;
use super::error::CallError;
use crate::ground::ContentHash;

/// A call until it has an answer or none is to be had.
pub(super) type Pending = BoxFuture<'static, Result<Answer, CallError>>;

/// Whether a call has been sent and its answer is still to come; no longer once
/// the call has ended. Changes only while the call is polled.
#[derive(Debug, Clone, Default)]
pub(super) struct OnTheWire(Arc<AtomicBool>);

impl OnTheWire {
    pub(super) fn set(&self, is_sent: bool) {
        self.0.store(is_sent, Ordering::Release);
    }

    fn is_sent(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// All the calls of a client that are under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<BTreeMap<ContentHash, (WeakShared<Pending>, OnTheWire)>>,
    /// Those that nobody waits for.
    landing: Mutex<JoinSet<()>>,
}

impl Flights {
    /// The call that is under way for this key, or a new one: two stages that
    /// ask for the same thing at the same time ask once.
    pub(super) fn join(self: &Arc<Self>, key: ContentHash, begin: impl FnOnce(OnTheWire) -> Pending) -> Flight {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((pending, wire)) = under_way.get(&key)
            && let Some(pending) = pending.upgrade()
        {
            return Flight { pending, wire: wire.clone(), flights: Arc::clone(self) };
        }
        let wire = OnTheWire::default();
        let (call, flights, sent) = (begin(wire.clone()), Arc::clone(self), wire.clone());
        let pending: Pending = Box::pin(async move {
            let result = call.await;
            // Whoever has the answer lets go of a call that is over: it must not be polled again.
            sent.set(false);
            flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            result
        });
        let pending = pending.shared();
        if let Some(weak) = pending.downgrade() {
            under_way.insert(key, (weak, wire.clone()));
        }
        Flight { pending, wire, flights: Arc::clone(self) }
    }

    /// How many calls are landing.
    pub(super) fn landing(&self) -> usize {
        let mut landing = self.landing.lock().unwrap_or_else(PoisonError::into_inner);
        while landing.try_join_next().is_some() {}
        landing.len()
    }

    /// Ends when all calls have landed that nobody waits for. Who waits no
    /// longer for that gives them up.
    pub(super) async fn landed(&self) {
        let mut landing = std::mem::take(&mut *self.landing.lock().unwrap_or_else(PoisonError::into_inner));
        while landing.join_next().await.is_some() {}
    }
}

/// One wait for a call.
#[derive(Debug)]
pub(super) struct Flight {
    pending: Shared<Pending>,
    wire: OnTheWire,
    flights: Arc<Flights>,
}

impl Flight {
    /// The answer.
    ///
    /// # Errors
    /// [`CallError`]: the call has failed for good, or the provider does.
    pub(super) async fn answer(mut self) -> Result<Answer, CallError> {
        poll_fn(|context| self.pending.poll_unpin(context)).await
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.wire.is_sent() {
            return;
        }
        // Outside of a runtime nothing can land.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (mut pending, wire) = (self.pending.clone(), self.wire.clone());
        // What would have to be sent again is not: unless others wait for it, it ends here.
        let landed = poll_fn(move |context| match pending.poll_unpin(context) {
            Poll::Pending if wire.is_sent() => Poll::Pending,
            _ => Poll::Ready(()),
        });
        self.flights.landing.lock().unwrap_or_else(PoisonError::into_inner).spawn_on(landed, &runtime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::RowFailure;
    use tokio::sync::oneshot;

    /// A call that is sent at once, and the means to answer it.
    fn sent(flights: &Arc<Flights>, kept: &Arc<AtomicBool>) -> (Flight, oneshot::Sender<()>) {
        let (answer, answered) = oneshot::channel();
        let kept = Arc::clone(kept);
        let begin = |wire: OnTheWire| -> Pending {
            Box::pin(async move {
                wire.set(true);
                if answered.await.is_ok() {
                    kept.store(true, Ordering::SeqCst);
                }
                wire.set(false);
                std::future::pending().await
            })
        };
        (flights.join(ContentHash::of(b"call"), begin), answer)
    }

    #[tokio::test]
    async fn what_was_sent_lands_though_nobody_waits() {
        let (flights, kept) = (Arc::new(Flights::default()), Arc::new(AtomicBool::new(false)));
        let (flight, answer) = sent(&flights, &kept);
        let mut wait = Box::pin(flight.answer());
        assert!(futures::poll!(wait.as_mut()).is_pending());
        drop(wait);
        assert_eq!(flights.landing(), 1);
        answer.send(()).expect("somebody listens");
        flights.landed().await;
        assert!(kept.load(Ordering::SeqCst), "and what would wait for another turn has ended");
    }

    #[tokio::test]
    async fn what_was_not_sent_ends_with_its_last_waiter() {
        let flights = Arc::new(Flights::default());
        let (held, given_up) = oneshot::channel::<()>();
        let waits = |_: OnTheWire| -> Pending {
            Box::pin(async move {
                given_up.await.ok();
                Err(RowFailure::new("never").into())
            })
        };
        let mut wait = Box::pin(flights.join(ContentHash::of(b"call"), waits).answer());
        assert!(futures::poll!(wait.as_mut()).is_pending());
        drop(wait);
        assert_eq!((flights.landing(), held.is_closed()), (0, true));
    }

    #[tokio::test]
    async fn what_was_answered_has_landed() {
        let flights = Arc::new(Flights::default());
        let begin = |wire: OnTheWire| -> Pending {
            Box::pin(async move {
                wire.set(true);
                Err(RowFailure::new("answered").into())
            })
        };
        assert!(flights.join(ContentHash::of(b"call"), begin).answer().await.is_err());
        assert_eq!(flights.landing(), 0);
    }

    #[tokio::test]
    async fn who_asks_for_the_same_waits_for_the_same() {
        let (flights, kept) = (Arc::new(Flights::default()), Arc::new(AtomicBool::new(false)));
        let (first, _answer) = sent(&flights, &kept);
        let again = |_: OnTheWire| -> Pending { panic!("it is under way already") };
        let second = flights.join(ContentHash::of(b"call"), again);
        assert!(first.pending.ptr_eq(&second.pending));
    }
}
