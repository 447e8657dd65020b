//! What a plan may know of rows before their stage runs: the store's memos,
//! only read, and asked by the names of the world that would answer.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::job::max_age;
use super::planner::Work;
use super::world::World;
use crate::ground::{Clock, Environment};
use crate::memo::VectorMemo;
use crate::model::{DeviceChoice, Models};
use crate::people::People;
use crate::pipeline::Instance;
use crate::stage::{Known, StageContext};
use crate::store::Store;
use crate::web::{Client, ClientSettings, Endpoints, Session};

/// The memos of a store, only to be read. Nothing is opened before it is needed.
pub(super) struct Memory {
    client: Option<Client>,
    vectors: Arc<VectorMemo>,
    people: Arc<People>,
    models: Arc<Models>,
}

impl Memory {
    /// The memory of a store, in the world that would answer; `device` is the pipeline's.
    pub(super) fn new(
        store: &Store,
        world: Option<&World>,
        clock: &Arc<dyn Clock>,
        device: Option<DeviceChoice>,
    ) -> Self {
        let folder = store.memo_folder();
        let settings = ClientSettings {
            // Nothing is ever sent there: only the identity counts.
            endpoints: world
                .map_or_else(Endpoints::default, |world| Endpoints::sandbox("http://127.0.0.1", &world.identity)),
            memo: Some(folder.join("http")),
            memo_only: true,
            clock: Arc::clone(clock),
            ..ClientSettings::default()
        };
        Self {
            client: Client::new(settings).ok(),
            vectors: Arc::new(VectorMemo::read_only(folder.join("vectors"), Arc::clone(clock))),
            people: Arc::new(People::new(store.people_folder())),
            models: Arc::new(Models::of_pipeline(&Environment::of_process(), device)),
        }
    }

    /// How many rows of an instance's work are known.
    pub(super) fn known(&self, instance: &Instance, work: &Work) -> Option<Known> {
        let session = |client: &Client| client.session(max_age(instance.refresh), CancellationToken::new());
        let mut context = StageContext::of_memo(
            work.assembled.inputs.clone(),
            &self.client.as_ref().map_or_else(Session::closed, session),
            Some(Arc::clone(&self.vectors)),
            Arc::clone(&self.models),
            Environment::default(),
        );
        context.people = Some(Arc::clone(&self.people));
        known(instance, &context)
    }
}

/// What an instance tells of its rows. A kind that panics on it tells nothing:
/// whatever it is, it will show when the stage runs.
pub(super) fn known(instance: &Instance, context: &StageContext) -> Option<Known> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| instance.stage.known(context))).ok().flatten()
}
