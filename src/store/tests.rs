//! The store as its users see it: what survives, what is noticed, what is shared.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use serde_json::json;

use super::*;
use crate::ground::ManualClock;
use crate::table::{Table, column_hashes, read_parquet};

fn table(rows: i64) -> Table {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("song {row}"))));
    Table::of_columns([("id", ids), ("name", names)]).unwrap()
}

/// A store at a time that stands, so late that every file is old enough to be
/// known again without reading it.
fn store(root: &Path) -> Store {
    Store::open_at(root, Arc::new(ManualClock::at(4_000_000_000_000))).unwrap()
}

fn put(store: &Store, table: &Table) -> Artifact {
    let mut writer = store.writer().unwrap();
    writer.append(table).unwrap();
    writer.finish().unwrap()
}

fn manifest(artifact: Artifact) -> Manifest {
    Manifest {
        format: FORMAT,
        key: ContentHash::of(b"key"),
        instance: "songs@V1".to_owned(),
        pipeline: "demo".to_owned(),
        kind: "read_table".to_owned(),
        fingerprint: json!({"format": 1, "rate": 0.25}),
        outputs: BTreeMap::from([("table".to_owned(), artifact)]),
        warnings: vec!["two rows were skipped".to_owned()],
        made_at_millis: 1,
        seconds: 0.5,
        requests: 0,
        blessed: Vec::new(),
    }
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn an_artifact_is_named_by_its_bytes_and_described_by_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let artifact = put(&store, &table(10));
    let path = store.object_path(&artifact.hash);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(ContentHash::of(&bytes), artifact.hash);
    assert_eq!((bytes.len() as u64, artifact.rows), (artifact.bytes, 10));
    let read = read_parquet(&path, None).unwrap();
    let hashes: BTreeMap<_, _> = artifact.columns.iter().map(|c| (c.name.clone(), c.hash)).collect();
    assert_eq!(column_hashes(&read).unwrap(), hashes);
    assert_eq!(artifact.column("name").map(|c| c.data_type.as_str()), Some("str"));
    assert_eq!(files_in(&folder.path().join("tmp")), 0);
}

#[test]
fn identical_tables_are_one_file_in_whatever_pieces_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let whole = put(&store, &table(100));
    let mut writer = store.writer().unwrap();
    let batch = table(100).single_batch().unwrap();
    for start in [0, 30, 60, 90] {
        let piece = batch.slice(start, 30.min(100 - start));
        writer.append(&Table::new(piece.schema(), vec![piece])).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), whole);
    assert_eq!(files_in(store.object_path(&whole.hash).parent().unwrap()), 1);
}

#[test]
fn the_number_of_threads_decides_no_artifact() {
    let made = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        pool.install(|| {
            let store = store(folder.path());
            let artifact = put(&store, &table(150_000));
            assert_eq!(hash_file(&store.object_path(&artifact.hash)).unwrap(), artifact.hash);
            artifact
        })
    };
    assert_eq!(made(1), made(4));
}

#[test]
fn an_unfinished_or_empty_writer_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = store.writer().unwrap();
    writer.append(&table(3)).unwrap();
    drop(writer);
    assert!(matches!(store.writer().unwrap().finish(), Err(StoreError::NoTable)));
    assert_eq!(files_in(&folder.path().join("tmp")), 0);
    assert_eq!(files_in(&folder.path().join("objects-v1")), 0);
}

#[test]
fn a_deleted_object_is_missing_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let artifact = put(&store, &table(5));
    assert_eq!(store.check(&artifact), ObjectState::Good);
    fs::remove_file(store.object_path(&artifact.hash)).unwrap();
    assert_eq!(store.check(&artifact), ObjectState::Missing);
    assert_eq!(put(&store, &table(5)), artifact);
    assert_eq!(store.check(&artifact), ObjectState::Good);
}

#[test]
fn a_flipped_byte_is_noticed_set_aside_and_healed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let artifact = put(&store, &table(50));
    let path = store.object_path(&artifact.hash);
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(20)).unwrap();
    file.write_all(b"?").unwrap();
    drop(file);
    // A store opened later remembers the file from before, and still notices.
    let later = self::store(folder.path());
    let ObjectState::Damaged { set_aside } = later.check(&artifact) else { panic!("the damage was not noticed") };
    assert!(set_aside.exists() && !path.exists());
    let warnings = later.take_warnings();
    assert!(warnings.iter().any(|w| w.contains("is damaged: its bytes changed")), "{warnings:?}");
    assert!(later.take_warnings().is_empty());
    assert_eq!(put(&later, &table(50)), artifact);
}

