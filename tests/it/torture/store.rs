//! A store as it lies on the disk, read without the program's own code: which
//! answers are recorded, and what should not be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::files_below;

/// The keys of all whole answers in the memo.
pub(super) fn recorded(store: &Path) -> BTreeSet<String> {
    let segments = files_below(&store.join("memo-v1").join("http"), ".segment");
    segments.iter().flat_map(|path| answers(&fs::read(path).unwrap_or_default())).collect()
}

/// How many requests the published results were made of.
pub(super) fn published(store: &Path) -> u64 {
    let manifests = files_below(&store.join("manifests-v1"), ".json").into_iter().filter_map(|path| json(&path).ok());
    manifests.filter_map(|manifest| manifest["requests"].as_u64()).sum()
}

/// A record: a mark, the payload's length, half a BLAKE3 over length and
/// payload; the payload begins with the length of its JSON head.
fn answers(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..bytes.len() {
        let rest = &bytes[at..];
        let Some(frame) = rest.strip_prefix(b"\x1eREC").filter(|frame| frame.len() > 24) else { continue };
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let Some(payload) = frame[20..].get(..number(frame)) else { continue };
        let sum = blake3::Hasher::new().update(&frame[..4]).update(payload).finalize();
        if sum.as_bytes()[..16] == frame[4..20] {
            let head = payload.get(4..4 + number(payload)).unwrap_or_default();
            let head: Value = serde_json::from_slice(head).expect("a whole record has a head");
            found.push(text(&head["key"]));
        }
    }
    found
}

/// What is wrong with a store after a run that ended well: damaged, half
/// written, missing and left-over files.
pub(super) fn faults(store: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for path in files_below(&store.join("objects-v1"), "") {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if blake3::hash(&fs::read(&path).unwrap_or_default()).to_hex().as_str() != name {
            faults.push(format!("{} is not what its name says", path.display()));
        }
    }
    for path in files_below(&store.join("manifests-v1"), "") {
        let Ok(manifest) = json(&path) else {
            faults.push(format!("{} is no whole manifest", path.display()));
            continue;
        };
        for artifact in manifest["outputs"].as_object().into_iter().flatten().map(|(_, artifact)| artifact) {
            let hash = text(&artifact["hash"]);
            let object = store.join("objects-v1").join(&hash[..2]).join(format!("{hash}.parquet"));
            if !object.exists() {
                faults.push(format!("{} names {hash}, which is not there", path.display()));
            }
        }
    }
    let left = ["tmp", "locks", "set-aside"].into_iter().flat_map(|folder| files_below(&store.join(folder), ""));
    // The lock between runs and collection is one file that stays.
    let left = left.chain(files_below(store, ".tmp")).filter(|path| !path.ends_with("gc.lock"));
    faults.extend(left.map(|path| format!("{} was left", path.display())));
    faults
}

fn json(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
