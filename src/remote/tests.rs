//! The shared store as a whole, over a server in memory that fails where a test
//! says so: before a request is done, or after it, when only the answer is lost.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use arrow::array::{ArrayRef, Int64Array};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as Answer,
};
use serde_json::json;

use super::*;
use crate::store::{FORMAT, ObjectState};
use crate::table::Table;

/// When a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    Before,
    After,
}

/// A server that fails one request, by its number.
#[derive(Debug)]
struct Failing {
    inner: Arc<InMemory>,
    requests: AtomicUsize,
    fault: Option<(usize, Fails)>,
}

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failing")
    }
}

impl Failing {
    async fn pass<T>(&self, request: impl Future<Output = Answer<T>>) -> Answer<T> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let lost = || object_store::Error::Generic { store: "test", source: "the line was cut".into() };
        match self.fault.filter(|(meant, _)| *meant == number) {
            Some((_, Fails::Before)) => Err(lost()),
            Some((_, Fails::After)) => {
                drop(request.await);
                Err(lost())
            }
            None => request.await,
        }
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        self.pass(self.inner.put_opts(at, payload, options)).await
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
        self.pass(self.inner.put_multipart_opts(at, options)).await
    }
    async fn get_opts(&self, at: &Path, options: GetOptions) -> Answer<GetResult> {
        self.pass(self.inner.get_opts(at, options)).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Answer<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A machine: a store of its own.
struct Machine {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self { _folder: folder, store }
    }

    /// Makes a result of two outputs under a key.
    fn make(&self, key: &str, value: i64) -> Manifest {
        let output = |value: i64| {
            let mut writer = self.store.writer().unwrap();
            let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            writer.append(&Table::of_columns([("value", column)]).unwrap()).unwrap();
            writer.finish().unwrap()
        };
        let manifest = Manifest {
            format: FORMAT,
            key: ContentHash::of(key.as_bytes()),
            instance: key.to_owned(),
            pipeline: "demo".to_owned(),
            kind: "toy".to_owned(),
            fingerprint: json!({}),
            outputs: BTreeMap::from([("a".to_owned(), output(value)), ("b".to_owned(), output(-value))]),
            warnings: Vec::new(),
            made_at_millis: u64::try_from(value).unwrap(),
            seconds: 0.0,
            requests: 0,
            blessed: Vec::new(),
        };
        self.store.publish(&manifest).unwrap();
        manifest
    }
}

fn remote(inner: &Arc<InMemory>, fault: Option<(usize, Fails)>) -> (Remote, Arc<Failing>) {
    let client = Arc::new(Failing { inner: Arc::clone(inner), requests: AtomicUsize::new(0), fault });
    let opened = Remote::open(Sharing::at("s3://lab/x")).unwrap();
    opened.inner.bucket.go_through(Arc::clone(&client) as _);
    (opened, client)
}

fn artifacts(manifest: &Manifest) -> Vec<Artifact> {
    manifest.outputs.values().cloned().collect()
}

#[test]
fn wherever_sending_breaks_off_a_record_never_lacks_its_artifacts_and_the_next_push_completes_it() {
    let first = Machine::new();
    let manifest = first.make("core", 1);
    for number in 0..8 {
        for fails in [Fails::Before, Fails::After] {
            let server = Arc::new(InMemory::new());
            let (broken, _) = remote(&server, Some((number, fails)));
            let pushed = broken.push(&first.store, vec![manifest.clone()], false, None).remove(0);
            let (whole, _) = remote(&server, None);
            let second = Machine::new();
            let found = whole.result_now(&second.store, &manifest.key);
            if let Some(found) = &found {
                whole.fetch(&second.store, artifacts(found), None, &CancellationToken::new()).unwrap();
            }
            assert!(pushed.is_err() || found.is_some(), "request {number}");
            let again = whole.push(&first.store, vec![manifest.clone()], false, None).remove(0).unwrap();
            assert_ne!(again, Pushed::Other);
            let third = Machine::new();
            let found = whole.result_now(&third.store, &manifest.key).unwrap();
            assert_eq!(found, manifest);
            whole.fetch(&third.store, artifacts(&found), None, &CancellationToken::new()).unwrap();
            assert!(artifacts(&found).iter().all(|artifact| third.store.check(artifact) == ObjectState::Good));
        }
    }
}