#[cfg(unix)]
#[test]
fn a_change_that_sets_the_time_back_is_noticed() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let artifact = put(&store, &table(50));
    let path = store.object_path(&artifact.hash);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    // The times of files are as fine as the kernel's clock ticks: wait for the next one.
    let changed = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let probe = folder.path().join("probe");
    while !probe.exists() || changed(&probe) == changed(&path) {
        files::write_atomically(&probe, b"?").unwrap();
    }
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(20)).unwrap();
    file.write_all(b"?").unwrap();
    file.set_modified(before).unwrap();
    drop(file);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    assert!(matches!(self::store(folder.path()).check(&artifact), ObjectState::Damaged { .. }));
}

#[test]
fn what_a_key_produced_is_known_to_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = {
        let store = store(folder.path());
        let manifest = manifest(put(&store, &table(4)));
        store.publish(&manifest).unwrap();
        manifest
    };
    let next = store(folder.path());
    assert_eq!(next.manifest(&manifest.key).unwrap(), Some(manifest.clone()));
    assert_eq!(next.check(&manifest.outputs["table"]), ObjectState::Good);
    assert_eq!(next.manifest(&ContentHash::of(b"other")).unwrap(), None);
}

#[test]
fn a_torn_manifest_is_set_aside_and_counts_as_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let manifest = manifest(put(&store, &table(4)));
    store.publish(&manifest).unwrap();
    let path = folder.path().join(format!("manifests-v1/{}.json", manifest.key));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(200).unwrap();
    assert_eq!(store.manifest(&manifest.key).unwrap(), None);
    assert!(store.take_warnings()[0].contains("is damaged"));
    assert_eq!(files_in(&folder.path().join("set-aside")), 1);
    store.publish(&manifest).unwrap();
    assert_eq!(store.manifest(&manifest.key).unwrap(), Some(manifest));
}

#[test]
fn a_manifest_under_another_key_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let manifest = manifest(put(&store, &table(4)));
    store.publish(&manifest).unwrap();
    let other = ContentHash::of(b"other");
    let at = |key| folder.path().join(format!("manifests-v1/{key}.json"));
    fs::copy(at(manifest.key), at(other)).unwrap();
    assert_eq!(store.manifest(&other).unwrap(), None);
}

#[test]
fn two_handles_on_a_store_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (store(folder.path()), store(folder.path()));
    let key = ContentHash::of(b"key");
    let lock = one.try_lock(&key).unwrap().unwrap();
    assert!(other.try_lock(&key).unwrap().is_none());
    assert!(other.try_lock(&ContentHash::of(b"free")).unwrap().is_some());
    drop(lock);
    drop(other.lock(&key).unwrap());
    drop((one, other));
    assert_eq!(files_in(&folder.path().join("locks")), 0);
}

#[test]
fn opening_sweeps_what_the_dead_left_and_nothing_of_the_living() {
    let folder = tempfile::tempdir().unwrap();
    let living = store(folder.path());
    let mut writer = living.writer().unwrap();
    writer.append(&table(3)).unwrap();
    drop(fs::File::create(folder.path().join("tmp/999999-1.tmp")).unwrap());
    let memo = folder.path().join("memo-v1/http");
    fs::create_dir_all(&memo).unwrap();
    for name in ["1.segment", "1.segment.index.tmp"] {
        drop(fs::File::create(memo.join(name)).unwrap());
    }
    let lock = living.lock(&ContentHash::of(b"living")).unwrap();
    drop(fs::File::create(folder.path().join(format!("locks/{}.lock", ContentHash::of(b"dead")))).unwrap());
    let left = || (files_in(&folder.path().join("tmp")), files_in(&folder.path().join("locks")));
    assert_eq!(left(), (2, 2));
    let _other = store(folder.path());
    assert_eq!(left(), (1, 1));
    drop(lock);
    writer.finish().unwrap();
    for name in ["CACHEDIR.TAG", ".gitignore"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn an_outside_file_is_hashed_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("songs.csv");
    files::write_atomically(&file, b"a").unwrap();
    let far = Arc::new(ManualClock::at(u64::MAX / 4));
    let store = Store::open_at(&folder.path().join("store"), far).unwrap();
    assert_eq!(store.file_hash(&file).unwrap(), ContentHash::of(b"a"));
    assert!(files::read_text(&folder.path().join("store/seen-v1.jsonl")).unwrap().contains("songs.csv"));
    files::write_atomically(&file, b"b").unwrap();
    assert_eq!(store.file_hash(&file).unwrap(), ContentHash::of(b"b"));
    assert!(store.file_hash(&folder.path().join("none")).unwrap_err().is_not_found());
}

#[test]
fn run_folders_are_named_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_at(folder.path(), Arc::new(ManualClock::at(1_000_000_000_000))).unwrap();
    let path = store.run_folder("ab12").unwrap();
    assert!(path.ends_with("runs-v1/20010909T014640Z-ab12") && path.is_dir());
}
