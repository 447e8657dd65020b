//! Single requests to a shared store: by name, bounded in time and number, and
//! not at all for a while after the server did not answer.
//!
//! An answer is waited for once: whoever asks while the server is taken to be
//! down is refused at once, until a pause is over and one request tries again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use tokio::sync::Semaphore;

use super::address::Address;
use super::error::{Kind, RemoteError};

/// Requests in flight at the same time.
const IN_FLIGHT: usize = 32;
/// How long nothing is asked after the server did not answer.
const PAUSE: Duration = Duration::from_mins(1);
/// The slowest line that a body is sent over: bytes per second.
const SLOWEST: u64 = 50_000;

/// What was read.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Which version it is, as far as the server tells.
    pub(super) version: UpdateVersion,
    /// When it was written by the server's clock: milliseconds since 1970-01-01 UTC.
    pub(super) modified: i64,
}

/// A shared store, one request at a time. Its client is made for the first.
pub(super) struct Bucket {
    address: Address,
    client: OnceLock<Result<Arc<dyn ObjectStore>, RemoteError>>,
    prefix: Path,
    shown: String,
    timeout: Duration,
    read_only: bool,
    slots: Semaphore,
    down: Mutex<Option<Down>>,
    warnings: Mutex<Vec<String>>,
    /// Whether the server was found to send no parts of files.
    sends_whole: AtomicBool,
}

#[derive(Debug, Clone)]
struct Down {
    until: Instant,
    why: RemoteError,
}

impl Bucket {
    /// The store at an address.
    pub(super) fn new(address: &Address, timeout: Duration) -> Self {
        Self {
            address: address.clone(),
            client: OnceLock::new(),
            prefix: Path::from(address.prefix.as_str()),
            shown: address.to_string(),
            timeout,
            read_only: address.is_read_only(),
            slots: Semaphore::new(IN_FLIGHT),
            down: Mutex::new(None),
            warnings: Mutex::default(),
            sends_whole: AtomicBool::new(false),
        }
    }

