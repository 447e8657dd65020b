//! What files are called in a shared store: as in a store's own folder, but
//! that segments of the memo are named by the hash of their bytes, since the
//! names that processes give them may be the same on two machines.

use crate::ground::ContentHash;

/// The folder of records of results.
pub(super) const MANIFESTS: &str = "manifests-v1";
/// The folder of artifacts.
pub(super) const OBJECTS: &str = "objects-v1";
/// The folder of the memo, which has one for each purpose.
pub(super) const MEMO: &str = "memo-v1";
/// The folder of claims.
pub(super) const CLAIMS: &str = "claims-v1";

/// The record of a result.
pub(super) fn manifest(key: &ContentHash) -> String {
    format!("{MANIFESTS}/{key}.json")
}

/// An artifact.
pub(super) fn object(hash: &ContentHash) -> String {
    let name = hash.to_string();
    format!("{OBJECTS}/{}/{name}.parquet", name.get(..2).unwrap_or_default())
}

/// A segment of the memo.
pub(super) fn segment(purpose: &str, hash: &ContentHash) -> String {
    format!("{MEMO}/{purpose}/{hash}.segment")
}

/// A claim on a key.
pub(super) fn claim(key: &ContentHash) -> String {
    format!("{CLAIMS}/{key}.json")
}

/// The hash that a file of that folder is named by, if it is one of ours.
pub(super) fn hash_of(name: &str, ending: &str) -> Option<ContentHash> {
    name.rsplit('/').next()?.strip_suffix(ending)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let hash = ContentHash::of(b"a");
        assert_eq!(hash_of(&manifest(&hash), ".json"), Some(hash));
        assert_eq!(hash_of(&object(&hash), ".parquet"), Some(hash));
        assert_eq!(hash_of(&segment("http", &hash), ".segment"), Some(hash));
        assert_eq!((hash_of("memo-v1/http/1-2-3.segment", ".segment"), hash_of("x", ".json")), (None, None));
        assert!(object(&hash).starts_with(&format!("objects-v1/{}/", &hash.to_string()[..2])));
    }
}