#[test]
fn of_two_results_of_one_key_the_first_stays_unless_the_other_was_made_on_purpose() {
    let server = Arc::new(InMemory::new());
    let (one, other) = (Machine::new(), Machine::new());
    let (first, second) = (one.make("core", 1), other.make("core", 2));
    let (remote, _) = remote(&server, None);
    let push = |machine: &Machine, manifest: &Manifest, replace| {
        remote.push(&machine.store, vec![manifest.clone()], replace, None).remove(0).unwrap()
    };
    assert!(matches!(push(&one, &first, false), Pushed::Sent(bytes) if bytes > 0));
    assert_eq!(push(&one, &first, false), Pushed::There);
    assert_eq!(push(&other, &second, false), Pushed::Other);
    assert_eq!(remote.result_now(&Machine::new().store, &first.key), Some(first.clone()));
    assert!(matches!(push(&other, &second, true), Pushed::Sent(_)));
    assert_eq!(remote.result_now(&Machine::new().store, &first.key), Some(second));
}

#[test]
fn a_key_is_asked_for_once_and_many_at_the_same_time() {
    let server = Arc::new(InMemory::new());
    let maker = Machine::new();
    let made: Vec<Manifest> = (0..40).map(|n| maker.make(&format!("stage{n}"), n + 1)).collect();
    let (sender, _) = remote(&server, None);
    assert!(sender.push(&maker.store, made.clone(), false, None).iter().all(Result::is_ok));
    assert_eq!(sender.moved().pushed_results, 40);
    let (asking, client) = remote(&server, None);
    let machine = Machine::new();
    let absent = ContentHash::of(b"absent");
    let keys: Vec<ContentHash> = made.iter().map(|manifest| manifest.key).chain([absent]).collect();
    for _ in 0..2 {
        assert_eq!(asking.results(&machine.store, &keys).len(), 40);
        assert_eq!(client.requests.load(Ordering::SeqCst), 41, "neither what is there nor what is not, twice");
    }
    let (later, client) = remote(&server, None);
    assert_eq!(later.results(&machine.store, &keys[..40]).len(), 40);
    assert_eq!(client.requests.load(Ordering::SeqCst), 0, "the next process knows them");
    assert!(made.iter().flat_map(artifacts).all(|artifact| later.has(&artifact)));
    assert_eq!(client.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn a_server_that_fails_is_left_alone_and_the_user_is_told_once() {
    let server = Arc::new(InMemory::new());
    let (remote, client) = remote(&server, Some((0, Fails::Before)));
    let machine = Machine::new();
    let keys: Vec<ContentHash> = (0..5_u8).map(|n| ContentHash::of(&[n])).collect();
    assert!(remote.result_now(&machine.store, &keys[0]).is_none() && remote.is_down());
    assert!(remote.results(&machine.store, &keys).is_empty());
    assert_eq!(client.requests.load(Ordering::SeqCst), 1);
    let warnings = remote.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("going on without it"), "{warnings:?}");
    assert!(matches!(remote.claim(&machine.store, &keys[0], "run", 0), Claimed::Unknown));
}

#[test]
fn an_artifact_that_is_not_what_its_name_says_does_not_come_in() {
    let server = Arc::new(InMemory::new());
    let (maker, machine) = (Machine::new(), Machine::new());
    let manifest = maker.make("core", 1);
    let (remote, _) = remote(&server, None);
    remote.push(&maker.store, vec![manifest.clone()], false, None).remove(0).unwrap();
    let artifact = manifest.outputs["a"].clone();
    let path = Path::from(format!("x/{}", names::object(&artifact.hash)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = vec![7; artifact.bytes as usize];
    runtime.block_on(server.put(&path, other.into())).unwrap();
    let error = remote.fetch(&machine.store, vec![artifact.clone()], None, &CancellationToken::new()).unwrap_err();
    assert!(error.to_string().contains("do not have the hash") && error.hint().contains("--repair"), "{error}");
    assert_eq!(machine.store.check(&artifact), ObjectState::Missing);
    let mut verified = remote.verify(None).unwrap();
    assert_eq!((verified.objects, verified.manifests, verified.findings.len()), (2, 1, 2), "{verified:?}");
    remote.repair(&mut verified).unwrap();
    let verified = remote.verify(None).unwrap();
    assert_eq!((verified.objects, verified.manifests, verified.findings.len()), (1, 0, 0));
    // One that was cut is noticed before anybody relies on it, and mended by who has it.
    runtime.block_on(server.put(&path, vec![7; 3].into())).unwrap();
    assert!(!remote.has(&artifact) || remote.lost_of(std::slice::from_ref(&artifact)) == [artifact.hash]);
    remote.push(&maker.store, vec![manifest], false, None).remove(0).unwrap();
    remote.fetch(&machine.store, vec![artifact.clone()], None, &CancellationToken::new()).unwrap();
    assert_eq!(machine.store.check(&artifact), ObjectState::Good);
}

#[test]
fn a_claim_is_held_by_one_until_it_is_given_back() {
    let server = Arc::new(InMemory::new());
    let (one, other) = (remote(&server, None).0, remote(&server, None).0);
    let (key, machine) = (ContentHash::of(b"core"), Machine::new());
    let Claimed::Mine(claim) = one.claim(&Machine::new().store, &key, "one", 5) else { panic!("it was free") };
    assert!(matches!(other.claim(&machine.store, &key, "other", u64::MAX), Claimed::Busy(holder) if holder == "one"));
    drop(claim);
    let Claimed::Mine(claim) = other.claim(&machine.store, &key, "other", 0) else { panic!("it was given back") };
    // Ours already: an answer was lost.
    let Claimed::Mine(again) = other.claim(&machine.store, &key, "other", 0) else { panic!("it is its own") };
    // Who holds the key's own lock in a store knows that no other run of that store lives.
    assert!(matches!(other.claim(&machine.store, &key, "after a crash", 0), Claimed::Mine(_)));
    drop((claim, again));
    assert!(matches!(one.claim(&Machine::new().store, &key, "one", 0), Claimed::Mine(_)));
}

#[test]
fn a_claim_without_a_sign_of_life_is_taken_over_whatever_its_holders_clock_said() {
    let server = Arc::new(InMemory::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = ContentHash::of(b"core");
    let path = Path::from(format!("x/{}", names::claim(&key)));
    for (text, is_dead) in [
        (r#"{"run":"gone","store":"x","expires_seconds":0,"at_millis":99999999999999,"beat":1}"#, true),
        (r#"{"run":"lives","store":"x","expires_seconds":600,"at_millis":0,"beat":1}"#, false),
        ("half of it", true),
    ] {
        runtime.block_on(server.put(&path, text.as_bytes().to_vec().into())).unwrap();
        let claimed = remote(&server, None).0.claim(&Machine::new().store, &key, "next", 1);
        assert_eq!(matches!(claimed, Claimed::Mine(_)), is_dead, "{text}: {claimed:?}");
    }
}

#[test]
fn garbage_is_what_no_record_names_and_a_record_that_cannot_be_read_forbids_it() {
    let server = Arc::new(InMemory::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let put = |name: String, bytes: &[u8]| {
        runtime.block_on(server.put(&Path::from(format!("x/{name}")), bytes.to_vec().into())).unwrap();
    };
    let maker = Machine::new();
    let (remote, _) = remote(&server, None);
    remote.push(&maker.store, vec![maker.make("core", 1)], false, None).remove(0).unwrap();
    put(names::object(&ContentHash::of(b"stray")), b"stray");
    put("objects-v1/notes.txt".to_owned(), b"not ours");
    let young = remote.collectable(Duration::from_hours(1)).unwrap();
    assert_eq!((young.going.len(), young.kept, young.young), (0, 2, 1));
    let found = remote.collectable(Duration::ZERO).unwrap();
    assert_eq!((found.going.len(), found.bytes()), (1, 5));
    let bad = names::manifest(&ContentHash::of(b"bad"));
    put(bad.clone(), b"{}");
    assert!(remote.collect(&found, Duration::ZERO).unwrap_err().to_string().contains("nothing is deleted"));
    runtime.block_on(server.delete(&Path::from(format!("x/{bad}")))).unwrap();
    assert_eq!(remote.collect(&found, Duration::ZERO).unwrap(), 1);
    assert_eq!(remote.collectable(Duration::ZERO).unwrap().kept, 2);
}

#[test]
fn large_artifacts_go_and_come_in_parts() {
    let server = Arc::new(InMemory::new());
    let (maker, machine) = (Machine::new(), Machine::new());
    let mut manifest = maker.make("core", 1);
    let mut writer = maker.store.writer().unwrap();
    let mut state = 1_i64;
    let noise = (0..3_000_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state
    });
    let column: ArrayRef = Arc::new(Int64Array::from(noise.collect::<Vec<_>>()));
    writer.append(&Table::of_columns([("value", column)]).unwrap()).unwrap();
    let large = writer.finish().unwrap();
    assert!(large.bytes > 17 * 1024 * 1024, "{}", large.bytes);
    manifest.outputs.insert("a".to_owned(), large.clone());
    let (remote, client) = remote(&server, None);
    let pushed = remote.push(&maker.store, vec![manifest], false, None).remove(0).unwrap();
    assert!(matches!(pushed, Pushed::Sent(bytes) if bytes > large.bytes));
    let before = client.requests.load(Ordering::SeqCst);
    let moved = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&moved);
    let tell: Tell = Arc::new(move |bytes| {
        told.fetch_max(bytes, Ordering::SeqCst);
    });
    remote.fetch(&machine.store, vec![large.clone()], Some(tell), &CancellationToken::new()).unwrap();
    assert!(client.requests.load(Ordering::SeqCst) - before >= 3);
    assert_eq!((moved.load(Ordering::SeqCst), machine.store.check(&large)), (large.bytes, ObjectState::Good));
}