    /// The address, for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether nothing can be written there.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the server is taken to be down.
    pub(super) fn is_down(&self) -> bool {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the server was found to send no parts of files.
    pub(super) fn sends_whole(&self) -> bool {
        self.sends_whole.load(Ordering::Relaxed)
    }

    /// Notes that the server sends no parts of files.
    pub(super) fn note_sends_whole(&self) {
        self.sends_whole.store(true, Ordering::Relaxed);
    }

    /// How long an answer is waited for.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What the user should know since the last call.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the user something.
    pub(super) fn warn(&self, text: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Has requests go through this client.
    #[cfg(test)]
    pub(super) fn go_through(&self, client: Arc<dyn ObjectStore>) {
        self.client.set(Ok(client)).ok();
    }

    fn client(&self) -> Result<&dyn ObjectStore, RemoteError> {
        let client = self.client.get_or_init(|| self.address.open(self.timeout));
        match client {
            Ok(client) => Ok(client.as_ref()),
            Err(error) => {
                self.note_down(error);
                Err(error.clone())
            }
        }
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// Reads a small file whole; none if it is not there.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Content>, RemoteError> {
        let (path, client) = (self.path(name), self.client()?);
        let read = async {
            let result = client.get(&path).await?;
            let version = UpdateVersion { e_tag: result.meta.e_tag.clone(), version: result.meta.version.clone() };
            let modified = result.meta.last_modified.timestamp_millis();
            Ok(Content { bytes: result.bytes().await?.into(), version, modified })
        };
        unless_missing(self.within("read", name, self.timeout, read).await)
    }

    /// What is known of a file without reading it; none if it is not there.
    pub(super) async fn head(&self, name: &str) -> Result<Option<ObjectMeta>, RemoteError> {
        let path = self.path(name);
        unless_missing(self.within("look at", name, self.timeout, self.client()?.head(&path)).await)
    }

    /// Writes a file that is not there yet; false, and nothing written, if it is.
    pub(super) async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, RemoteError> {
        let limit = self.limit(bytes.len());
        let payload = PutPayload::from(bytes);
        match self.put(name, payload.clone(), PutMode::Create, limit).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == Kind::Changed => Ok(false),
            // A server without conditions: between the look and the write another
            // may write the same, which does no harm to what is named by its content.
            Err(error) if error.kind == Kind::Unsupported => {
                if self.head(name).await?.is_some() {
                    return Ok(false);
                }
                self.put(name, payload, PutMode::Overwrite, limit).await.map(|_| true)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a file, whatever is there.
    pub(super) async fn overwrite(&self, name: &str, bytes: Vec<u8>) -> Result<UpdateVersion, RemoteError> {
        let limit = self.limit(bytes.len());
        self.put(name, PutPayload::from(bytes), PutMode::Overwrite, limit).await
    }

    /// Writes a file if it is still that version; none if it is another. Where
    /// the server knows no conditions, it is looked at first.
    pub(super) async fn update(
        &self,
        name: &str,
        bytes: Vec<u8>,
        version: &UpdateVersion,
    ) -> Result<Option<UpdateVersion>, RemoteError> {
        let limit = self.limit(bytes.len());
        let payload = PutPayload::from(bytes);
        match self.put(name, payload.clone(), PutMode::Update(version.clone()), limit).await {
            Ok(version) => Ok(Some(version)),
            Err(error) if matches!(error.kind, Kind::Changed | Kind::Missing) => Ok(None),
            Err(error) if error.kind == Kind::Unsupported => {
                let there = self.head(name).await?;
                if there.is_none_or(|there| there.e_tag != version.e_tag) {
                    return Ok(None);
                }
                self.put(name, payload, PutMode::Overwrite, limit).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }

    async fn put(
        &self,
        name: &str,
        payload: PutPayload,
        mode: PutMode,
        limit: Duration,
    ) -> Result<UpdateVersion, RemoteError> {
        if self.read_only {
            return Err(RemoteError::new(Kind::Refused, "write", name, format!("{} can only be read", self.shown)));
        }
        let path = self.path(name);
        let put = self.client()?.put_opts(&path, payload, PutOptions::from(mode));
        Ok(self.within("write", name, limit, put).await?.into())
    }

    /// Begins a file that is sent in parts.
    pub(super) async fn begin_parts(&self, name: &str) -> Result<Box<dyn MultipartUpload>, RemoteError> {
        let path = self.path(name);
        self.within("write", name, self.timeout, self.client()?.put_multipart(&path)).await
    }

    /// Waits for one part, or for the end, of a file that is sent in parts.
    pub(super) async fn send<T>(
        &self,
        name: &str,
        bytes: usize,
        part: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, RemoteError> {
        self.within("write", name, self.limit(bytes), part).await
    }

    /// Begins to read a file, or a range of its bytes. Each piece is bounded in
    /// time by whoever reads.
    pub(super) async fn stream(
        &self,
        name: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<BoxStream<'static, object_store::Result<impl AsRef<[u8]> + Send + 'static>>, RemoteError> {
        let path = self.path(name);
        let options = GetOptions::new().with_range(range);
        let result = self.within("read", name, self.timeout, self.client()?.get_opts(&path, options)).await?;
        Ok(result.into_stream())
    }

    /// All files below a folder, with their names from the prefix on, in the
    /// order of their names.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<(String, ObjectMeta)>, RemoteError> {
        let path = self.path(folder);
        // Each page is one request, and a page is never empty for long.
        let mut stream = self.client()?.list(Some(&path));
        let mut found = Vec::new();
        loop {
            let next = self.within("list", folder, self.timeout, stream.try_next()).await;
            let Some(meta) = unless_missing(next)?.flatten() else { break };
            let below = meta.location.prefix_match(&self.prefix).map(Iterator::collect::<Path>);
            if let Some(name) = below.map(|path| path.to_string()) {
                found.push((name, meta));
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// Deletes a file; one that is not there is fine.
    pub(super) async fn delete(&self, name: &str) -> Result<(), RemoteError> {
        let path = self.path(name);
        unless_missing(self.within("delete", name, self.timeout, self.client()?.delete(&path)).await).map(drop)
    }

    /// How long sending so many bytes may take.
    fn limit(&self, bytes: usize) -> Duration {
        self.timeout + Duration::from_secs(bytes as u64 / SLOWEST)
    }

    async fn within<T>(
        &self,
        action: &str,
        name: &str,
        limit: Duration,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, RemoteError> {
        let slot = self.slots.acquire().await;
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let answer = tokio::time::timeout(limit, request).await;
        drop(slot);
        let error = match answer {
            Ok(Ok(answer)) => {
                self.note_up();
                return Ok(answer);
            }
            Ok(Err(error)) => RemoteError::of(action, name, &error),
            Err(_) => {
                let reason = format!("no answer within {} s", limit.as_secs_f64());
                RemoteError::new(Kind::Unreachable, action, name, reason)
            }
        };
        if matches!(error.kind, Kind::Unreachable | Kind::Refused) {
            self.note_down(&error);
        } else {
            self.note_up();
        }
        Err(error)
    }

    fn note_up(&self) {
        if self.down.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.warn(format!("the shared store {} answers again", self.shown));
        }
    }

    /// Takes the server to be down for a while, and says so if that is news.
    pub(super) fn note_down(&self, why: &RemoteError) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = down.is_none();
        *down = Some(Down { until: Instant::now() + PAUSE, why: why.clone() });
        drop(down);
        if is_news {
            self.warn(format!("the shared store {} cannot be used: {why}; going on without it", self.shown));
        }
    }

    /// Why nothing is asked now. When a pause is over, one caller may ask.
    fn refusal(&self) -> Option<RemoteError> {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let found = down.as_mut()?;
        if Instant::now() < found.until {
            return Some(found.why.clone());
        }
        found.until = Instant::now() + PAUSE;
        None
    }
}

/// What is not there is none.
fn unless_missing<T>(result: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == Kind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
