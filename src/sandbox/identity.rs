//! The identity of a world: equal where every answer is equal.

use std::collections::BTreeSet;

use serde_json::json;

use super::{FaultKind, SandboxError, SandboxSettings};
use crate::ground::{ContentHash, files, hash_json};

/// Raise when the same settings would give another world or other answers;
/// every memoised answer of a sandbox is then asked for again.
pub(super) const GENERATOR_VERSION: u32 = 1;

/// `sandbox:` and a short hash of what decides the world's answers: seed,
/// sizes, the catalog's content and columns, and the generator's version. When
/// and how the servers answer (`start`, `faults`, `per_second`, `limits`) and where the
/// catalog lies are not in it; faults that alter what is said for good are. Cheap: no world is made.
///
/// # Errors
/// [`SandboxError::Catalog`] if the catalog cannot be read.
pub fn identity(settings: &SandboxSettings) -> Result<String, SandboxError> {
    let catalog = settings.catalog.as_deref().map(files::read_bytes).transpose().map_err(SandboxError::Catalog)?;
    let mut fingerprint = json!({
        "generator": GENERATOR_VERSION,
        "seed": settings.seed,
        "users": settings.users,
        "songs": settings.songs,
        "catalog": catalog.map(|bytes| ContentHash::of(&bytes)),
        "artist_column": settings.artist_column,
        "title_column": settings.title_column,
        "loved_per_user": settings.loved_per_user,
    });
    let altered: Vec<FaultKind> = settings.fault_kinds.iter().copied().filter(|kind| kind.alters_the_world()).collect();
    if settings.faults > 0.0 && !altered.is_empty() {
        fingerprint["altered"] = json!({"kinds": BTreeSet::from_iter(altered), "share": settings.faults});
    }
    // Left out where it is 0, so that worlds of before it keep their identity.
    if settings.other_languages > 0.0 {
        fingerprint["other_languages"] = json!(settings.other_languages);
    }
    Ok(format!("sandbox:{}", hash_json(&fingerprint).short()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::SandboxStart;

    #[test]
    fn what_the_servers_do_is_no_part_of_the_worlds_identity_and_what_they_say_is() {
        let settings = SandboxSettings::default();
        let same =
            SandboxSettings { start: SandboxStart::OnRequest, faults: 0.3, per_second: Some(5.0), ..settings.clone() };
        let other = SandboxSettings { seed: 1, ..settings.clone() };
        let sung = SandboxSettings { other_languages: 0.2, ..settings.clone() };
        assert_ne!(identity(&settings).unwrap(), identity(&sung).unwrap());
        assert_eq!(
            identity(&settings).unwrap(),
            "sandbox:fe6c2a8e3d2b",
            "the identity of a world never changes by itself"
        );
        assert_eq!(identity(&settings).unwrap(), identity(&same).unwrap());
        assert_ne!(identity(&settings).unwrap(), identity(&other).unwrap());
        let faulty = |kind| SandboxSettings { faults: 0.3, fault_kinds: vec![kind], ..settings.clone() };
        assert_eq!(identity(&settings).unwrap(), identity(&faulty(FaultKind::Html)).unwrap());
        assert_ne!(identity(&settings).unwrap(), identity(&faulty(FaultKind::Vanish)).unwrap());
    }

    #[test]
    fn a_catalog_counts_by_its_content_and_not_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = folder.path().join(name);
            files::write_atomically(&path, text.as_bytes()).unwrap();
            identity(&SandboxSettings { catalog: Some(path), ..SandboxSettings::default() }).unwrap()
        };
        assert_eq!(at("a.csv", "artists,track_name\nx,y\n"), at("b.csv", "artists,track_name\nx,y\n"));
        assert_ne!(at("a.csv", "artists,track_name\nx,y\n"), at("b.csv", "artists,track_name\nx,z\n"));
        let missing = SandboxSettings { catalog: Some(folder.path().join("none.csv")), ..SandboxSettings::default() };
        assert!(matches!(identity(&missing), Err(SandboxError::Catalog(_))));
    }
}
