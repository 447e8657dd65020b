//! The network of one run: a client and, where one stands in, a sandbox. Both
//! are made when the first stage asks, and not at all if none does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::job::in_store;
use super::ledger::{Books, spent_before};
use super::options::{Failure, RunOptions};
use super::world::{Place, World};
use crate::pipeline::Pipeline;
use crate::sandbox::Sandbox;
use crate::store::Store;
use crate::web::{Bookkeeper, Client, ClientSettings, Endpoints, Session};

/// What is made on the first use.
struct Open {
    client: Client,
    /// Held so that it serves until the run ends.
    _sandbox: Option<Sandbox>,
}

/// The network of one run.
pub(super) struct Network {
    settings: ClientSettings,
    store: Store,
    books: Arc<Books>,
    world: Option<World>,
    open: OnceCell<Open>,
}

impl Network {
    /// The network for a pipeline in a run with this folder; nothing is opened yet.
    pub(super) fn new(
        pipeline: &Pipeline,
        store: &Store,
        options: &RunOptions,
        world: Option<World>,
        folder: &Path,
    ) -> Arc<Self> {
        let sandbox = world.as_ref().map(|world| world.identity.clone());
        let clock = &options.plan.clock;
        let books = Arc::new(Books::new(store, folder.to_owned(), clock, &pipeline.name, sandbox));
        let settings = ClientSettings {
            limiters: pipeline.limiters.clone(),
            budgets: pipeline.budgets.clone(),
            memo: Some(store.memo_folder().join("http")),
            offline: options.offline,
            clock: Arc::clone(clock),
            keeper: Arc::clone(&options.keeper),
            bookkeeper: Some(Arc::clone(&books) as Arc<dyn Bookkeeper>),
            ..ClientSettings::default()
        };
        Arc::new(Self { settings, store: store.clone(), books, world, open: OnceCell::new() })
    }

    /// One stage's access.
    ///
    /// # Errors
    /// A [`Failure`] if the client or the sandbox cannot be made.
    pub(super) async fn session(
        &self,
        max_age: Option<Duration>,
        cancel: CancellationToken,
    ) -> Result<Session, Failure> {
        let open = self.open.get_or_try_init(|| self.make()).await?;
        Ok(open.client.session(max_age, cancel))
    }

    async fn make(&self) -> Result<Open, Failure> {
        let mut settings = self.settings.clone();
        let sandbox = self.world.as_ref().map(|world| world.identity.as_str());
        self.books.close_others();
        let before = spent_before(&self.store, &settings.budgets, sandbox, settings.clock.now_millis());
        settings.spent_before = before.map_err(|error| in_store(&error))?;
        let mut sandbox_server = None;
        if let Some(world) = &self.world {
            let url = match &world.place {
                Place::Running(url) => url.clone(),
                Place::Start(sandbox) => {
                    let started = Sandbox::start(sandbox, 0).await;
                    let started = started.map_err(|error| Failure::of(&error, error.hint().map(str::to_owned)))?;
                    sandbox_server.insert(started).url()
                }
            };
            settings.endpoints = Endpoints::sandbox(&url, &world.identity);
        }
        let client = Client::new(settings).map_err(|error| Failure::of(&error, error.hint()))?;
        Ok(Open { client, _sandbox: sandbox_server })
    }

    /// Puts what was answered on the disk: before a result made of it is
    /// published, so that no power cut leaves the result without its answers.
    ///
    /// # Errors
    /// A [`Failure`] if it cannot be.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        let flushed = self.open.get().map_or(Ok(()), |open| open.client.flush());
        flushed.map_err(|error| Failure::of(&error, error.hint()))
    }

    /// Puts what was answered on the disk, and gives what the user should know
    /// of the memo.
    pub(super) fn close(&self) -> Vec<String> {
        let Some(open) = self.open.get() else { return Vec::new() };
        let flushed = open.client.flush().err().map(|error| {
            let failure = Failure::of(&error, None);
            format!("{}: {}", failure.error, failure.causes.join(": "))
        });
        let mut warnings = open.client.take_warnings();
        warnings.extend(flushed);
        warnings.extend(self.books.close());
        warnings
    }
}
