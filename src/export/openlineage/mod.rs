//! `OpenLineage` events while a pipeline runs: START, COMPLETE, FAIL and ABORT
//! of the run and of each stage, with the artifacts that it read and wrote.
//!
//! The run never waits for them: events go through a bounded queue to a thread
//! of their own. What does not fit, or what nobody takes, is dropped and said once.

mod dataset;
mod sink;
mod teller;

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use self::sink::Sink;
pub use self::sink::Target;
use self::teller::Teller;
use crate::engine::{Event, Observer};
use crate::ground::Clock;
use crate::ground::files::FileError;
use crate::pipeline::Pipeline;
use crate::store::Store;

/// So many events may wait to be written or sent.
const QUEUE: usize = 20_000;
/// How long the end of a run waits for events that are still under way.
const FAREWELL: Duration = Duration::from_secs(5);

/// One event with the time at which it happened.
type Stamped = (Event, u64);

/// Says a warning to the user.
type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// Tells the events of a run to others, beside the observer that it stands for.
pub struct OpenLineage {
    next: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    warn: Warn,
    queue: Mutex<Queue>,
}

/// The way to the thread that tells.
struct Queue {
    events: Option<SyncSender<Stamped>>,
    done: Receiver<()>,
    dropped: u64,
}

impl OpenLineage {
    /// Passes all events on to `next` and tells them to `target` as well.
    ///
    /// # Errors
    /// [`FileError`] if the target is a file that cannot be opened.
    pub fn new(
        pipeline: Pipeline,
        store: Store,
        target: Target,
        clock: Arc<dyn Clock>,
        next: Arc<dyn Observer>,
        warn: Warn,
    ) -> Result<Self, FileError> {
        let (sender, events) = sync_channel::<Stamped>(QUEUE);
        let (finished, done) = sync_channel(1);
        let sink = Sink::open(target)?;
        let (namespace, speak) = (sink.namespace(), Arc::clone(&warn));
        let work = move || {
            let teller = Teller::new(pipeline, store, namespace);
            tell_all(teller, sink, &events, &speak);
            finished.send(()).ok();
        };
        std::thread::Builder::new()
            .name("openlineage".to_owned())
            .spawn(work)
            .map_err(FileError::with("start", std::path::Path::new("a thread for OpenLineage")))?;
        let queue = Mutex::new(Queue { events: Some(sender), done, dropped: 0 });
        Ok(Self { next, clock, warn, queue })
    }
}

/// Takes events until there are no more.
fn tell_all(mut teller: Teller, mut sink: Sink, events: &Receiver<Stamped>, warn: &Warn) {
    for (event, at_millis) in events {
        let documents: Vec<Value> = teller.tell(&event, at_millis);
        for document in documents {
            if let Err(why) = sink.take(&document) {
                warn(&format!("OpenLineage events are lost from here on: {why}"));
                return;
            }
        }
    }
    if let Err(why) = sink.finish() {
        warn(&format!("OpenLineage events may be incomplete: {why}"));
    }
}

impl Observer for OpenLineage {
    fn event(&self, event: &Event) {
        self.next.event(event);
        if !teller::is_told(event) {
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that has ended has said why.
        let is_full = queue.events.as_ref().is_some_and(|events| {
            matches!(events.try_send((event.clone(), self.clock.now_millis())), Err(TrySendError::Full(_)))
        });
        if is_full {
            queue.dropped += 1;
        }
        if matches!(event, Event::Finished { .. }) {
            queue.events = None;
            if queue.done.recv_timeout(FAREWELL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                (self.warn)("the last OpenLineage events were not taken in time, and were left behind");
            }
            if queue.dropped > 0 {
                (self.warn)(&format!("{} OpenLineage events did not fit into the queue", queue.dropped));
            }
        }
    }
}
