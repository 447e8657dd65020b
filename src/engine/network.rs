//! The network of one run: a client and, where one stands in, a sandbox. Both
//! are made when the first stage asks, and not at all if none does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::job::in_store;
use super::ledger::{Books, spent_before};
use super::options::{Failure, RunOptions};
use super::reporter::Reporter;
use super::world::{Place, World};
use crate::ground::Environment;
use crate::pipeline::Pipeline;
use crate::sandbox::Sandbox;
use crate::store::Store;
use crate::web::{Bookkeeper, CONTACT, Client, ClientSettings, Endpoints, OnWarning, Session, UserAgent};

/// How long a run that ends waits for answers that nobody waits for any more.
const LAST_ANSWERS: Duration = Duration::from_mins(1);

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
    /// Whom the services may write to.
    contact: Option<String>,
    world: Option<World>,
    open: OnceCell<Open>,
}

impl Network {
    /// The network for a pipeline, which tells `reporter` what goes on; nothing is opened yet.
    pub(super) fn new(
        pipeline: &Pipeline,
        store: &Store,
        options: &RunOptions,
        world: Option<World>,
        reporter: &Arc<Reporter>,
    ) -> Arc<Self> {
        let sandbox = world.as_ref().map(|world| world.identity.clone());
        let (clock, folder) = (&options.plan.clock, reporter.folder().to_owned());
        let books = Arc::new(Books::new(store, folder, clock, &pipeline.name, sandbox));
        let reporter = Arc::clone(reporter);
        let settings = ClientSettings {
            limiters: pipeline.limiters.clone(),
            budgets: pipeline.budgets.clone(),
            memo: Some(store.memo_folder().join("http")),
            offline: options.offline,
            limiters_folder: limiters_folder(&options.environment, world.as_ref()),
            on_warning: OnWarning::new(move |text| reporter.tell(&Event::Warning { text: text.to_owned() })),
            clock: Arc::clone(clock),
            keeper: Arc::clone(&options.keeper),
            bookkeeper: Some(Arc::clone(&books) as Arc<dyn Bookkeeper>),
            ..ClientSettings::default()
        };
        let contact = options.environment.var(CONTACT).map(str::to_owned);
        Arc::new(Self { settings, store: store.clone(), books, contact, world, open: OnceCell::new() })
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
        if let Some(contact) = self.contact.as_ref().filter(|_| self.world.is_none()) {
            let agent = UserAgent::with_contact(contact);
            settings.user_agent = agent.map_err(|error| Failure::of(&error, Some(error.hint())))?;
        }
        let mut sandbox_server = None;
        if let Some(world) = &self.world {
            let url = match &world.place {
                // The memo answers or nobody does: only the identity counts.
                _ if settings.offline => "http://127.0.0.1".to_owned(),
                Place::Running(url) => url.clone(),
                Place::Start(sandbox) => {
                    let started = Sandbox::start(sandbox, 0).await;
                    let started = started.map_err(|error| Failure::of(&error, error.hint().map(str::to_owned)))?;
                    sandbox_server.insert(started).url()
                }
            };
            settings.endpoints = Endpoints::sandbox(&url, &world.identity).paced(&world.limited);
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

    /// Waits for the answers to what had been sent when the run was stopped: they
    /// are paid for. `tell` is given a line for the user if there are any.
    pub(super) async fn land(&self, tell: impl FnOnce(String)) {
        let Some(open) = self.open.get() else { return };
        let left = open.client.landing();
        if left > 0 {
            let answers = if left == 1 { "an answer".to_owned() } else { format!("{left} answers") };
            tell(format!("waiting for {answers} to what was sent already, for a minute at most"));
            open.client.land(LAST_ANSWERS).await;
        }
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

/// Where the limiters' states are that all runs of this user share:
/// `REFRAIN_LIMITERS`, else `refrain/limiters-v1` in the user's cache folder
/// (`XDG_CACHE_HOME`, else `~/.cache`). A sandbox that runs by itself has a
/// folder of its own; one that was started for this run is asked by nobody else.
fn limiters_folder(environment: &Environment, world: Option<&World>) -> Option<PathBuf> {
    let path = |name| environment.var(name).map(PathBuf::from);
    let cache = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
    let folder = path("REFRAIN_LIMITERS").or_else(|| Some(cache()?.join("refrain").join("limiters-v1")))?;
    match world.map(|world| &world.place) {
        None => Some(folder),
        Some(Place::Running(_)) => Some(folder.join("sandbox")),
        Some(Place::Start(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_traffic_and_a_sandboxs_never_share_a_limiter() {
        let folder = |pairs: &[(&str, &str)], place: Option<Place>| {
            let world = place.map(|place| World { identity: "w".into(), place, limited: vec![] });
            limiters_folder(&Environment::from_pairs(pairs.iter().copied()), world.as_ref())
        };
        let home = ("HOME", "/h");
        assert_eq!(folder(&[home], None), Some("/h/.cache/refrain/limiters-v1".into()));
        assert_eq!(folder(&[home, ("XDG_CACHE_HOME", "/c")], None), Some("/c/refrain/limiters-v1".into()));
        assert_eq!(folder(&[home, ("REFRAIN_LIMITERS", "/l")], None), Some("/l".into()));
        let running = Place::Running("http://127.0.0.1:9".into());
        assert_eq!(folder(&[("REFRAIN_LIMITERS", "/l")], Some(running)), Some("/l/sandbox".into()));
        assert_eq!(folder(&[home], Some(Place::Start(Box::default()))), None);
        assert_eq!(folder(&[], None), None, "nowhere to share it");
    }
}
