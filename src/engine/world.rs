//! Which world answers: the real services, a sandbox started for the run, or
//! one that runs already. Its identity is known without starting anything.

use std::path::Path;

use serde_json::Value;

use super::error::EngineError;
use super::options::SandboxChoice;
use crate::pipeline::Pipeline;
use crate::sandbox::{self, SandboxSettings, SandboxStart, routes};
use crate::web::{Call, Client, ClientSettings, Endpoint, Endpoints, Verdict};

/// A sandbox world that answers instead of the real services.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// What stands for it in fingerprints and in the memo: never a port.
    pub(super) identity: String,
    /// Where it comes from.
    pub(super) place: Place,
    /// The providers whose servers allow only so much: their limiters hold.
    pub(super) limited: Vec<String>,
}

/// Where a world comes from.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// To be started with these settings.
    Start(Box<SandboxSettings>),
    /// Running at this base URL.
    Running(String),
}

impl World {
    /// The world that a pipeline and its caller ask for; none for the real services.
    ///
    /// # Errors
    /// [`EngineError::Sandbox`] if a catalog cannot be read or a server not reached.
    pub(super) fn choose(pipeline: &Pipeline, choice: Option<&SandboxChoice>) -> Result<Option<Self>, EngineError> {
        let settings = match choice {
            Some(SandboxChoice::At(url)) => return running(url).map(Some),
            Some(SandboxChoice::InProcess(Some(settings))) => settings.clone(),
            Some(SandboxChoice::InProcess(None)) => pipeline.sandbox.clone().unwrap_or_else(|| over_catalog(pipeline)),
            None => match &pipeline.sandbox {
                Some(settings) if settings.start == SandboxStart::Always => settings.clone(),
                _ => return Ok(None),
            },
        };
        let identity = sandbox::identity(&settings).map_err(|error| {
            let hint = error.hint().map(str::to_owned);
            EngineError::Sandbox { action: "describe", hint, source: Box::new(error) }
        })?;
        let limited = settings.limited();
        Ok(Some(Self { identity, place: Place::Start(Box::new(settings)), limited }))
    }
}

/// A world over the first CSV file that the pipeline reads, so that what it
/// sings of is what the pipeline knows.
fn over_catalog(pipeline: &Pipeline) -> SandboxSettings {
    let is_csv = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let catalog = pipeline.instances.iter().flat_map(|instance| instance.stage.files()).find(|path| is_csv(path));
    SandboxSettings { catalog, ..SandboxSettings::default() }
}

/// Asks a running sandbox who it is.
fn running(url: &str) -> Result<World, EngineError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Sandbox {
        action: "reach",
        hint: Some(format!("is a sandbox running at {url}? Start one with `refrain sandbox`")),
        source,
    };
    let here =
        Endpoint { base_url: url.trim_end_matches('/').to_owned(), identity: "sandbox".to_owned(), paced: false };
    let endpoints = Endpoints::sandbox(url, "sandbox").with("sandbox", here);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EngineError::Runtime)?;
    let answer = runtime.block_on(async {
        let client = Client::new(ClientSettings { endpoints, ..ClientSettings::default() })?;
        let session = client.session(None, tokio_util::sync::CancellationToken::new());
        session.ask(&Call::new("sandbox", routes::WORLD, |_| Verdict::Keep)).await
    });
    let answer = answer.map_err(|error| refused(Box::new(error)))?;
    let told = answer.json().unwrap_or_default();
    let limited = told.get("limited").and_then(Value::as_array).into_iter().flatten();
    let limited = limited.filter_map(Value::as_str).map(str::to_owned).collect();
    match told.get("identity").and_then(Value::as_str) {
        Some(identity) => Ok(World { identity: identity.to_owned(), place: Place::Running(url.to_owned()), limited }),
        None => Err(refused(format!("its answer is not a sandbox's: {}", answer.excerpt()).into())),
    }
}
